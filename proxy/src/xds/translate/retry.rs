//! Retry policies. Source: `envoy.config.route.v3.RetryPolicy`.

use std::sync::Arc;
use std::time::Duration;

use outrigger_xds_protos::any;
use outrigger_xds_protos::v3::route::RetryPolicy as RetryMessage;
use outrigger_xds_protos::v3::route::retry_policy::retry_host_predicate::ConfigType;
use outrigger_xds_protos::v3::route::retry_policy::{RetryBackOff, RetryHostPredicate};

use super::fields;
use super::fields::refuse;
use super::path::{Path, Rejection};
use super::scope::Scope;
use crate::config::route::{RETRY_TOKENS, RetryOn, RetryPolicy};

const PREVIOUS_HOSTS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
/// Envoy's default back-off base (`upstream.base_retry_backoff_ms`).
const BASE_INTERVAL: Duration = Duration::from_millis(25);
/// Conditions Envoy knows and we do not act on.
const UNSUPPORTED_TOKENS: &[&str] = &["retriable-headers", "envoy-ratelimited", "http3-post-connect-failure"];

/// Compiles a policy; `None` when its conditions leave nothing to retry.
pub(super) fn compile(
    message: &RetryMessage,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<Arc<RetryPolicy>>, Rejection> {
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
    refuse!(path; per_try_idle_timeout, retry_priority, retry_options_predicates, rate_limited_retry_back_off,
        retriable_headers, retriable_request_headers, refresh_cluster_on_retry);
    let (base_interval, max_interval) = back_off(retry_back_off, &path.field("retry_back_off"))?;
    let attempts = *host_selection_retry_max_attempts;
    let policy = RetryPolicy {
        on: conditions(retry_on, &path.field("retry_on"), scope),
        num_retries: fields::count(num_retries).unwrap_or(1),
        status_codes: status_codes(retriable_status_codes, &path.field("retriable_status_codes"))?,
        per_try_timeout: fields::duration_or_off(per_try_timeout, &path.field("per_try_timeout"))?,
        base_interval,
        max_interval,
        avoid_previous_hosts: avoids_previous(retry_host_predicate, &path.field("retry_host_predicate"))?,
        host_selection_attempts: u32::try_from(attempts)
            .map_err(|_| path.field("host_selection_retry_max_attempts").reject("must be 0 or more"))?
            .max(1),
    };
    Ok((policy.on != RetryOn::default()).then(|| Arc::new(policy)))
}

/// Tokens separated by commas. Unknown ones are ignored as Envoy does, but not in silence.
fn conditions(text: &str, path: &Path<'_>, scope: &mut Scope<'_>) -> RetryOn {
    let mut on = RetryOn::default();
    for token in text.split(',').map(str::trim).filter(|token| !token.is_empty()) {
        match RETRY_TOKENS.iter().find(|(name, _)| *name == token) {
            Some((_, condition)) => on.insert(*condition),
            None if UNSUPPORTED_TOKENS.contains(&token) => {
                scope.warn(path, format_args!("{token} is not in effect: not supported by Outrigger"));
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

fn avoids_previous(predicates: &[RetryHostPredicate], path: &Path<'_>) -> Result<bool, Rejection> {
    for (i, RetryHostPredicate { name, config_type }) in predicates.iter().enumerate() {
        let url = config_type.as_ref().map(|ConfigType::TypedConfig(config)| config.type_url.as_str());
        if url.and_then(any::type_name) != Some(PREVIOUS_HOSTS) {
            return Err(path.index(i).reject(format_args!(
                "{name:?} ({}) is not supported; only previous_hosts is",
                url.unwrap_or("no typed_config")
            )));
        }
    }
    Ok(!predicates.is_empty())
}
