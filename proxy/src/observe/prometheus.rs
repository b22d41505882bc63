//! Prometheus text exposition of the registry, with Envoy's metric names and labels.
//!
//! Metrics of one name must stand together, across clusters and listeners. So an index of addresses is
//! sorted by metric name first; values and labels are rendered piece by piece while the response is sent.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use super::mesh::Metrics;
use crate::stats::histogram::{Distribution, QUANTILES};
use crate::stats::interval::Change;
use crate::stats::registry::Kind;
use crate::stats::tags::StatsConfig;
use crate::stats::view::{Stat, Value, View};

/// Content type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Rough size of a piece of output, bytes.
const PIECE: usize = 32 * 1024;

/// What is shown and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only statistics that were ever written.
    pub used_only: bool,
    /// Only statistics whose full name this finds a match in, or with `invert_filter` does not.
    pub filter: Option<regex::Regex>,
    /// Turns `filter` around.
    pub invert_filter: bool,
    /// Text readouts as gauges with value 0 and the text as a label.
    pub text_readouts: bool,
    /// Histograms as summaries with quantiles.
    pub summaries: bool,
}

impl Options {
    /// Whether the filter lets `name` through.
    pub fn admits(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.is_match(name) != self.invert_filter)
    }

    fn shows(&self, view: &View, stat: Stat, name: &str) -> bool {
        self.admits(name) && (!self.used_only || view.is_used(stat))
    }
}

/// The exposition, piece by piece.
#[derive(Debug)]
pub struct Exposition {
    view: Arc<View>,
    config: Arc<StatsConfig>,
    options: Options,
    /// Metric names in output order; the index refers to them.
    metrics: Vec<String>,
    index: std::vec::IntoIter<(u32, Stat)>,
    current: Option<u32>,
}

impl Exposition {
    /// Prepares the exposition of `view`: one pass over all names.
    pub fn new(view: Arc<View>, config: Arc<StatsConfig>, options: Options) -> Self {
        let mut seen = Seen::default();
        let mut name = String::new();
        for stat in view.stats(|kind| kind != Kind::TextReadout || options.text_readouts) {
            name.clear();
            view.write_name(stat, &mut name);
            if config.matcher.admits(&name) && options.shows(&view, stat, &name) {
                let section = section(view.kind(stat));
                seen.add(section, metric_name(&config.tags.extract(&name).name), stat);
            }
        }
        let (metrics, index) = seen.in_order();
        Self { view, config, options, metrics, index: index.into_iter(), current: None }
    }

    fn write(&mut self, metric: u32, stat: Stat, out: &mut String) {
        let value = self.view.value(stat);
        let full = self.view.name(stat);
        let name = &self.metrics[metric as usize];
        if self.current != Some(metric) {
            let _ = writeln!(out, "# TYPE {name} {}", self.type_name(&value));
            self.current = Some(metric);
        }
        let mut labels = labels(&self.config.tags.extract(&full).tags);
        match value {
            Value::Counter(value) | Value::Gauge(value) => {
                let _ = writeln!(out, "{name}{{{labels}}} {value}");
            }
            Value::Text(text) => {
                push_label(&mut labels, "text_value", &text);
                let _ = writeln!(out, "{name}{{{labels}}} 0");
            }
            Value::Histogram(value) if self.options.summaries => {
                summary(name, &labels, &value.cumulative, out);
            }
            Value::Histogram(value) => {
                histogram(name, &labels, &value.cumulative, self.config.bounds(&full), out);
            }
        }
    }

    fn type_name(&self, value: &Value) -> &'static str {
        match value {
            Value::Counter(_) => "counter",
            Value::Gauge(_) | Value::Text(_) => "gauge",
            Value::Histogram(_) if self.options.summaries => "summary",
            Value::Histogram(_) => "histogram",
        }
    }
}

impl Iterator for Exposition {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut out = String::new();
        while out.len() < PIECE {
            let Some((metric, stat)) = self.index.next() else { break };
            self.write(metric, stat, &mut out);
        }
        Some(out).filter(|out| !out.is_empty())
    }
}

