//! Interleaved rounds of a load scenario.

use serde::Serialize;

use crate::backend::Backend;
use crate::load::{self, Outcome, Span};
use crate::measure::{self, Memory, Scheduled};
use crate::mutual::Mutual;
use crate::scenario::Load;
use crate::subject::{self, Name, Subject};
use crate::{Result, cores};

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds, each with every subject once.
    pub rounds: usize,
    /// Warm-up and measured time of each run.
    pub span: Span,
}

/// One run of one subject.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Responses per second.
    pub requests_per_s: f64,
    /// CPU time of the proxy per request, in microseconds.
    pub cpu_us: f64,
    /// The share of its core that the proxy used.
    pub utilisation: f64,
    /// The share of the time in which the proxy was kept waiting for its core by other programs.
    pub waited: f64,
    /// Median latency in microseconds.
    pub p50_us: f64,
    /// 99th percentile of the latency in microseconds.
    pub p99_us: f64,
    /// Memory after the start, in KiB.
    pub started: Memory,
    /// Memory at the end of the load, in KiB.
    pub loaded: Memory,
    /// Responses that were missing or wrong.
    pub errors: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
}

/// All runs of one subject; `None` for a run that could not be completed.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// Who ran.
    pub subject: Name,
    /// One entry per round.
    pub runs: Vec<std::result::Result<Run, String>>,
}

impl Series {
    /// Whether every round was completed without an error.
    pub fn is_clean(&self) -> bool {
        self.runs.iter().all(|run| run.as_ref().is_ok_and(|run| run.errors == 0))
    }

    /// One figure of every completed round.
    pub fn values(&self, figure: impl Fn(&Run) -> f64) -> Vec<f64> {
        self.runs.iter().flatten().map(figure).collect()
    }
}

/// Runs every subject once per round; `progress` hears of each run.
pub fn run(
    subjects: &[Subject],
    load: &Load,
    plan: Plan,
    mut progress: impl FnMut(usize, &Subject, &std::result::Result<Run, String>),
) -> Result<Vec<Series>> {
    let mutual = load.mutual.then(Mutual::new).transpose()?;
    let tls = mutual.as_ref().map(Mutual::server).transpose()?;
    let backend = Backend::start(load.protocol, &vec![b'x'; load.body], tls)?;
    let able: Vec<_> = subjects.iter().filter(|subject| subject.speaks(load)).collect();
    let mut series: Vec<_> = able.iter().map(|s| Series { subject: s.name, runs: Vec::new() }).collect();
    for round in 0..plan.rounds {
        for (subject, series) in able.iter().zip(&mut series) {
            let run =
                once(subject, load, plan.span, &backend, mutual.as_ref()).map_err(|error| error.to_string());
            progress(round, subject, &run);
            series.runs.push(run);
        }
    }
    Ok(series)
}

fn once(
    subject: &Subject,
    load: &Load,
    span: Span,
    backend: &Backend,
    mutual: Option<&Mutual>,
) -> Result<Run> {
    let mut proxy = subject.start(load.protocol, backend.address(), mutual)?;
    let tls = mutual.map(Mutual::client).transpose()?;
    let (address, pid) = (proxy.address(), proxy.process().id());
    let started = measure::memory(pid)?;
    let mut accounts = Vec::new();
    let outcome = cores::on(cores::LOAD, || {
        load::run(address, load, tls, span, || {
            accounts.push(measure::scheduled(pid)?);
            Ok(())
        })
    })?;
    let edges = accounts.first().zip(accounts.last());
    let used = edges.map_or_else(Scheduled::default, |(start, end)| end.since(*start));
    let loaded = measure::memory(pid)?;
    subject::end(proxy.process())?;
    summarise(&outcome, used, started, loaded)
}

fn summarise(outcome: &Outcome, used: Scheduled, started: Memory, loaded: Memory) -> Result<Run> {
    if outcome.requests == 0 {
        return Err(format!("not one response; first error: {:?}", outcome.first_error).into());
    }
    let micros = |duration: std::time::Duration| duration.as_nanos() as f64 / 1e3;
    Ok(Run {
        requests_per_s: outcome.requests as f64 / outcome.elapsed.as_secs_f64(),
        cpu_us: micros(used.ran) / outcome.requests as f64,
        utilisation: used.ran.as_secs_f64() / outcome.elapsed.as_secs_f64(),
        waited: used.waited.as_secs_f64() / outcome.elapsed.as_secs_f64(),
        p50_us: micros(outcome.latency.quantile(0.5)),
        p99_us: micros(outcome.latency.quantile(0.99)),
        started,
        loaded,
        errors: outcome.errors,
        first_error: outcome.first_error.clone(),
    })
}
