//! Documents: one JSON object on one line, within the limits of every path to CloudWatch.
//!
//! At most 100 metrics, 100 values of one metric, and 15 KiB, so that neither the metric extraction nor a
//! container runtime that cuts lines at 16 KB loses any; what is more is told in further documents.

use std::fmt::Write;

use crate::stats::histogram::Distribution;

/// Longest document, bytes; a datagram and a line of any container runtime hold it.
const MAX_BYTES: usize = 15 * 1024;
/// `Metrics` of one directive.
const MAX_METRICS: usize = 100;
/// `Values` of one metric.
const MAX_VALUES: usize = 100;
/// Longest dimension value; CloudWatch allows 1024.
const MAX_DIMENSION: usize = 256;

/// What all documents of a flush have in common.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// Milliseconds since the epoch.
    pub timestamp: u64,
    /// Namespace.
    pub namespace: &'a str,
    /// 1 or 60.
    pub resolution: u8,
    /// For the CloudWatch agent.
    pub log_group: Option<&'a str>,
    /// Searchable in the log, no dimensions.
    pub properties: &'a [(&'static str, &'a str)],
}

/// Metrics of the same dimensions.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Names and values; every name of a set is here.
    pub dimensions: Vec<(String, String)>,
    /// Dimension sets: each makes a metric of its own. Empty stands for one set without dimensions.
    pub sets: Vec<Vec<String>>,
    /// Metrics, names differ.
    pub metrics: Vec<Metric>,
}

/// One metric with what it did.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Name.
    pub name: String,
    /// Unit as CloudWatch spells it.
    pub unit: &'static str,
    /// Value.
    pub value: Value,
}

/// Numbers of one metric.
#[derive(Clone, Debug)]
pub enum Value {
    /// Sum or state.
    One(u64),
    /// Distribution; percentiles work on it.
    Many(Distribution),
}

impl Value {
    fn is_zero(&self) -> bool {
        match self {
            Value::One(value) => *value == 0,
            Value::Many(values) => values.is_empty(),
        }
    }
}

impl Group {
    /// Whether there is nothing to tell.
    pub fn is_silent(&self) -> bool {
        self.metrics.iter().all(|metric| metric.value.is_zero())
    }

    /// Appends the documents of this group, without newlines.
    pub fn write(&self, frame: &Frame<'_>, out: &mut Vec<String>) {
        let fixed = self.fixed_len(frame);
        let mut document = Pieces::default();
        for piece in self.pieces(frame.resolution) {
            if !document.takes(&piece, fixed) {
                out.push(self.document(frame, &document));
                document = Pieces::default();
            }
            document.push(piece);
        }
        if !document.names.is_empty() {
            out.push(self.document(frame, &document));
        }
    }

    /// Definition and value of every metric, a large histogram in several, numbers first: tools that look at the
    /// first fields of a document see them.
    fn pieces(&self, resolution: u8) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let (one, many): (Vec<_>, Vec<_>) =
            self.metrics.iter().partition(|metric| matches!(metric.value, Value::One(_)));
        for metric in one.into_iter().chain(many) {
            let storage = if resolution == 60 { "" } else { ",\"StorageResolution\":1" };
            let name = quoted(&metric.name);
            let definition = format!("{{\"Name\":{name},\"Unit\":\"{}\"{storage}}}", metric.unit);
            let piece = |value: String| Piece {
                name: metric.name.clone(),
                definition: definition.clone(),
                member: format!("{name}:{value}"),
            };
            match &metric.value {
                Value::One(value) => pieces.push(piece(value.to_string())),
                Value::Many(values) => pieces.extend(histograms(values).into_iter().map(piece)),
            }
        }
        pieces
    }

    fn document(&self, frame: &Frame<'_>, pieces: &Pieces) -> String {
        let mut text = String::with_capacity(self.fixed_len(frame) + pieces.bytes);
        let _ = write!(text, "{{\"_aws\":{{\"Timestamp\":{}", frame.timestamp);
        if let Some(group) = frame.log_group {
            let _ = write!(text, ",\"LogGroupName\":{}", quoted(group));
        }
        let _ = write!(
            text,
            ",\"CloudWatchMetrics\":[{{\"Namespace\":{},\"Dimensions\":{},\"Metrics\":[{}]}}]}}",
            quoted(frame.namespace),
            self.sets(),
            pieces.definitions.join(","),
        );
        for (name, value) in frame.properties {
            let _ = write!(text, ",{}:{}", quoted(name), quoted(&dimension_value(value)));
        }
        for (name, value) in &self.dimensions {
            let _ = write!(text, ",{}:{}", quoted(name), quoted(&dimension_value(value)));
        }
        for member in &pieces.members {
            let _ = write!(text, ",{member}");
        }
        text.push('}');
        text
    }

    fn sets(&self) -> String {
        let set = |names: &Vec<String>| {
            let names: Vec<_> = names.iter().map(|name| quoted(name)).collect();
            format!("[{}]", names.join(","))
        };
        match self.sets.as_slice() {
            [] => "[[]]".to_owned(),
            sets => format!("[{}]", sets.iter().map(set).collect::<Vec<_>>().join(",")),
        }
    }

    /// Bytes of a document around its metrics.
    fn fixed_len(&self, frame: &Frame<'_>) -> usize {
        let members =
            frame.properties.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>()
                + self.dimensions.iter().map(|(name, value)| 2 * name.len() + value.len() + 8).sum::<usize>();
        160 + frame.namespace.len() + frame.log_group.map_or(0, str::len) + members + self.sets().len()
    }
}

