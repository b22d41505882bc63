//! A task as ECS runs it in network mode awsvpc: one network namespace for all containers of the task, held by a
//! container of its own, interception set up there before anything starts, the application after the healthy sidecar.

use std::path::Path;
use std::time::Duration;

use super::engine::{Container, Engine};
use super::images::Images;
use super::task_definition::ContainerDefinition;
use crate::client::h1::Connection;
use crate::{Result, wait};

const HEALTHY: Duration = Duration::from_secs(60);

/// What a task consists of.
#[derive(Debug)]
pub struct Plan<'p> {
    /// Part of the containers' names.
    pub name: &'p str,
    /// The network, and the task's name there.
    pub network: &'p str,
    /// The name that others resolve.
    pub alias: &'p str,
    /// The port of the application.
    pub port: u16,
    /// The rules to set up.
    pub interception: &'p [(String, String)],
    /// The sidecar.
    pub sidecar: ContainerDefinition<'p>,
    /// Further options of the sidecar's container.
    pub options: &'p [&'p str],
    /// The health check to wait for, before the application starts.
    pub health_check: &'p str,
    /// The application: a program of this machine, and its arguments.
    pub application: (&'p Path, &'p [&'p str]),
}

/// A running task.
#[derive(Debug)]
pub struct Task<'e> {
    /// Holds the network.
    pub pause: Container<'e>,
    /// The proxy.
    pub sidecar: Container<'e>,
    /// The application.
    pub application: Container<'e>,
}

impl<'e> Task<'e> {
    /// Starts everything in ECS's order.
    pub async fn start(engine: &'e Engine, images: &Images, plan: &Plan<'_>) -> Result<Self> {
        let part = |kind: &str| format!("{}-{kind}", plan.name);
        let publish = format!("127.0.0.1::{}", plan.port);
        let pause = ["--network", plan.network, "--network-alias", plan.alias, "--publish", &publish];
        let pause = arguments(&pause, &images.base, &["sleep", "infinity"]);
        let pause = engine.start(&part("pause"), &pause).await?;
        let join = format!("container:{}", pause.name());

        let mut init = words(&["--network", &join, "--cap-add", "NET_ADMIN"]);
        init.extend(variables(plan.interception));
        init.push(images.interception.clone());
        let init = engine.start(&part("init"), &init).await?;
        let code = init.wait().await?;
        if code != 0 {
            return Err(format!("the rules were not set up: exit code {code}, {}", init.logs().await?).into());
        }

        let sidecar = sidecar(engine, &part("sidecar"), &join, images, plan).await?;
        until_healthy(&sidecar, plan.health_check).await?;

        let (program, words) = plan.application;
        let application =
            arguments(&["--network", &join], &images.base, &[&["/application"], words].concat());
        let application = engine.create(&part("app"), &application).await?;
        application.copy(program, "/application").await?;
        application.start().await?;
        let task = Self { pause, sidecar, application };
        task.until_serving(plan.port).await?;
        Ok(task)
    }

    /// A connection of a client outside the mesh to the application's port.
    pub async fn connect(&self, port: u16) -> Result<Connection> {
        Connection::open(self.pause.published(port).await?).await
    }

    /// An admin page of the sidecar, which listens inside the task only.
    pub async fn admin(&self, path: &str) -> Result<String> {
        self.sidecar.exec(&["curl", "-s", "--max-time", "5", &format!("http://localhost:9901{path}")]).await
    }

    /// A counter or gauge of the sidecar, 0 when it does not exist.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        let page = self.admin("/stats").await?;
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok());
        Ok(value.unwrap_or(0))
    }

    /// Waits for the application itself, inside its task, where nothing is intercepted.
    async fn until_serving(&self, port: u16) -> Result<()> {
        let address = format!("http://127.0.0.1:{port}/");
        let asked = || async {
            self.sidecar.exec(&["curl", "-sf", "-o", "/dev/null", "--max-time", "5", &address]).await.ok()
        };
        wait::until("the application", HEALTHY, asked).await.map(drop)
    }
}

async fn sidecar<'e>(
    engine: &'e Engine,
    part: &str,
    join: &str,
    images: &Images,
    plan: &Plan<'_>,
) -> Result<Container<'e>> {
    // The image's own health check, only more often.
    let mut options = words(&["--network", join, "--health-interval", "1s"]);
    if let Some(user) = plan.sidecar.user() {
        options.extend(words(&["--user", user]));
    }
    options.extend(words(plan.options));
    options.extend(variables(&plan.sidecar.environment()));
    options.push(images.proxy.clone());
    options.extend(plan.sidecar.command());
    engine.start(part, &options).await
}

/// Waits until a health check that was written for the shell succeeds in a container.
pub async fn until_healthy(container: &Container<'_>, check: &str) -> Result<()> {
    let what = format!("`{check}` in {}", container.name());
    let attempt = || async {
        match container.exec(&["sh", "-c", check]).await {
            Ok(_) => Some(Ok(())),
            Err(_) if container.is_running().await => None,
            Err(error) => Some(Err(error)),
        }
    };
    wait::until(&what, HEALTHY, attempt).await?
}

/// Options, an image and its arguments, in the engine's order.
pub fn arguments(options: &[&str], image: &str, command: &[&str]) -> Vec<String> {
    words(&[options, &[image], command].concat())
}

fn variables(pairs: &[(String, String)]) -> Vec<String> {
    pairs.iter().flat_map(|(name, value)| ["--env".to_owned(), format!("{name}={value}")]).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
