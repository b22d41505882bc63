//! moto as a server, with an STS that checks signatures.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::client::h1;
use crate::netns::Place;
use crate::process::Process;
use crate::{Result, wait};

const SERVER: &str = include_str!("server.py");
const LIMIT: Duration = Duration::from_secs(40);

/// AWS's services on loopback; killed when dropped.
#[derive(Debug)]
pub struct Services {
    process: Process,
    said: Value,
}

/// A key of a role.
#[derive(Debug, Clone)]
pub struct RoleKey {
    /// Access key id.
    pub id: String,
    /// Secret.
    pub secret: String,
    /// Session token.
    pub token: String,
}

impl Services {
    /// The region that they are in.
    pub const REGION: &'static str = "eu-west-1";

    /// Starts them.
    pub async fn start(python: &Path) -> Result<Self> {
        let mut command = Command::new(python);
        command.args(["-c", SERVER]);
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_EC2_METADATA_DISABLED", "true");
        let process = Process::spawn("moto", command, &Place::Host)?;
        let said =
            || std::future::ready(process.stdout().lines().find_map(|line| serde_json::from_str(line).ok()));
        let said =
            wait::until("moto", LIMIT, said).await.map_err(|error| process.failure(&error.to_string()))?;
        Ok(Self { process, said })
    }

    /// STS, scheme and host.
    pub fn sts(&self) -> String {
        self.said["sts"].as_str().unwrap_or_default().to_owned()
    }

    /// Every service, scheme and host.
    pub fn endpoint(&self) -> String {
        self.said["moto"].as_str().unwrap_or_default().to_owned()
    }

    /// The ARN of an authority of AWS Private CA, with a root of its own.
    pub fn authority(&self) -> String {
        self.said["authority"].as_str().unwrap_or_default().to_owned()
    }

    /// The key of `front` or `back`, roles of the account 123456789012.
    pub fn role(&self, name: &str) -> RoleKey {
        let text = |part: &str| self.said["roles"][name][part].as_str().unwrap_or_default().to_owned();
        RoleKey { id: text("id"), secret: text("secret"), token: text("token") }
    }

    /// How often STS was asked who somebody is.
    pub async fn questions(&self) -> Result<u64> {
        let address = self.sts().trim_start_matches("http://").parse()?;
        Ok(h1::get(address, "sts", "/count").await?.text().parse()?)
    }

    /// What went wrong in there, for messages.
    pub fn log(&self) -> String {
        self.process.stderr()
    }
}
