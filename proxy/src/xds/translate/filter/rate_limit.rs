//! Local rate limits. Source: `envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_xds_protos::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use outrigger_xds_protos::pb::envoy::extensions::common::ratelimit::v3::{
    LocalRateLimitDescriptor, VhRateLimitsOptions, XRateLimitHeadersRfcVersion,
};
use outrigger_xds_protos::v3::local_ratelimit::LocalRateLimit;
use outrigger_xds_protos::v3::types::{HttpStatus, TokenBucket as BucketMessage};

use super::share;
use crate::config::filter::descriptor::{DescriptorEntry, HostRules, MAX_STAGE};
use crate::config::filter::rate_limit::{BucketSizes, Descriptors, Limit, RateLimit};
use crate::config::live::{BucketSize, DescriptorLimit, DescriptorLimits};
use crate::stats::scope::LocalRateLimitStats;
use crate::xds::translate::fields;
use crate::xds::translate::headers;
use crate::xds::translate::path::{Path, Rejection};
use crate::xds::translate::rate_limits;
use crate::xds::translate::scope::Scope;

/// Shortest `fill_interval` that Envoy accepts.
const SHORTEST_FILL: Duration = Duration::from_millis(50);
/// Envoy's default `max_dynamic_descriptors`.
const DYNAMIC_DESCRIPTORS: u32 = 20;
/// Envoy's status for requests over the limit.
const TOO_MANY_REQUESTS: u16 = 429;

/// Where a limit is configured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// In the filter chain; it may leave the limit to routes.
    Filter,
    /// At a route, which must name one.
    Route,
}

