//! The state behind a cause, as it is now.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Question;
use super::causes::{About, Cause};
use crate::admin::AdminState;
use crate::admin::clusters::health_flags;
use crate::config::cluster::{CoarseHealth, Host, HostAddress};
use crate::config::live::Breakers;
use crate::config::{ClusterSlot, Snapshot};
use crate::stats::registry::Kind;
use crate::stats::scope::sanitize;
use crate::stats::view::{Value, View};

/// Hosts, clusters and domains that one answer names.
pub(super) const MAX_NAMED: usize = 20;

/// Counters of what circuit breakers refused.
const OVERFLOWS: &[&str] = &[
    "upstream_cx_overflow",
    "upstream_cx_pool_overflow",
    "upstream_rq_pending_overflow",
    "upstream_rq_active_overflow",
    "upstream_rq_retry_overflow",
];

/// Facts, one per line.
pub(super) fn behind(
    state: &AdminState,
    cause: &Cause,
    question: &Question,
    unresolved: &[(String, String)],
) -> Vec<String> {
    let snapshot = state.snapshots.current();
    let facts = Facts { view: state.registry.view(), snapshot: &snapshot, unresolved };
    let mut found = match cause.about {
        About::Client => return Vec::new(),
        About::Routes => facts.routes(question),
        About::Clusters => facts.cluster_list(question),
        About::Load => facts.counted(&["overload.", ".gradient_controller."]),
        About::Counted(parts) => facts.counted(parts),
        about => facts.clusters(about, question),
    };
    found.extend(facts.control_plane());
    found
}

/// What is looked at.
pub(super) struct Facts<'s> {
    view: View,
    pub(super) snapshot: &'s Arc<Snapshot>,
    unresolved: &'s [(String, String)],
}

