//! Counters and gauges of the control plane, in Prometheus text. Atomics only: no registry of names, no labels that a
//! client could choose.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::ads::service::Variant;
use crate::snapshot::TypeUrl;

/// Label values of types: what [`TypeUrl::short`] returns.
const TYPES: [&str; 6] = ["CDS", "EDS", "SDS", "LDS", "RDS", "other"];

/// Why a stream was refused or ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The definitions do not have the node.
    UnknownNode,
    /// The definitions ask for something that the node cannot be given.
    Untranslated,
    /// The request broke the protocol.
    BadRequest,
    /// A limit was reached.
    Limit,
    /// The client may not be served, or not as this node.
    Unauthenticated,
}

impl Refusal {
    const ALL: [(Self, &'static str); 5] = [
        (Self::UnknownNode, "unknown_node"),
        (Self::Untranslated, "untranslated"),
        (Self::BadRequest, "bad_request"),
        (Self::Limit, "limit"),
        (Self::Unauthenticated, "unauthenticated"),
    ];
}

/// How an attempt to read the definitions ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// All of them are served.
    Success,
    /// They are served but for proxies that cannot be given what they ask for.
    Partial,
    /// Nothing of them is served.
    Failure,
}

impl Reload {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Success, "success"), (Self::Partial, "partial"), (Self::Failure, "failure")];
}

type PerType = [AtomicU64; TYPES.len()];

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    streams: [AtomicI64; 2],
    connections: AtomicI64,
    pushes: PerType,
    acks: PerType,
    nacks: PerType,
    refusals: [AtomicU64; Refusal::ALL.len()],
    reloads: [AtomicU64; Reload::ALL.len()],
    last_success: AtomicU64,
}

impl Metrics {
    pub(crate) fn stream_opened(&self, variant: Variant) {
        self.streams[variant as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stream_closed(&self, variant: Variant) {
        self.streams[variant as usize].fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn pushed(&self, type_url: &TypeUrl) {
        count(&self.pushes, type_url);
    }

    pub(crate) fn acked(&self, type_url: &TypeUrl) {
        count(&self.acks, type_url);
    }

    pub(crate) fn nacked(&self, type_url: &TypeUrl) {
        count(&self.nacks, type_url);
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refusals[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an attempt to read the definitions.
    pub fn reloaded(&self, outcome: Reload) {
        self.reloads[outcome as usize].fetch_add(1, Ordering::Relaxed);
        if outcome == Reload::Failure {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_success.store(now.as_secs(), Ordering::Relaxed);
    }

    /// The Prometheus text exposition, version 0.0.4.
    pub fn render(&self) -> String {
        let mut page = Page::default();
        page.family("outrigger_build_info", "gauge", "The version that runs; always 1.");
        page.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        page.family("outrigger_xds_connections", "gauge", "Open connections of clients.");
        page.sample(&[], self.connections.load(Ordering::Relaxed));
        page.family("outrigger_xds_connected_streams", "gauge", "Open discovery streams.");
        for variant in [Variant::Sotw, Variant::Delta] {
            page.sample(
                &[("variant", variant.name())],
                self.streams[variant as usize].load(Ordering::Relaxed),
            );
        }
        page.per_type("outrigger_xds_pushes_total", "Responses sent.", &self.pushes);
        page.per_type("outrigger_xds_acks_total", "Responses that clients accepted.", &self.acks);
        page.per_type("outrigger_xds_nacks_total", "Responses that clients rejected.", &self.nacks);
        page.family(
            "outrigger_xds_refused_streams_total",
            "counter",
            "Streams refused or ended by the server.",
        );
        for (refusal, reason) in Refusal::ALL {
            page.sample(&[("reason", reason)], load(&self.refusals[refusal as usize]));
        }
        page.family("outrigger_config_reloads_total", "counter", "Attempts to read the definitions.");
        for (outcome, result) in Reload::ALL {
            page.sample(&[("result", result)], load(&self.reloads[outcome as usize]));
        }
        page.family(
            "outrigger_config_last_reload_success_timestamp_seconds",
            "gauge",
            "When the definitions being served were read, in seconds since the epoch.",
        );
        page.sample(&[], load(&self.last_success));
        page.text
    }
}

fn count(counters: &PerType, type_url: &TypeUrl) {
    let label = type_url.short();
    for (_, counter) in TYPES.iter().zip(counters).filter(|(name, _)| **name == label) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn load(counter: &AtomicU64) -> i64 {
    i64::try_from(counter.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
}

#[derive(Default)]
struct Page {
    text: String,
    family: &'static str,
}

impl Page {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.family = name;
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: i64) {
        let labels: Vec<String> = labels.iter().map(|(key, text)| format!("{key}=\"{text}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "{}{labels} {value}", self.family);
    }

    fn per_type(&mut self, name: &'static str, help: &str, counters: &PerType) {
        self.family(name, "counter", help);
        for (label, counter) in TYPES.iter().zip(counters) {
            self.sample(&[("type", label)], load(counter));
        }
    }
}
