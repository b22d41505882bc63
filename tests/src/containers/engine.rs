//! The local container engine through its command line, and what a run has made of it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::process::Command;

use crate::requirement::Missing;
use crate::{Result, wait};

const ENGINE: &str = "docker";
/// An engine that does not say who it is by then is not running.
const PRESENT: Duration = Duration::from_secs(20);
/// Any one command; builds copy programs of some 100 MB.
const LIMIT: Duration = Duration::from_secs(300);

/// The engine, and what this run made there. All of that is removed when this is dropped.
#[derive(Debug)]
pub struct Engine {
    run: String,
    made: Mutex<Made>,
}

#[derive(Debug, Default)]
struct Made {
    containers: Vec<String>,
    networks: Vec<String>,
    images: Vec<String>,
}

impl Engine {
    /// Finds a running engine.
    pub async fn connect() -> Result<Self, Missing> {
        let missing = |why: String, how: &str| Missing::new("a container engine", why, how);
        let mut command = Command::new(ENGINE);
        command.args(["version", "--format", "{{.Server.Os}}"]).stdin(Stdio::null()).kill_on_drop(true);
        let output = match wait::within("docker version", PRESENT, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => {
                let how = "install Docker and run the tests as root or as a member of group docker";
                return Err(missing(format!("cannot run {ENGINE}: {error}"), how));
            }
            Err(error) => return Err(missing(error.to_string(), "restart the engine")),
        };
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(missing(why, "start it: `systemctl start docker`, or `dockerd &` as root"));
        }
        let system = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if system != "linux" {
            return Err(missing(
                format!("it runs {system} containers"),
                "use an engine with Linux containers",
            ));
        }
        let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let run = format!("outrigger-test-{}-{nanos}", std::process::id());
        Ok(Self { run, made: Mutex::default() })
    }

    /// Runs one command of the engine; returns its stdout. A failure carries what it said.
    pub async fn docker<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        let (said, output) = self.attempt(arguments).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8_lossy(&output.stdout);
        Err(format!("`{said}` ended with {}:\n{}\n{}", output.status, stderr.trim(), stdout.trim()).into())
    }

    /// Runs one command that may fail.
    async fn attempt<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<(String, Output)> {
        let mut command = Command::new(ENGINE);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let said = format!("{:?}", command.as_std());
        let output = wait::within(&said, LIMIT, command.output()).await??;
        Ok((said, output))
    }

    /// A private network.
    pub async fn network(&self) -> Result<String> {
        let name = self.name("network");
        self.note(|made| made.networks.push(name.clone()));
        self.docker(["network", "create", &name]).await?;
        Ok(name)
    }

    /// An image out of a tar archive of a file system.
    pub async fn import(&self, archive: &Path, part: &str) -> Result<String> {
        let name = self.image(part);
        self.docker([OsStr::new("import"), archive.as_os_str(), OsStr::new(&name)]).await?;
        Ok(name)
    }

    /// Builds an image from the Dockerfile at `file` of `context`; `arguments` are further ones of `docker build`.
    pub async fn build(
        &self,
        part: &str,
        context: &Path,
        file: &str,
        arguments: &[String],
    ) -> Result<String> {
        let name = self.image(part);
        let file = context.join(file).to_string_lossy().into_owned();
        let mut command: Vec<String> =
            ["build", "--network", "none", "--force-rm", "-t", &name, "-f", &file].map(str::to_owned).into();
        command.extend_from_slice(arguments);
        command.push(context.to_string_lossy().into_owned());
        match self.docker(command).await {
            Ok(_) => Ok(name),
            Err(error) => {
                let steps = finished_steps(&error.to_string());
                self.note(|made| made.images.extend(steps));
                Err(error)
            }
        }
    }

    /// The size of an image in bytes.
    pub async fn size(&self, image: &str) -> Result<u64> {
        Ok(self.docker(["image", "inspect", "--format", "{{.Size}}", image]).await?.parse()?)
    }

    /// Creates a container without starting it; `arguments` are options, the image and its arguments.
    pub async fn create(&self, part: &str, arguments: &[String]) -> Result<Container<'_>> {
        let name = self.name(part);
        self.note(|made| made.containers.push(name.clone()));
        let mut command = vec!["create".to_owned(), "--name".to_owned(), name.clone()];
        command.extend_from_slice(arguments);
        self.docker(command).await?;
        Ok(Container { engine: self, name })
    }

    /// Creates and starts a container.
    pub async fn start(&self, part: &str, arguments: &[String]) -> Result<Container<'_>> {
        let container = self.create(part, arguments).await?;
        container.start().await?;
        Ok(container)
    }

    /// `result`, and with an error what every container said.
    pub async fn explained<T>(&self, result: Result<T>) -> Result<T> {
        let Err(error) = result else { return result };
        let names = self.note(|made| made.containers.clone());
        let mut text = error.to_string();
        for name in names {
            let said = Container { engine: self, name: name.clone() }.logs().await.unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n");
            text = format!("{text}\n--- {name}\n{tail}");
        }
        Err(text.into())
    }

    fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.run)
    }

    fn image(&self, part: &str) -> String {
        let name = self.name(part);
        self.note(|made| made.images.push(name.clone()));
        name
    }

    fn note<T>(&self, what: impl FnOnce(&mut Made) -> T) -> T {
        what(&mut self.made.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Made { containers, networks, images } = self.note(std::mem::take);
        if std::thread::panicking() {
            containers.iter().for_each(|name| print_logs(name));
        }
        // Users of a thing before the thing: containers that join another's network were made after it.
        remove(&["rm", "--force", "--volumes"], containers.iter().rev());
        remove(&["network", "rm"], networks.iter());
        remove(&["rmi", "--force"], images.iter().rev());
    }
}

