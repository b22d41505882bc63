//! The two data planes every scenario can run over: our sidecar and real Envoy, started from the same bootstrap.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::client::h1::{Connection, Response, get_from};
use crate::netns::Place;
use crate::process::{Outputs, Process};
use crate::requirement::Missing;
use crate::{Result, binaries, bootstrap, envoy, wait};

const START_LIMIT: Duration = Duration::from_secs(20);

/// Which program carries the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataPlane {
    /// Our sidecar, `outrigger-proxy`.
    Outrigger,
    /// The pinned Envoy.
    Envoy,
}

impl DataPlane {
    /// Prepares a start; fails when this machine cannot have the program.
    pub fn launch(self) -> Result<Launch, Missing> {
        let program = match self {
            Self::Outrigger => binaries::path(binaries::PROXY)
                .map_err(|e| Missing::new(binaries::PROXY, e.to_string(), "make the workspace build"))?,
            Self::Envoy => envoy::binary()?,
        };
        Ok(Launch::of(self, &program))
    }
}

/// How a sidecar is to be started.
#[derive(Debug)]
pub struct Launch {
    plane: DataPlane,
    command: Command,
    place: Place,
    concurrency: u32,
    log_level: &'static str,
    outputs: Outputs,
}

impl Launch {
    /// Prepares a start of the data plane from a binary chosen by the caller.
    pub fn of(plane: DataPlane, program: &Path) -> Self {
        let mut command = Command::new(program);
        if plane == DataPlane::Envoy {
            // Its access log would otherwise wait up to ten seconds for company.
            command.args(["--disable-hot-restart", "--file-flush-interval-msec", "50"]);
        }
        Self {
            plane,
            command,
            place: Place::Host,
            concurrency: 1,
            log_level: "info",
            outputs: Outputs::default(),
        }
    }

    /// Worker threads, one unless set.
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// The level of its own log, `info` unless set.
    pub fn log_level(mut self, level: &'static str) -> Self {
        self.log_level = level;
        self
    }

    /// Lets it write its standard output there; it is captured otherwise.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.outputs.stdout = Some(stdout.into());
        self
    }

    /// Lets it write its own log there; it is captured otherwise.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.outputs.stderr = Some(stderr.into());
        self
    }

    /// Further arguments.
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// An environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs as this user and group, as interception rules that spare the sidecar's own user need.
    pub fn user(mut self, id: u32) -> Self {
        self.command.uid(id).gid(id);
        self
    }

    /// Runs in another network.
    pub fn place(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Starts from a bootstrap and waits until `/ready` says LIVE.
    pub async fn start(self, bootstrap: &Value) -> Result<Sidecar> {
        let mut sidecar = self.start_without_waiting(bootstrap).await?;
        sidecar.until_ready(START_LIMIT).await?;
        Ok(sidecar)
    }

    /// Starts as a proxy of a mesh, and waits until `/ready` says LIVE: ours from the environment that App Mesh's
    /// image is given, Envoy from a bootstrap. `node` is `mesh/<mesh>/virtualNode/<name>` or that of a gateway.
    pub async fn start_in_mesh(self, node: &str, control_plane: SocketAddr) -> Result<Sidecar> {
        if self.plane == DataPlane::Envoy {
            return self.start_as(node, control_plane, "DELTA_GRPC").await;
        }
        let mut sidecar = self.appear_in_mesh(node, control_plane).await?;
        sidecar.until_ready(START_LIMIT).await?;
        Ok(sidecar)
    }

    /// Starts ours from the environment that App Mesh's image is given, and waits only until the admin endpoint is known.
    pub async fn appear_in_mesh(self, node: &str, control_plane: SocketAddr) -> Result<Sidecar> {
        let launch = self.env("APPMESH_RESOURCE_ARN", node);
        let launch = launch.env("APPMESH_XDS_ENDPOINT", &control_plane.to_string());
        let launch = launch.env("ENVOY_ADMIN_ACCESS_PORT", "0");
        launch.start_with(tempfile::tempdir()?).await
    }

    /// Starts from a bootstrap as a proxy of a mesh, over this variant of the aggregated stream, and waits until
    /// `/ready` says LIVE.
    pub async fn start_as(self, node: &str, control_plane: SocketAddr, api_type: &str) -> Result<Sidecar> {
        self.start(&bootstrap::with_ads_as(node, control_plane, api_type)).await
    }

    /// Starts from a bootstrap and waits only until the admin endpoint is known.
    pub async fn start_without_waiting(mut self, bootstrap: &Value) -> Result<Sidecar> {
        let files = tempfile::tempdir()?;
        let config = files.path().join("bootstrap.json");
        std::fs::write(&config, serde_json::to_string_pretty(bootstrap)?)?;
        self.command.arg("-c").arg(&config);
        self.start_with(files).await
    }

    /// Starts with what is already among the arguments.
    async fn start_with(mut self, files: tempfile::TempDir) -> Result<Sidecar> {
        let admin = files.path().join("admin-address");
        open_to_all(files.path())?;
        self.command.arg("--admin-address-path").arg(&admin);
        let mut process = self.spawn()?;
        let address =
            wait::until("the admin address", START_LIMIT, || std::future::ready(known(&mut process, &admin)));
        match address.await? {
            Some(admin) => Ok(Sidecar { process, admin, place: self.place, _files: files }),
            None => Err(process.failure("ended at its start")),
        }
    }

    /// Runs to the end, for starts that must fail; returns the exit status and what it said on stderr.
    pub async fn run_to_end(mut self, arguments: &[&str], limit: Duration) -> Result<(ExitStatus, String)> {
        self.command.args(arguments);
        let mut process = self.spawn()?;
        let status = process.wait(limit).await.map_err(|e| process.failure(&e.to_string()))?;
        Ok((status, process.stderr()))
    }

    fn spawn(&mut self) -> Result<Process> {
        let mut command = std::mem::replace(&mut self.command, Command::new(""));
        command.args(["--log-level", self.log_level, "--concurrency", &self.concurrency.to_string()]);
        Process::spawn_writing_to(
            std::mem::take(&mut self.outputs),
            &format!("{:?}", self.plane),
            command,
            &self.place,
        )
    }
}

