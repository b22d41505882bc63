//! The mesh as it runs: what the definitions draw, joined with who is connected and what sidecars report.
//! `/mesh` as JSON, and as a page.

pub mod page;
pub mod topology;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde::Serialize;

use crate::admin::rfc3339;
use crate::ads::protocol::bounded;
use crate::ads::registry::{Answer, Refused, Registry, StreamRecord, TypeStatus};
use crate::load::{Loads, Traffic};
use crate::snapshot::ResourceSource;
use topology::{Encryption, Topology};

/// Sidecars of one node that are listed one by one; the others are counted.
const LISTED: usize = 20;
/// Bytes of each one's refusal that are told; the list of refusals has all.
const MAX_REASON: usize = 512;

/// Everything the page shows.
#[derive(Debug, Serialize)]
pub struct Picture {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    /// Newest first.
    nacks: Vec<Nack>,
    /// Sidecars that report their traffic.
    reporting: usize,
}

#[derive(Debug, Serialize)]
struct Node {
    id: String,
    name: String,
    mesh: String,
    kind: &'static str,
    services: Vec<String>,
    /// Discovery streams of proxies with this id.
    sidecars: usize,
    state: State,
    /// Why, when the state is `refused` or `held-back`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The first of them, at most [`LISTED`].
    streams: Vec<Sidecar>,
}

/// One discovery stream.
#[derive(Debug, Serialize)]
struct Sidecar {
    /// Where it connects from: an address and port, or `unix`.
    peer: String,
    software: String,
    since: String,
    state: State,
    /// Why it refused, at most [`MAX_REASON`] bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// How far the sidecars of a node are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// No sidecar is connected.
    Absent,
    /// All have what they are to have.
    Current,
    /// Some were sent something and have not answered.
    Updating,
    /// Some refused what they were sent.
    Refused,
    /// The definitions cannot be translated for it.
    HeldBack,
}

#[derive(Debug, Serialize)]
struct Edge {
    from: String,
    to: String,
    clusters: Vec<String>,
    encryption: Encryption,
    /// `None` when no sidecar of the caller reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic: Option<Rates>,
}

