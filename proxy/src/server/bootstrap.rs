//! The bootstrap: read from a file, from text or made from the environment, checked, and reduced to what the
//! server needs.
//!
//! Every top-level field is decided on: honoured, refused by its place in the text, or named in a warning.
//! Source: `envoy.config.bootstrap.v3.Bootstrap`.

mod dns;
mod overload;
mod reduce;
mod sinks;
mod source;
mod stats;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use outrigger_xds_protos::json;
use outrigger_xds_protos::v3::bootstrap::Bootstrap;
use outrigger_xds_protos::v3::bootstrap::bootstrap::{DynamicResources, StaticResources};
use outrigger_xds_protos::v3::core::Node;

use super::args::ServeArgs;
use super::environment::{self, AdminBind, Variables};
use crate::config::overload::OverloadSettings;
use crate::stats::tags::StatsConfig;
use crate::xds::translate::{self, Path, Rejection, TracingContext};

pub use source::Source;

/// What the server starts with.
#[derive(Debug)]
pub struct Settings {
    /// The bootstrap as loaded, for `/config_dump`.
    pub bootstrap: Bootstrap,
    /// Who we are.
    pub node: Node,
    /// Listeners, clusters and secrets written in the bootstrap; all have names, and different ones.
    pub static_resources: StaticResources,
    /// The control plane.
    pub dynamic_resources: Option<DynamicResources>,
    /// The cluster this proxy is a host of, for zone-aware routing.
    pub local_cluster: Option<String>,
    /// Where admin listens; `None` is no admin endpoint.
    pub admin: Option<AdminBind>,
    /// Files that requests to admin are logged to.
    pub admin_logs: Vec<PathBuf>,
    /// Tags, filters and buckets of the statistics.
    pub stats: StatsConfig,
    /// How to trace; the server adds the tracers.
    pub tracing: TracingContext,
    /// How often histograms are merged and statistics pushed (`stats_flush_interval`).
    pub stats_flush: Duration,
    /// Where statistics are pushed to (`stats_sinks`).
    pub stats_sinks: Vec<crate::observe::statsd::Sink>,
    /// Name servers to ask; empty means the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// Where ejections are told (`cluster_manager.outlier_detection.event_log_path`).
    pub outlier_log: Option<PathBuf>,
    /// What to do about too much load.
    pub overload: Option<OverloadSettings>,
    /// Where the bootstrap came from, to say where a fault is.
    pub source: Source,
    /// Accepted and without effect, for the log.
    pub warnings: Vec<String>,
}

/// Why the bootstrap cannot be used. The text names file, line, column, field, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A variable is wrong.
    #[error(transparent)]
    Variable(#[from] environment::VariableError),
    /// A field is wrong, or the text is not a bootstrap.
    #[error("{place}: {path}{separator}{message}", separator = if path.is_empty() { "" } else { ": " })]
    Field {
        /// `file:line:column`.
        place: String,
        /// Path of the field; empty for the text as a whole.
        path: String,
        /// What is wrong and what to do.
        message: String,
    },
}

/// Loads the bootstrap that arguments and environment say.
pub fn load(args: &ServeArgs, variables: &dyn Variables) -> Result<Settings, BootstrapError> {
    let loaded = source::load(args, variables)?;
    let mut settings = reduce::reduce(loaded)?;
    override_node(&mut settings.node, args);
    require_identity(&settings)?;
    settings.tracing = tracing(&mut settings, variables)?;
    Ok(settings)
}

/// Spans are named after the node, so this comes when it is known.
#[allow(deprecated, reason = "App Mesh's image sets the provider here")]
fn tracing(settings: &mut Settings, variables: &dyn Variables) -> Result<TracingContext, BootstrapError> {
    let mut options = environment::tracing_options(variables)?;
    options.node = settings.node.id.as_str().into();
    options.cluster = settings.node.cluster.as_str().into();
    let warnings = &mut settings.warnings;
    let provider = translate::tracing_of_bootstrap(
        &settings.bootstrap.tracing,
        &options,
        &Path::ROOT.field("tracing"),
        &mut |path, text| warnings.push(format!("bootstrap: {path}: {text}")),
    );
    let provider = provider.map_err(|Rejection { path, message }| settings.source.error(&path, message))?;
    let otlp = environment::otlp(variables, &options)?;
    if let Some(cluster) = environment::otlp_cluster(variables)? {
        let cluster = json::from_text(&cluster.to_string());
        let cluster = cluster.map_err(|error| settings.source.error("static_resources", error))?;
        settings.static_resources.clusters.push(cluster);
    }
    if otlp.is_some() && provider.is_some() {
        let message = "OUTRIGGER_OTLP_ENDPOINT is set as well, and only one tracer may be enabled";
        return Err(settings.source.error("tracing", message));
    }
    Ok(TracingContext { tracers: None, provider: otlp.or(provider), options })
}

fn override_node(node: &mut Node, args: &ServeArgs) {
    if let Some(id) = &args.service_node {
        node.id.clone_from(id);
    }
    if let Some(cluster) = &args.service_cluster {
        node.cluster.clone_from(cluster);
    }
    if let Some(zone) = &args.service_zone {
        node.locality.get_or_insert_default().zone.clone_from(zone);
    }
}

/// A control plane knows its clients by `node.id`.
fn require_identity(settings: &Settings) -> Result<(), BootstrapError> {
    if settings.dynamic_resources.is_some() && settings.node.id.is_empty() {
        let message = "is required with dynamic_resources; set it, or pass --service-node";
        return Err(settings.source.error("node.id", message));
    }
    Ok(())
}
