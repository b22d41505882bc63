//! Retries: what is tried again, how often and when, what the upstream is told, and what bounds them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1::{Connection, Response};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::Step::{Answer, Close, Hang};
use outrigger_tests::upstream::{Echo, Requests, Sequence, Step, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

on_both_data_planes!(
    conditions_decide,
    callers_inside_bring_their_own_policy,
    callers_outside_do_not,
    control_headers_end_here,
    the_upstream_is_told_about_attempts,
    rate_limited_answers_are_waited_for,
    time_limits_of_callers_inside_count,
    the_limit_of_the_hop_before_is_respected,
    silence_within_a_try_ends_it,
    streams_of_one_try_have_a_longest_life,
    slow_tries_are_hedged,
    a_hedge_outlives_a_failed_try,
    long_bodies_are_sent_once,
    a_listeners_buffers_bound_what_is_sent_again,
    bodies_are_replayed,
    budgets_bound_retries,
    budgets_look_back,
    a_clusters_policy_wins,
);

#[tokio::test]
async fn a_kept_alive_connection_that_closes_is_retried_once_and_counted() -> Result<()> {
    let Some(_) = outrigger_tests::requirement::met(DataPlane::Outrigger.launch()) else { return Ok(()) };
    let scene =
        Scene::start(DataPlane::Outrigger, &[Answer(200, &[]), Close, Answer(200, &[])], &Plan::default())
            .await?;
    assert_eq!(scene.get(&[]).await?.status, 200);
    assert_eq!(scene.get(&[]).await?.status, 200);
    assert_eq!(scene.stat("upstream_rq_retry_keepalive_race").await?, 1);
    assert_eq!(scene.stat("upstream_rq_retry").await?, 0, "no policy asked");
    let scene = Scene::start(
        DataPlane::Outrigger,
        &[Answer(200, &[]), Close, Close, Answer(200, &[])],
        &Plan::default(),
    )
    .await?;
    assert_eq!(scene.get(&[]).await?.status, 200);
    assert_eq!(scene.get(&[]).await?.status, 503, "once");
    Ok(())
}

/// What differs between scenes; JSON that is merged into the configuration.
struct Plan {
    policy: Value,
    route: Value,
    action: Value,
    host: Value,
    router: Value,
    cluster: Value,
    listener: Value,
}

impl Default for Plan {
    fn default() -> Self {
        let none = || json!({});
        Self {
            policy: Value::Null,
            route: none(),
            action: none(),
            host: none(),
            router: none(),
            cluster: none(),
            listener: none(),
        }
    }
}

fn policy(policy: Value) -> Plan {
    Plan { policy, ..Plan::default() }
}

/// A sidecar before an upstream that does what it is told.
struct Scene {
    port: Port,
    log: AccessLog,
    sidecar: Sidecar,
    upstream: Upstream,
    requests: Requests,
}

impl Scene {
    async fn start(plane: DataPlane, steps: &[Step], plan: &Plan) -> Result<Self> {
        let sequence = Sequence::of(steps);
        let requests = sequence.requests();
        let upstream = Upstream::start(sequence)?;
        let (port, log, sidecar) = start(plane, &[upstream.address()], plan).await?;
        Ok(Self { port, log, sidecar, upstream, requests })
    }

    async fn get(&self, headers: &[&str]) -> Result<Response> {
        self.send("GET", headers, "").await
    }

    async fn send(&self, method: &str, headers: &[&str], body: &str) -> Result<Response> {
        let mut connection = Connection::open(self.port.address()).await?;
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let length = body.len();
        let text =
            format!("{method} / HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        connection.exchange(text).await
    }

    fn attempts(&self) -> u64 {
        self.upstream.counts().requests()
    }

    async fn stat(&self, name: &str) -> Result<u64> {
        self.sidecar.stat(&format!("cluster.a.{name}")).await
    }

    /// The first value of a header in the request of this number.
    fn told(&self, request: usize, header: &str) -> Option<String> {
        let requests = self.requests.all();
        let mut lines = requests.get(request)?.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(name, _)| name.eq_ignore_ascii_case(header)).map(|(_, value)| value.to_owned())
    }
}

async fn start(
    plane: DataPlane,
    upstreams: &[SocketAddr],
    plan: &Plan,
) -> Result<(Port, AccessLog, Sidecar)> {
    let (port, log) =
        (Port::lease()?, AccessLog::of(&["RESPONSE_CODE", "RESPONSE_FLAGS", "RESPONSE_CODE_DETAILS"])?);
    let mut route = prefix_route("/", "a");
    merge(&mut route, &plan.route);
    merge(&mut route["route"], &plan.action);
    if !plan.policy.is_null() {
        route["route"]["retry_policy"] = plan.policy.clone();
    }
    let mut host = virtual_host("v", &["*"], &[route]);
    merge(&mut host, &plan.host);
    let mut listener = http_listener("ingress", port.address(), inline(route_config("r", &[host])));
    let manager = manager_of(&mut listener);
    manager["access_log"] = log.config();
    manager["internal_address_config"] =
        json!({"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]});
    merge(&mut manager["http_filters"][0]["typed_config"], &plan.router);
    merge(&mut listener, &plan.listener);
    let mut cluster = cluster("a", upstreams);
    merge(&mut cluster, &plan.cluster);
    let sidecar = plane.launch()?.concurrency(1).start(&with_static(&[listener], &[cluster])).await?;
    Ok((port, log, sidecar))
}

fn merge(into: &mut Value, more: &Value) {
    for (key, value) in more.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

/// From inside: the connection manager takes a single internal address in `x-forwarded-for` for a hop of the mesh.
const INSIDE: &str = "x-forwarded-for: 10.0.0.1";

async fn conditions_decide(plane: DataPlane) -> Result<()> {
    let fast = json!({"base_interval": "0.001s"});
    let cases: [(&str, &str, Step, u16, u64); 22] = [
        ("POST", "5xx", Answer(500, &[]), 200, 2),
        ("GET", "gateway-error", Answer(500, &[]), 500, 1),
        ("GET", "gateway-error", Answer(503, &[]), 200, 2),
        ("POST", "reset", Close, 200, 2),
        ("POST", "5xx", Close, 200, 2),
        ("POST", "gateway-error", Close, 200, 2),
        ("POST", "connect-failure", Close, 503, 1),
        ("POST", "reset-before-request", Close, 503, 1),
        ("POST", "refused-stream", Close, 503, 1),
        ("GET", "reset", Answer(503, &[]), 503, 1),
        ("GET", "retriable-4xx", Answer(409, &[]), 200, 2),
        ("GET", "retriable-4xx", Answer(404, &[]), 404, 1),
        ("GET", "retriable-status-codes", Answer(418, &[]), 200, 2),
        ("GET", "retriable-status-codes", Answer(425, &[]), 200, 2),
        ("GET", "retriable-status-codes", Answer(500, &[]), 500, 1),
        ("GET", "retriable-headers", Answer(200, &["x-again: 1"]), 200, 2),
        ("GET", "retriable-headers", Answer(504, &[]), 504, 1),
        ("GET", "5xx", Answer(503, &["x-envoy-ratelimited: true"]), 503, 1),
        ("GET", "envoy-ratelimited", Answer(429, &["x-envoy-ratelimited: true"]), 200, 2),
        ("GET", "unavailable", Answer(200, &["content-type: application/grpc", "grpc-status: 14"]), 200, 2),
        ("GET", "unavailable,cancelled", Answer(200, &["grpc-status: 13"]), 200, 1),
        ("GET", "internal", Answer(200, &["grpc-status: 13"]), 200, 2),
    ];
    for (method, on, first, status, attempts) in cases {
        let case = format!("{method} {on} {first:?}");
        let plan = policy(json!({
            "retry_on": on,
            "retriable_status_codes": [418, 425],
            "retriable_headers": [{"name": "x-again"}],
            "retry_back_off": fast,
        }));
        let scene = Scene::start(plane, &[first, Answer(200, &[])], &plan).await?;
        assert_eq!(scene.send(method, &[], "").await?.status, status, "{case}");
        assert_eq!(scene.attempts(), attempts, "{case}");
        let success = u64::from(attempts == 2);
        assert_eq!(scene.stat("upstream_rq_retry").await?, success, "{case}");
        assert_eq!(scene.stat("upstream_rq_retry_success").await?, success, "{case}");
    }
    Ok(())
}

async fn callers_inside_bring_their_own_policy(plane: DataPlane) -> Result<()> {
    let cases: [(&[&str], Step, u64); 6] = [
        (&["x-envoy-retry-on: 5xx"], Answer(500, &[]), 2),
        (&["x-envoy-retry-on: 5xx", "x-envoy-max-retries: 4"], Answer(500, &[]), 5),
        (
            &["x-envoy-retry-on: retriable-status-codes", "x-envoy-retriable-status-codes: 200"],
            Answer(200, &[]),
            2,
        ),
        (
            &["x-envoy-retry-on: retriable-headers", "x-envoy-retriable-header-names: x-again"],
            Answer(200, &["x-again: 1"]),
            2,
        ),
        (&["x-envoy-retry-grpc-on: internal"], Answer(200, &["grpc-status: 13"]), 2),
        (&["x-envoy-max-retries: 4"], Answer(500, &[]), 1),
    ];
    for (headers, answer, attempts) in cases {
        let scene = Scene::start(plane, &[answer], &Plan::default()).await?;
        let headers: Vec<&str> = headers.iter().copied().chain([INSIDE]).collect();
        scene.get(&headers).await?;
        assert_eq!(scene.attempts(), attempts, "{headers:?}");
    }
    let plan = policy(json!({"retry_on": "5xx", "retriable_request_headers": [{"name": "x-safe"}]}));
    for (headers, attempts) in [(&[INSIDE, "x-envoy-retry-on: 5xx"][..], 1), (&["x-safe: 1"][..], 2)] {
        let scene = Scene::start(plane, &[Answer(500, &[])], &plan).await?;
        scene.get(headers).await?;
        assert_eq!(scene.attempts(), attempts, "{headers:?}");
    }
    Ok(())
}

async fn callers_outside_do_not(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, &[Answer(500, &[])], &Plan::default()).await?;
    scene.get(&["x-envoy-retry-on: 5xx", "x-envoy-upstream-rq-timeout-ms: 1"]).await?;
    assert_eq!(scene.attempts(), 1);
    assert_eq!(scene.told(0, "x-envoy-retry-on"), None);
    assert_eq!(scene.told(0, "x-envoy-expected-rq-timeout-ms").as_deref(), Some("15000"));
    Ok(())
}

async fn control_headers_end_here(plane: DataPlane) -> Result<()> {
    let names = [
        "retry-on: 5xx",
        "retry-grpc-on: internal",
        "max-retries: 3",
        "retriable-status-codes: 418",
        "retriable-header-names: x",
        "upstream-rq-timeout-ms: 9000",
        "upstream-rq-per-try-timeout-ms: 4000",
        "upstream-rq-timeout-alt-response: 1",
        "hedge-on-per-try-timeout: false",
        "upstream-stream-duration-ms: 9000",
    ];
    let headers: Vec<String> = names.iter().map(|name| format!("x-envoy-{name}")).collect();
    let headers: Vec<&str> = headers.iter().map(String::as_str).chain([INSIDE]).collect();
    let scene = Scene::start(plane, &[Answer(200, &[])], &Plan::default()).await?;
    assert_eq!(scene.get(&headers).await?.status, 200);
    for header in &headers[..names.len()] {
        let name = header.split(':').next().unwrap_or_default();
        assert_eq!(scene.told(0, name), None, "{name}");
    }
    assert_eq!(scene.told(0, "x-envoy-expected-rq-timeout-ms").as_deref(), Some("4000"));
    Ok(())
}

async fn the_upstream_is_told_about_attempts(plane: DataPlane) -> Result<()> {
    let plan = Plan {
        host: json!({
            "include_request_attempt_count": true,
            "include_attempt_count_in_response": true,
            "include_is_timeout_retry_header": true,
        }),
        ..policy(json!({"retry_on": "5xx", "num_retries": 2, "per_try_timeout": "0.3s"}))
    };
    let scene = Scene::start(plane, &[Answer(500, &[]), Hang, Answer(200, &[])], &plan).await?;
    let response = scene.get(&[]).await?;
    assert_eq!((response.status, response.header("x-envoy-attempt-count")), (200, Some("3")));
    let told = |request, header| scene.told(request, header);
    let counts: Vec<_> =
        (0..3).map(|request| told(request, "x-envoy-attempt-count").unwrap_or_default()).collect();
    assert_eq!(counts, ["1", "2", "3"]);
    let by_timeout: Vec<_> = (0..3).map(|request| told(request, "x-envoy-is-timeout-retry")).collect();
    assert_eq!(by_timeout, [None, Some("false".to_owned()), Some("true".to_owned())]);
    assert_eq!(scene.stat("upstream_rq_per_try_timeout").await?, 1);
    assert_eq!(scene.stat("upstream_rq_retry_backoff_exponential").await?, 2);
    Ok(())
}

async fn rate_limited_answers_are_waited_for(plane: DataPlane) -> Result<()> {
    let plan = policy(json!({
        "retry_on": "retriable-status-codes",
        "retriable_status_codes": [429],
        "rate_limited_retry_back_off": {
            "reset_headers": [{"name": "Retry-After", "format": "SECONDS"}],
            "max_interval": "2s",
        },
    }));
    let scene = Scene::start(plane, &[Answer(429, &["retry-after: 1"]), Answer(200, &[])], &plan).await?;
    let started = Instant::now();
    assert_eq!(scene.get(&[]).await?.status, 200);
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(scene.stat("upstream_rq_retry_backoff_ratelimited").await?, 1);
    let scene = Scene::start(plane, &[Answer(429, &["retry-after: 3"]), Answer(200, &[])], &plan).await?;
    assert_eq!(scene.get(&[]).await?.status, 200);
    assert_eq!(scene.stat("upstream_rq_retry_backoff_exponential").await?, 1, "too long to be believed");
    Ok(())
}

async fn time_limits_of_callers_inside_count(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, &[Hang], &Plan::default()).await?;
    let response = scene.get(&[INSIDE, "x-envoy-upstream-rq-timeout-ms: 50"]).await?;
    assert_eq!((response.status, response.text().as_str()), (504, "upstream request timeout"));
    let other = "x-envoy-upstream-rq-timeout-alt-response: yes";
    let response = scene.get(&[INSIDE, "x-envoy-upstream-rq-timeout-ms: 50", other]).await?;
    assert_eq!((response.status, response.text().as_str()), (204, ""));
    let tries = ["x-envoy-upstream-rq-per-try-timeout-ms: 50", "x-envoy-retry-on: 5xx"];
    assert_eq!(scene.get(&[INSIDE, tries[0], tries[1]]).await?.status, 504);
    assert_eq!(scene.attempts(), 4);
    let lines = scene.log.lines(3).await?;
    assert_eq!(
        lines,
        ["504|UT|response_timeout", "204|UT|response_timeout", "504|URX,UT|upstream_per_try_timeout"]
    );
    Ok(())
}

async fn the_limit_of_the_hop_before_is_respected(plane: DataPlane) -> Result<()> {
    let plan = Plan { router: json!({"respect_expected_rq_timeout": true}), ..Plan::default() };
    let scene = Scene::start(plane, &[Hang], &plan).await?;
    let response = scene.get(&[INSIDE, "x-envoy-expected-rq-timeout-ms: 50"]).await?;
    assert_eq!(response.status, 504);
    assert_eq!(scene.told(0, "x-envoy-expected-rq-timeout-ms").as_deref(), Some("50"));
    Ok(())
}

async fn silence_within_a_try_ends_it(plane: DataPlane) -> Result<()> {
    let plan = policy(json!({"retry_on": "5xx", "per_try_idle_timeout": "0.2s"}));
    let scene = Scene::start(plane, &[Hang, Answer(200, &[])], &plan).await?;
    assert_eq!(scene.get(&[]).await?.status, 200);
    assert_eq!(scene.stat("upstream_rq_per_try_idle_timeout").await?, 1);
    let plan = policy(json!({"retry_on": "connect-failure", "per_try_idle_timeout": "0.2s"}));
    let scene = Scene::start(plane, &[Hang], &plan).await?;
    assert_eq!(scene.get(&[]).await?.status, 504);
    assert_eq!(scene.log.lines(1).await?, ["504|UT|upstream_per_try_idle_timeout"]);
    Ok(())
}

async fn streams_of_one_try_have_a_longest_life(plane: DataPlane) -> Result<()> {
    let plan = policy(json!({"retry_on": "5xx"}));
    let scene = Scene::start(plane, &[Hang, Answer(200, &[]), Hang], &plan).await?;
    let limit = [INSIDE, "x-envoy-upstream-stream-duration-ms: 100"];
    assert_eq!(scene.get(&limit).await?.status, 200);
    assert_eq!(scene.get(&limit).await?.status, 504);
    assert_eq!(scene.log.lines(2).await?[1], "504|URX,UMSDR|upstream_max_stream_duration_reached");
    assert_eq!(scene.stat("upstream_rq_max_duration_reached").await?, 3);
    Ok(())
}

async fn slow_tries_are_hedged(plane: DataPlane) -> Result<()> {
    let plan = Plan {
        action: json!({"hedge_policy": {"hedge_on_per_try_timeout": true}}),
        ..policy(json!({"retry_on": "connect-failure", "num_retries": 2, "per_try_timeout": "0.2s"}))
    };
    // Both attempts are under way; the second one answers.
    let scene = Scene::start(plane, &[Hang, Answer(200, &[])], &plan).await?;
    assert_eq!(scene.send("POST", &[], "body").await?.status, 200);
    assert_eq!(scene.attempts(), 2);
    assert!(scene.requests.all().iter().all(|request| request.ends_with("\r\n\r\nbody")));
    assert_eq!(scene.stat("upstream_rq_retry").await?, 1);
    // The first one answers after all: its delay lies between one per-try timeout and two.
    let (port, _log, sidecar) = {
        let upstream = Upstream::start(Echo::new("late"))?;
        let (port, log, sidecar) = start(plane, &[upstream.address()], &plan).await?;
        let mut connection = Connection::open(port.address()).await?;
        let late = connection.exchange("GET / HTTP/1.1\r\nHost: a\r\nx-echo-delay-ms: 300\r\n\r\n").await?;
        assert_eq!(late.status, 200);
        assert_eq!(upstream.counts().requests(), 2);
        (port, log, sidecar)
    };
    drop(port);
    sidecar.until_stat("cluster.a.upstream_rq_active", |active| active == 0).await?;
    Ok(())
}

async fn a_hedge_outlives_a_failed_try(plane: DataPlane) -> Result<()> {
    let plan = Plan {
        action: json!({"hedge_policy": {"hedge_on_per_try_timeout": true}}),
        ..policy(json!({"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "0.2s"}))
    };
    // The hedged attempt fails and may not be retried; the first one is still waited for until the route's timeout.
    let scene = Scene::start(plane, &[Hang, Answer(500, &[])], &plan).await?;
    let response = scene.get(&[INSIDE, "x-envoy-upstream-rq-timeout-ms: 700"]).await?;
    assert_eq!((response.status, scene.attempts()), (504, 2));
    Ok(())
}

async fn long_bodies_are_sent_once(plane: DataPlane) -> Result<()> {
    let plan =
        Plan { route: json!({"per_request_buffer_limit_bytes": 10}), ..policy(json!({"retry_on": "5xx"})) };
    let scene = Scene::start(plane, &[Answer(500, &[])], &plan).await?;
    assert_eq!(scene.send("POST", &[], "0123456789").await?.status, 500);
    assert_eq!(scene.attempts(), 2);
    assert_eq!(scene.send("POST", &[], "0123456789+").await?.status, 500);
    assert_eq!(scene.attempts(), 3);
    assert_eq!(scene.stat("retry_or_shadow_abandoned").await?, 1);
    let lines = scene.log.lines(2).await?;
    assert_eq!(lines[0], "500|URX|via_upstream");
    if plane == DataPlane::Outrigger {
        assert_eq!(lines[1], "500|-|via_upstream{request_payload_exceeded_retry_buffer_limit}");
    }
    Ok(())
}

/// What a listener buffers is also what it keeps for retries, unless the route says otherwise.
async fn a_listeners_buffers_bound_what_is_sent_again(plane: DataPlane) -> Result<()> {
    let own = json!({"request_body_buffer_limit": 100_000});
    for (route, length, attempts) in
        [(json!({}), 15_000, 2), (json!({}), 30_000, 1), (own.clone(), 30_000, 2), (own, 150_000, 1)]
    {
        let plan = Plan {
            listener: json!({"per_connection_buffer_limit_bytes": 20_480}),
            route: route.clone(),
            ..policy(json!({"retry_on": "5xx"}))
        };
        let scene = Scene::start(plane, &[Answer(500, &[])], &plan).await?;
        assert_eq!(scene.send("POST", &[], &"x".repeat(length)).await?.status, 500);
        assert_eq!(scene.attempts(), attempts, "{length} {route}");
        assert_eq!(
            scene.stat("retry_or_shadow_abandoned").await?,
            u64::from(attempts == 1),
            "{length} {route}"
        );
    }
    Ok(())
}

async fn bodies_are_replayed(plane: DataPlane) -> Result<()> {
    let plan = policy(json!({"retry_on": "5xx", "num_retries": 2}));
    let scene = Scene::start(plane, &[Answer(503, &[]), Close, Answer(200, &[])], &plan).await?;
    let body = "0123456789".repeat(20_000);
    assert_eq!(scene.send("PUT", &[], &body).await?.status, 200);
    let requests = scene.requests.all();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| request.ends_with(&format!("\r\n\r\n{body}"))));
    Ok(())
}

async fn budgets_bound_retries(plane: DataPlane) -> Result<()> {
    let budget = |percent: u32, min: u32| Plan {
        cluster: json!({"circuit_breakers": {"thresholds": [{
            "max_retries": 0,
            "retry_budget": {"budget_percent": {"value": percent}, "min_retry_concurrency": min},
        }]}}),
        ..policy(json!({"retry_on": "5xx", "num_retries": 2}))
    };
    let scene = Scene::start(plane, &[Answer(500, &[])], &budget(0, 0)).await?;
    scene.get(&[]).await?;
    assert_eq!((scene.attempts(), scene.stat("upstream_rq_retry_overflow").await?), (1, 1));
    assert_eq!(scene.log.lines(1).await?, ["500|UO|via_upstream"]);
    let scene = Scene::start(plane, &[Answer(500, &[])], &budget(0, 1)).await?;
    scene.get(&[]).await?;
    assert_eq!((scene.attempts(), scene.stat("upstream_rq_retry_overflow").await?), (3, 0), "one at a time");
    Ok(())
}

/// Four requests are over when the fifth fails: they count with a `budget_interval`, and only then.
async fn budgets_look_back(plane: DataPlane) -> Result<()> {
    let mut answers = vec![Answer(200, &[]); 4];
    answers.extend([Answer(500, &[]), Answer(200, &[])]);
    for (interval, status) in [(json!("3600s"), 200), (json!("0s"), 500)] {
        let budget = json!({
            "budget_percent": {"value": 20},
            "min_retry_concurrency": 0,
            "budget_interval": interval,
        });
        let plan = Plan {
            cluster: json!({"circuit_breakers": {"thresholds": [{"retry_budget": budget}]}}),
            ..policy(json!({"retry_on": "5xx", "num_retries": 1}))
        };
        let scene = Scene::start(plane, &answers, &plan).await?;
        for _ in 0..4 {
            assert_eq!(scene.get(&[]).await?.status, 200);
        }
        assert_eq!(scene.get(&[]).await?.status, status, "{interval}");
        assert_eq!(scene.stat("upstream_rq_retry_overflow").await?, u64::from(status == 500), "{interval}");
    }
    Ok(())
}

async fn a_clusters_policy_wins(plane: DataPlane) -> Result<()> {
    let plan = Plan {
        cluster: json!({"typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http_protocol_options": {}},
                "retry_policy": {"retry_on": "5xx", "num_retries": 3},
            },
        }}),
        ..policy(json!({"retry_on": "reset", "num_retries": 1}))
    };
    let scene = Scene::start(plane, &[Answer(500, &[])], &plan).await?;
    scene.get(&[]).await?;
    assert_eq!(scene.attempts(), 4);
    Ok(())
}