struct Piece {
    name: String,
    definition: String,
    member: String,
}

/// What goes into one document.
#[derive(Default)]
struct Pieces {
    names: Vec<String>,
    definitions: Vec<String>,
    members: Vec<String>,
    bytes: usize,
}

impl Pieces {
    /// A document never names a metric twice.
    fn takes(&self, piece: &Piece, fixed: usize) -> bool {
        self.names.is_empty()
            || (self.names.len() < MAX_METRICS
                && !self.names.contains(&piece.name)
                && fixed + self.bytes + piece.len() <= MAX_BYTES)
    }

    fn push(&mut self, piece: Piece) {
        self.bytes += piece.len();
        self.names.push(piece.name);
        self.definitions.push(piece.definition);
        self.members.push(piece.member);
    }
}

impl Piece {
    fn len(&self) -> usize {
        self.definition.len() + self.member.len() + 2
    }
}

/// The `Values`/`Counts` form, as often as there are too many values. The sums make up the exact one: each has its
/// share of it.
fn histograms(distribution: &Distribution) -> Vec<String> {
    let values: Vec<_> = distribution.values().collect();
    let exact = distribution.sum() as f64;
    let of_middles = sum(&values);
    let share =
        |part: &[(f64, u64)]| if part.len() == values.len() { exact } else { exact * sum(part) / of_middles };
    values.chunks(MAX_VALUES).map(|part| histogram(part, share(part))).collect()
}

/// What the middles of buckets add up to.
fn sum(values: &[(f64, u64)]) -> f64 {
    values.iter().map(|(value, count)| value * *count as f64).sum()
}

/// One of them, arrays last. No mean lies outside of what is least and most; of a single value all three are the
/// value itself, which its bucket's middle need not be.
fn histogram(values: &[(f64, u64)], sum: f64) -> String {
    let list = |numbers: &mut dyn Iterator<Item = String>| numbers.collect::<Vec<_>>().join(",");
    let count: u64 = values.iter().map(|(_, count)| count).sum();
    let mean = sum / count.max(1) as f64;
    let (least, most) = match values {
        [] | [_] => (mean, mean),
        [(first, _), .., (last, _)] => (first.min(mean), last.max(mean)),
    };
    format!(
        "{{\"Min\":{least},\"Max\":{most},\"Count\":{count},\"Sum\":{sum},\"Values\":[{}],\"Counts\":[{}]}}",
        list(&mut values.iter().map(|(value, _)| value.to_string())),
        list(&mut values.iter().map(|(_, count)| count.to_string())),
    )
}

/// A JSON string; `serde_json` escapes what would end it or the line.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What CloudWatch takes: printable ASCII, not blank, bounded.
fn dimension_value(value: &str) -> String {
    let printable = |char: char| if char.is_ascii() && !char.is_ascii_control() { char } else { '_' };
    let text: String = value.chars().take(MAX_DIMENSION).map(printable).collect();
    if text.trim().is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
pub(super) mod tests;
