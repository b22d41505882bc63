//! Loggers to an access-log service.
//! Source: `envoy.extensions.access_loggers.grpc.v3`.

use std::time::Duration;

use outrigger_xds_protos::v3::core::grpc_service::EnvoyGrpc;
use outrigger_xds_protos::v3::grpc_log::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};

use super::super::fields;
use super::super::fields::warn_set;
use super::super::grpc_service::envoy_grpc;
use super::super::path::{Path, Rejection};
use super::super::scope::Scope;
use super::super::tracing;
use crate::observe::access_log::grpc::{Entries, Settings};
use crate::observe::trace::transport::Target;

/// Envoy's defaults.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
const BUFFER_SIZE: u32 = 16 * 1024;
/// Larger messages say nothing more, and services refuse them.
const MAX_BUFFER_SIZE: u32 = 1024 * 1024;
/// More headers than this say nothing more.
const MAX_HEADERS: usize = 64;

/// Of requests.
pub(super) fn http(
    message: &HttpGrpcAccessLogConfig,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Settings, Rejection> {
    let HttpGrpcAccessLogConfig {
        common_config,
        additional_request_headers_to_log: request,
        additional_response_headers_to_log: response,
        additional_response_trailers_to_log: trailers,
    } = message;
    let entries = Entries::Http {
        request: names(request, &path.field("additional_request_headers_to_log"))?,
        response: names(response, &path.field("additional_response_headers_to_log"))?,
        trailers: names(trailers, &path.field("additional_response_trailers_to_log"))?,
    };
    common(common_config, entries, path, scope)
}

/// Of connections.
pub(super) fn tcp(
    message: &TcpGrpcAccessLogConfig,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Settings, Rejection> {
    let TcpGrpcAccessLogConfig { common_config } = message;
    common(common_config, Entries::Tcp, path, scope)
}

fn common(
    message: &Option<CommonGrpcAccessLogConfig>,
    entries: Entries,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Settings, Rejection> {
    let path = path.field("common_config");
    let CommonGrpcAccessLogConfig {
        log_name,
        grpc_service,
        transport_api_version: _, // AUTO, V2 and V3 all mean V3 since V2 was removed.
        buffer_flush_interval,
        buffer_size_bytes,
        filter_state_objects_to_log,
        grpc_stream_retry_policy,
        custom_tags,
    } = fields::message(message, &path)?;
    let tags = tracing::tags(custom_tags, &path.field("custom_tags"))?;
    let parent = &path;
    warn_set!(scope, parent, "is not in effect: there is no such state here"; filter_state_objects_to_log);
    warn_set!(scope, parent, "is not in effect: the stream is opened again after 0.1 to 10 s"; grpc_stream_retry_policy);
    let service = path.field("grpc_service");
    let EnvoyGrpc {
        cluster_name,
        authority,
        retry_policy: _, // As above.
        max_receive_message_length: _,
        skip_envoy_headers: _, // None are sent.
    } = envoy_grpc(fields::message(grpc_service, &service)?, &service)?;
    let service = service.field("envoy_grpc");
    let cluster = fields::required(cluster_name, &service.field("cluster_name"))?;
    let interval = path.field("buffer_flush_interval");
    let size = fields::count(buffer_size_bytes).unwrap_or(BUFFER_SIZE);
    if size > MAX_BUFFER_SIZE {
        scope.warn(&path.field("buffer_size_bytes"), "is not in effect: messages have 1 MiB at most");
    }
    Ok(Settings {
        target: Target::Cluster(cluster.into()),
        authority: authority.as_str().into(),
        log_name: fields::required(log_name, &path.field("log_name"))?.into(),
        flush_interval: fields::duration(buffer_flush_interval, &interval)?.unwrap_or(FLUSH_INTERVAL),
        buffer_size: size.min(MAX_BUFFER_SIZE) as usize,
        entries,
        tags,
    })
}

fn names(names: &[String], path: &Path<'_>) -> Result<Vec<Box<str>>, Rejection> {
    if names.len() > MAX_HEADERS {
        return Err(path.reject(format_args!("{} headers are more than {MAX_HEADERS}", names.len())));
    }
    let valid = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    let name = |(i, name): (usize, &String)| match valid(name) {
        true => Ok(name.to_ascii_lowercase().into()),
        false => Err(path.index(i).reject(format_args!("{name:?} is no name of a header"))),
    };
    names.iter().enumerate().map(name).collect()
}
