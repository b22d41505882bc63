//! HTTP filters other than the router, and what routes say about them (`typed_per_filter_config`).
//! Source: `envoy.extensions.filters.http.*`, `envoy.config.route.v3.FilterConfig`.

mod authz;
mod concurrency;
mod cors;
mod fault;
mod headers;
mod health;
mod jwt;
mod rate_limit;

use std::collections::HashMap;

use outrigger_xds_protos::any;
use outrigger_xds_protos::any::Typed;
use outrigger_xds_protos::pb::google::protobuf::Any;
use outrigger_xds_protos::v3::adaptive_concurrency::AdaptiveConcurrency;
use outrigger_xds_protos::v3::buffer::buffer_per_route::Override as BufferOverride;
use outrigger_xds_protos::v3::buffer::{Buffer, BufferPerRoute};
use outrigger_xds_protos::v3::core::RuntimeFractionalPercent;
use outrigger_xds_protos::v3::cors::{Cors, CorsPolicy};
use outrigger_xds_protos::v3::ext_authz::{ExtAuthz, ExtAuthzPerRoute};
use outrigger_xds_protos::v3::fault::HttpFault;
use outrigger_xds_protos::v3::header_mutation::{HeaderMutation, HeaderMutationPerRoute};
use outrigger_xds_protos::v3::health_check::HealthCheck;
use outrigger_xds_protos::v3::http_rbac::{Rbac, RbacPerRoute};
use outrigger_xds_protos::v3::jwt_authn::{JwtAuthentication, PerRouteConfig as JwtPerRoute};
use outrigger_xds_protos::v3::local_ratelimit::LocalRateLimit;
use outrigger_xds_protos::v3::route::FilterConfig;

use super::fields;
use super::path::{Path, Rejection};
use super::rbac;
use super::scope::Scope;
use crate::config::filter::{FilterKind, Override, Overrides, RouteFilter};
use crate::stats::scope::CorsStats;

pub(super) use cors::of_route as cors_of_route;
pub(super) use rate_limit::bucket_size;

