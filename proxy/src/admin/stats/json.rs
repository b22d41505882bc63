//! The JSON form: `{"stats":[{"name","value"}, ..., {"histograms": ...}]}`.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{Buckets, Pieces, Shown, is_histogram, is_number, is_text, per_bound};
use crate::stats::histogram::{Distribution, QUANTILES};
use crate::stats::view::{HistogramValue, Value, View};

/// The object, piece by piece.
pub(super) fn pieces(
    view: Arc<View>,
    shown: Shown,
    buckets: Buckets,
) -> impl Iterator<Item = String> + Send + 'static {
    let phases = [is_text, is_number].map(|phase| shown.clone().of(&view, phase));
    let histograms = shown.clone().of(&view, is_histogram);
    let of_numbers = view.clone();
    let numbers = phases.into_iter().flatten();
    let numbers = numbers.map(move |(name, stat)| scalar(&name, &of_numbers.value(stat)).to_string());
    let histograms = histograms.filter_map(move |(name, stat)| match view.value(stat) {
        Value::Histogram(value) => {
            Some(histogram(&name, &value, buckets, shown.config.bounds(&name)).to_string())
        }
        _ => None,
    });
    let (mut numbers, mut histograms) = (numbers.peekable(), histograms.peekable());
    let between = if numbers.peek().is_some() { "," } else { "" };
    let (open, close) = frame(buckets);
    let section = histograms.peek().is_some();
    let open = section.then(|| format!("{between}{open}"));
    let close = section.then(|| close.to_owned());
    let section = open.into_iter().chain(comma_separated(histograms)).chain(close);
    Pieces { lines: once("{\"stats\":[").chain(comma_separated(numbers)).chain(section).chain(once("]}\n")) }
}

fn once(text: &str) -> impl Iterator<Item = String> + use<> {
    std::iter::once(text.to_owned())
}

fn comma_separated(items: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    items.enumerate().map(|(at, item)| if at == 0 { item } else { format!(",{item}") })
}

/// What stands around the histograms.
fn frame(buckets: Buckets) -> (String, &'static str) {
    let quantiles = json!(QUANTILES);
    match buckets {
        Buckets::Summary => (
            format!("{{\"histograms\":{{\"supported_quantiles\":{quantiles},\"computed_quantiles\":["),
            "]}}",
        ),
        Buckets::Cumulative | Buckets::Disjoint => ("{\"histograms\":[".to_owned(), "]}"),
        Buckets::Detailed => {
            (format!("{{\"histograms\":{{\"supported_percentiles\":{quantiles},\"details\":["), "]}}")
        }
    }
}

fn scalar(name: &str, value: &Value) -> Json {
    match value {
        Value::Counter(value) | Value::Gauge(value) => json!({ "name": name, "value": value }),
        Value::Text(text) => json!({ "name": name, "value": **text }),
        Value::Histogram(_) => Json::Null,
    }
}

fn histogram(name: &str, value: &HistogramValue, buckets: Buckets, bounds: &[f64]) -> Json {
    match buckets {
        Buckets::Summary => json!({ "name": name, "values": quantiles(value) }),
        Buckets::Cumulative => json!({ "name": name, "buckets": counts(value, bounds, false) }),
        Buckets::Disjoint => json!({ "name": name, "buckets": counts(value, bounds, true) }),
        Buckets::Detailed => json!({
            "name": name,
            "totals": details(&value.cumulative),
            "intervals": details(&value.interval),
            "percentiles": quantiles(value),
        }),
    }
}

/// Quantiles of nothing are null, as JSON has no NaN.
fn quantiles(value: &HistogramValue) -> Vec<Json> {
    let of = |percent: &f64| {
        json!({
            "cumulative": value.cumulative.quantile(*percent),
            "interval": value.interval.quantile(*percent),
        })
    };
    QUANTILES.iter().map(of).collect()
}

fn counts(value: &HistogramValue, bounds: &[f64], disjoint: bool) -> Vec<Json> {
    let count = |(bound, interval, cumulative)| json!({ "upper_bound": bound, "interval": interval, "cumulative": cumulative });
    per_bound(value, bounds, disjoint).into_iter().map(count).collect()
}

fn details(distribution: &Distribution) -> Vec<Json> {
    let bucket =
        |(lower, upper, count)| json!({ "lower_bound": lower, "width": upper - lower, "count": count });
    distribution.buckets().map(bucket).collect()
}
