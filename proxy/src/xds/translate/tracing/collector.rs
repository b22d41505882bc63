//! Providers that speak HTTP. Source: `OpenTelemetryConfig`, `ZipkinConfig`, `DatadogConfig` of
//! `envoy.config.trace.v3`.

use outrigger_xds_protos::v3::core::grpc_service::EnvoyGrpc;
use outrigger_xds_protos::v3::core::http_uri::HttpUpstreamType;
use outrigger_xds_protos::v3::core::{HttpService, HttpUri};
use outrigger_xds_protos::v3::trace::zipkin_config::{CollectorEndpointVersion, TraceContextOption};
use outrigger_xds_protos::v3::trace::{DatadogConfig, OpenTelemetryConfig, ZipkinConfig};

use super::super::fields;
use super::super::fields::{refuse, warn_set};
use super::super::grpc_service::envoy_grpc;
use super::super::path::{Path, Rejection};
use super::{TracingOptions, Warn, Warns};
use crate::observe::trace::collector::{Form, Sampling, Settings};
use crate::observe::trace::header::{Format, Propagation};
use crate::observe::trace::transport::Target;

/// gRPC's path of the trace service.
pub const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// What is the same for all of them.
fn settings(
    form: Form,
    cluster: &str,
    service: &str,
    options: &TracingOptions,
    formats: &[Format],
) -> Settings {
    Settings {
        target: Target::Cluster(cluster.into()),
        authority: Box::default(),
        secure: false,
        path: Box::default(),
        service: if service.is_empty() { options.cluster.clone() } else { service.into() },
        node_id: options.node.clone(),
        form,
        attempts: false,
        sampling: Sampling::Manager,
        propagation: options.propagation.clone().unwrap_or_else(|| Propagation::of(formats)),
    }
}

pub(super) fn open_telemetry(
    message: &OpenTelemetryConfig,
    options: &TracingOptions,
    path: &Path<'_>,
    warn: Warn<'_>,
) -> Result<Settings, Rejection> {
    let OpenTelemetryConfig {
        grpc_service,
        http_service,
        exporter,
        service_name,
        resource_detectors,
        sampler,
        max_cache_size: _,                        // Our queues have bounds of their own.
        set_telemetry_sdk_resource_attributes: _, // They are always said.
        set_service_name_resource_attribute: _,
        set_instrumentation_scope: _,
    } = message;
    refuse!(path; exporter);
    warn_set!(warn, path, "is not in effect: spans say who we are by service_name"; resource_detectors);
    warn_set!(warn, path, "is not in effect: the connection manager's sampling holds"; sampler);
    match (grpc_service, http_service) {
        (Some(service), None) => {
            let path = path.field("grpc_service");
            let EnvoyGrpc {
                cluster_name,
                authority,
                retry_policy: _, // What is not taken is lost, and counted.
                max_receive_message_length: _,
                skip_envoy_headers: _, // None are sent.
            } = envoy_grpc(service, &path)?;
            let path = path.field("envoy_grpc");
            let cluster = fields::required(cluster_name, &path.field("cluster_name"))?;
            let mut settings = settings(Form::OtlpGrpc, cluster, service_name, options, &[Format::W3c]);
            settings.authority = authority.as_str().into();
            settings.path = EXPORT.into();
            Ok(settings)
        }
        (None, Some(service)) => {
            let (cluster, uri) = http(service, &path.field("http_service"))?;
            let mut settings = settings(Form::OtlpHttp, &cluster, service_name, options, &[Format::W3c]);
            (settings.authority, settings.path) = (uri.0.into(), uri.1.into());
            Ok(settings)
        }
        _ => Err(path.reject("needs one of grpc_service, http_service")),
    }
}

/// Cluster, and host and path of the URI.
fn http(message: &HttpService, path: &Path<'_>) -> Result<(String, (String, String)), Rejection> {
    let HttpService { http_uri, request_headers_to_add, formatters } = message;
    refuse!(path; request_headers_to_add, formatters);
    let path = path.field("http_uri");
    let HttpUri {
        uri,
        timeout: _, // Ours is five seconds.
        http_upstream_type,
    } = fields::message(http_uri, &path)?;
    let Some(HttpUpstreamType::Cluster(cluster)) = http_upstream_type else {
        return Err(path.field("cluster").missing());
    };
    let rest = uri.split_once("://").map_or(uri.as_str(), |(_, rest)| rest);
    let at = rest.find('/').unwrap_or(rest.len());
    let (host, file) = rest.split_at(at);
    let file = if file.is_empty() { "/" } else { file };
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || !plain(rest) {
        return Err(path.field("uri").reject(format_args!("{uri:?} is not http://host/path")));
    }
    fields::required(cluster, &path.field("cluster"))?;
    Ok((cluster.clone(), (host.to_owned(), file.to_owned())))
}

#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
pub(super) fn zipkin(
    message: &ZipkinConfig,
    options: &TracingOptions,
    path: &Path<'_>,
    warn: Warn<'_>,
) -> Result<Settings, Rejection> {
    let ZipkinConfig {
        collector_cluster,
        collector_endpoint,
        trace_id_128bit: _, // Identifiers are always that long.
        shared_span_context,
        collector_endpoint_version,
        collector_hostname,
        split_spans_for_request: _, // A hop is one span, which serves or calls.
        trace_context_option,
        collector_service,
        timestamp_trace_ids: _, // They always begin with the time.
    } = message;
    refuse!(path; collector_service);
    if fields::flag(shared_span_context, true) {
        let text = "is not in effect: each hop has a span of its own";
        warn(&path.field("shared_span_context"), text.to_owned());
    }
    let form = match CollectorEndpointVersion::try_from(*collector_endpoint_version) {
        Ok(CollectorEndpointVersion::HttpJson) => Form::ZipkinJson,
        Ok(CollectorEndpointVersion::HttpProto) => Form::ZipkinProto,
        _ => {
            let path = path.field("collector_endpoint_version");
            return Err(path.reject("only HTTP_JSON and HTTP_PROTO are supported"));
        }
    };
    let cluster = fields::required(collector_cluster, &path.field("collector_cluster"))?;
    let endpoint = fields::required(collector_endpoint, &path.field("collector_endpoint"))?;
    let with_w3c = *trace_context_option == TraceContextOption::UseB3WithW3cPropagation as i32;
    let formats: &[Format] = if with_w3c { &[Format::B3, Format::W3c] } else { &[Format::B3] };
    let mut settings = settings(form, cluster, "", options, formats);
    settings.path = endpoint.into();
    settings.authority =
        if collector_hostname.is_empty() { cluster } else { collector_hostname.as_str() }.into();
    Ok(settings)
}

pub(super) fn datadog(
    message: &DatadogConfig,
    options: &TracingOptions,
    path: &Path<'_>,
    warn: Warn<'_>,
) -> Result<Settings, Rejection> {
    let DatadogConfig { collector_cluster, service_name, collector_hostname, remote_config } = message;
    warn_set!(warn, path, "is not in effect"; remote_config);
    let cluster = fields::required(collector_cluster, &path.field("collector_cluster"))?;
    let formats = [Format::Datadog, Format::W3c];
    let mut settings = settings(Form::Datadog, cluster, service_name, options, &formats);
    settings.path = "/v0.4/traces".into();
    settings.authority =
        if collector_hostname.is_empty() { cluster } else { collector_hostname.as_str() }.into();
    Ok(settings)
}