impl Facts<'_> {
    /// The clusters asked about, or those in which something is wrong now.
    fn clusters(&self, about: About, question: &Question) -> Vec<String> {
        let all = self.snapshot.clusters.iter().flatten();
        let moved = self.moved(about);
        let (chosen, named): (Vec<_>, bool) = match (&question.cluster, &question.host) {
            (Some(name), _) => (all.filter(|slot| *slot.config.name == **name).collect(), true),
            (None, Some(host)) => (all.filter(|slot| has_host(slot, host)).collect(), true),
            (None, None) => (all.filter(|slot| self.is_suspect(slot, about, &moved)).collect(), false),
        };
        if chosen.is_empty() {
            return vec![match &question.cluster {
                Some(name) => format!("there is no cluster {} now", super::printable(name)),
                None => "no cluster shows this now; name one with cluster=".to_owned(),
            }];
        }
        if !named && chosen.len() > MAX_NAMED {
            return vec![format!("{} clusters show this now; name one with cluster=", chosen.len())];
        }
        chosen.into_iter().flat_map(|slot| self.cluster(slot, about)).collect()
    }

    /// It shows now, or has shown since the counters began: what was short is over when somebody asks.
    fn is_suspect(&self, slot: &ClusterSlot, about: About, moved: &HashSet<String>) -> bool {
        let any = |failed: fn(&Host) -> bool| slot.hosts.hosts.iter().any(|host| failed(host));
        let counted = moved.contains(&sanitize(&slot.config.name));
        counted
            || match about {
                About::Hosts => slot.hosts.count(CoarseHealth::Healthy) == 0,
                About::Breakers => {
                    slot.config.breakers.iter().any(|breakers| open(breakers).next().is_some())
                }
                About::Connections => any(|host| host.live.cx_connect_fail.load(Ordering::Relaxed) > 0),
                _ => any(|host| host.live.rq_timeout.load(Ordering::Relaxed) > 0),
            }
    }

    /// Clusters, by their names in statistics, of which a counter tells that they had this.
    fn moved(&self, about: About) -> HashSet<String> {
        let counters: &[&str] = match about {
            About::Hosts => &["upstream_cx_none_healthy", "update_failure"],
            About::Breakers => OVERFLOWS,
            _ => return HashSet::new(),
        };
        let mut moved = HashSet::new();
        let mut full = String::new();
        for stat in self.view.stats(|kind| kind == Kind::Counter) {
            full.clear();
            self.view.write_name(stat, &mut full);
            let name = full.strip_prefix("cluster.").and_then(|rest| {
                counters.iter().find_map(|counter| rest.strip_suffix(counter)?.strip_suffix('.'))
            });
            if let Some(name) = name
                && matches!(self.view.value(stat), Value::Counter(1..))
            {
                moved.insert(name.to_owned());
            }
        }
        moved
    }

    fn cluster(&self, slot: &ClusterSlot, about: About) -> Vec<String> {
        let (name, hosts) = (&slot.config.name, &slot.hosts);
        let mut facts = vec![format!(
            "cluster {name}: {} hosts, {} healthy, {} degraded, {} excluded",
            hosts.hosts.len(),
            hosts.count(CoarseHealth::Healthy),
            hosts.count(CoarseHealth::Degraded),
            hosts.excluded(),
        )];
        let counters: &[&str] = match about {
            About::Hosts => &[
                "update_failure",
                "update_empty",
                "update_rejected",
                "init_fetch_timeout",
                "upstream_cx_none_healthy",
                "lb_healthy_panic",
                "outlier_detection.ejections_active",
                "health_check.failure",
            ],
            About::Connections => &[
                "upstream_cx_connect_fail",
                "upstream_cx_connect_timeout",
                "upstream_cx_protocol_error",
                "upstream_rq_rx_reset",
                "ssl.connection_error",
                "ssl.fail_verify_error",
                "ssl.fail_verify_san",
                "ssl.fail_verify_no_cert",
            ],
            About::Breakers => OVERFLOWS,
            _ => &[
                "upstream_rq_timeout",
                "upstream_rq_per_try_timeout",
                "upstream_rq_retry",
                "upstream_rq_active",
            ],
        };
        facts.extend(self.counters(&format!("cluster.{}.", sanitize(name)), counters));
        for (breakers, priority) in slot.config.breakers.iter().zip(["default", "high"]) {
            facts.extend(open(breakers).map(|what| format!("  breaker open ({priority} priority): {what}")));
        }
        if about == About::Hosts {
            let own = self.unresolved.iter().filter(|(cluster, _)| **cluster == **name);
            facts.extend(
                own.map(|(_, why)| format!("  last lookup without an address: {}", super::printable(why))),
            );
        }
        facts.extend(hosts.hosts.iter().take(MAX_NAMED).map(|host| host_fact(host)));
        if hosts.hosts.len() > MAX_NAMED {
            facts.push(format!("  and {} more hosts; see /clusters", hosts.hosts.len() - MAX_NAMED));
        }
        facts
    }

    /// Statistics with one of these in their names, as far as they are not zero.
    fn counted(&self, parts: &[&str]) -> Vec<String> {
        let mut told = Vec::new();
        let mut name = String::new();
        for stat in self.view.stats(|kind| matches!(kind, Kind::Counter | Kind::Gauge)) {
            name.clear();
            self.view.write_name(stat, &mut name);
            if parts.iter().any(|part| name.contains(part))
                && let Value::Counter(value @ 1..) | Value::Gauge(value @ 1..) = self.view.value(stat)
            {
                told.push(format!("{name} {value}"));
            }
        }
        if told.is_empty() {
            return vec![format!("all statistics of {} are zero", parts.join(", "))];
        }
        told.sort();
        let more = told.len().saturating_sub(MAX_NAMED);
        told.truncate(MAX_NAMED);
        if more > 0 {
            told.push(format!("and {more} more; see /stats"));
        }
        told
    }

    /// Those that are not zero.
    fn counters(&self, prefix: &str, names: &[&str]) -> Option<String> {
        let wanted: BTreeMap<String, &str> =
            names.iter().map(|name| (format!("{prefix}{name}"), *name)).collect();
        let mut told = Vec::new();
        let mut full = String::new();
        for stat in self.view.stats(|_| true) {
            full.clear();
            self.view.write_name(stat, &mut full);
            let Some(name) = wanted.get(&full) else { continue };
            if let Value::Counter(value @ 1..) | Value::Gauge(value @ 1..) = self.view.value(stat) {
                told.push(format!("{name} {value}"));
            }
        }
        told.sort();
        (!told.is_empty()).then(|| format!("  since start: {}", told.join(", ")))
    }

    fn cluster_list(&self, question: &Question) -> Vec<String> {
        let mut names: Vec<_> =
            self.snapshot.clusters.iter().flatten().map(|slot| &*slot.config.name).collect();
        names.sort_unstable();
        let mut facts = Vec::new();
        if let Some(wanted) = &question.cluster {
            let there = names.contains(&wanted.as_str());
            facts.push(format!(
                "cluster {} is {}",
                super::printable(wanted),
                if there { "there" } else { "not there" }
            ));
        }
        let warming = self.snapshot.warming.len();
        names.truncate(MAX_NAMED);
        facts.push(format!("clusters: {} (waiting for checks: {warming})", names.join(", ")));
        facts
    }

    /// Whether what is shown here may be out of date.
    fn control_plane(&self) -> Option<String> {
        let read = |name: &str| match self.view.find(name).map(|stat| self.view.value(stat)) {
            Some(Value::Counter(value) | Value::Gauge(value)) => value,
            _ => 0,
        };
        self.view.find("control_plane.connected_state")?;
        // Who has never asked one has a configuration of its own.
        let asked = ["cluster_manager.cds.update_attempt", "listener_manager.lds.update_attempt"];
        let connected =
            read("control_plane.connected_state") > 0 || asked.iter().all(|attempts| read(attempts) == 0);
        (!connected).then(|| "control plane: not connected; this configuration may be old".to_owned())
    }
}

fn has_host(slot: &ClusterSlot, address: &str) -> bool {
    slot.hosts.hosts.iter().any(|host| *host.display == *address)
}

fn host_fact(host: &Host) -> String {
    let read = |cell: &std::sync::atomic::AtomicU64| cell.load(Ordering::Relaxed);
    let live = &host.live;
    let place = match &host.address {
        HostAddress::Ip(_) if !host.hostname.is_empty() => format!("{} ({})", host.display, host.hostname),
        _ => host.display.to_string(),
    };
    format!(
        "  host {place}: {}, {} connections failed of {}, {} requests failed and {} timed out of {}",
        health_flags(host),
        read(&live.cx_connect_fail),
        read(&live.cx_total),
        read(&live.rq_error),
        read(&live.rq_timeout),
        read(&live.rq_total),
    )
}

/// Breakers that let nothing more through at this moment.
fn open(breakers: &Breakers) -> impl Iterator<Item = String> {
    let limits = [
        ("connections", breakers.connections.limit()),
        ("connection pools", &breakers.pools),
        ("pending requests", &breakers.pending),
        ("requests", &breakers.requests),
    ];
    let open = limits.into_iter().filter(|(_, limit)| limit.is_open());
    let open = open.map(|(name, limit)| format!("{name} {} of {}", limit.in_use(), limit.max()));
    let (most, left) = breakers.retries.max_and_remaining(&breakers.requests, Instant::now());
    open.chain((left == 0 && most > 0).then(|| format!("retries {most} of {most}")))
}
