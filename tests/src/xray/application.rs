//! Applications with AWS's X-Ray SDK for Python.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::netns::Place;
use crate::ports::Port;
use crate::process::Process;
use crate::{Result, wait};

const PROGRAM: &str = include_str!("application.py");
const LIMIT: Duration = Duration::from_secs(30);

/// A running application; it ends when dropped.
#[derive(Debug)]
pub struct Application {
    port: Port,
    _process: Process,
}

impl Application {
    /// Starts one that passes each request on to these services, at these addresses of its sidecar, and sends its
    /// segments to `daemon`. One that calls nobody answers `.../fail`, `/bad`, `/busy` with 500, 404 and 429,
    /// `.../flaky` with 503 and 200 in turn, `.../slow` after a second, and everything else at once.
    pub async fn start(
        python: &Path,
        name: &str,
        daemon: SocketAddr,
        calls: &[(&str, SocketAddr)],
    ) -> Result<Self> {
        let port = Port::lease()?;
        let address = port.address();
        let given = json!({"name": name, "port": port.number(), "calls": calls});
        let mut command = Command::new(python);
        command.args(["-c", PROGRAM, &given.to_string()]);
        command.env("AWS_XRAY_DAEMON_ADDRESS", daemon.to_string());
        let process = Process::spawn(name, command, &Place::Host)?;
        let listens = || async move { tokio::net::TcpStream::connect(address).await.ok() };
        if let Err(error) = wait::until("an application", LIMIT, listens).await {
            return Err(process.failure(&error.to_string()));
        }
        Ok(Self { port, _process: process })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }
}
