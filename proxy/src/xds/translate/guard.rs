//! Network filters before the terminal one.
//! Source: `envoy.extensions.filters.network.{local_ratelimit,connection_limit,rbac,ext_authz}.v3`.

use std::time::Instant;

use outrigger_xds_protos::any;
use outrigger_xds_protos::any::Typed;
use outrigger_xds_protos::pb::google::protobuf::Any;
use outrigger_xds_protos::v3::connection_limit::ConnectionLimit;
use outrigger_xds_protos::v3::core::RuntimeFeatureFlag;
use outrigger_xds_protos::v3::network_ext_authz::ExtAuthz;
use outrigger_xds_protos::v3::network_local_ratelimit::LocalRateLimit;
use outrigger_xds_protos::v3::network_rbac::Rbac;

use super::fields::{self, refuse, warn_set};
use super::path::{Path, Rejection};
use super::scope::Scope;
use super::{call, filter, rbac};
use crate::config::guard::{ConnectionAuthz, ConnectionCount, Guard};
use crate::config::live::TokenBucket;
use crate::stats::scope::{ConnectionLimitStats, NetworkAuthzStats, NetworkRateLimitStats, sanitize};

/// Compiles a guard. `None`: the filter is none.
pub(super) fn compile(
    config: &Any,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<Guard>, Rejection> {
    Ok(Some(match any::type_name(&config.type_url) {
        Some(LocalRateLimit::NAME) => rate(&unpack(config, path)?, path, scope)?,
        Some(ConnectionLimit::NAME) => count(&unpack(config, path)?, path, scope)?,
        Some(ExtAuthz::NAME) => authz(&unpack(config, path)?, path, scope)?,
        Some(Rbac::NAME) => Guard::Access(Box::new(rbac::network(&unpack(config, path)?, path, scope)?)),
        _ => return Ok(None),
    }))
}

fn unpack<M: Typed>(config: &Any, path: &Path<'_>) -> Result<M, Rejection> {
    any::unpack(config).map_err(|error| path.reject(error))
}

fn rate(message: &LocalRateLimit, path: &Path<'_>, scope: &mut Scope<'_>) -> Result<Guard, Rejection> {
    let LocalRateLimit { stat_prefix, token_bucket, runtime_enabled, share_key } = message;
    refuse!(path; share_key);
    check_enabled(runtime_enabled, &path.field("runtime_enabled"))?;
    let bucket_path = path.field("token_bucket");
    let size = filter::bucket_size(fields::message(token_bucket, &bucket_path)?, &bucket_path)?;
    let prefix = sanitize(fields::required(stat_prefix, &path.field("stat_prefix"))?);
    let stats = NetworkRateLimitStats::new(&scope.context.stats, &format!("local_rate_limit.{prefix}."));
    Ok(Guard::Rate(stats, TokenBucket::new(size, Instant::now())))
}

fn count(message: &ConnectionLimit, path: &Path<'_>, scope: &mut Scope<'_>) -> Result<Guard, Rejection> {
    let ConnectionLimit { stat_prefix, max_connections, delay, runtime_enabled } = message;
    check_enabled(runtime_enabled, &path.field("runtime_enabled"))?;
    let prefix = sanitize(fields::required(stat_prefix, &path.field("stat_prefix"))?);
    let max_path = path.field("max_connections");
    let max = fields::message(max_connections, &max_path)?.value;
    if max == 0 {
        return Err(max_path.reject("must be at least 1"));
    }
    let stats = ConnectionLimitStats::new(&scope.context.stats, &format!("connection_limit.{prefix}."));
    let delay = fields::duration_or_off(delay, &path.field("delay"))?;
    Ok(Guard::Count(ConnectionCount::new(stats, max, delay)))
}

fn authz(message: &ExtAuthz, path: &Path<'_>, scope: &mut Scope<'_>) -> Result<Guard, Rejection> {
    let ExtAuthz {
        stat_prefix,
        grpc_service,
        failure_mode_allow,
        include_peer_certificate,
        transport_api_version: _, // AUTO, V2 and V3 all mean V3 since V2 was removed.
        filter_enabled_metadata,
        bootstrap_metadata_labels_key,
        include_tls_session,
        send_tls_alert_on_denial,
        metadata_context_namespaces,
        typed_metadata_context_namespaces,
        shadow_mode,
    } = message;
    refuse!(path; filter_enabled_metadata, bootstrap_metadata_labels_key, shadow_mode);
    warn_set!(scope, path, "has no effect: nothing leaves metadata on a connection";
        metadata_context_namespaces, typed_metadata_context_namespaces);
    warn_set!(scope, path, "has no effect: a denied connection is closed without an alert"; send_tls_alert_on_denial);
    let prefix = sanitize(fields::required(stat_prefix, &path.field("stat_prefix"))?);
    let service_path = path.field("grpc_service");
    let service = fields::message(grpc_service, &service_path)?;
    Ok(Guard::Asked(Box::new(ConnectionAuthz {
        service: call::grpc(service, &service_path, scope)?,
        allow_on_error: *failure_mode_allow,
        peer_certificate: *include_peer_certificate,
        tls_session: *include_tls_session,
        stats: NetworkAuthzStats::new(&scope.context.stats, &format!("ext_authz.{prefix}.")),
    })))
}

/// There is no runtime that could switch a guard on later: one that is off is a mistake.
fn check_enabled(flag: &Option<RuntimeFeatureFlag>, path: &Path<'_>) -> Result<(), Rejection> {
    match flag.as_ref().and_then(|flag| flag.default_value) {
        Some(value) if !value.value => {
            Err(path.field("default_value").reject("is false, and there is no runtime; remove the filter"))
        }
        _ => Ok(()),
    }
}