/// Compiles one filter of a connection manager. `None`: it is not one that we have.
pub(super) fn compile(
    config: &Any,
    stat_prefix: &str,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<FilterKind>, Rejection> {
    let Some(name) = any::type_name(&config.type_url) else { return Ok(None) };
    Ok(Some(match name {
        LocalRateLimit::NAME => FilterKind::RateLimit(Box::new(rate_limit::compile(
            &unpack(config, path)?,
            rate_limit::Level::Filter,
            path,
            scope,
        )?)),
        HttpFault::NAME => {
            FilterKind::Fault(Box::new(fault::filter(&unpack(config, path)?, stat_prefix, path, scope)?))
        }
        AdaptiveConcurrency::NAME => FilterKind::Concurrency(Box::new(concurrency::compile(
            &unpack(config, path)?,
            stat_prefix,
            path,
            scope,
        )?)),
        Cors::NAME => {
            let Cors {} = unpack(config, path)?;
            FilterKind::Cors(CorsStats::for_manager(&scope.context.stats, stat_prefix))
        }
        Buffer::NAME => FilterKind::Buffer { max_request_bytes: buffer_limit(&unpack(config, path)?, path)? },
        HeaderMutation::NAME => FilterKind::Headers(Box::new(headers::filter(&unpack(config, path)?, path)?)),
        HealthCheck::NAME => {
            FilterKind::Health(Box::new(health::filter(&unpack(config, path)?, path, scope)?))
        }
        Rbac::NAME => {
            FilterKind::Rbac(Box::new(rbac::http(&unpack(config, path)?, stat_prefix, path, scope)?))
        }
        JwtAuthentication::NAME => {
            FilterKind::Jwt(Box::new(jwt::filter(&unpack(config, path)?, stat_prefix, path, scope)?))
        }
        ExtAuthz::NAME => {
            FilterKind::Authz(Box::new(authz::filter(&unpack(config, path)?, stat_prefix, path, scope)?))
        }
        _ => return Ok(None),
    }))
}

/// Compiles what one level of a route configuration says about filters.
pub(super) fn overrides(
    configs: &HashMap<String, Any>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Overrides, Rejection> {
    let map_path = path.field("typed_per_filter_config");
    let mut list = Vec::with_capacity(configs.len());
    for (name, packed) in configs {
        let path = map_path.key(name);
        if let Some((disabled, config)) = one_override(packed, &path, scope)? {
            list.push(Override { filter: scope.context.filters.intern(name), disabled, config });
        }
    }
    Ok(Overrides::new(list))
}

/// Whether the filter is off, and its settings. `None`: the entry is left out, as its `is_optional` allows.
fn one_override(
    packed: &Any,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<(bool, Option<RouteFilter>)>, Rejection> {
    if !any::is::<FilterConfig>(packed) {
        return match route_filter(packed, path, scope)? {
            Some(config) => Ok(Some((false, Some(config)))),
            None => Err(path.reject(format_args!("{} is not supported", packed.type_url))),
        };
    }
    let FilterConfig { config, is_optional, disabled } = unpack(packed, path)?;
    let path = path.field("config");
    let Some(inner) = config else {
        // Neither settings nor a switch: Envoy wants one of the two.
        return if disabled || is_optional { Ok(Some((disabled, None))) } else { Err(path.missing()) };
    };
    match route_filter(&inner, &path, scope)? {
        Some(config) => Ok(Some((disabled, Some(config)))),
        None if is_optional => {
            scope.warn(&path, "has no effect: the filter is not supported and its settings are optional");
            Ok(None)
        }
        None => Err(path.reject(format_args!("{} is not supported", inner.type_url))),
    }
}

fn route_filter(
    config: &Any,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<RouteFilter>, Rejection> {
    let Some(name) = any::type_name(&config.type_url) else { return Ok(None) };
    Ok(Some(match name {
        LocalRateLimit::NAME => RouteFilter::RateLimit(Box::new(rate_limit::compile(
            &unpack(config, path)?,
            rate_limit::Level::Route,
            path,
            scope,
        )?)),
        HttpFault::NAME => {
            RouteFilter::Fault(Box::new(fault::settings(&unpack(config, path)?, path, scope)?))
        }
        CorsPolicy::NAME => RouteFilter::Cors(Box::new(cors::policy(&unpack(config, path)?, path)?)),
        BufferPerRoute::NAME => RouteFilter::Buffer(buffer_override(&unpack(config, path)?, path)?),
        HeaderMutationPerRoute::NAME => {
            let HeaderMutationPerRoute { mutations } = unpack(config, path)?;
            RouteFilter::Headers(Box::new(headers::mutations(mutations.as_ref(), &path.field("mutations"))?))
        }
        RbacPerRoute::NAME => {
            let RbacPerRoute { rbac: message } = unpack(config, path)?;
            let path = path.field("rbac");
            // Statistics are those of the filter; rules at a route have none of their own.
            let compiled = message.map(|message| rbac::of_route(&message, &path, scope)).transpose()?;
            RouteFilter::Rbac(compiled.map(Box::new))
        }
        ExtAuthzPerRoute::NAME => {
            RouteFilter::Authz(Box::new(authz::of_route(&unpack(config, path)?, path, scope)?))
        }
        JwtPerRoute::NAME => RouteFilter::Jwt(jwt::of_route(&unpack(config, path)?, path)?),
        _ => return Ok(None),
    }))
}

fn unpack<M: Typed>(config: &Any, path: &Path<'_>) -> Result<M, Rejection> {
    any::unpack(config).map_err(|error| path.reject(error))
}

fn buffer_limit(message: &Buffer, path: &Path<'_>) -> Result<u32, Rejection> {
    let Buffer { max_request_bytes } = message;
    let path = path.field("max_request_bytes");
    fields::count_in(max_request_bytes, 1..=u32::MAX, &path)?.ok_or_else(|| path.missing())
}

fn buffer_override(message: &BufferPerRoute, path: &Path<'_>) -> Result<Option<u32>, Rejection> {
    match &message.r#override {
        Some(BufferOverride::Disabled(true)) => Ok(None),
        Some(BufferOverride::Disabled(false)) => {
            Err(path.field("disabled").reject("must be true when given"))
        }
        Some(BufferOverride::Buffer(buffer)) => buffer_limit(buffer, &path.field("buffer")).map(Some),
        None => Err(path.reject("needs one of disabled, buffer")),
    }
}

/// A share of requests per million. There is no runtime, so the key is never found and the default holds.
fn share(
    fraction: &Option<RuntimeFractionalPercent>,
    absent: u32,
    path: &Path<'_>,
) -> Result<u32, Rejection> {
    let Some(RuntimeFractionalPercent { default_value, runtime_key: _ }) = fraction else {
        return Ok(absent);
    };
    let path = path.field("default_value");
    fields::parts_per_million(fields::message(default_value, &path)?, &path)
}
