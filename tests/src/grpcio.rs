//! gRPC's own library for Python, as published on PyPI, and clients with it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Result;
use crate::netns::Place;
use crate::process::Process;
use crate::python::Packages;
use crate::requirement::Missing;

const PACKAGES: Packages =
    Packages { main: "grpcio", requirements: include_str!("../grpcio-requirements.txt") };
const CALLS: &str = include_str!("grpcio/calls.py");
const LIMIT: Duration = Duration::from_secs(40);

/// The pinned version.
pub fn version() -> &'static str {
    PACKAGES.version()
}

/// A Python that has the library; made if it is not there yet.
pub fn python() -> Result<PathBuf, Missing> {
    PACKAGES.python()
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
