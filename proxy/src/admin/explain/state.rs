//! The state behind a cause, as it is now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Question;
use super::causes::{About, Cause};
use crate::admin::AdminState;
use crate::admin::clusters::health_flags;
use crate::config::cluster::{CoarseHealth, Host, HostAddress};
use crate::config::listener::{NetworkFilter, RouteSource};
use crate::config::live::Breakers;
use crate::config::{ClusterSlot, RouteTable, Snapshot};
use crate::stats::scope::sanitize;
use crate::stats::view::{Value, View};

/// Hosts, clusters and domains that one answer names.
const MAX_NAMED: usize = 20;

/// Facts, one per line.
pub(in crate::admin) fn behind(state: &AdminState, cause: &Cause, question: &Question) -> Vec<String> {
    let snapshot = state.snapshots.current();
    let facts = Facts { view: state.registry.view(), snapshot: &snapshot };
    let mut found = match cause.about {
        About::Client => return Vec::new(),
        About::Routes => facts.routes(question),
        About::Clusters => facts.cluster_list(question),
        About::Load => facts.load(),
        about => facts.clusters(about, question),
    };
    found.extend(facts.control_plane());
    found
}

struct Facts<'s> {
    view: View,
    snapshot: &'s Arc<Snapshot>,
}

impl Facts<'_> {
    /// The clusters asked about, or those in which something is wrong now.
    fn clusters(&self, about: About, question: &Question) -> Vec<String> {
        let all = self.snapshot.clusters.iter().flatten();
        let (chosen, named): (Vec<_>, bool) = match (&question.cluster, &question.host) {
            (Some(name), _) => (all.filter(|slot| *slot.config.name == **name).collect(), true),
            (None, Some(host)) => (all.filter(|slot| has_host(slot, host)).collect(), true),
            (None, None) => (all.filter(|slot| self.is_suspect(slot, about)).collect(), false),
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

    fn is_suspect(&self, slot: &ClusterSlot, about: About) -> bool {
        let any = |failed: fn(&Host) -> bool| slot.hosts.hosts.iter().any(|host| failed(host));
        match about {
            About::Hosts => slot.hosts.count(CoarseHealth::Healthy) == 0,
            About::Breakers => slot.config.breakers.iter().any(|breakers| open(breakers).next().is_some()),
            About::Connections => any(|host| host.live.cx_connect_fail.load(Ordering::Relaxed) > 0),
            _ => any(|host| host.live.rq_timeout.load(Ordering::Relaxed) > 0),
        }
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
            About::Breakers => &[
                "upstream_cx_overflow",
                "upstream_rq_pending_overflow",
                "upstream_rq_active_overflow",
                "upstream_rq_retry_overflow",
            ],
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
        facts.extend(hosts.hosts.iter().take(MAX_NAMED).map(|host| host_fact(host)));
        if hosts.hosts.len() > MAX_NAMED {
            facts.push(format!("  and {} more hosts; see /clusters", hosts.hosts.len() - MAX_NAMED));
        }
        facts
    }

    /// What the overload manager sees and does.
    fn load(&self) -> Vec<String> {
        let mut told = Vec::new();
        for stat in self.view.stats(|_| true) {
            let name = self.view.name(stat);
            if !name.starts_with("overload.") && !name.contains(".gradient_controller.") {
                continue;
            }
            if let Value::Counter(value @ 1..) | Value::Gauge(value @ 1..) = self.view.value(stat) {
                told.push(format!("{name} {value}"));
            }
        }
        told.sort();
        told.truncate(MAX_NAMED);
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

    /// Which virtual hosts there are, and which of them would take the authority.
    fn routes(&self, question: &Question) -> Vec<String> {
        let chains = self.snapshot.listeners.iter().flatten().flat_map(|slot| &slot.config.chains);
        let inline = chains.filter_map(|chain| match &chain.filter {
            NetworkFilter::Http(settings) => match &settings.routes {
                RouteSource::Inline(table) => Some(table),
                RouteSource::Rds(_) => None,
            },
            NetworkFilter::Tcp(_) => None,
        });
        let tables: Vec<_> = self.snapshot.route_tables.iter().flatten().chain(inline).collect();
        if tables.is_empty() {
            return vec!["no route table arrived".to_owned()];
        }
        let table = |table: &&Arc<RouteTable>| {
            let hosts = &table.virtual_hosts;
            let names: Vec<_> = hosts.iter().take(MAX_NAMED).map(|host| &*host.name).collect();
            let mut fact =
                format!("routes {}: {} virtual hosts: {}", table.name, hosts.len(), names.join(", "));
            if let Some(authority) = &question.authority {
                let verdict = match taker(table, authority) {
                    Some(host) => format!("; {} would be {}'s", super::printable(authority), host),
                    None => format!("; none is for {}", super::printable(authority)),
                };
                fact.push_str(&verdict);
            }
            fact
        };
        tables.iter().take(MAX_NAMED).map(table).collect()
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
        let connected = read("control_plane.connected_state") > 0;
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

fn open(breakers: &Breakers) -> impl Iterator<Item = String> {
    let limits = [
        ("connections", breakers.connections.limit()),
        ("pending requests", &breakers.pending),
        ("requests", &breakers.requests),
    ];
    let open = limits.into_iter().filter(|(_, limit)| limit.is_open());
    open.map(|(name, limit)| format!("{name} {} of {}", limit.in_use(), limit.max()))
}

/// The virtual host that takes an authority, by the rules of the lookup tables.
fn taker<'t>(table: &'t RouteTable, authority: &str) -> Option<&'t str> {
    let name = authority.to_ascii_lowercase();
    let name = match name.rsplit_once(':') {
        Some((host, port)) if table.ignore_port && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => &name,
    };
    let exact = table.exact.get(name).copied();
    let suffix =
        || table.suffix.iter().find(|(suffix, _)| name.len() > suffix.len() && name.ends_with(&**suffix));
    let prefix =
        || table.prefix.iter().find(|(prefix, _)| name.len() > prefix.len() && name.starts_with(&**prefix));
    let at =
        exact.or_else(|| suffix().map(|(_, at)| *at)).or_else(|| prefix().map(|(_, at)| *at)).or(table.any)?;
    table.virtual_hosts.get(at).map(|host| &*host.name)
}
