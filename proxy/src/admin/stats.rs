//! `/stats` and `/stats/prometheus`: what is shown and in which form.

mod json;
mod text;

use std::sync::Arc;

use hyper::StatusCode;
use regex::Regex;

use super::AdminState;
use super::query::Query;
use super::reply::Reply;
use crate::observe::prometheus::{self, Exposition, Options};
use crate::stats::registry::Kind;
use crate::stats::tags::StatsConfig;
use crate::stats::view::{Stat, View};

/// Rough size of a piece of output, bytes.
const PIECE: usize = 32 * 1024;

/// How histograms are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Buckets {
    /// Quantiles.
    Summary,
    /// Values at most each bound.
    Cumulative,
    /// Values between bounds.
    Disjoint,
    /// Our own buckets, and the quantiles.
    Detailed,
}

/// Which statistics are shown.
#[derive(Clone, Debug)]
struct Shown {
    config: Arc<StatsConfig>,
    used_only: bool,
    filter: Option<Regex>,
    invert: bool,
    kinds: fn(Kind) -> bool,
}

impl Shown {
    fn shows(&self, view: &View, stat: Stat, name: &str) -> bool {
        (self.kinds)(view.kind(stat))
            && self.filter.as_ref().is_none_or(|filter| filter.is_match(name) != self.invert)
            && self.config.matcher.admits(name)
            && (!self.used_only || view.is_used(stat))
    }

    /// The statistics of one phase in the order of names.
    fn of(self, view: &Arc<View>, phase: fn(Kind) -> bool) -> impl Iterator<Item = (String, Stat)> + use<> {
        let view = view.clone();
        let sorted = view.sorted(phase);
        sorted.filter(move |(name, stat)| self.shows(&view, *stat, name))
    }
}

/// The three phases of Envoy's output.
fn is_text(kind: Kind) -> bool {
    kind == Kind::TextReadout
}

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Counter | Kind::Gauge | Kind::StatusCodes)
}

fn is_histogram(kind: Kind) -> bool {
    kind == Kind::Histogram
}

/// Answers `/stats`.
pub(super) fn stats(state: &AdminState, query: &Query) -> Reply {
    match query.get("format").unwrap_or("text") {
        "prometheus" => return prometheus(state, query),
        "text" | "json" => {}
        _ => return bad("usage: /stats?format=(json|prometheus|text)\n\n"),
    }
    let (shown, buckets) = match (shown(state, query), buckets(query)) {
        (Ok(shown), Ok(buckets)) => (shown, buckets),
        (Err(reply), _) | (_, Err(reply)) => return reply,
    };
    let view = refreshed(state);
    if query.get("format") == Some("json") {
        return Reply::json_pieces(json::pieces(view, shown, buckets));
    }
    Reply::text_pieces(text::pieces(view, shown, buckets))
}

/// Answers `/stats/prometheus`.
pub(super) fn prometheus(state: &AdminState, query: &Query) -> Reply {
    let filter = match filter(query) {
        Ok(filter) => filter,
        Err(reply) => return reply,
    };
    let summaries = match buckets(query) {
        Ok(Buckets::Summary) => query.has("histogram_buckets"),
        Ok(Buckets::Cumulative) => false,
        _ => return bad("usage: /stats/prometheus?histogram_buckets=(cumulative|summary)\n"),
    };
    let options = Options {
        used_only: query.has("usedonly"),
        filter,
        invert_filter: query.has("invert_filter"),
        text_readouts: query.has("text_readouts"),
        summaries,
    };
    let view = refreshed(state);
    let of_mesh = state.mesh.as_ref().map(|totals| {
        let admits = |name: &str| options.admits(name) && state.stats_config.matcher.admits(name);
        prometheus::mesh_metrics(totals.metrics(), &state.stats_config, admits)
    });
    let exposition = Exposition::new(view, state.stats_config.clone(), options);
    let of_mesh = of_mesh.into_iter().filter(|text| !text.is_empty());
    Reply::pieces(prometheus::CONTENT_TYPE, exposition.chain(of_mesh))
}

fn refreshed(state: &AdminState) -> Arc<View> {
    state.collector.refresh();
    Arc::new(state.registry.view())
}

fn bad(text: impl Into<String>) -> Reply {
    Reply::error(StatusCode::BAD_REQUEST, text)
}

fn shown(state: &AdminState, query: &Query) -> Result<Shown, Reply> {
    let kinds: fn(Kind) -> bool = match query.get("type").unwrap_or("All") {
        "All" => |_| true,
        "Counters" => |kind| kind == Kind::Counter,
        "Gauges" => |kind| kind == Kind::Gauge,
        "Histograms" => is_histogram,
        "TextReadouts" => is_text,
        _ => return Err(bad("invalid &type= param")),
    };
    Ok(Shown {
        config: state.stats_config.clone(),
        used_only: query.has("usedonly"),
        filter: filter(query)?,
        invert: query.has("invert_filter"),
        kinds,
    })
}

fn filter(query: &Query) -> Result<Option<Regex>, Reply> {
    let pattern = query.get("filter").filter(|pattern| !pattern.is_empty());
    let compile = |pattern: &str| regex::RegexBuilder::new(pattern).size_limit(1 << 20).build();
    pattern.map(compile).transpose().map_err(|error| bad(format!("Invalid regex: {error}\n")))
}

fn buckets(query: &Query) -> Result<Buckets, Reply> {
    match query.get("histogram_buckets").unwrap_or("none") {
        "none" | "summary" | "" => Ok(Buckets::Summary),
        "cumulative" => Ok(Buckets::Cumulative),
        "disjoint" => Ok(Buckets::Disjoint),
        "detailed" => Ok(Buckets::Detailed),
        _ => Err(bad("usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n")),
    }
}

/// Groups a stream of small texts into pieces.
struct Pieces<I> {
    lines: I,
}

impl<I: Iterator<Item = String>> Iterator for Pieces<I> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut piece = self.lines.next()?;
        while piece.len() < PIECE {
            match self.lines.next() {
                Some(line) => piece.push_str(&line),
                None => break,
            }
        }
        Some(piece)
    }
}

/// Counts per bound of an interval and a life: at most each bound, or between bounds.
fn per_bound(
    value: &crate::stats::view::HistogramValue,
    bounds: &[f64],
    disjoint: bool,
) -> Vec<(f64, u64, u64)> {
    let mut before = (0, 0);
    let count = |bound: &f64| {
        let (interval, cumulative) = (value.interval.count_le(*bound), value.cumulative.count_le(*bound));
        let shown =
            if disjoint { (interval - before.0, cumulative - before.1) } else { (interval, cumulative) };
        before = (interval, cumulative);
        (*bound, shown.0, shown.1)
    };
    bounds.iter().map(count).collect()
}

#[cfg(test)]
mod tests;