/// `Some(None)` once it has ended without one.
fn known(process: &mut Process, file: &Path) -> Option<Option<SocketAddr>> {
    let address = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
    match address {
        Some(address) => Some(Some(address)),
        None => process.ended().map(|_| None),
    }
}

/// The sidecar may run as another user.
fn open_to_all(directory: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777))?)
}

/// A running sidecar with its admin endpoint; killed when dropped.
#[derive(Debug)]
pub struct Sidecar {
    process: Process,
    admin: SocketAddr,
    place: Place,
    _files: tempfile::TempDir,
}

impl Sidecar {
    /// The process, for its output and signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Whether its log holds a text so far.
    pub fn said(&self, text: &str) -> bool {
        self.process.stderr().contains(text)
    }

    /// Where its admin endpoint listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Reads an admin page.
    pub async fn get(&self, path: &str) -> Result<Response> {
        get_from(&self.place, self.admin, "localhost", path).await
    }

    /// Posts to an admin page that changes something.
    pub async fn post(&self, path: &str) -> Result<Response> {
        let mut connection = Connection::open_from(&self.place, self.admin).await?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        connection.exchange(head).await
    }

    /// The value of a counter or gauge, 0 when it does not exist (yet).
    pub async fn stat(&self, name: &str) -> Result<u64> {
        let page = self.get("/stats").await?.text();
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok());
        Ok(value.unwrap_or(0))
    }

    /// Waits until a counter or gauge satisfies `holds`.
    pub async fn until_stat(&self, name: &str, holds: impl Fn(u64) -> bool) -> Result<u64> {
        let (limit, holds) = (Duration::from_secs(10), &holds);
        let check = || async move { self.stat(name).await.ok().filter(|value| holds(*value)) };
        let waited = wait::until(&format!("the stat {name}"), limit, check).await;
        match waited {
            Ok(value) => Ok(value),
            Err(error) => Err(format!("{error}, it is {}", self.stat(name).await?).into()),
        }
    }

    /// Waits for `/ready` to say LIVE.
    pub async fn until_ready(&mut self, limit: Duration) -> Result<()> {
        let start = std::time::Instant::now();
        while start.elapsed() < limit {
            if self.process.ended().is_some() {
                return Err(self.process.failure("ended at its start"));
            }
            if self.get("/ready").await.is_ok_and(|ready| ready.status == 200) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(self.process.failure(&format!("is not ready after {limit:?}")))
    }

    /// Asks it to drain and end, and waits for that.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(limit).await
    }
}

/// Makes two tests of each body `async fn(DataPlane) -> Result<()>`: `outrigger::name` and `envoy::name`.
///
/// Where a data plane cannot be had, its tests are recorded as not run.
#[macro_export]
macro_rules! on_both_data_planes {
    ($($body:ident),+ $(,)?) => {
        $crate::on_data_plane!(outrigger, Outrigger, $($body),+);
        $crate::on_data_plane!(envoy, Envoy, $($body),+);
    };
}

/// One half of [`on_both_data_planes`], for what only one data plane can do.
#[macro_export]
macro_rules! on_data_plane {
    ($module:ident, $plane:ident, $($body:ident),+ $(,)?) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $body() -> $crate::Result<()> {
                    let plane = $crate::data_plane::DataPlane::$plane;
                    match $crate::requirement::met(plane.launch()) {
                        Some(_) => super::$body(plane).await,
                        None => Ok(()),
                    }
                }
            )+
        }
    };
}
