//! Retry policies. Source: `envoy.config.route.v3.RetryPolicy`.

use std::sync::Arc;
use std::time::Duration;

use outrigger_xds_protos::any::{self, Typed};
use outrigger_xds_protos::pb::envoy::extensions::retry::host::omit_host_metadata::v3::OmitHostMetadataConfig;
use outrigger_xds_protos::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use outrigger_xds_protos::v3::route::HedgePolicy;
use outrigger_xds_protos::v3::route::RetryPolicy as RetryMessage;
use outrigger_xds_protos::v3::route::retry_policy::retry_host_predicate::ConfigType;
use outrigger_xds_protos::v3::route::retry_policy::retry_priority::ConfigType as PriorityConfig;
use outrigger_xds_protos::v3::route::retry_policy::{
    RateLimitedRetryBackOff, ResetHeader as ResetMessage, ResetHeaderFormat, RetryBackOff,
    RetryHostPredicate, RetryPriority,
};
use outrigger_xds_protos::v3::wkt;

use super::fields;
use super::fields::{refuse, warn_set};
use super::path::{Path, Rejection};
use super::scope::Scope;
use super::{matchers, metadata};
use crate::base::matcher::HeaderMatch;
use crate::config::retry::{Avoid, LARGEST_REPLAY, ResetFormat, ResetHeader, RetryOn, RetryPolicy};

const PREVIOUS_HOSTS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
const OMIT_CANARIES: &str = "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate";
/// Envoy's default back-off base (`upstream.base_retry_backoff_ms`).
const BASE_INTERVAL: Duration = Duration::from_millis(25);
/// Envoy's default `rate_limited_retry_back_off.max_interval`.
const MAX_RESET_INTERVAL: Duration = Duration::from_secs(300);
/// Conditions Envoy knows that cannot come true here.
const UNSUPPORTED_TOKENS: &[&str] = &["http3-post-connect-failure"];