pub(super) fn compile(
    message: &LocalRateLimit,
    level: Level,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<RateLimit, Rejection> {
    let LocalRateLimit {
        stat_prefix,
        status,
        token_bucket,
        filter_enabled,
        filter_enforced,
        request_headers_to_add_when_not_enforced,
        response_headers_to_add,
        descriptors,
        stage,
        local_rate_limit_per_downstream_connection,
        local_cluster_rate_limit,
        enable_x_ratelimit_headers,
        vh_rate_limits,
        always_consume_default_token_bucket,
        rate_limited_as_resource_exhausted,
        rate_limits,
        max_dynamic_descriptors,
        enable_retry_after_header,
    } = message;
    let bucket_path = path.field("token_bucket");
    let size = token_bucket.as_ref().map(|bucket| bucket_size(bucket, &bucket_path)).transpose()?;
    if size.is_none() && level == Level::Route {
        return Err(bucket_path.missing());
    }
    let stat_prefix = fields::required(stat_prefix, &path.field("stat_prefix"))?;
    let per_connection = *local_rate_limit_per_downstream_connection;
    let shared = local_cluster_rate_limit.is_some();
    if shared {
        check_shared(per_connection, &path.field("local_cluster_rate_limit"), scope)?;
    }
    let rules = rate_limits::of_filter(rate_limits, &path.field("rate_limits"), scope)?;
    let descriptor_limits = limits(descriptors, &path.field("descriptors"))?;
    if descriptors.is_empty() && !rules.is_empty() {
        scope.warn(&path.field("rate_limits"), "has no effect without descriptors");
    }
    let told_apart = Descriptors {
        rules,
        stage: stage_of(*stage, &path.field("stage"))?,
        host_rules: host_rules(*vh_rate_limits, &path.field("vh_rate_limits"))?,
        always_default: fields::flag(always_consume_default_token_bucket, true),
    };
    let most_path = path.field("max_dynamic_descriptors");
    let most_dynamic =
        fields::count_in(max_dynamic_descriptors, 1..=u32::MAX, &most_path)?.unwrap_or(DYNAMIC_DESCRIPTORS);
    let limits_anything = size.is_some() || !descriptor_limits.is_empty();
    let descriptor_limits = DescriptorLimits::new(descriptor_limits, most_dynamic as usize);
    let sizes = BucketSizes { default: size, descriptors: Arc::new(descriptor_limits) };
    Ok(RateLimit {
        stats: LocalRateLimitStats::for_prefix(&scope.context.stats, stat_prefix),
        enabled_ppm: share(filter_enabled, 0, &path.field("filter_enabled"))?,
        enforced_ppm: share(filter_enforced, 0, &path.field("filter_enforced"))?,
        status: refusal_status(status.as_ref()),
        resource_exhausted: *rate_limited_as_resource_exhausted,
        response_add: headers::additions(response_headers_to_add, &path.field("response_headers_to_add"))?,
        request_add: headers::additions(
            request_headers_to_add_when_not_enforced,
            &path.field("request_headers_to_add_when_not_enforced"),
        )?,
        tell: tell(*enable_x_ratelimit_headers, &path.field("enable_x_ratelimit_headers"))?,
        retry_after: *enable_retry_after_header,
        descriptors: (!sizes.descriptors.is_empty()).then(|| Box::new(told_apart)),
        shared,
        limit: limits_anything.then(|| Limit::new(sizes, per_connection, Instant::now())),
    })
}

/// As in Envoy a limit can be shared only by the members of a cluster that is known, and not by connection.
fn check_shared(per_connection: bool, path: &Path<'_>, scope: &Scope<'_>) -> Result<(), Rejection> {
    if !scope.context.has_own_cluster {
        return Err(path.reject("needs cluster_manager.local_cluster_name in the bootstrap"));
    }
    if per_connection {
        return Err(path.reject("does not go with local_rate_limit_per_downstream_connection"));
    }
    Ok(())
}

/// Which rules of routes are for this filter.
fn stage_of(stage: u32, path: &Path<'_>) -> Result<u32, Rejection> {
    if stage > MAX_STAGE {
        return Err(path.reject(format_args!("is {stage}, must be 0 to {MAX_STAGE}")));
    }
    Ok(stage)
}

fn host_rules(number: i32, path: &Path<'_>) -> Result<HostRules, Rejection> {
    match VhRateLimitsOptions::try_from(number) {
        Ok(VhRateLimitsOptions::Override) => Ok(HostRules::Override),
        Ok(VhRateLimitsOptions::Include) => Ok(HostRules::Include),
        Ok(VhRateLimitsOptions::Ignore) => Ok(HostRules::Ignore),
        Err(_) => Err(path.reject(fields::unknown_enum(number))),
    }
}

/// A bucket's size. Envoy accepts no `fill_interval` below 50 ms, unless the bucket is always empty.
pub(in crate::xds::translate) fn bucket_size(
    message: &BucketMessage,
    path: &Path<'_>,
) -> Result<BucketSize, Rejection> {
    let BucketMessage { max_tokens, tokens_per_fill, fill_interval } = message;
    let fill_path = path.field("fill_interval");
    let interval =
        fields::positive_duration(fill_interval, &fill_path)?.ok_or_else(|| fill_path.missing())?;
    if interval < SHORTEST_FILL && *max_tokens > 0 {
        return Err(fill_path.reject("must be at least 0.05s"));
    }
    let per_fill = fields::count_in(tokens_per_fill, 1..=u32::MAX, &path.field("tokens_per_fill"))?;
    Ok(BucketSize {
        max_tokens: *max_tokens,
        tokens_per_fill: per_fill.unwrap_or(1),
        fill_interval: interval,
    })
}

/// A status below 400 would not be a refusal: Envoy then answers 429.
fn refusal_status(status: Option<&HttpStatus>) -> u16 {
    let code = status.and_then(|HttpStatus { code }| u16::try_from(*code).ok());
    code.filter(|code| (400..600).contains(code)).unwrap_or(TOO_MANY_REQUESTS)
}

fn tell(number: i32, path: &Path<'_>) -> Result<bool, Rejection> {
    match XRateLimitHeadersRfcVersion::try_from(number) {
        Ok(version) => Ok(version == XRateLimitHeadersRfcVersion::DraftVersion03),
        Err(_) => Err(path.reject(fields::unknown_enum(number))),
    }
}

/// Descriptors that have buckets; each may be configured once.
fn limits(messages: &[LocalRateLimitDescriptor], path: &Path<'_>) -> Result<Vec<DescriptorLimit>, Rejection> {
    let mut limits: Vec<DescriptorLimit> = Vec::with_capacity(messages.len());
    for (i, message) in messages.iter().enumerate() {
        let path = path.index(i);
        let limit = limit(message, &path)?;
        if limits.iter().any(|known| known.entries == limit.entries) {
            return Err(path.field("entries").reject("these entries occur twice"));
        }
        limits.push(limit);
    }
    Ok(limits)
}

fn limit(message: &LocalRateLimitDescriptor, path: &Path<'_>) -> Result<DescriptorLimit, Rejection> {
    let LocalRateLimitDescriptor { entries, token_bucket, shadow_mode } = message;
    let list_path = path.field("entries");
    if entries.is_empty() {
        return Err(list_path.missing());
    }
    let entry = |(i, Entry { key, value }): (usize, &Entry)| {
        let key = fields::required(key, &list_path.index(i).field("key"))?;
        Ok(DescriptorEntry { key: key.into(), value: value.as_str().into() })
    };
    let bucket_path = path.field("token_bucket");
    let bucket = fields::message(token_bucket, &bucket_path)?;
    Ok(DescriptorLimit {
        entries: entries.iter().enumerate().map(entry).collect::<Result<_, _>>()?,
        size: bucket_size(bucket, &bucket_path)?,
        shadow: *shadow_mode,
    })
}
