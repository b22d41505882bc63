//! Local rate limits. Source: `envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`.

use std::time::{Duration, Instant};

use outrigger_xds_protos::pb::envoy::extensions::common::ratelimit::v3::XRateLimitHeadersRfcVersion;
use outrigger_xds_protos::v3::local_ratelimit::LocalRateLimit;
use outrigger_xds_protos::v3::types::{HttpStatus, TokenBucket as BucketMessage};

use super::share;
use crate::config::filter::rate_limit::{Limit, RateLimit};
use crate::config::live::BucketSize;
use crate::stats::scope::LocalRateLimitStats;
use crate::xds::translate::fields;
use crate::xds::translate::fields::refuse;
use crate::xds::translate::headers;
use crate::xds::translate::path::{Path, Rejection};
use crate::xds::translate::scope::Scope;

/// Shortest `fill_interval` that Envoy accepts.
const SHORTEST_FILL: Duration = Duration::from_millis(50);
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
        stage: _, // Chooses among rate_limits of routes, which only descriptors read.
        local_rate_limit_per_downstream_connection,
        local_cluster_rate_limit,
        enable_x_ratelimit_headers,
        vh_rate_limits: _,                      // The same.
        always_consume_default_token_bucket: _, // The same.
        rate_limited_as_resource_exhausted,
        rate_limits,
        max_dynamic_descriptors: _, // The same.
        enable_retry_after_header,
    } = message;
    refuse!(path; descriptors, rate_limits, local_cluster_rate_limit);
    let bucket_path = path.field("token_bucket");
    let size = token_bucket.as_ref().map(|bucket| bucket_size(bucket, &bucket_path)).transpose()?;
    if size.is_none() && level == Level::Route {
        return Err(bucket_path.missing());
    }
    let stat_prefix = fields::required(stat_prefix, &path.field("stat_prefix"))?;
    let per_connection = *local_rate_limit_per_downstream_connection;
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
        limit: size.map(|size| Limit::new(size, per_connection, Instant::now())),
    })
}

/// A bucket's size. Envoy accepts no `fill_interval` below 50 ms.
pub(in crate::xds::translate) fn bucket_size(
    message: &BucketMessage,
    path: &Path<'_>,
) -> Result<BucketSize, Rejection> {
    let BucketMessage { max_tokens, tokens_per_fill, fill_interval } = message;
    if *max_tokens == 0 {
        return Err(path.field("max_tokens").reject("must be at least 1"));
    }
    let fill_path = path.field("fill_interval");
    let interval =
        fields::positive_duration(fill_interval, &fill_path)?.ok_or_else(|| fill_path.missing())?;
    if interval < SHORTEST_FILL {
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
