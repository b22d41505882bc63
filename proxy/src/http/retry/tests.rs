use super::*;
use crate::base::error::ConnectFailure;
use crate::base::matcher::{HeaderMatch, HeaderMatchKind};
use crate::config::retry::{ResetFormat, ResetHeader};
use crate::http::head::{BodyLength, HeaderBlock, Version};
use crate::http::test_heads::request;

fn policy(on: RetryOn) -> RetryPolicy {
    RetryPolicy {
        avoid_priorities_every: 0,
        on,
        num_retries: 2,
        status_codes: vec![418, 425, 503],
        response_headers: Vec::new(),
        request_headers: Vec::new(),
        per_try_timeout: Duration::ZERO,
        per_try_idle_timeout: Duration::ZERO,
        base_interval: Duration::from_millis(25),
        max_interval: Duration::from_millis(250),
        reset_headers: Vec::new(),
        max_reset_interval: Duration::from_secs(300),
        avoid: Default::default(),
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
    let mut retries = Retries::new(Some(&policy), None, &request("POST", "/", "h", &[]));
    matches!(retries.after_response(response, &mut Rng::with_seed(1), SystemTime::now), Decision::Retry(_))
}

fn retried_failure(on: RetryOn, error: &ProxyError) -> bool {
    let policy = policy(on);
    let mut retries = Retries::new(Some(&policy), None, &request("POST", "/", "h", &[]));
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

fn header(name: &str) -> HeaderMatch {
    let kind = HeaderMatchKind::Present(true);
    HeaderMatch { name: name.into(), kind, invert: false, missing_as_empty: false }
}

fn after(retries: &mut Retries<'_>, response: &ResponseHead) -> Decision {
    retries.after_response(response, &mut Rng::with_seed(3), || SystemTime::UNIX_EPOCH)
}

fn with_header(status: u16, name: &str, value: &str) -> ResponseHead {
    let mut response = response(status, None);
    response.block.append(name.as_bytes(), value.as_bytes());
    response
}

#[test]
fn rate_limited_answers_are_retried_under_their_own_condition_only() {
    let limited = with_header(503, "x-envoy-ratelimited", "");
    assert!(!retried(RetryOn::SERVER_ERROR, &limited));
    assert!(retried(RetryOn::RATE_LIMITED, &limited));
    assert!(!retried(RetryOn::RATE_LIMITED, &response(503, None)));
}

#[test]
fn response_headers_by_policy_and_by_caller() {
    let policy = RetryPolicy {
        response_headers: vec![header("x-again"), header(":status")],
        ..policy(RetryOn::HEADERS)
    };
    let head = request("GET", "/", "h", &[]);
    let mut retries = Retries::new(Some(&policy), None, &head);
    assert!(
        matches!(after(&mut retries, &response(200, None)), Decision::Retry(_)),
        ":status is always there"
    );
    let asked = || {
        let header_names = vec![Box::from(*b"x-more") as Box<[u8]>];
        Some(Box::new(Asked { on: RetryOn::HEADERS, header_names, ..Asked::default() }))
    };
    let mut retries = Retries::new(None, asked(), &head);
    assert_eq!(after(&mut retries, &with_header(200, "x-again", "1")), Decision::Stop);
    assert!(matches!(after(&mut retries, &with_header(200, "x-more", "")), Decision::Retry(_)));
}

#[test]
fn only_requests_that_match_are_retried_where_the_policy_says_so() {
    let policy = RetryPolicy { request_headers: vec![header("x-safe")], ..policy(RetryOn::SERVER_ERROR) };
    for (headers, expected) in [(&[][..], false), (&[("x-safe", "1")][..], true)] {
        let asked = Asked { on: RetryOn::RESET, max_retries: Some(9), ..Asked::default() };
        let retries = Retries::new(Some(&policy), Some(Box::new(asked)), &request("POST", "/", "h", headers));
        assert_eq!(retries.are_possible(), expected, "not even a caller's own conditions count");
    }
}

#[test]
fn a_caller_adds_conditions_and_replaces_the_number() {
    let policy = policy(RetryOn::RETRIABLE_4XX);
    let asked = Asked {
        on: RetryOn::STATUS_CODES,
        max_retries: Some(1),
        status_codes: [429].into_iter().collect(),
        ..Asked::default()
    };
    let mut retries = Retries::new(Some(&policy), Some(Box::new(asked)), &request("GET", "/", "h", &[]));
    assert!(matches!(after(&mut retries, &response(429, None)), Decision::Retry(_)));
    assert_eq!(after(&mut retries, &response(409, None)), Decision::LimitExceeded);
    assert_eq!(after(&mut retries, &response(500, None)), Decision::Stop);
}

#[test]
fn the_upstream_says_when_to_come_back() {
    let policy = RetryPolicy {
        reset_headers: vec![
            ResetHeader { name: "retry-after".into(), format: ResetFormat::Seconds },
            ResetHeader { name: "x-reset".into(), format: ResetFormat::UnixTimestamp },
        ],
        max_reset_interval: Duration::from_secs(60),
        ..policy(RetryOn::SERVER_ERROR)
    };
    let wait = |name: &str, value: &str| {
        let mut retries = Retries::new(Some(&policy), None, &request("GET", "/", "h", &[]));
        match after(&mut retries, &with_header(503, name, value)) {
            Decision::Retry(retry) => (retry.cause, retry.wait),
            other => panic!("{other:?}"),
        }
    };
    for (name, value) in [("retry-after", "10"), ("x-reset", "10")] {
        let (cause, wait) = wait(name, value);
        assert_eq!(cause, Cause::RateLimited, "{name}");
        assert!((Duration::from_secs(10)..Duration::from_secs(15)).contains(&wait), "{name}: {wait:?}");
    }
    for (name, value) in [("retry-after", "61"), ("retry-after", "0"), ("x-other", "1")] {
        assert_eq!(wait(name, value).0, Cause::Policy, "{name}: {value}");
    }
}

#[test]
fn too_early_is_repeated_at_once_unless_the_client_sent_it_early() {
    let policy = policy(RetryOn::STATUS_CODES);
    let mut late = Retries::new(Some(&policy), None, &request("GET", "/", "h", &[]));
    let at_once = Retry { wait: Duration::ZERO, cause: Cause::TooEarly };
    assert_eq!(after(&mut late, &response(425, None)), Decision::Retry(at_once));
    let mut early = Retries::new(Some(&policy), None, &request("GET", "/", "h", &[("early-data", "1")]));
    assert_eq!(after(&mut early, &response(425, None)), Decision::Stop);
}

#[test]
fn a_reset_before_the_request_is_one_before_its_head_was_sent() {
    let policy = policy(RetryOn::RESET_BEFORE_REQUEST);
    let closed = ProxyError::UpstreamClosed { reused: false };
    let mut retries = Retries::new(Some(&policy), None, &request("POST", "/", "h", &[]));
    retries.attempt_starts();
    assert!(matches!(retries.after_failure(&closed, &mut Rng::with_seed(1)), Decision::Retry(_)));
    retries.attempt_starts();
    retries.request_begun();
    assert_eq!(retries.after_failure(&closed, &mut Rng::with_seed(1)), Decision::Stop);
}

#[test]
fn tunnels_are_never_retried() {
    let policy = policy(RetryOn::SERVER_ERROR);
    assert!(!Retries::new(Some(&policy), None, &request("CONNECT", "", "h:1", &[])).are_possible());
}

#[test]
fn retries_are_counted_and_backed_off() {
    let policy = policy(RetryOn::SERVER_ERROR);
    let mut retries = Retries::new(Some(&policy), None, &request("GET", "/", "h", &[]));
    for window in [25, 50] {
        let Decision::Retry(retry) = after(&mut retries, &response(503, None)) else {
            panic!("a retry is left");
        };
        assert!(retry.wait < Duration::from_millis(window));
    }
    assert_eq!(after(&mut retries, &response(503, None)), Decision::LimitExceeded);
}

#[test]
fn the_keep_alive_race_is_retried_once_for_idempotent_requests_only() {
    let mut rng = Rng::with_seed(1);
    let race = ProxyError::UpstreamClosed { reused: true };
    let mut get = Retries::new(None, None, &request("GET", "/", "h", &[]));
    let at_once = Retry { wait: Duration::ZERO, cause: Cause::KeepAliveRace };
    assert_eq!(get.after_failure(&race, &mut rng), Decision::Retry(at_once));
    assert_eq!(get.after_failure(&race, &mut rng), Decision::Stop);
    let mut post = Retries::new(None, None, &request("POST", "/", "h", &[]));
    assert_eq!(post.after_failure(&race, &mut rng), Decision::Stop);
    let mut fresh = Retries::new(None, None, &request("GET", "/", "h", &[]));
    assert_eq!(fresh.after_failure(&ProxyError::UpstreamClosed { reused: false }, &mut rng), Decision::Stop);
}
