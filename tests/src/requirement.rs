//! What a test needs from the machine, and what happens when the machine lacks it.
//!
//! A provider returns `Err(Missing)`; the test passes that to [`met`]. On a developer's machine the test is then
//! recorded as not run and ends; where `CI` is set it fails. A test is never silently skipped.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use crate::workspace;

/// Something the machine cannot provide, why, and how to get it.
#[derive(Debug, Clone)]
pub struct Missing {
    what: String,
    why: String,
    how: String,
}

impl Missing {
    /// `what` is a name for the list, `why` what was found, `how` what to do about it.
    pub fn new(what: impl Into<String>, why: impl Into<String>, how: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), how: how.into() }
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "needs {}: {}; to have it: {}", self.what, self.why, self.how)
    }
}

impl std::error::Error for Missing {}

/// The provided thing, or `None` after recording the calling test as not run.
///
/// # Panics
/// Where `CI` is set: there, every test must run.
#[expect(clippy::panic, reason = "fails the calling test")]
pub fn met<T>(requirement: Result<T, Missing>) -> Option<T> {
    let missing = match requirement {
        Ok(provided) => return Some(provided),
        Err(missing) => missing,
    };
    let test = current_test();
    if in_ci() {
        panic!("{test} {missing}");
    }
    eprintln!("NOT RUN: {test} {missing}");
    if let Err(error) = record(&test, &missing) {
        panic!("cannot record {test} as not run in {}: {error}", record_path().display());
    }
    None
}

/// Whether everything must run here.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// The file `tests/run` prints at the end: one line per test that was not run.
pub fn record_path() -> PathBuf {
    workspace::target_dir().join("test-results/not-run.txt")
}

fn record(test: &str, missing: &Missing) -> std::io::Result<()> {
    let path = record_path();
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let line = format!("{test} {missing}").replace('\n', " ") + "\n";
    OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
}

/// libtest names a test's thread after the test; the executable is named after the test file.
fn current_test() -> String {
    let executable = std::env::current_exe().unwrap_or_default();
    let file = executable.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let file = file.rsplit_once('-').map_or(file.as_str(), |(name, _hash)| name);
    let thread = std::thread::current();
    format!("{file}::{}", thread.name().unwrap_or("?"))
}
