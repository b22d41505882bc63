//! What a connection manager traces, and with which provider.
//! Source: `HttpConnectionManager.Tracing`, `envoy.config.trace.v3`, `envoy.type.tracing.v3.CustomTag`.

mod collector;
mod tags;
mod xray;

use std::sync::Arc;

use outrigger_xds_protos::any;
use outrigger_xds_protos::v3::hcm::http_connection_manager::Tracing;
use outrigger_xds_protos::v3::route::{Decorator, Tracing as RouteMessage};
use outrigger_xds_protos::v3::trace::tracing::Http;
use outrigger_xds_protos::v3::trace::tracing::http::ConfigType;
use outrigger_xds_protos::v3::trace::{
    DatadogConfig, OpenTelemetryConfig, Tracing as Bootstrap, XRayConfig, ZipkinConfig,
};
use outrigger_xds_protos::v3::types::{FractionalPercent, Percent};

pub use collector::EXPORT as TRACE_EXPORT;
pub(super) use tags::compile as tags;

use super::fields;
use super::fields::warn_set;
use super::path::{Path, Rejection};
use super::scope::Scope;
use crate::config::listener::Direction;
use crate::observe::format::Format;
use crate::observe::mesh::Identity;
use crate::observe::trace::header::Propagation;
use crate::observe::trace::tracer::{HttpTracing, RouteTracing, Shares};
use crate::observe::trace::tracers::{Provider, Tracers};
use crate::observe::trace::transport::Target;
use crate::stats::scope::{TracingStats, sanitize};

/// Envoy's default `max_path_tag_length`.
const MAX_PATH: u32 = 256;
/// What tracing needs beside a connection manager's own settings.
#[derive(Clone, Debug, Default)]
pub struct TracingContext {
    /// Tracers at work; `None` checks settings and starts nothing (`--mode validate`).
    pub tracers: Option<Arc<Tracers>>,
    /// For connection managers without a provider of their own: that of the bootstrap.
    pub provider: Option<Provider>,
    /// What holds for every provider.
    pub options: TracingOptions,
}

/// What holds for every provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TracingOptions {
    /// `node.id`.
    pub node: Box<str>,
    /// `node.cluster`: the name of spans when nothing else is said.
    pub cluster: Box<str>,
    /// X-Ray segments tell more than App Mesh's did.
    pub rich: bool,
    /// Where the X-Ray service's sampling rules are asked for; `None`: local rules hold.
    pub central: Option<Central>,
    /// Headers that are read and written; `None`: those of the provider.
    pub propagation: Option<Propagation>,
    /// Callers of listeners that are not outbound may be anybody: what they say of traces is discarded.
    pub untrusted: bool,
    /// Every caller is told its trace.
    pub answers: bool,
}

/// Where the X-Ray service answers: a daemon's TCP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Central {
    /// Host and port.
    pub target: Target,
    /// Said by the environment. Else a daemon that the provider names answers there as well.
    pub given: bool,
}

impl TracingOptions {
    /// The mesh that this is a part of, as `node.id` or `node.cluster` says.
    fn mesh(&self) -> Option<String> {
        let places = [&self.node, &self.cluster];
        places.into_iter().find_map(|place| Identity::parse(place)).map(|identity| identity.mesh)
    }
}

