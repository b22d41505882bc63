//! The text form: one `name: value` per line.

use std::fmt::Write;
use std::sync::Arc;

use super::{Buckets, Pieces, Shown, is_histogram, is_number, is_text, per_bound};
use crate::stats::histogram::{Distribution, QUANTILES};
use crate::stats::view::{HistogramValue, Value, View};

/// Text readouts, then counters and gauges, then histograms.
pub(super) fn pieces(
    view: Arc<View>,
    shown: Shown,
    buckets: Buckets,
) -> impl Iterator<Item = String> + Send + 'static {
    let phases = [is_text, is_number, is_histogram].map(|phase| shown.clone().of(&view, phase));
    let lines = phases.into_iter().flatten();
    let config = shown.config;
    Pieces {
        lines: lines.map(move |(name, stat)| line(&name, &view.value(stat), buckets, config.bounds(&name))),
    }
}

fn line(name: &str, value: &Value, buckets: Buckets, bounds: &[f64]) -> String {
    match value {
        Value::Counter(value) | Value::Gauge(value) => format!("{name}: {value}\n"),
        Value::Text(text) => format!("{name}: \"{}\"\n", text.escape_debug()),
        Value::Histogram(value) if value.cumulative.is_empty() => format!("{name}: No recorded values\n"),
        Value::Histogram(value) => match buckets {
            Buckets::Summary => format!("{name}: {}\n", summary(value)),
            Buckets::Cumulative => format!("{name}: {}\n", counts(value, bounds, false)),
            Buckets::Disjoint => format!("{name}: {}\n", counts(value, bounds, true)),
            Buckets::Detailed => detailed(name, value),
        },
    }
}

/// `P0(interval,cumulative) P25(...) ...`
fn summary(value: &HistogramValue) -> String {
    let quantile = |percent: &f64| {
        let number = |distribution: &Distribution| match distribution.quantile(*percent) {
            value if value.is_nan() => "nan".to_owned(),
            value => value.to_string(),
        };
        format!("P{percent}({},{})", number(&value.interval), number(&value.cumulative))
    };
    QUANTILES.iter().map(quantile).collect::<Vec<_>>().join(" ")
}

/// `B0.5(interval,cumulative) B1(...) ...`
fn counts(value: &HistogramValue, bounds: &[f64], disjoint: bool) -> String {
    let shown = per_bound(value, bounds, disjoint).into_iter();
    let shown =
        shown.map(|(bound, interval, cumulative)| format!("B{}({interval},{cumulative})", general(bound)));
    shown.collect::<Vec<_>>().join(" ")
}

/// Six significant digits, with an exponent from a million on (C's `%g`).
fn general(bound: f64) -> String {
    if bound < 1e6 {
        return bound.to_string();
    }
    let exponent = bound.log10().floor();
    format!("{}e+{exponent:02}", bound / 10f64.powf(exponent))
}

fn detailed(name: &str, value: &HistogramValue) -> String {
    let mut out = format!("{name}:\n");
    for (title, distribution) in [("totals", &value.cumulative), ("intervals", &value.interval)] {
        let bucket = |(lower, upper, count): (f64, f64, u64)| format!("{lower},{}:{count}", upper - lower);
        let buckets: Vec<_> = distribution.buckets().map(bucket).collect();
        let _ = writeln!(out, "  {title}={}", buckets.join(", "));
    }
    let _ = writeln!(out, "  summary={}", summary(value));
    out
}
