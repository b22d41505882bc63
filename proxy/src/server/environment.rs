//! The App Mesh image's environment, and our own `OUTRIGGER_*` variables, as settings and an Envoy bootstrap.
//!
//! Parsing follows the image's agent: values are trimmed, empty means unset, booleans are Go's
//! (`1 t T TRUE true True`, `0 f F FALSE false False`), integers are decimal, anything else stops the start with the
//! variable's name. Variables that the agent itself reads (drain time, polling) take their default instead.

mod bootstrap;
mod control_plane;
mod emf;
mod endpoint;
mod identity;
mod known;
mod merge;
mod otlp;
mod outrigger;
mod tracing;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use outrigger_aws_auth::caller::Caller;

pub use bootstrap::{Found, GENERATED, bootstrap_text};
pub use otlp::{otlp, otlp_cluster};
pub use tracing::options as tracing_options;

#[cfg(test)]
mod tests;

/// Where the image puts the admin socket with `ENVOY_ADMIN_MODE=uds`.
const ADMIN_SOCKET: &str = "/tmp/envoy_admin.sock";
/// Default admin port.
const ADMIN_PORT: u16 = 9901;
/// Drain time without `LISTENER_DRAIN_WAIT_TIME_S`, seconds.
const DRAIN_SECONDS: u64 = 20;

/// Where variables come from: the process, or a table in tests.
pub trait Variables {
    /// The value of `name`, trimmed; `None` when unset or empty.
    fn get(&self, name: &str) -> Option<String>;
    /// Every variable's name.
    fn names(&self) -> Vec<String>;
}

/// The environment of this process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessVariables;

impl Variables for ProcessVariables {
    fn get(&self, name: &str) -> Option<String> {
        let value = std::env::var(name).ok()?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
    }
}

/// A variable that stops the start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {name}: {message}")]
pub struct VariableError {
    /// Which.
    pub name: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl VariableError {
    /// An error about `name`.
    pub fn new(name: &str, message: impl Into<String>) -> Self {
        Self { name: name.to_owned(), message: message.into() }
    }
}

/// Where the admin endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminBind {
    /// TCP.
    Tcp(SocketAddr),
    /// Unix socket, mode 0600.
    Unix(PathBuf),
}

impl fmt::Display for AdminBind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminBind::Tcp(address) => address.fmt(f),
            AdminBind::Unix(path) => path.display().fmt(f),
        }
    }
}

/// What applies with any kind of bootstrap.
#[derive(Clone, Debug)]
pub struct ProcessSettings {
    /// `OUTRIGGER_ADMIN_ADDRESS`.
    pub admin_override: Option<SocketAddr>,
    /// `ENVOY_ADMIN_ACCESS_ENABLE_IPV6`: an admin endpoint on the loopback of IPv4 answers on that of IPv6 as well.
    pub admin_ipv6: bool,
    /// `OUTRIGGER_WORKERS`, else `ENVOY_CONCURRENCY`.
    pub workers: Option<u32>,
    /// `OUTRIGGER_XDS_TOKEN_FILE`: what the control plane is shown.
    pub xds_token_file: Option<PathBuf>,
    /// `OUTRIGGER_XDS_AWS_AUDIENCE`: the AWS identity that the control plane is shown.
    pub xds_aws: Option<Caller>,
    /// `OUTRIGGER_STRICT_TLS`: TLS towards hosts that nobody verifies is an error.
    pub strict_tls: bool,
    /// `OUTRIGGER_CORE_DUMPS`: the process' memory, and the keys in it, may be dumped.
    pub core_dumps: bool,
    /// `ENVOY_LOG_LEVEL`.
    pub log_level: Option<String>,
    /// `LISTENER_DRAIN_WAIT_TIME_S`, 5..=110, default 20.
    pub drain_time: Duration,
    /// `OUTRIGGER_EMF*`; `None` is off.
    pub emf: Option<crate::observe::emf::Settings>,
    /// `APPMESH_METRIC_EXTENSION_VERSION=1`: App Mesh's metrics beside Envoy's statistics.
    pub metrics_extension: bool,
    /// `OUTRIGGER_CLUSTER_NAME`: ECS or EKS cluster, where the platform does not tell.
    pub cluster_name: Option<String>,
    /// `ECS_CONTAINER_METADATA_URI_V4`.
    pub ecs_metadata: Option<String>,
    /// Accepted and without effect, for the log.
    pub warnings: Vec<String>,
}

