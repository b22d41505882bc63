//! Instructions of the whole sidecar per request, outside of the kernel, counted by Callgrind.
//!
//! A busy machine does not change them, so they tell small differences that CPU time hides in noise. What a sidecar does by
//! the clock (metrics each second) is counted in idle runs and told apart: under Valgrind a request takes longer, and the
//! clock's share would be too large.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use outrigger_tests::data_plane::DataPlane;
use serde::Serialize;

use crate::backend::Backend;
use crate::exchange::{self, BODY};
use crate::report::aligned;
use crate::scenario::Protocol;
use crate::subject::{self, Name, Subject};
use crate::{Result, micro};

/// Requests of the shorter run; the longer one has twice as many.
const REQUESTS: u64 = 3_000;
/// The shorter idle run; the longer one takes twice as long.
const IDLE: Duration = Duration::from_secs(4);

/// What one subject costs.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    /// Who ran.
    pub subject: Name,
    /// Instructions per request.
    pub per_request: f64,
    /// Instructions per second without requests.
    pub per_second: f64,
}

/// Counts every sidecar among the subjects; fails by name where Valgrind is missing.
pub fn run(subjects: &[Subject]) -> Result<Vec<Cost>> {
    micro::valgrind()?;
    let directory = tempfile::tempdir()?;
    let sidecars = subjects
        .iter()
        .filter(|subject| subject.sidecar().is_some_and(|(plane, _)| plane == DataPlane::Outrigger));
    sidecars.map(|subject| count(subject, directory.path())).collect()
}

fn count(subject: &Subject, directory: &Path) -> Result<Cost> {
    let counted = subject.through(|program| wrapper(directory, program))?;
    let (idle, twice_idle) = (collected(&counted, 0, IDLE)?, collected(&counted, 0, 2 * IDLE)?);
    let per_second = twice_idle.since(&idle) / twice_idle.seconds_since(&idle);
    let (once, twice) =
        (collected(&counted, REQUESTS, Duration::ZERO)?, collected(&counted, 2 * REQUESTS, Duration::ZERO)?);
    let by_clock = per_second * twice.seconds_since(&once);
    let per_request = (twice.since(&once) - by_clock) / REQUESTS as f64;
    eprintln!("instructions: {} done", subject.name.text());
    Ok(Cost { subject: subject.name, per_request, per_second })
}

/// A program that runs `program` under Callgrind.
fn wrapper(directory: &Path, program: &Path) -> Result<std::path::PathBuf> {
    let path = directory.join("counted");
    let mut file = std::fs::File::create(&path)?;
    write!(
        file,
        "#!/bin/sh\nexec valgrind --tool=callgrind --callgrind-out-file=/dev/null '{}' \"$@\"\n",
        program.display()
    )?;
    file.set_permissions(std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// A run's count, and how long it served.
struct Collected {
    instructions: u64,
    served: Duration,
}

impl Collected {
    fn since(&self, before: &Self) -> f64 {
        self.instructions as f64 - before.instructions as f64
    }

    fn seconds_since(&self, before: &Self) -> f64 {
        self.served.as_secs_f64() - before.served.as_secs_f64()
    }
}

/// Runs it for so many requests on one connection, then idle for so long.
fn collected(subject: &Subject, requests: u64, idle: Duration) -> Result<Collected> {
    let backend = Backend::start(Protocol::Http1, &[b'x'; BODY], None)?;
    let mut proxy = subject.start(Protocol::Http1, backend.address(), None)?;
    let begun = Instant::now();
    let mut connection = exchange::connect(proxy.address(), 0)?;
    for _ in 0..requests {
        exchange::send(&mut connection)?;
        exchange::receive(&mut connection)?;
    }
    std::thread::sleep(idle);
    let served = begun.elapsed();
    subject::end(proxy.process())?;
    let text = proxy.process().stderr();
    let instructions =
        micro::collected_in(&text).ok_or_else(|| format!("no count under valgrind:\n{text}"))?;
    Ok(Collected { instructions, served })
}

/// The table, each beside the first.
pub fn table(costs: &[Cost]) -> String {
    let header = ["instructions", "per request", "of the first", "per idle second"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let first = costs.first().map_or(f64::NAN, |cost| cost.per_request);
    rows.extend(costs.iter().map(|cost| {
        vec![
            cost.subject.text(),
            format!("{:.0}", cost.per_request),
            format!("{:.3}", cost.per_request / first),
            format!("{:.0}", cost.per_second),
        ]
    }));
    aligned(&rows)
}
