//! AWS's interfaces, as moto has them, and AWS's X-Ray SDK for Python: one Python with both.

mod server;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::Result;
use crate::python::Packages;
use crate::requirement::Missing;

pub use server::{RoleKey, Services};

const PACKAGES: Packages = Packages { main: "moto", requirements: include_str!("../aws-requirements.txt") };
const ACCEPT: &str = include_str!("aws/accept.py");

/// The pinned version of moto.
pub fn version() -> &'static str {
    PACKAGES.version()
}

/// A Python that has moto, AWS's SDK and its X-Ray SDK; made if it is not there yet.
pub fn python() -> Result<PathBuf, Missing> {
    PACKAGES.python()
}

/// What the services said to telemetry.
#[derive(Debug)]
pub struct Verdict {
    /// What `PutTraceSegments` did not take, with its reasons.
    pub refused_segments: Vec<Value>,
    /// Segments that `BatchGetTraces` then knew.
    pub segments: u64,
    /// What `PutLogEvents` said about events that it did not take.
    pub refused_events: Vec<Value>,
    /// Events that `GetLogEvents` then gave back word for word.
    pub events: u64,
}

/// Sends segment documents to X-Ray, and lines to CloudWatch Logs as events of these times (milliseconds).
pub fn accept(python: &Path, segments: &[String], events: &[(u64, String)]) -> Result<Verdict> {
    let mut command = Command::new(python);
    command.args(["-c", ACCEPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // No account of this machine takes part.
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_EC2_METADATA_DISABLED", "true");
    let mut child = command.spawn()?;
    // It reads everything before it says anything.
    let mut input = child.stdin.take().ok_or("no stdin")?;
    input.write_all(json!({"segments": segments, "events": events}).to_string().as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("moto: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let said: Value = serde_json::from_slice(&output.stdout)?;
    let list = |name: &str| said[name].as_array().cloned().unwrap_or_default();
    let count = |name: &str| said[name].as_u64().unwrap_or_default();
    Ok(Verdict {
        refused_segments: list("refused_segments"),
        segments: count("segments"),
        refused_events: list("refused_events"),
        events: count("events"),
    })
}