/// Reads what applies with any kind of bootstrap, and refuses unknown `OUTRIGGER_*` variables.
pub fn process_settings(variables: &dyn Variables) -> Result<ProcessSettings, VariableError> {
    let mut warnings = Vec::new();
    let own = outrigger::read(variables, &mut warnings)?;
    known::agent(variables, &mut warnings);
    Ok(ProcessSettings {
        admin_override: own.admin_address,
        admin_ipv6: boolean(variables, "ENVOY_ADMIN_ACCESS_ENABLE_IPV6")?.unwrap_or(false),
        workers: own.workers.or(concurrency(variables)?),
        xds_token_file: variables.get("OUTRIGGER_XDS_TOKEN_FILE").map(PathBuf::from),
        xds_aws: control_plane::aws_identity(variables)?,
        strict_tls: own.strict_tls,
        core_dumps: own.core_dumps,
        log_level: variables.get("ENVOY_LOG_LEVEL"),
        drain_time: drain_time(variables),
        emf: own.emf,
        metrics_extension: metrics_extension(variables),
        cluster_name: own.cluster_name,
        ecs_metadata: variables.get("ECS_CONTAINER_METADATA_URI_V4"),
        warnings,
    })
}

/// -1, the image's default, leaves the choice to us.
fn concurrency(variables: &dyn Variables) -> Result<Option<u32>, VariableError> {
    const NAME: &str = "ENVOY_CONCURRENCY";
    match integer(variables, NAME)? {
        None | Some(-1) => Ok(None),
        Some(count @ 1..=1024) => Ok(u32::try_from(count).ok()),
        Some(count) => Err(VariableError::new(
            NAME,
            format!("{count} is not a number of threads, 1 to 1024, or -1 for ours"),
        )),
    }
}

fn drain_time(variables: &dyn Variables) -> Duration {
    let seconds = variables.get("LISTENER_DRAIN_WAIT_TIME_S").and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.filter(|seconds| (5..=110).contains(seconds)).unwrap_or(DRAIN_SECONDS))
}

/// The admin endpoint as the App Mesh variables place it; loopback unless told otherwise.
pub fn admin_bind(variables: &dyn Variables) -> Result<AdminBind, VariableError> {
    match variables.get("ENVOY_ADMIN_MODE").as_deref() {
        Some("uds") => return Ok(AdminBind::Unix(PathBuf::from(ADMIN_SOCKET))),
        Some("tcp") | None => {}
        Some(other) => {
            return Err(VariableError::new("ENVOY_ADMIN_MODE", format!("{other:?} is neither tcp nor uds")));
        }
    }
    Ok(AdminBind::Tcp((Ipv4Addr::LOCALHOST, admin_port(variables)?).into()))
}

fn admin_port(variables: &dyn Variables) -> Result<u16, VariableError> {
    const NAME: &str = "ENVOY_ADMIN_ACCESS_PORT";
    let port = integer(variables, NAME)?.unwrap_or(ADMIN_PORT.into());
    u16::try_from(port).map_err(|_| VariableError::new(NAME, format!("{port} is not a port")))
}

/// Other values than 1 were ignored by the image.
fn metrics_extension(variables: &dyn Variables) -> bool {
    variables.get("APPMESH_METRIC_EXTENSION_VERSION").as_deref() == Some("1")
}

/// A boolean in the agent's spelling.
fn boolean(variables: &dyn Variables, name: &str) -> Result<Option<bool>, VariableError> {
    match variables.get(name).as_deref() {
        None => Ok(None),
        Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(Some(false)),
        Some(other) => Err(VariableError::new(name, format!("{other:?} is not a boolean; use 1 or 0"))),
    }
}

/// A decimal integer.
fn integer(variables: &dyn Variables, name: &str) -> Result<Option<i64>, VariableError> {
    let parse = |text: String| {
        text.parse().map_err(|_| VariableError::new(name, format!("{text:?} is not a whole number")))
    };
    variables.get(name).map(parse).transpose()
}
