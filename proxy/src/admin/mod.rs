//! Envoy's admin interface: statistics, configuration and state as text and JSON, and the commands that
//! operators and orchestrators send.
//!
//! Owns the endpoints and their exact output. What it shows and what it commands belongs to others: the
//! server hands in an [`AdminState`]. Everything here runs on the main runtime, never on a worker.
//! Source: Envoy's admin documentation and `envoy.admin.v3`; outputs compared with Envoy 1.40.

mod clusters;
mod dump;
mod endpoints;
mod explain;
mod guard;
mod home;
mod info;
mod listeners;
mod log;
pub mod logging;
mod query;
mod reply;
pub mod server;
mod stats;
mod tap;
#[cfg(test)]
pub(crate) mod test_world;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::base::drain::DrainScope;
use crate::config::publish::Subscriber;
use crate::observe::collect::Collector;
use crate::observe::mesh::Totals;
use crate::stats::registry::Registry;
use crate::stats::tags::StatsConfig;
use logging::LogLevels;

/// Everything the endpoints look at and command.
pub struct AdminState {
    /// Statistics.
    pub registry: Registry,
    /// Tags, matcher and bucket bounds of the exposition.
    pub stats_config: Arc<StatsConfig>,
    /// App Mesh's metrics, when they are on.
    pub mesh: Option<Totals>,
    /// Refreshes the gauges that are computed, before they are read.
    pub collector: Arc<Collector>,
    /// Listeners, clusters and hosts as the workers see them.
    pub snapshots: Subscriber,
    /// Constants of the process.
    pub info: ServerInfo,
    /// State of the process and its commands.
    pub process: Arc<dyn Process>,
    /// Configuration resources.
    pub config: Arc<dyn ConfigView>,
    /// Log levels.
    pub logging: LogLevels,
}

/// Constants of the process for `/server_info`.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// In Envoy's form: `revision/version/status/build/library`.
    pub version: String,
    /// When the process started.
    pub started: Instant,
    /// `command_line_options` as proto3 JSON of `envoy.admin.v3.CommandLineOptions`.
    pub command_line_options: Value,
    /// `node` as proto3 JSON of `envoy.config.core.v3.Node`.
    pub node: Value,
}

/// `envoy.admin.v3.ServerInfo.State`; the numbers are those of the `server.state` gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ServerState {
    /// Serving.
    Live = 0,
    /// Health checks fail on purpose, or the process is ending.
    Draining = 1,
    /// Waiting for the first clusters.
    PreInitializing = 2,
    /// Waiting for the first listeners.
    Initializing = 3,
}

impl ServerState {
    /// Envoy's name.
    pub fn name(self) -> &'static str {
        match self {
            ServerState::Live => "LIVE",
            ServerState::Draining => "DRAINING",
            ServerState::PreInitializing => "PRE_INITIALIZING",
            ServerState::Initializing => "INITIALIZING",
        }
    }
}

/// What `POST /drain_listeners` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainRequest {
    /// Which listeners.
    pub scope: DrainScope,
    /// Ask connections to end for the drain time before listeners close; else close at once.
    pub graceful: bool,
    /// Ask connections to end, but never close the listeners.
    pub skip_exit: bool,
}

/// State and commands of the process. Commands return at once; their work happens elsewhere.
pub trait Process: Send + Sync {
    /// State now. `Draining` while health checks fail on purpose.
    fn state(&self) -> ServerState;
    /// Drains listeners.
    fn drain(&self, request: DrainRequest);
    /// Makes health checks fail on purpose, or pass again.
    fn fail_health_checks(&self, failing: bool);
    /// Ends the process in order.
    fn quit(&self);
    /// Opens access-log files again (log rotation).
    fn reopen_logs(&self);
}

/// Configuration resources as their owner keeps them.
pub trait ConfigView: Send + Sync {
    /// The sections of `/config_dump` in Envoy's order, each an object with `@type` of a
    /// `envoy.admin.v3.*ConfigDump`. Secrets are redacted already. Endpoints only with `include_eds`.
    fn sections(&self, include_eds: bool) -> BoxFuture<'_, Vec<Value>>;
    /// `/init_dump`: what the start still waits for, as proto3 JSON of `UnreadyTargetsDumps`.
    fn unready(&self) -> BoxFuture<'_, Value>;
    /// Why the proxy is not configured, one line each; empty when it is.
    fn unconfigured(&self) -> BoxFuture<'_, Vec<String>>;
    /// Clusters whose names did not resolve, and the last reason in words.
    fn unresolved(&self) -> BoxFuture<'_, Vec<(String, String)>>;
    /// Whether this cluster is written in the bootstrap; the others came over xDS.
    fn is_static_cluster(&self, name: &str) -> bool;
    /// Certificates in use.
    fn certificates(&self) -> Vec<CertificatePair>;
}

/// One entry of `/certs`.
#[derive(Clone, Debug, Default)]
pub struct CertificatePair {
    /// Trust anchors.
    pub ca_cert: Vec<CertificateDetails>,
    /// Own chain.
    pub cert_chain: Vec<CertificateDetails>,
}

/// One certificate.
#[derive(Clone, Debug)]
pub struct CertificateDetails {
    /// Where it came from: a path or `<inline>`.
    pub path: String,
    /// Hexadecimal.
    pub serial_number: String,
    /// Kind (`dns`, `uri`, `ip_address`) and name.
    pub subject_alt_names: Vec<(&'static str, String)>,
    /// First moment of validity.
    pub valid_from: SystemTime,
    /// Last moment of validity.
    pub expiration_time: SystemTime,
}
