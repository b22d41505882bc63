//! Memory of many idle keepalive connections that each made one request.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Serialize;

use crate::backend::Backend;
use crate::exchange::{self, BODY};
use crate::measure::{self, Memory};
use crate::report::{Spread, aligned};
use crate::scenario::Protocol;
use crate::subject::{Name, Subject};
use crate::{Result, cores};

/// Connections held, in steps.
const STEPS: [usize; 2] = [1_000, 10_000];
/// Connections with a request in flight at the same time.
const WINDOW: usize = 64;
/// From the last response to the measurement.
const SETTLE: Duration = Duration::from_secs(2);

/// One run of one subject.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Memory after the start, in KiB.
    pub started: Memory,
    /// Memory with 1,000 and with 10,000 idle connections, in KiB.
    pub idle: Vec<Memory>,
}

/// All runs of one subject; `Err` for a run that could not be completed.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// Who ran.
    pub subject: Name,
    /// One entry per round.
    pub runs: Vec<std::result::Result<Run, String>>,
}

/// Runs every subject once per round.
pub fn run(subjects: &[Subject], rounds: usize, files: u64) -> Result<Vec<Series>> {
    let most = STEPS[STEPS.len() - 1] as u64;
    if files < most + 1_000 {
        return Err(format!(
            "{most} connections need more than the {files} files that may be open: raise `ulimit -n`"
        )
        .into());
    }
    let backend = Backend::start(Protocol::Http1, &[b'x'; BODY], None)?;
    let mut series: Vec<_> = subjects.iter().map(|s| Series { subject: s.name, runs: Vec::new() }).collect();
    for _ in 0..rounds {
        for (subject, series) in subjects.iter().zip(&mut series) {
            let run = once(subject, &backend).map_err(|error| error.to_string());
            eprintln!("idle: {} {}", subject.name.text(), run.as_ref().err().map_or("done", |error| error));
            series.runs.push(run);
        }
    }
    Ok(series)
}

fn once(subject: &Subject, backend: &Backend) -> Result<Run> {
    let mut proxy = subject.start(Protocol::Http1, backend.address(), None)?;
    let (address, pid) = (proxy.address(), proxy.process().id());
    let started = measure::memory(pid)?;
    let (mut connections, mut idle) = (Vec::new(), Vec::new());
    for step in STEPS {
        cores::on(cores::LOAD, || grow(&mut connections, step, address))?;
        std::thread::sleep(SETTLE);
        connections.iter_mut().try_for_each(still_open)?;
        idle.push(measure::memory(pid)?);
    }
    Ok(Run { started, idle })
}

/// Opens connections up to `count`, each with one request and its response.
fn grow(connections: &mut Vec<TcpStream>, count: usize, address: SocketAddr) -> Result<()> {
    while connections.len() < count {
        let first = connections.len();
        for number in first..count.min(first + WINDOW) {
            let mut connection = exchange::connect(address, number)?;
            exchange::send(&mut connection)?;
            connections.push(connection);
        }
        connections[first..].iter_mut().try_for_each(exchange::receive)?;
    }
    Ok(())
}

/// An idle connection has nothing to read, not even its end.
fn still_open(connection: &mut TcpStream) -> Result<()> {
    connection.set_nonblocking(true)?;
    let read = connection.read(&mut [0; 1]);
    connection.set_nonblocking(false)?;
    match read {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Ok(0) => Err("an idle connection was closed".into()),
        other => Err(format!("an idle connection had {other:?} to read").into()),
    }
}

/// The table, and the ratios of `of` to the others.
pub fn table(of: Name, series: &[Series]) -> String {
    let header = ["idle", "start MiB", "1,000 MiB", "10,000 MiB", "KiB per connection", "10,000 PSS MiB"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for one in series {
        let cell = |figure: &dyn Fn(&Run) -> f64| {
            let values: Vec<_> = one.runs.iter().flatten().map(figure).collect();
            Spread::of(&values).map_or_else(|| "-".into(), |spread| spread.text(1))
        };
        let pss = |run: &Run| run.idle[1].pss.map_or(f64::NAN, |kib| kib as f64 / 1024.0);
        rows.push(vec![
            one.subject.text(),
            cell(&|run| run.started.rss as f64 / 1024.0),
            cell(&|run| run.idle[0].rss as f64 / 1024.0),
            cell(&|run| run.idle[1].rss as f64 / 1024.0),
            cell(&per_connection),
            cell(&pss),
        ]);
    }
    let failed = series
        .iter()
        .filter_map(|one| Some((one.subject, one.runs.iter().find_map(|run| run.as_ref().err())?)));
    let failed: String = failed.map(|(name, error)| format!("{} failed: {error}\n", name.text())).collect();
    aligned(&rows) + &ratio_lines(of, series) + &failed
}

fn per_connection(run: &Run) -> f64 {
    (run.idle[1].rss as f64 - run.started.rss as f64) / STEPS[1] as f64
}

fn ratio_lines(of: Name, series: &[Series]) -> String {
    let clean = |one: &&Series| one.runs.iter().all(std::result::Result::is_ok);
    let Some(own) = series.iter().find(|one| one.subject == of).filter(clean) else { return String::new() };
    let ratio = |peer: &Series, figure: fn(&Run) -> f64| {
        let pairs = own.runs.iter().flatten().zip(peer.runs.iter().flatten());
        let ratios: Vec<_> = pairs.map(|(ours, theirs)| figure(ours) / figure(theirs)).collect();
        Spread::of(&ratios).map_or_else(|| "-".into(), |spread| spread.text(2))
    };
    let peers = series.iter().filter(|one| one.subject != of).filter(clean);
    let line = |peer: &Series| {
        let start = ratio(peer, |run| run.started.rss as f64);
        let full = ratio(peer, |run| run.idle[1].rss as f64);
        let each = ratio(peer, per_connection);
        format!(
            "{} / {}: start {start}, with 10,000 idle {full}, per connection {each}\n",
            of.text(),
            peer.subject.text()
        )
    };
    peers.map(line).collect()
}