/// For assertions, which [`Engine::explained`] does not see.
fn print_logs(name: &str) {
    let mut docker = std::process::Command::new(ENGINE);
    if let Ok(output) = docker.args(["logs", "--tail", "30", name]).stdin(Stdio::null()).output() {
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        eprintln!("--- {name}\n{out}{err}");
    }
}

/// The images that a failed build leaves behind without a name, as an engine without BuildKit reports them.
fn finished_steps(output: &str) -> Vec<String> {
    output.lines().filter_map(|line| line.trim().strip_prefix("---> ")).map(str::to_owned).collect()
}

/// What was noted may never have come to be, so a refusal means nothing.
fn remove<'a>(command: &[&str], names: impl Iterator<Item = &'a String>) {
    for name in names {
        let mut docker = std::process::Command::new(ENGINE);
        docker.args(command).arg(name);
        let _ = docker.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// A container of this run.
#[derive(Debug)]
pub struct Container<'e> {
    engine: &'e Engine,
    name: String,
}

impl Container<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Copies a file of this machine into it.
    pub async fn copy(&self, from: &Path, to: &str) -> Result<()> {
        let to = format!("{}:{to}", self.name);
        self.engine.docker([OsStr::new("cp"), from.as_os_str(), OsStr::new(&to)]).await.map(drop)
    }

    /// Starts it.
    pub async fn start(&self) -> Result<()> {
        self.engine.docker(["start", &self.name]).await.map(drop)
    }

    /// Waits for its end; returns the exit code.
    pub async fn wait(&self) -> Result<i32> {
        Ok(self.engine.docker(["wait", &self.name]).await?.parse()?)
    }

    /// Runs a command in it as its user; returns stdout.
    pub async fn exec(&self, command: &[&str]) -> Result<String> {
        self.engine.docker([&["exec", &self.name], command].concat()).await
    }

    /// Asks it to end and returns its exit code; 137 when it had to be killed after `seconds`.
    pub async fn stop(&self, seconds: u32) -> Result<i32> {
        self.engine.docker(["stop", "-t", &seconds.to_string(), &self.name]).await?;
        self.wait().await
    }

    /// Freezes all its processes.
    pub async fn pause(&self) -> Result<()> {
        self.engine.docker(["pause", &self.name]).await.map(drop)
    }

    /// Lets them go on.
    pub async fn unpause(&self) -> Result<()> {
        self.engine.docker(["unpause", &self.name]).await.map(drop)
    }

    /// What the engine knows of it, by a Go template.
    pub async fn inspect(&self, template: &str) -> Result<String> {
        self.engine.docker(["inspect", "--format", template, &self.name]).await
    }

    /// Whether it has started and not ended.
    pub async fn is_running(&self) -> bool {
        self.inspect("{{.State.Running}}").await.is_ok_and(|running| running == "true")
    }

    /// The address on this machine at which one of its ports is published.
    pub async fn published(&self, port: u16) -> Result<std::net::SocketAddr> {
        let text = self.engine.docker(["port", &self.name, &format!("{port}/tcp")]).await?;
        let first = text.lines().next().unwrap_or_default();
        first.parse().map_err(|error| format!("{first:?} is no address: {error}").into())
    }

    /// Everything it wrote so far, both streams.
    pub async fn logs(&self) -> Result<String> {
        let (_, output) = self.engine.attempt(["logs", &self.name]).await?;
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        Ok(format!("{out}{err}"))
    }
}
