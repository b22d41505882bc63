//! Instructions per operation of the hot path and of the compiler, counted by Callgrind.
//!
//! Counting does not mind a busy machine: an operation runs N and 2N times in a process of its own under Valgrind, and
//! the difference of the two counts, divided by N, is free of start and set-up.

use std::process::Command;

use clap::ValueEnum;
use outrigger_tests::requirement::Missing;
use serde::Serialize;

use crate::Result;
use crate::report::aligned;

mod operations;

pub use operations::Operation;

/// What one operation costs.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    /// Its name.
    pub operation: String,
    /// Instructions per operation.
    pub instructions: f64,
}

/// Counts every operation; fails by name where Valgrind is missing.
pub fn run() -> Result<Vec<Cost>> {
    valgrind()?;
    Operation::value_variants().iter().map(|operation| count(*operation)).collect()
}

/// Fails by name where Valgrind is missing.
pub fn valgrind() -> Result<(), Missing> {
    let version = Command::new("valgrind").arg("--version").output();
    version.map_err(|e| Missing::new("valgrind", e.to_string(), "install the package valgrind"))?;
    Ok(())
}

fn count(operation: Operation) -> Result<Cost> {
    let (name, times) = (operation.name(), operation.times());
    let (once, twice) = (collected(&name, times)?, collected(&name, 2 * times)?);
    let instructions = twice.saturating_sub(once) as f64 / times as f64;
    eprintln!("micro: {name} done");
    Ok(Cost { operation: name, instructions })
}

/// Runs this program under Callgrind and reads its total.
fn collected(operation: &str, times: u64) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    let output = valgrind.args(["repeat", operation, &times.to_string()]).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    match collected_in(&text) {
        Some(total) if output.status.success() => Ok(total),
        _ => Err(format!("{operation} failed under valgrind:\n{text}").into()),
    }
}

/// The count in what Callgrind says at the end.
pub fn collected_in(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

/// The table.
pub fn table(costs: &[Cost]) -> String {
    let mut rows = vec![vec!["micro".to_owned(), "instructions per operation".to_owned()]];
    rows.extend(costs.iter().map(|cost| vec![cost.operation.clone(), format!("{:.0}", cost.instructions)]));
    aligned(&rows)
}
