//! Our own programs: beside the test executable, built on demand.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::{Result, workspace};

/// The sidecar.
pub const PROXY: &str = "outrigger-proxy";
/// The control plane.
pub const CONTROL_PLANE: &str = "outrigger";
/// The demo's sample application as a program, for containers.
pub const SAMPLE_SERVICE: &str = "outrigger-sample-service";

/// The path of one of our programs, built with the profile this executable was built with.
///
/// `PROGRAMS_UNDER_TEST` names a directory with programs to test in place of those; nothing is built then.
pub fn path(program: &str) -> Result<PathBuf> {
    let directory = match std::env::var_os("PROGRAMS_UNDER_TEST") {
        Some(directory) => directory.into(),
        None => built()?,
    };
    let path = directory.join(program);
    if path.exists() { Ok(path) } else { Err(format!("{} does not exist", path.display()).into()) }
}

/// Builds all programs of the workspace, once per process.
fn built() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(build).clone().map_err(Into::into)
}

fn build() -> Result<PathBuf, String> {
    let directory = workspace::profile_dir();
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let profile = if name == "debug" { "dev" } else { &name };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root()).args([
        "build",
        "--quiet",
        "--workspace",
        "--bins",
        "--profile",
        profile,
    ]);
    cargo.env("CARGO_TARGET_DIR", workspace::target_dir());
    let output = cargo.output().map_err(|e| format!("cannot run cargo: {e}"))?;
    if output.status.success() {
        return Ok(directory);
    }
    Err(format!("cannot build the programs under test:\n{}", String::from_utf8_lossy(&output.stderr)))
}
