//! What a connection manager traces, and with which provider.
//! Source: `HttpConnectionManager.Tracing`, `envoy.config.trace.v3`, `envoy.type.tracing.v3.CustomTag`.

mod collector;
mod tags;

use std::sync::Arc;

use outrigger_xds_protos::any;
use outrigger_xds_protos::v3::core::SocketAddress;
use outrigger_xds_protos::v3::core::socket_address::{PortSpecifier, Protocol};
use outrigger_xds_protos::v3::hcm::http_connection_manager::Tracing;
use outrigger_xds_protos::v3::route::{Decorator, Tracing as RouteMessage};
use outrigger_xds_protos::v3::trace::tracing::Http;
use outrigger_xds_protos::v3::trace::tracing::http::ConfigType;
use outrigger_xds_protos::v3::trace::x_ray_config::SegmentFields;
use outrigger_xds_protos::v3::trace::{
    DatadogConfig, OpenTelemetryConfig, Tracing as Bootstrap, XRayConfig, ZipkinConfig,
};
use outrigger_xds_protos::v3::types::{FractionalPercent, Percent};

pub use collector::EXPORT as TRACE_EXPORT;
pub(super) use tags::compile as tags;

use super::fields;
use super::fields::{refuse, warn_set};
use super::path::{Path, Rejection};
use super::scope::Scope;
use super::{access_log, data_source};
use crate::config::listener::Direction;
use crate::observe::format::Format;
use crate::observe::trace::header::{Format as HeaderFormat, Propagation};
use crate::observe::trace::sampling::manifest::Manifest;
use crate::observe::trace::tracer::{HttpTracing, RouteTracing, Shares};
use crate::observe::trace::tracers::{Provider, Tracers};
use crate::observe::trace::transport::Target;
use crate::observe::trace::xray::{self, Daemon, segment_name};
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
    pub central: Option<Target>,
    /// Headers that are read and written; `None`: those of the provider.
    pub propagation: Option<Propagation>,
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
    let provider = match own {
        Some(own) => {
            let options = scope.context.tracing.options.clone();
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
        return xray(&message, options, &config_path).map(Provider::XRay).map(Some);
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

fn xray(
    message: &XRayConfig,
    options: &TracingOptions,
    path: &Path<'_>,
) -> Result<xray::Settings, Rejection> {
    let XRayConfig { daemon_endpoint, segment_name: name, sampling_rule_manifest, segment_fields } = message;
    let daemon = match daemon_endpoint {
        None => Daemon::default(),
        Some(endpoint) => daemon(endpoint, &path.field("daemon_endpoint"))?,
    };
    let manifest_path = path.field("sampling_rule_manifest");
    let manifest = match sampling_rule_manifest {
        None => Manifest::default(),
        Some(source) => {
            let text = data_source::read(source, &manifest_path)?;
            let text = String::from_utf8(text).map_err(|_| manifest_path.reject("is not UTF-8"))?;
            Manifest::parse(&text).map_err(|error| manifest_path.reject(error))?
        }
    };
    let absent = SegmentFields::default();
    let SegmentFields { origin, aws } = segment_fields.as_ref().unwrap_or(&absent);
    let aws = aws.as_ref().filter(|aws| !aws.fields.is_empty());
    let name = segment_name(if name.is_empty() { &options.cluster } else { name });
    Ok(xray::Settings {
        daemon,
        name: if name.is_empty() { "outrigger".into() } else { name },
        origin: origin.as_str().into(),
        aws: aws.map_or_else(Box::default, |aws| {
            serde_json::Value::Object(access_log::object(aws)).to_string().into_boxed_str()
        }),
        manifest,
        node_id: options.node.clone(),
        rich: options.rich,
        central: options.central.clone(),
        propagation: options.propagation.clone().unwrap_or_else(|| Propagation::of(&[HeaderFormat::XRay])),
    })
}

/// A UDP endpoint; its host may be a name.
fn daemon(message: &SocketAddress, path: &Path<'_>) -> Result<Daemon, Rejection> {
    let SocketAddress {
        protocol,
        address,
        port_specifier,
        resolver_name,
        ipv4_compat: _, // Only binding reads it.
        network_namespace_filepath,
    } = message;
    refuse!(path; resolver_name, network_namespace_filepath);
    if *protocol != Protocol::Udp as i32 {
        return Err(path.field("protocol").reject("the X-Ray daemon takes segments over UDP only"));
    }
    let host = fields::required(address, &path.field("address"))?.into();
    match port_specifier {
        Some(PortSpecifier::PortValue(port)) => {
            Ok(Daemon { host, port: fields::port(*port, &path.field("port_value"))? })
        }
        Some(PortSpecifier::NamedPort(_)) => Err(path.field("named_port").unsupported()),
        None => Err(path.field("port_value").missing()),
    }
}