/// App Mesh's metrics as `envoy_appmesh_<name>`, with the labels that every statistic has and their own.
/// `shows` is asked for each name, `appmesh.<name>`.
pub fn mesh_metrics(metrics: Metrics, config: &StatsConfig, shows: impl Fn(&str) -> bool) -> String {
    let own = config.tags.extract("appmesh");
    let mut series: Vec<_> = metrics
        .iter()
        .flat_map(|(side, metrics)| metrics.iter().map(move |(metric, change)| (metric.name(), side, change)))
        .filter(|(name, ..)| shows(&format!("appmesh.{name}")))
        .collect();
    series.sort_by_key(|(name, ..)| *name);
    let (mut out, mut current) = (String::new(), "");
    for (metric, side, change) in series {
        let name = format!("envoy_appmesh_{metric}");
        let tags: Vec<_> = own.tags.iter().copied().chain(side.tags()).collect();
        let labels = labels(&tags);
        let kind = match change {
            Change::Counter(_) => "counter",
            Change::Gauge(_) => "gauge",
            Change::Histogram(_) => "histogram",
        };
        if metric != current {
            let _ = writeln!(out, "# TYPE {name} {kind}");
            current = metric;
        }
        match change {
            Change::Counter(value) | Change::Gauge(value) => {
                let _ = writeln!(out, "{name}{{{labels}}} {value}");
            }
            Change::Histogram(values) => {
                histogram(&name, &labels, values, config.bounds(&format!("appmesh.{metric}")), &mut out);
            }
        }
    }
    out
}

/// Order of the kinds in the output.
fn section(kind: Kind) -> u8 {
    match kind {
        Kind::Counter | Kind::StatusCodes => 0,
        Kind::Gauge => 1,
        Kind::TextReadout => 2,
        Kind::Histogram => 3,
    }
}

/// Collects the index and the distinct metric names.
#[derive(Debug, Default)]
struct Seen {
    ids: HashMap<(u8, String), u32>,
    index: Vec<(u32, Stat)>,
}

impl Seen {
    fn add(&mut self, section: u8, metric: String, stat: Stat) {
        let next = self.ids.len() as u32;
        let id = *self.ids.entry((section, metric)).or_insert(next);
        self.index.push((id, stat));
    }

    /// Names by section and alphabet, and the index in that order with positions instead of ids.
    fn in_order(mut self) -> (Vec<String>, Vec<(u32, Stat)>) {
        let mut names: Vec<_> = self.ids.into_iter().collect();
        names.sort_unstable();
        let mut rank = vec![0; names.len()];
        names.iter().enumerate().for_each(|(at, (_, id))| rank[*id as usize] = at as u32);
        self.index.iter_mut().for_each(|(id, _)| *id = rank[*id as usize]);
        self.index.sort_by_key(|(metric, _)| *metric);
        (names.into_iter().map(|((_, name), _)| name).collect(), self.index)
    }
}

/// `envoy_` and the name with everything outside `[A-Za-z0-9_]` as `_`.
pub(super) fn metric_name(extracted: &str) -> String {
    let mut name = String::with_capacity(extracted.len() + 6);
    name.push_str("envoy_");
    push_identifier(&mut name, extracted);
    name
}

fn push_identifier(out: &mut String, name: &str) {
    let keep = |char: char| char.is_ascii_alphanumeric() || char == '_';
    out.extend(name.chars().map(|char| if keep(char) { char } else { '_' }));
}

fn labels(tags: &[(&str, &str)]) -> String {
    let mut labels = String::new();
    tags.iter().for_each(|(tag, value)| push_label(&mut labels, tag, value));
    labels
}

fn push_label(labels: &mut String, name: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    push_identifier(labels, name);
    labels.push_str("=\"");
    for char in value.chars() {
        match char {
            '\\' => labels.push_str("\\\\"),
            '"' => labels.push_str("\\\""),
            '\n' => labels.push_str("\\n"),
            other => labels.push(other),
        }
    }
    labels.push('"');
}

/// What stands between the labels of the series and one more.
fn separator(labels: &str) -> &'static str {
    if labels.is_empty() { "" } else { "," }
}

fn histogram(name: &str, labels: &str, distribution: &Distribution, bounds: &[f64], out: &mut String) {
    let comma = separator(labels);
    for bound in bounds {
        let count = distribution.count_le(*bound);
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
    }
    let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", distribution.count());
    totals(name, labels, distribution, out);
}

fn summary(name: &str, labels: &str, distribution: &Distribution, out: &mut String) {
    let comma = separator(labels);
    for percent in QUANTILES {
        let (quantile, value) = (percent / 100.0, distribution.quantile(*percent));
        // Prometheus spells it as Rust does: NaN.
        let _ = writeln!(out, "{name}{{{labels}{comma}quantile=\"{quantile}\"}} {value}");
    }
    totals(name, labels, distribution, out);
}

fn totals(name: &str, labels: &str, distribution: &Distribution, out: &mut String) {
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}", distribution.sum());
    let _ = writeln!(out, "{name}_count{{{labels}}} {}", distribution.count());
}

#[cfg(test)]
mod tests;
