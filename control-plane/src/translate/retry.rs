//! Retry policies: events of the definitions as conditions of the proxy, and the policy that App Mesh applies
//! when none is written.

use outrigger_xds_protos::v3::route::RetryPolicy as RetryPolicyMessage;
use outrigger_xds_protos::v3::route::retry_policy::RetryHostPredicate;
use outrigger_xds_protos::v3::route::retry_policy::retry_host_predicate::ConfigType;
use outrigger_xds_protos::v3::wkt;

use super::message::{duration, number};
use crate::model::{GrpcRetryEvent, HttpRetryEvent, RetryPolicy};

/// Statuses of `server-error`: not all of the five hundreds.
const SERVER_ERRORS: [u32; 11] = [500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511];
const GATEWAY_ERRORS: [u32; 3] = [502, 503, 504];
const CLIENT_ERRORS: [u32; 1] = [409];

/// Re-picks when a host was tried before.
const HOST_ATTEMPTS: i64 = 5;

/// The policy of a route, or App Mesh's own.
pub fn policy(written: Option<&RetryPolicy>) -> RetryPolicyMessage {
    written.map_or_else(default_policy, user_policy)
}

fn default_policy() -> RetryPolicyMessage {
    RetryPolicyMessage {
        retry_on: "connect-failure,refused-stream,reset,unavailable,retriable-status-codes".to_owned(),
        num_retries: Some(number(2)),
        retriable_status_codes: vec![503],
        ..avoiding_tried_hosts()
    }
}

fn user_policy(policy: &RetryPolicy) -> RetryPolicyMessage {
    let statuses = statuses(&policy.http_events);
    let per_try = policy.per_retry_timeout;
    RetryPolicyMessage {
        retry_on: conditions(policy, !statuses.is_empty()).join(","),
        num_retries: Some(number(policy.max_retries)),
        per_try_timeout: (!per_try.is_zero()).then(|| duration(per_try)),
        retriable_status_codes: statuses,
        ..avoiding_tried_hosts()
    }
}

fn statuses(events: &[HttpRetryEvent]) -> Vec<u32> {
    let mut statuses: Vec<u32> = Vec::new();
    let tables: [(HttpRetryEvent, &[u32]); 3] = [
        (HttpRetryEvent::ServerError, &SERVER_ERRORS),
        (HttpRetryEvent::GatewayError, &GATEWAY_ERRORS),
        (HttpRetryEvent::ClientError, &CLIENT_ERRORS),
    ];
    for (event, table) in tables {
        if events.contains(&event) {
            let new: Vec<u32> = table.iter().copied().filter(|s| !statuses.contains(s)).collect();
            statuses.extend(new);
        }
    }
    statuses
}

fn conditions(policy: &RetryPolicy, has_statuses: bool) -> Vec<&'static str> {
    let has = |event| policy.http_events.contains(&event);
    let http = [
        ("reset", has(HttpRetryEvent::ServerError) || has(HttpRetryEvent::GatewayError)),
        ("refused-stream", has(HttpRetryEvent::StreamError)),
        ("connect-failure", policy.tcp_connection_error),
    ];
    let grpc = [
        ("cancelled", GrpcRetryEvent::Cancelled),
        ("deadline-exceeded", GrpcRetryEvent::DeadlineExceeded),
        ("internal", GrpcRetryEvent::Internal),
        ("resource-exhausted", GrpcRetryEvent::ResourceExhausted),
        ("unavailable", GrpcRetryEvent::Unavailable),
    ];
    let http = http.into_iter().filter(|(_, on)| *on).map(|(name, _)| name);
    let grpc = grpc.into_iter().filter(|(_, event)| policy.grpc_events.contains(event)).map(|(name, _)| name);
    http.chain(grpc).chain(has_statuses.then_some("retriable-status-codes")).collect()
}

/// The part that every policy has: hosts that were tried are avoided.
fn avoiding_tried_hosts() -> RetryPolicyMessage {
    let predicate = wkt::Any {
        type_url: "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            .to_owned(),
        value: Vec::new(),
    };
    RetryPolicyMessage {
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(ConfigType::TypedConfig(predicate)),
        }],
        host_selection_retry_max_attempts: HOST_ATTEMPTS,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::diagnostics::Position;

    fn written(http: &[HttpRetryEvent], tcp: bool, grpc: &[GrpcRetryEvent]) -> RetryPolicyMessage {
        policy(Some(&RetryPolicy {
            max_retries: 1,
            per_retry_timeout: Duration::from_secs(5),
            http_events: http.to_vec(),
            tcp_connection_error: tcp,
            grpc_events: grpc.to_vec(),
            at: Position::start_of("t").into(),
        }))
    }

    #[test]
    fn the_encoding_that_was_observed() {
        use HttpRetryEvent::{ClientError, GatewayError, StreamError};
        let found = written(&[GatewayError, ClientError, StreamError], false, &[]);
        assert_eq!(found.retry_on, "reset,refused-stream,retriable-status-codes");
        assert_eq!(found.retriable_status_codes, [502, 503, 504, 409]);
        assert_eq!(found.num_retries, Some(number(1)));
        assert_eq!(found.per_try_timeout.unwrap().seconds, 5);
        assert_eq!((found.retry_host_predicate.len(), found.host_selection_retry_max_attempts), (1, 5));
    }

    #[test]
    fn each_event_adds_its_own() {
        let found = written(&[HttpRetryEvent::ServerError, HttpRetryEvent::GatewayError], true, &[]);
        assert_eq!(found.retry_on, "reset,connect-failure,retriable-status-codes");
        assert_eq!(found.retriable_status_codes, SERVER_ERRORS);
        let found = written(&[], false, &[GrpcRetryEvent::Unavailable, GrpcRetryEvent::Cancelled]);
        assert_eq!(
            (found.retry_on.as_str(), found.retriable_status_codes.len()),
            ("cancelled,unavailable", 0)
        );
    }

    #[test]
    fn the_hidden_default() {
        let found = policy(None);
        assert_eq!(found.retry_on, "connect-failure,refused-stream,reset,unavailable,retriable-status-codes");
        assert_eq!((found.retriable_status_codes, found.num_retries), (vec![503], Some(number(2))));
        assert_eq!(found.per_try_timeout, None);
    }
}
