//! Rounds summarised: medians with their spread, and ratios taken within each round.

use std::fmt::Write;

use serde::Serialize;

use crate::rounds::{Run, Series};
use crate::subject::Name;

/// A median with the smallest and largest value around it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle value.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), min, max })
    }

    /// `median (min-max)`.
    pub fn text(self, decimals: usize) -> String {
        format!("{:.decimals$} ({:.decimals$}-{:.decimals$})", self.median, self.min, self.max)
    }
}

/// How the proxy in question compares with one peer.
#[derive(Debug, Clone, Serialize)]
pub struct Ratio {
    /// The peer.
    pub to: Name,
    /// Throughput: above 1 is better than the peer.
    pub requests_per_s: Spread,
    /// CPU per request: below 1 is better than the peer.
    pub cpu: Spread,
    /// Median latency: below 1 is better than the peer.
    pub p50: Spread,
    /// Memory after the start: below 1 is better than the peer.
    pub rss_started: Spread,
}

/// The ratios of `of` to every other series. A run with an error, on either side, leaves that pair out.
pub fn ratios(of: Name, series: &[Series]) -> Vec<Ratio> {
    let Some(own) = series.iter().find(|one| one.subject == of && one.is_clean()) else { return Vec::new() };
    let peers = series.iter().filter(|one| one.subject != of && one.is_clean());
    peers.filter_map(|peer| ratio(own, peer)).collect()
}

fn ratio(own: &Series, peer: &Series) -> Option<Ratio> {
    let spread = |figure: fn(&Run) -> f64| {
        let pairs = own.values(figure).into_iter().zip(peer.values(figure));
        Spread::of(&pairs.map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>())
    };
    Some(Ratio {
        to: peer.subject,
        requests_per_s: spread(|run| run.requests_per_s)?,
        cpu: spread(|run| run.cpu_us)?,
        p50: spread(|run| run.p50_us)?,
        rss_started: spread(|run| run.started.rss as f64)?,
    })
}

/// A column's name, figure and decimals.
type Column = (&'static str, fn(&Run) -> f64, usize);

/// The table of a load scenario and the ratios below it.
pub fn table(title: &str, of: Name, series: &[Series]) -> String {
    let columns: [Column; 9] = [
        ("req/s", |run| run.requests_per_s, 0),
        ("cpu us/req", |run| run.cpu_us, 2),
        ("core used", |run| run.utilisation, 2),
        ("core waited", |run| run.waited, 2),
        ("p50 us", |run| run.p50_us, 0),
        ("p99 us", |run| run.p99_us, 0),
        ("RSS start MiB", |run| run.started.rss as f64 / 1024.0, 1),
        ("RSS load MiB", |run| run.loaded.rss as f64 / 1024.0, 1),
        ("errors", |run| run.errors as f64, 0),
    ];
    let mut rows = vec![columns.iter().map(|(name, ..)| (*name).to_owned()).collect::<Vec<_>>()];
    rows[0].insert(0, title.to_owned());
    for one in series {
        let cell = |(_, figure, decimals): &Column| {
            Spread::of(&one.values(figure)).map_or_else(|| "-".into(), |spread| spread.text(*decimals))
        };
        let cells = columns.iter().map(cell);
        rows.push(std::iter::once(one.subject.text()).chain(cells).collect());
    }
    aligned(&rows) + &ratio_lines(of, series) + &busy(series) + &failures(series)
}

fn ratio_lines(of: Name, series: &[Series]) -> String {
    let mut text = String::new();
    for ratio in ratios(of, series) {
        let (of, to) = (of.text(), ratio.to.text());
        let (cpu, throughput) = (ratio.cpu.text(3), ratio.requests_per_s.text(2));
        let (p50, rss) = (ratio.p50.text(2), ratio.rss_started.text(2));
        let _ = writeln!(text, "{of} / {to}: cpu {cpu}, req/s {throughput}, p50 {p50}, RSS at start {rss}");
    }
    text
}

/// CPU per request rises by multiples when other programs take the core and its caches.
fn busy(series: &[Series]) -> String {
    const TOLERABLE: f64 = 0.05;
    let worst = series.iter().flat_map(|one| one.values(|run| run.waited)).fold(0.0, f64::max);
    if worst <= TOLERABLE {
        return String::new();
    }
    let percent = worst * 100.0;
    format!("other programs kept a proxy waiting for {percent:.0} % of a run: repeat on a quiet machine\n")
}

fn failures(series: &[Series]) -> String {
    let mut text = String::new();
    for one in series.iter().filter(|one| !one.is_clean()) {
        let error = one.runs.iter().find_map(|run| match run {
            Ok(run) => run.first_error.clone(),
            Err(error) => Some(error.clone()),
        });
        let error = error.unwrap_or_default();
        let _ =
            writeln!(text, "{} had errors, so it gets no ratio; the first one: {error}", one.subject.text());
    }
    text
}

/// Rows of cells with each column as wide as its widest cell.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn medians() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0]).map(|spread| spread.median), Some(2.5));
    }
}