/// Compiles a policy. One without conditions still bounds attempts, and callers inside may bring their own.
pub(super) fn compile(
    message: &RetryMessage,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Arc<RetryPolicy>, Rejection> {
    let RetryMessage {
        retry_on,
        num_retries,
        per_try_timeout,
        per_try_idle_timeout,
        retry_priority,
        retry_host_predicate,
        retry_options_predicates,
        host_selection_retry_max_attempts,
        retriable_status_codes,
        retry_back_off,
        rate_limited_retry_back_off,
        retriable_headers,
        retriable_request_headers,
        refresh_cluster_on_retry,
    } = message;
    refuse!(path; retry_options_predicates);
    warn_set!(scope, path, "has no effect: only cluster specifiers that are plugins choose anew"; refresh_cluster_on_retry);
    let (base_interval, max_interval) = back_off(retry_back_off, &path.field("retry_back_off"))?;
    let reset_path = path.field("rate_limited_retry_back_off");
    let (reset_headers, max_reset_interval) = reset_back_off(rate_limited_retry_back_off, &reset_path)?;
    let attempts = *host_selection_retry_max_attempts;
    Ok(Arc::new(RetryPolicy {
        on: conditions(retry_on, &path.field("retry_on"), scope),
        num_retries: fields::count(num_retries).unwrap_or(1),
        status_codes: status_codes(retriable_status_codes, &path.field("retriable_status_codes"))?,
        response_headers: headers(retriable_headers, &path.field("retriable_headers"))?,
        request_headers: headers(retriable_request_headers, &path.field("retriable_request_headers"))?,
        per_try_timeout: fields::duration_or_off(per_try_timeout, &path.field("per_try_timeout"))?,
        per_try_idle_timeout: fields::duration_or_off(
            per_try_idle_timeout,
            &path.field("per_try_idle_timeout"),
        )?,
        base_interval,
        max_interval,
        reset_headers,
        max_reset_interval,
        avoid: avoid(retry_host_predicate, &path.field("retry_host_predicate"))?,
        avoid_priorities_every: priorities(retry_priority, &path.field("retry_priority"))?,
        host_selection_attempts: u32::try_from(attempts)
            .map_err(|_| path.field("host_selection_retry_max_attempts").reject("must be 0 or more"))?
            .max(1),
    }))
}

/// Whether an attempt that takes too long goes on beside the next one; `None` when the policy is absent.
pub(super) fn hedge(policy: &Option<HedgePolicy>, path: &Path<'_>) -> Result<Option<bool>, Rejection> {
    let Some(HedgePolicy { initial_requests, additional_request_chance, hedge_on_per_try_timeout }) = policy
    else {
        return Ok(None);
    };
    if fields::count(initial_requests).is_some_and(|requests| requests > 1) {
        return Err(path.field("initial_requests").unsupported());
    }
    refuse!(path; additional_request_chance);
    Ok(Some(*hedge_on_per_try_timeout))
}

/// Most body bytes kept for another attempt, where the message says so: its new field, else the deprecated one.
pub(super) fn replay_limit(
    limit: &Option<wkt::UInt64Value>,
    deprecated: &Option<wkt::UInt32Value>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Option<usize> {
    let (limit, name) = match (limit, deprecated) {
        (Some(limit), _) => (limit.value, "request_body_buffer_limit"),
        (None, Some(limit)) => (limit.value.into(), "per_request_buffer_limit_bytes"),
        (None, None) => return None,
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit > LARGEST_REPLAY {
        let message =
            format_args!("is in effect up to {LARGEST_REPLAY} bytes; longer requests are not retried");
        scope.warn(&path.field(name), message);
    }
    Some(limit.min(LARGEST_REPLAY))
}

fn headers(
    list: &[outrigger_xds_protos::v3::route::HeaderMatcher],
    path: &Path<'_>,
) -> Result<Vec<HeaderMatch>, Rejection> {
    list.iter().enumerate().map(|(i, matcher)| matchers::header(matcher, &path.index(i))).collect()
}

/// Tokens separated by commas. Unknown ones are ignored as Envoy does, but not in silence.
fn conditions(text: &str, path: &Path<'_>, scope: &mut Scope<'_>) -> RetryOn {
    let mut on = RetryOn::default();
    for token in text.split(',').map(str::trim).filter(|token| !token.is_empty()) {
        let mut known = RetryOn::HTTP_TOKENS.iter().chain(RetryOn::GRPC_TOKENS);
        match known.find(|(name, _)| *name == token) {
            Some((_, condition)) => on.insert(*condition),
            None if UNSUPPORTED_TOKENS.contains(&token) => {
                scope.warn(path, format_args!("{token} is not in effect: HTTP/3 is not spoken"));
            }
            None => scope.warn(path, format_args!("{token:?} is no retry condition and is ignored")),
        }
    }
    on
}

fn status_codes(codes: &[u32], path: &Path<'_>) -> Result<Vec<u16>, Rejection> {
    let code = |(i, code): (usize, &u32)| fields::status(*code, 100..600, &path.index(i));
    let mut codes: Vec<u16> = codes.iter().enumerate().map(code).collect::<Result<_, _>>()?;
    codes.sort_unstable();
    codes.dedup();
    Ok(codes)
}

/// Base and longest window. Envoy raises intervals below a millisecond to one.
fn back_off(message: &Option<RetryBackOff>, path: &Path<'_>) -> Result<(Duration, Duration), Rejection> {
    let Some(RetryBackOff { base_interval, max_interval }) = message else {
        return Ok((BASE_INTERVAL, BASE_INTERVAL * 10));
    };
    let floor = |interval: Duration| interval.max(Duration::from_millis(1));
    let base_path = path.field("base_interval");
    let base = fields::positive_duration(base_interval, &base_path)?.ok_or_else(|| base_path.missing())?;
    let max_path = path.field("max_interval");
    let max = fields::positive_duration(max_interval, &max_path)?;
    if max.is_some_and(|max| max < base) {
        return Err(max_path.reject("must not be below base_interval"));
    }
    Ok((floor(base), floor(max.unwrap_or(base * 10))))
}

/// Headers that say when to come back, and the longest wait that is believed.
fn reset_back_off(
    message: &Option<RateLimitedRetryBackOff>,
    path: &Path<'_>,
) -> Result<(Vec<ResetHeader>, Duration), Rejection> {
    let Some(RateLimitedRetryBackOff { reset_headers, max_interval }) = message else {
        return Ok((Vec::new(), MAX_RESET_INTERVAL));
    };
    let max = fields::positive_duration(max_interval, &path.field("max_interval"))?;
    let list_path = path.field("reset_headers");
    if reset_headers.is_empty() {
        return Err(list_path.missing());
    }
    let compile = |(i, ResetMessage { name, format }): (usize, &ResetMessage)| {
        let path = list_path.index(i);
        Ok(ResetHeader {
            name: matchers::header_name(name, &path.field("name"))?,
            format: match ResetHeaderFormat::try_from(*format) {
                Ok(ResetHeaderFormat::Seconds) => ResetFormat::Seconds,
                Ok(ResetHeaderFormat::UnixTimestamp) => ResetFormat::UnixTimestamp,
                Err(_) => return Err(path.field("format").reject(fields::unknown_enum(*format))),
            },
        })
    };
    let headers = reset_headers.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
    Ok((headers, max.unwrap_or(MAX_RESET_INTERVAL)))
}

/// After how many attempts priorities are left out; 0 without the extension.
fn priorities(message: &Option<RetryPriority>, path: &Path<'_>) -> Result<u32, Rejection> {
    let Some(RetryPriority { name, config_type }) = message else { return Ok(0) };
    let Some(PriorityConfig::TypedConfig(config)) = config_type.as_ref().filter(|config| {
        let PriorityConfig::TypedConfig(config) = config;
        any::is::<PreviousPrioritiesConfig>(config)
    }) else {
        return Err(path.reject(format_args!("{name:?} is not supported; previous_priorities is")));
    };
    let path = path.field("typed_config");
    let PreviousPrioritiesConfig { update_frequency } =
        any::unpack(config).map_err(|error| path.reject(error))?;
    let path = path.field("update_frequency");
    match u32::try_from(update_frequency) {
        Ok(frequency @ 1..) => Ok(frequency),
        _ => Err(path.reject("must be at least 1")),
    }
}

fn avoid(predicates: &[RetryHostPredicate], path: &Path<'_>) -> Result<Avoid, Rejection> {
    let mut avoid = Avoid::default();
    for (i, RetryHostPredicate { name, config_type }) in predicates.iter().enumerate() {
        let url = config_type.as_ref().map(|ConfigType::TypedConfig(config)| config.type_url.as_str());
        match url.and_then(any::type_name) {
            Some(PREVIOUS_HOSTS) => avoid.previous = true,
            Some(OMIT_CANARIES) => avoid.canaries = true,
            Some(<OmitHostMetadataConfig as Typed>::NAME) => {
                let Some(ConfigType::TypedConfig(config)) = config_type else { continue };
                let entry_path = path.index(i);
                let path = entry_path.field("typed_config");
                let OmitHostMetadataConfig { metadata_match } =
                    any::unpack(config).map_err(|error| path.reject(error))?;
                avoid.metadata.extend(metadata::of_balancing(&metadata_match).as_deref().cloned());
            }
            _ => {
                return Err(path.index(i).reject(format_args!(
                    "{name:?} ({}) is not supported; previous_hosts, omit_canary_hosts and omit_host_metadata are",
                    url.unwrap_or("no typed_config")
                )));
            }
        }
    }
    Ok(avoid)
}
