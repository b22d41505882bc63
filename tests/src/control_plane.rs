//! Our control plane as a process: definitions in a directory of its own, edits, what `/nodes` says, kills, restarts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::h1;
use crate::netns::Place;
use crate::ports::Port;
use crate::process::Process;
use crate::{Result, binaries, wait};

const LIMIT: Duration = Duration::from_secs(20);

/// `outrigger serve`, killed when dropped. Its addresses stay the same over restarts.
#[derive(Debug)]
pub struct ControlPlane {
    process: Process,
    launch: Launch,
}

/// How it is to be started.
#[derive(Debug)]
pub struct Launch {
    directory: TempDir,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    place: Place,
    host: IpAddr,
    xds: Port,
    admin: Port,
}

impl Launch {
    /// Prepares to serve one file of definitions on loopback.
    pub fn of(definitions: &str) -> Result<Self> {
        let launch = Self {
            directory: tempfile::tempdir()?,
            arguments: Vec::new(),
            variables: Vec::new(),
            place: Place::Host,
            host: Ipv4Addr::LOCALHOST.into(),
            xds: Port::lease()?,
            admin: Port::lease()?,
        };
        std::fs::create_dir(launch.directory.path().join("definitions"))?;
        launch.write("mesh.yaml", definitions)?;
        Ok(launch)
    }

    /// Further arguments.
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Serves in another network, on all its addresses.
    pub fn place(mut self, place: Place) -> Self {
        self.place = place;
        self.host = Ipv4Addr::UNSPECIFIED.into();
        self.args(["--insecure-plaintext-xds"])
    }

    /// Starts and waits until it serves.
    pub async fn start(self) -> Result<ControlPlane> {
        let process = self.spawn()?;
        let mut plane = ControlPlane { process, launch: self };
        plane.until_serving().await?;
        Ok(plane)
    }

    /// Writes a file of definitions at once, as an editor does.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let staged = self.directory.path().join("staged");
        std::fs::write(&staged, text)?;
        Ok(std::fs::rename(staged, self.definitions().join(name))?)
    }

    fn definitions(&self) -> PathBuf {
        self.directory.path().join("definitions")
    }

    fn addresses(&self) -> PathBuf {
        self.directory.path().join("addresses")
    }

    fn spawn(&self) -> Result<Process> {
        let mut command = Command::new(binaries::path(binaries::CONTROL_PLANE)?);
        command.arg("serve").arg(self.definitions()).arg("--address-file").arg(self.addresses());
        let at = |port: &Port| SocketAddr::new(self.host, port.number()).to_string();
        command.args(["--xds", &at(&self.xds), "--admin", &at(&self.admin)]).args(&self.arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let _ = std::fs::remove_file(self.addresses());
        Process::spawn("outrigger serve", command, &self.place)
    }
}

impl ControlPlane {
    /// The process, for its output and signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Where discovery clients connect, from inside its network.
    pub fn xds(&self) -> SocketAddr {
        self.launch.xds.address()
    }

    /// Where its admin endpoint listens, from inside its network.
    pub fn admin(&self) -> SocketAddr {
        self.launch.admin.address()
    }

    /// Replaces the definitions, or adds a file to them.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        self.launch.write(name, text)
    }

    /// Reads a file of the definitions.
    pub fn read(&self, name: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.launch.definitions().join(name))?)
    }

    /// Reads a page of its admin endpoint.
    pub async fn get(&self, path: &str) -> Result<h1::Response> {
        h1::get_from(&self.launch.place, self.launch.admin.address(), "localhost", path).await
    }

    /// The streams of a node as `/nodes` shows them.
    pub async fn node(&self, id: &str) -> Result<Vec<Value>> {
        let page = self.get("/nodes").await?.json()?;
        let nodes = page["nodes"].as_array().cloned().unwrap_or_default();
        Ok(nodes.into_iter().filter(|node| node["node_id"] == id).collect())
    }

    /// Waits until the node has accepted all types that it asked for, clusters and listeners among them; the
    /// versions by type.
    pub async fn until_accepted(&self, id: &str) -> Result<Value> {
        let check = || async move {
            let types = self.node(id).await.ok()?.pop()?["types"].clone();
            let statuses = types.as_object()?.values().map(|kind| kind["status"] == "ACK");
            let complete = types["CDS"].is_object() && types["LDS"].is_object();
            (complete && statuses.into_iter().all(|accepted| accepted)).then_some(types)
        };
        let waited = wait::until(&format!("{id} to accept everything"), LIMIT, check).await;
        match waited {
            Ok(types) => Ok(types),
            Err(error) => {
                let shown = self.node(id).await;
                Err(self.process.failure(&format!("{error}; /nodes says {shown:#?}")))
            }
        }
    }

    /// Waits for a line on stderr with this text; the first such line.
    pub async fn until_says(&mut self, text: &str) -> Result<String> {
        let process = &self.process;
        let find = || {
            let said = process.stderr();
            // The last line may be half written still.
            let mut whole = said.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            std::future::ready(whole.find(|line| line.contains(text)).map(str::to_owned))
        };
        let found = wait::until(&format!("{text:?} on stderr"), LIMIT, find).await;
        found.map_err(|error| self.process.failure(&error.to_string()))
    }

    /// Kills it, without any goodbye.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(LIMIT).await.map(drop)
    }

    /// Starts it again on the same addresses, and waits until it serves.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = self.launch.spawn()?;
        self.until_serving().await
    }

    async fn until_serving(&mut self) -> Result<()> {
        let (file, process) = (self.launch.addresses(), &mut self.process);
        let check = || {
            let bound = file.exists().then_some(true);
            std::future::ready(bound.or_else(|| process.ended().map(|_| false)))
        };
        match wait::until("the control plane's addresses", LIMIT, check).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.process.failure("ended at its start")),
            Err(error) => Err(self.process.failure(&error.to_string())),
        }
    }
}
