//! Peers from the machine's Debian packages: used where installed, else unpacked beside the build, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use outrigger_tests::requirement::Missing;
use outrigger_tests::workspace;

/// A program and the libraries that came with it.
#[derive(Debug, Clone)]
pub struct Tool {
    /// The executable.
    pub program: PathBuf,
    root: Option<PathBuf>,
}

impl Tool {
    /// A command that finds its libraries.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(root) = &self.root {
            let usr = root.join("usr/lib");
            let multiarch = usr.join(format!("{}-linux-gnu", std::env::consts::ARCH));
            command.env("LD_LIBRARY_PATH", format!("{}:{}", multiarch.display(), usr.display()));
        }
        command
    }
}

/// `program` from `PATH`, or from the Debian package of the same name.
pub fn tool(program: &str) -> Result<Tool, Missing> {
    if let Some(program) = on_path(program) {
        return Ok(Tool { program, root: None });
    }
    let how = format!("install {program}, or make apt-get's package lists and archive reachable");
    unpacked(program).map_err(|why| Missing::new(program, why, how))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let candidates = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    candidates.map(|directory| directory.join(program)).find(|candidate| candidate.exists())
}

fn unpacked(program: &str) -> Result<Tool, String> {
    let tools = workspace::tools_dir().map_err(|e| e.to_string())?;
    let root = tools.join(format!("{program}-debian"));
    let executable = root.join("usr/sbin").join(program);
    if !executable.exists() {
        let fetched = workspace::exclusively("packages.lock", || fetch(program, &root));
        fetched.map_err(|e| e.to_string())??;
    }
    Ok(Tool { program: executable, root: Some(root) })
}

/// Unpacks beside the destination and renames, so that an interrupted run leaves nothing half done.
fn fetch(package: &str, destination: &Path) -> Result<(), String> {
    let staging =
        tempfile::tempdir_in(destination.parent().unwrap_or(destination)).map_err(|e| e.to_string())?;
    let mut download = Command::new("apt-get");
    run(download.arg("download").args(missing_packages(package)?).current_dir(staging.path()))?;
    let unpacked = staging.path().join("unpacked");
    for entry in fs::read_dir(staging.path()).map_err(|e| e.to_string())? {
        let archive = entry.map_err(|e| e.to_string())?.path();
        if archive.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("--extract").arg(archive).arg(&unpacked))?;
        }
    }
    fs::rename(&unpacked, destination).map_err(|e| e.to_string())
}

/// The package and those of its dependencies that are not installed, by apt's own plan.
fn missing_packages(package: &str) -> Result<Vec<String>, String> {
    let plan =
        run(Command::new("apt-get").args(["--simulate", "--no-install-recommends", "install", package]))?;
    let names = plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next());
    Ok(names.map(str::to_owned).collect())
}

fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} failed: {}", text.lines().last().unwrap_or("no message")))
}
