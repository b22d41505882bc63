//! The proxies under test: each is given the same routing in its own words and started with one worker on its core.

mod floor;
mod haproxy;
mod nginx;
mod sidecar;
mod telling;

pub use floor::relay;

use sidecar::Features;
use telling::{Telling, Told};

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use outrigger_tests::client::{h1, h2};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::process::Process;
use outrigger_tests::requirement::Missing;
use outrigger_tests::{envoy, wait};
use rustix::process::Signal;
use serde::Serialize;

use crate::mutual::Mutual;
use crate::packages::{self, Tool};
use crate::scenario::{HEADER, HOST, Load, PREFIX, Protocol};
use crate::{Result, cores};

const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a proxy may take to end: nginx and Envoy wait for connections that the load has just closed.
const END_LIMIT: Duration = Duration::from_secs(20);

/// The names of the subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Name {
    /// Our sidecar.
    Outrigger,
    /// Our sidecar with everything that protects and resists configured, and nothing of it at work.
    Guarded,
    /// Our sidecar with 5 % of the requests traced to an X-Ray daemon and the default metrics told as EMF each second.
    Observed,
    /// Our sidecar with every request traced.
    Traced,
    /// Our sidecar with an access log of every request.
    Logged,
    /// Our sidecar relaying bytes, as it does for TCP listeners; it routes nothing.
    Bytes,
    /// The pinned Envoy, from the same bootstrap.
    Envoy,
    /// HAProxy, from a Debian package.
    Haproxy,
    /// nginx, from a Debian package; HTTP/1 only, as it has no HTTP/2 towards upstreams.
    Nginx,
    /// A relay of bytes that parses nothing: what the kernel alone costs.
    Floor,
}

impl Name {
    /// The name on the command line and in tables.
    pub fn text(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// A proxy this machine has.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Which one.
    pub name: Name,
    program: Program,
}

#[derive(Debug, Clone)]
enum Program {
    Sidecar(DataPlane, PathBuf, Features),
    Haproxy(Tool),
    Nginx(Tool),
    Floor,
}

/// Between what a proxy stands.
#[derive(Debug, Clone, Copy)]
pub struct Topology {
    /// The version on both sides.
    pub protocol: Protocol,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it sends.
    pub backend: SocketAddr,
}

impl Subject {
    /// Finds or fetches a proxy; `outrigger` is our binary where it is already built.
    pub fn find(name: Name, outrigger: Option<PathBuf>) -> Result<Self, Missing> {
        let ours = |features| {
            Ok::<_, Missing>(Program::Sidecar(
                DataPlane::Outrigger,
                sidecar::outrigger(outrigger.clone())?,
                features,
            ))
        };
        let program = match name {
            Name::Outrigger => ours(Features::None)?,
            Name::Guarded => ours(Features::Idle)?,
            Name::Observed => ours(Features::Telling(Told::SegmentsAndMetrics(5)))?,
            Name::Traced => ours(Features::Telling(Told::Segments(100)))?,
            Name::Logged => ours(Features::Telling(Told::Lines))?,
            Name::Bytes => ours(Features::Bytes)?,
            Name::Envoy => Program::Sidecar(DataPlane::Envoy, envoy::binary()?, Features::None),
            Name::Haproxy => Program::Haproxy(packages::tool("haproxy")?),
            Name::Nginx => Program::Nginx(packages::tool("nginx")?),
            Name::Floor => Program::Floor,
        };
        Ok(Self { name, program })
    }

    /// Whether it can do a load: nginx has no HTTP/2 towards upstreams, and mutual TLS is compared among sidecars.
    pub fn speaks(&self, load: &Load) -> bool {
        match load.mutual {
            true => self.sidecar().is_some(),
            false => load.protocol == Protocol::Http1 || self.name != Name::Nginx,
        }
    }

    fn routes_nothing(&self) -> bool {
        matches!(self.name, Name::Floor | Name::Bytes)
    }

    /// The sidecar's plane and binary, for scenarios that only sidecars can do.
    pub fn sidecar(&self) -> Option<(DataPlane, &PathBuf)> {
        match &self.program {
            Program::Sidecar(plane, path, _) => Some((*plane, path)),
            _ => None,
        }
    }

