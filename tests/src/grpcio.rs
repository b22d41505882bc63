//! gRPC's own library for Python, as published on PyPI: a virtual environment in the build directory, made once from
//! pinned wheels, and clients in it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use serde_json::{Value, json};

use crate::netns::Place;
use crate::process::Process;
use crate::requirement::Missing;
use crate::{Result, workspace};

const REQUIREMENTS: &str = include_str!("../grpcio-requirements.txt");
const CALLS: &str = include_str!("grpcio/calls.py");
const HOW: &str = "install python3 (3.11 to 3.13) with venv and make a package index reachable";
const LIMIT: Duration = Duration::from_secs(40);

/// The pinned version.
pub fn version() -> &'static str {
    let pin = REQUIREMENTS.lines().find_map(|line| line.strip_prefix("grpcio=="));
    pin.map_or("", |rest| rest.trim_end_matches(['\\', ' ']))
}

/// A Python that has the library; made if it is not there yet.
pub fn python() -> Result<PathBuf, Missing> {
    provided().map_err(|why| Missing::new(format!("grpcio {}", version()), why, HOW))
}

fn provided() -> Result<PathBuf, String> {
    let text = |error: io::Error| error.to_string();
    let directory = workspace::tools_dir().map_err(text)?.join(format!("grpcio-{}", version()));
    // Written last: a virtual environment cannot be moved, so it is made where it stays.
    let complete = directory.join("complete");
    let made = workspace::exclusively("grpcio.lock", || {
        if complete.exists() {
            return Ok(());
        }
        make(&directory)?;
        fs::write(&complete, "").map_err(text)
    });
    made.map_err(text)??;
    Ok(directory.join("bin/python3"))
}

fn make(directory: &Path) -> Result<(), String> {
    let _ = fs::remove_dir_all(directory);
    run(Command::new("python3").args(["-m", "venv"]).arg(directory))?;
    let pin = directory.join("requirements.txt");
    fs::write(&pin, REQUIREMENTS).map_err(|error| error.to_string())?;
    let options = ["-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:", "-r"];
    run(Command::new(directory.join("bin/python3")).args(options).arg(pin))
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} failed: {}", text.lines().last().unwrap_or("no message")))
}

/// Calls of a client.
#[derive(Debug, Clone)]
pub struct Calls<'a> {
    /// `xds:///<service>[:<port>]`.
    pub target: &'a str,
    /// `/package.Service/Method`.
    pub method: &'a str,
    /// Metadata of each call.
    pub metadata: &'a [(&'a str, &'a str)],
    /// How many, one after another.
    pub count: usize,
    /// How long it waits after each call, in seconds.
    pub pause_s: f64,
    /// The deadline of each call, in seconds.
    pub deadline_s: f64,
}

/// A client that makes unary calls, each with the message `call <number>`, as the node with this id.
#[derive(Debug)]
pub struct Client {
    process: Process,
    _files: tempfile::TempDir,
}

impl Client {
    /// Starts calling.
    pub fn start(python: &Path, node: &str, control_plane: SocketAddr, calls: &Calls<'_>) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let bootstrap = json!({
            "xds_servers": [{
                "server_uri": control_plane.to_string(),
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }],
            "node": {"id": node},
        });
        let (config, script) = (files.path().join("bootstrap.json"), files.path().join("calls.py"));
        fs::write(&config, bootstrap.to_string())?;
        fs::write(&script, CALLS)?;
        let wanted = json!({
            "target": calls.target,
            "method": calls.method,
            "metadata": calls.metadata,
            "count": calls.count,
            "pause_s": calls.pause_s,
            "deadline_s": calls.deadline_s,
        });
        let mut command = Command::new(python);
        command.arg(&script).arg(wanted.to_string()).env("GRPC_XDS_BOOTSTRAP", &config);
        Ok(Self { process: Process::spawn("a gRPC client", command, &Place::Host)?, _files: files })
    }

    /// Waits for the end of the last call. One entry for each: `{"code": "OK", "details": "", "answer": "call 0"}`.
    pub async fn outcomes(&mut self) -> Result<Vec<Value>> {
        let status =
            self.process.wait(LIMIT).await.map_err(|error| self.process.failure(&error.to_string()))?;
        if !status.success() {
            return Err(self.process.failure(&format!("ended with {status}")));
        }
        self.process.stdout().lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

/// Makes the calls and waits for the end of the last.
pub async fn call(
    python: &Path,
    node: &str,
    control_plane: SocketAddr,
    calls: &Calls<'_>,
) -> Result<Vec<Value>> {
    Client::start(python, node, control_plane, calls)?.outcomes().await
}