/// Compiles a connection manager's tracing. `None`: nothing is traced, as in Envoy without `tracing` or without any
/// provider.
pub(super) fn compile(
    message: &Option<Tracing>,
    stat_prefix: &str,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<HttpTracing>, Rejection> {
    let Some(message) = message else { return Ok(None) };
    let Tracing {
        client_sampling,
        random_sampling,
        overall_sampling,
        verbose,
        max_path_tag_length,
        custom_tags,
        provider: own,
        spawn_upstream_span,
        operation,
        upstream_operation,
        no_context_propagation,
    } = message;
    warn_set!(scope, path, "is not in effect: spans have no events"; verbose);
    warn_set!(scope, path, "is not in effect: tries are called \"try\""; upstream_operation);
    let shares = Shares {
        client: millionths(client_sampling),
        random: millionths(random_sampling),
        overall: millionths(overall_sampling),
    };
    let tags = tags(custom_tags, &path.field("custom_tags"))?;
    let options = scope.context.tracing.options.clone();
    let provider = match own {
        Some(own) => {
            self::provider(own, &options, &path.field("provider"), &mut |path, text| scope.warn(path, text))?
        }
        None => scope.context.tracing.provider.clone(),
    };
    let (Some(provider), Some(tracers)) = (provider, &scope.context.tracing.tracers) else { return Ok(None) };
    // What goes to the application itself is told of by the application.
    let attempts = scope.direction != Direction::Inbound
        && (provider.tells_attempts() || fields::flag(spawn_upstream_span, false));
    Ok(Some(HttpTracing {
        tracer: tracers.open(&provider),
        direction: scope.direction,
        shares,
        tags,
        operation: self::operation(operation, &path.field("operation"))?,
        max_path: fields::count(max_path_tag_length).unwrap_or(MAX_PATH) as usize,
        attempts,
        silent: *no_context_propagation,
        untrusted: options.untrusted && scope.direction != Direction::Outbound,
        answers: options.answers,
        stats: TracingStats::new(&scope.context.stats, &format!("http.{}.tracing.", sanitize(stat_prefix))),
    }))
}

/// What a route says instead. As in Envoy its shares take the place of all of the connection manager's.
pub(super) fn of_route(
    message: &Option<RouteMessage>,
    decorator: &Option<Decorator>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<RouteTracing>, Rejection> {
    let (decorated, propagated) = match decorator {
        None => (None, None),
        Some(Decorator { operation, propagate }) => {
            let path = path.field("decorator");
            let operation = fields::required(operation, &path.field("operation"))?;
            let propagated = fields::flag(propagate, true).then(|| operation.into());
            (Some(Format::literal(operation)), propagated)
        }
    };
    let Some(message) = message else {
        return Ok(decorated.map(|operation| RouteTracing {
            shares: None,
            tags: Vec::new(),
            operation: Some(operation),
            propagated,
        }));
    };
    let RouteMessage {
        client_sampling,
        random_sampling,
        overall_sampling,
        custom_tags,
        operation,
        upstream_operation,
    } = message;
    let path = path.field("tracing");
    let parent = &path;
    warn_set!(scope, parent, "is not in effect: tries are called \"try\""; upstream_operation);
    let share = |fraction: &Option<FractionalPercent>, name| match fraction {
        None => Ok(1_000_000),
        Some(fraction) => fields::parts_per_million(fraction, &parent.field(name)),
    };
    Ok(Some(RouteTracing {
        shares: Some(Shares {
            client: share(client_sampling, "client_sampling")?,
            random: share(random_sampling, "random_sampling")?,
            overall: share(overall_sampling, "overall_sampling")?,
        }),
        tags: tags(custom_tags, &path.field("custom_tags"))?,
        operation: self::operation(operation, &path.field("operation"))?.or(decorated),
        propagated,
    }))
}

fn operation(text: &str, path: &Path<'_>) -> Result<Option<Format>, Rejection> {
    match text {
        "" => Ok(None),
        text => Format::parse(text).map(Some).map_err(|error| path.reject(error)),
    }
}

/// Absent means all of them.
fn millionths(percent: &Option<Percent>) -> u32 {
    percent.as_ref().map_or(1_000_000, |Percent { value }| (value * 10_000.0).round() as u32)
}

/// Takes what is not in effect, with its place.
type Warn<'w> = &'w mut dyn FnMut(&Path<'_>, String);

/// Said as a scope says it.
trait Warns {
    fn warn(&mut self, path: &Path<'_>, message: impl std::fmt::Display);
}

impl Warns for dyn FnMut(&Path<'_>, String) + '_ {
    fn warn(&mut self, path: &Path<'_>, message: impl std::fmt::Display) {
        self(path, message.to_string());
    }
}

/// The provider of the bootstrap.
pub fn of_bootstrap(
    message: &Option<Bootstrap>,
    options: &TracingOptions,
    path: &Path<'_>,
    warn: Warn<'_>,
) -> Result<Option<Provider>, Rejection> {
    let Some(Bootstrap { http: Some(http) }) = message else { return Ok(None) };
    provider(http, options, &path.field("http"), warn)
}

/// A provider that is not supported costs its traces, not the requests.
fn provider(
    message: &Http,
    options: &TracingOptions,
    path: &Path<'_>,
    warn: Warn<'_>,
) -> Result<Option<Provider>, Rejection> {
    let Http { name, config_type } = message;
    let config_path = path.field("typed_config");
    let Some(ConfigType::TypedConfig(config)) = config_type else { return Err(config_path.missing()) };
    if any::is::<XRayConfig>(config) {
        let message = any::unpack(config).map_err(|error| config_path.reject(error))?;
        return xray::settings(&message, options, &config_path, warn).map(Provider::XRay).map(Some);
    }
    if any::is::<OpenTelemetryConfig>(config) {
        let message = any::unpack(config).map_err(|error| config_path.reject(error))?;
        return collector::open_telemetry(&message, options, &config_path, warn)
            .map(Provider::Collector)
            .map(Some);
    }
    if any::is::<ZipkinConfig>(config) {
        let message = any::unpack(config).map_err(|error| config_path.reject(error))?;
        return collector::zipkin(&message, options, &config_path, warn).map(Provider::Collector).map(Some);
    }
    if any::is::<DatadogConfig>(config) {
        let message = any::unpack(config).map_err(|error| config_path.reject(error))?;
        return collector::datadog(&message, options, &config_path, warn).map(Provider::Collector).map(Some);
    }
    let kind = &config.type_url;
    warn(path, format!("{name:?} ({kind}) is not in effect: requests are not traced"));
    Ok(None)
}