#[derive(Debug, Serialize)]
struct Rates {
    requests_per_second: f64,
    /// 0 to 1.
    error_share: f64,
    active: u64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Nack {
    node_id: String,
    r#type: String,
    at: String,
    error: String,
}

impl Picture {
    /// The mesh now.
    pub fn take(source: &dyn ResourceSource, registry: &Registry, loads: &Loads, now: Instant) -> Self {
        let topology = source.topology().cloned().unwrap_or_default();
        let canonical = |id: &str| source.canonical_id(id).unwrap_or_else(|| id.to_owned());
        let mut traffic: BTreeMap<(String, String), Traffic> = BTreeMap::new();
        let callers: BTreeSet<String> = loads.callers().iter().map(|id| canonical(id)).collect();
        for ((node, cluster), one) in loads.traffic(now) {
            traffic.entry((canonical(&node), cluster)).or_default().add(&one);
        }
        Self {
            nodes: nodes(&topology, registry, &canonical),
            edges: edges(&topology, &traffic, |node| callers.contains(node)),
            nacks: registry.nacks().into_iter().map(Nack::of).collect(),
            reporting: loads.streams(),
        }
    }
}

impl Nack {
    fn of(nack: Refused) -> Self {
        Self {
            node_id: nack.node_id,
            r#type: nack.type_url.label().to_owned(),
            at: rfc3339(nack.at),
            error: nack.text,
        }
    }
}

fn nodes(topology: &Topology, registry: &Registry, canonical: &dyn Fn(&str) -> String) -> Vec<Node> {
    let mut streams: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for record in registry.streams() {
        streams.entry(canonical(&record.node_id)).or_default().push(record);
    }
    let held_back = registry.held_back();
    let drawn = topology.nodes.iter().map(|(id, drawing)| {
        let records = streams.get(id).map_or(&[][..], Vec::as_slice);
        let held = held_back.iter().find(|held| held.node_id == *id);
        let state = match (held, records) {
            (Some(_), _) => State::HeldBack,
            (None, []) => State::Absent,
            (None, records) => {
                records.iter().map(|record| state(record)).max_by_key(rank).unwrap_or(State::Absent)
            }
        };
        let refusal = || records.iter().find_map(|record| refusal(record));
        Node {
            id: id.clone(),
            name: drawing.name.clone(),
            mesh: drawing.mesh.clone(),
            kind: drawing.kind,
            services: drawing.services.iter().cloned().collect(),
            sidecars: records.len(),
            state,
            reason: held.map(|held| held.reason.clone()).or_else(refusal),
            streams: records.iter().take(LISTED).map(|record| Sidecar::of(record)).collect(),
        }
    });
    drawn.collect()
}

impl Sidecar {
    fn of(record: &StreamRecord) -> Self {
        Self {
            peer: record.peer.clone(),
            software: record.user_agent.clone(),
            since: rfc3339(record.since),
            state: state(record),
            reason: refusal(record).map(|text| bounded(text, MAX_REASON)),
        }
    }
}

/// The worst of several sidecars is what a reader must see.
fn rank(state: &State) -> u8 {
    match state {
        State::Absent => 0,
        State::Current => 1,
        State::Updating => 2,
        State::Refused => 3,
        State::HeldBack => 4,
    }
}

fn state(record: &StreamRecord) -> State {
    let types = record.types();
    if types.values().any(|status| refused(status).is_some()) {
        State::Refused
    } else if types.values().any(|status| status.sent != status.accepted) {
        State::Updating
    } else {
        State::Current
    }
}

fn refusal(record: &StreamRecord) -> Option<String> {
    record.types().values().find_map(|status| refused(status).map(str::to_owned))
}

fn refused(status: &TypeStatus) -> Option<&str> {
    match &status.answer {
        Some((Answer::Nack(version, text), _)) if status.sent == Some(*version) => Some(text),
        _ => None,
    }
}

fn edges(
    topology: &Topology,
    traffic: &BTreeMap<(String, String), Traffic>,
    reports: impl Fn(&str) -> bool,
) -> Vec<Edge> {
    let mut joined: BTreeMap<(&str, &str), (Vec<&str>, Encryption, Traffic)> = BTreeMap::new();
    for ((from, cluster), edge) in &topology.edges {
        let entry = joined
            .entry((from, &edge.to))
            .or_insert_with(|| (Vec::new(), edge.encryption, Traffic::default()));
        entry.0.push(cluster);
        // Of several ports the least protected one counts.
        entry.1 = weaker(entry.1, edge.encryption);
        if let Some(one) = traffic.get(&(from.clone(), cluster.clone())) {
            entry.2.add(one);
        }
    }
    let edge =
        |((from, to), (clusters, encryption, traffic)): ((&str, &str), (Vec<&str>, _, Traffic))| Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            clusters: clusters.into_iter().map(str::to_owned).collect(),
            encryption,
            traffic: reports(from).then(|| Rates::of(&traffic)),
        };
    joined.into_iter().map(edge).collect()
}

fn weaker(one: Encryption, other: Encryption) -> Encryption {
    match (one, other) {
        (Encryption::Plain, _) | (_, Encryption::Plain) => Encryption::Plain,
        (Encryption::Tls, _) | (_, Encryption::Tls) => Encryption::Tls,
        _ => Encryption::MutualTls,
    }
}

impl Rates {
    fn of(traffic: &Traffic) -> Self {
        let share = if traffic.requests > 0.0 { traffic.errors / traffic.requests } else { 0.0 };
        Self {
            requests_per_second: traffic.requests,
            error_share: share.min(1.0),
            active: traffic.active,
            p50_ms: traffic.quantile(0.5),
            p99_ms: traffic.quantile(0.99),
        }
    }
}