    /// The same with its program run by another one, which `wrap` makes.
    pub fn through(&self, wrap: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<Self> {
        let program = match &self.program {
            Program::Sidecar(plane, path, features) => Program::Sidecar(*plane, wrap(path)?, *features),
            other => other.clone(),
        };
        Ok(Self { name: self.name, program })
    }

    /// Starts it on its core in front of `backend`, and checks that it routes as it must.
    pub fn start(&self, protocol: Protocol, backend: SocketAddr, mutual: Option<&Mutual>) -> Result<Running> {
        let port = Port::lease()?;
        let topology = Topology { protocol, listen: port.address(), backend };
        let process = cores::on(cores::PROXY, || match &self.program {
            Program::Sidecar(plane, path, features) => {
                let (sidecar, telling) = sidecar::start(*plane, path, &topology, *features, mutual)?;
                Ok(Kind::Sidecar { sidecar: Box::new(sidecar), _telling: telling })
            }
            Program::Haproxy(tool) => start(haproxy::command(tool, &topology)?, &topology),
            Program::Nginx(tool) => start(nginx::command(tool, &topology)?, &topology),
            Program::Floor => start(floor::command(&topology)?, &topology),
        });
        let mut running = Running { kind: process?, port };
        let verified = block_on(verify(&topology, self.routes_nothing(), mutual));
        verified.map_err(|e| running.process().failure(&format!("does not route as it must: {e}")))?;
        Ok(running)
    }
}

/// A started proxy; ended when dropped.
#[derive(Debug)]
pub struct Running {
    kind: Kind,
    port: Port,
}

#[derive(Debug)]
enum Kind {
    Sidecar { sidecar: Box<Sidecar>, _telling: Option<Telling> },
    Plain { process: Process, _files: tempfile::TempDir },
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its first process.
    pub fn process(&mut self) -> &mut Process {
        match &mut self.kind {
            Kind::Sidecar { sidecar, .. } => sidecar.process(),
            Kind::Plain { process, .. } => process,
        }
    }
}

/// Ends a proxy as an operator would, so that it can write what it writes last: its profile, when it is built for one.
pub fn end(process: &mut Process) -> Result<()> {
    process.signal(Signal::TERM)?;
    block_on(process.wait(END_LIMIT))?;
    Ok(())
}

fn start((command, files): (Command, tempfile::TempDir), topology: &Topology) -> Result<Kind> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut process = Process::spawn(&name, command, &Place::Host)?;
    let listens = || {
        let ended = process.ended().is_some();
        std::future::ready((ended || std::net::TcpStream::connect(topology.listen).is_ok()).then_some(ended))
    };
    match block_on(wait::until("the proxy to listen", START_LIMIT, listens)) {
        Ok(false) => Ok(Kind::Plain { process, _files: files }),
        _ => Err(process.failure("did not start")),
    }
}

/// The route must depend on host, path and header: what misses one of them must not reach the backend.
async fn verify(topology: &Topology, everything_passes: bool, mutual: Option<&Mutual>) -> Result<()> {
    let path = format!("{PREFIX}x");
    let cases = [
        (HOST, path.as_str(), HEADER.1),
        ("other.local", &path, HEADER.1),
        (HOST, "/", HEADER.1),
        (HOST, &path, "odd"),
    ];
    for (index, (host, path, value)) in cases.into_iter().enumerate() {
        let reached = match topology.protocol {
            Protocol::Http1 => {
                let connection = match mutual {
                    Some(mutual) => mutual.connect(topology.listen).await?,
                    None => h1::Connection::open(topology.listen).await?,
                };
                reaches_h1(connection, host, path, value).await?
            }
            Protocol::Http2 => reaches_h2(topology.listen, host, path, value).await?,
        };
        if reached != (index == 0 || everything_passes) {
            return Err(format!("{host} {path} {}: {value} reached the backend: {reached}", HEADER.0).into());
        }
    }
    Ok(())
}

async fn reaches_h1(mut to: h1::Connection, host: &str, path: &str, value: &str) -> Result<bool> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{}: {value}\r\n\r\n", HEADER.0);
    let response = to.exchange(head).await?;
    Ok(response.status == 200 && response.header("x-backend") == Some("yes"))
}

async fn reaches_h2(at: SocketAddr, host: &str, path: &str, value: &str) -> Result<bool> {
    let mut request = h2::get(host, path)?;
    request.headers_mut().insert(HEADER.0, value.parse()?);
    let response = h2::Connection::open(at).await?.exchange(request).await?;
    Ok(response.status == 200 && response.headers.contains_key("x-backend"))
}

/// Runs the short asynchronous parts around the synchronous load.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
