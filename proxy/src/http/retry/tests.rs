use super::*;
use crate::base::error::ConnectFailure;
use crate::http::head::{BodyLength, HeaderBlock, Version};
use crate::http::test_heads::request;

fn policy(on: RetryOn) -> RetryPolicy {
    RetryPolicy {
        on,
        num_retries: 2,
        status_codes: vec![418, 503],
        per_try_timeout: Duration::ZERO,
        base_interval: Duration::from_millis(25),
        max_interval: Duration::from_millis(250),
        avoid_previous_hosts: false,
        host_selection_attempts: 1,
    }
}

fn response(status: u16, grpc_status: Option<&str>) -> ResponseHead {
    let mut block = HeaderBlock::default();
    if let Some(status) = grpc_status {
        block.append(b"grpc-status", status.as_bytes());
    }
    ResponseHead { block, status, version: Version::Http11, body: BodyLength::None, upgrade: None }
}

fn retried(on: RetryOn, response: &ResponseHead) -> bool {
    let policy = policy(on);
    let mut retries = Retries::new(Some(&policy), &request("POST", "/", "h", &[]));
    matches!(retries.after_response(response, true, &mut Rng::with_seed(1)), Decision::Retry(_))
}

fn retried_failure(on: RetryOn, error: &ProxyError) -> bool {
    let policy = policy(on);
    let mut retries = Retries::new(Some(&policy), &request("POST", "/", "h", &[]));
    matches!(retries.after_failure(error, &mut Rng::with_seed(1)), Decision::Retry(_))
}

#[test]
fn statuses_by_condition() {
    assert!(retried(RetryOn::SERVER_ERROR, &response(500, None)));
    assert!(!retried(RetryOn::GATEWAY_ERROR, &response(500, None)));
    assert!(retried(RetryOn::GATEWAY_ERROR, &response(504, None)));
    assert!(retried(RetryOn::RETRIABLE_4XX, &response(409, None)));
    assert!(retried(RetryOn::STATUS_CODES, &response(418, None)));
    assert!(!retried(RetryOn::STATUS_CODES, &response(500, None)));
    assert!(retried(RetryOn::GRPC_UNAVAILABLE, &response(200, Some("14"))));
    assert!(!retried(RetryOn::GRPC_UNAVAILABLE, &response(200, Some("13"))));
}

#[test]
fn failures_by_condition() {
    let connect = ProxyError::ConnectFailure(ConnectFailure::Timeout);
    assert!(retried_failure(RetryOn::CONNECT_FAILURE, &connect));
    assert!(retried_failure(RetryOn::SERVER_ERROR, &connect));
    assert!(!retried_failure(RetryOn::REFUSED_STREAM, &connect));
    assert!(retried_failure(RetryOn::REFUSED_STREAM, &ProxyError::UpstreamReset { refused: true }));
    assert!(!retried_failure(RetryOn::REFUSED_STREAM, &ProxyError::UpstreamReset { refused: false }));
    assert!(retried_failure(RetryOn::RESET, &ProxyError::PerTryTimeout));
    assert!(!retried_failure(RetryOn::SERVER_ERROR, &ProxyError::Overflow));
    assert!(!retried_failure(RetryOn::SERVER_ERROR, &ProxyError::RequestTimeout));
}

#[test]
fn retries_are_counted_and_backed_off() {
    let policy = policy(RetryOn::SERVER_ERROR);
    let mut retries = Retries::new(Some(&policy), &request("GET", "/", "h", &[]));
    let mut rng = Rng::with_seed(3);
    for window in [25, 50] {
        let Decision::Retry(wait) = retries.after_response(&response(503, None), false, &mut rng) else {
            panic!("a retry is left");
        };
        assert!(wait < Duration::from_millis(window));
    }
    assert_eq!(retries.after_response(&response(503, None), false, &mut rng), Decision::LimitExceeded);
}

#[test]
fn the_keep_alive_race_is_retried_once_for_idempotent_requests_only() {
    let mut rng = Rng::with_seed(1);
    let race = ProxyError::UpstreamClosed { reused: true };
    let mut get = Retries::new(None, &request("GET", "/", "h", &[]));
    assert_eq!(get.after_failure(&race, &mut rng), Decision::Retry(Duration::ZERO));
    assert_eq!(get.after_failure(&race, &mut rng), Decision::Stop);
    let mut post = Retries::new(None, &request("POST", "/", "h", &[]));
    assert_eq!(post.after_failure(&race, &mut rng), Decision::Stop);
    let mut fresh = Retries::new(None, &request("GET", "/", "h", &[]));
    assert_eq!(fresh.after_failure(&ProxyError::UpstreamClosed { reused: false }, &mut rng), Decision::Stop);
}
