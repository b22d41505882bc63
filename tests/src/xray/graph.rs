//! The service graph that X-Ray derives from segments: nodes are names and types of segments, edges go from the segment
//! or subsegment that a parent id names.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};

use serde_json::Value;

/// How calls ended; one may count as several, as a throttled one is an error, too.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// Without any mark.
    pub ok: u32,
    /// Marked `error`.
    pub error: u32,
    /// Marked `fault`.
    pub fault: u32,
    /// Marked `throttle`.
    pub throttle: u32,
}

impl Calls {
    fn add(&mut self, document: &Value) {
        let marked = |name: &str| u32::from(document[name] == true);
        let (error, fault, throttle) = (marked("error"), marked("fault"), marked("throttle"));
        self.ok += u32::from(error + fault + throttle == 0);
        self.error += error;
        self.fault += fault;
        self.throttle += throttle;
    }
}

impl Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ok, error, fault, throttle } = self;
        let parts = [(ok, "ok"), (error, "error"), (fault, "fault"), (throttle, "throttle")];
        let parts = parts.iter().filter(|(count, _)| **count > 0);
        let parts: Vec<_> = parts.map(|(count, what)| format!("{count} {what}")).collect();
        f.write_str(&parts.join(", "))
    }
}

/// Nodes and edges with their counts. A node that no segment stands for is written with its namespace: `x (remote)`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Graph {
    nodes: BTreeMap<String, Calls>,
    edges: BTreeMap<(String, String), Calls>,
}

/// Where a parent id leads: the caller's node, and its subsegment where it is one.
struct Caller<'s> {
    node: String,
    subsegment: Option<&'s Value>,
}

impl Graph {
    /// Of all segments of some traces, subsegments within.
    pub fn of(segments: &[Value]) -> Self {
        let mut callers = HashMap::new();
        for segment in segments {
            let own = |subsegment| Caller { node: node(segment), subsegment };
            callers.insert(key(segment, &segment["id"]), own(None));
            within(segment, &mut |inner| {
                callers.insert(key(segment, &inner["id"]), own(Some(inner)));
            });
        }
        let mut graph = Self::default();
        let mut answered = Vec::new();
        for segment in segments {
            graph.nodes.entry(node(segment)).or_default().add(segment);
            let parent = callers.get(&key(segment, &segment["parent_id"]));
            let from = parent.map_or_else(|| "client".to_owned(), |caller| caller.node.clone());
            // The caller's view of the call is the edge's, where it has one.
            let view = parent.and_then(|caller| caller.subsegment).unwrap_or(segment);
            answered.push(key(segment, &view["id"]));
            graph.edges.entry((from, node(segment))).or_default().add(view);
        }
        for segment in segments {
            within(segment, &mut |inner| {
                if inner["namespace"] == "remote" && !answered.contains(&key(segment, &inner["id"])) {
                    graph.infer(node(segment), inner);
                }
            });
        }
        graph
    }

    /// Nobody reported for what a subsegment called: the node is known from it alone.
    fn infer(&mut self, from: String, call: &Value) {
        let node = format!("{} (remote)", call["name"].as_str().unwrap_or_default());
        self.nodes.entry(node.clone()).or_default().add(call);
        self.edges.entry((from, node)).or_default().add(call);
    }
}

/// One line for each node and edge, in order.
impl Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (node, calls) in &self.nodes {
            writeln!(f, "{node}: {calls}")?;
        }
        self.edges.iter().try_for_each(|((from, to), calls)| writeln!(f, "{from} -> {to}: {calls}"))
    }
}

/// A node is a name and a type; what has no type is an application.
fn node(segment: &Value) -> String {
    let name = segment["name"].as_str().unwrap_or_default();
    segment["origin"].as_str().map_or_else(|| name.to_owned(), |origin| format!("{name} [{origin}]"))
}

fn key(segment: &Value, id: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&segment["trace_id"]), text(id))
}

/// Every subsegment at any depth.
fn within<'s>(document: &'s Value, each: &mut impl FnMut(&'s Value)) {
    for inner in document["subsegments"].as_array().into_iter().flatten() {
        each(inner);
        within(inner, each);
    }
}
