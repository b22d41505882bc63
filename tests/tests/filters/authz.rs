//! `envoy.filters.http.ext_authz`: who decides over gRPC or HTTP, what is shown, what is changed, and what happens when
//! nobody answers.

use std::time::Duration;

use outrigger_tests::bootstrap::{cluster, over_http2, prefix_route};
use outrigger_tests::client::h1::{Connection, Response};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Judge, Seen, Upstream};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};

use crate::scene::{Scene, Script, filter, per_filter, received, request, switched, typed};

const NAME: &str = "envoy.filters.http.ext_authz";
const KIND: &str = "ext_authz.v3.ExtAuthz";
const LIMIT: Duration = Duration::from_secs(15);

on_both_data_planes!(
    a_grpc_service_decides,
    an_http_service_decides,
    a_service_is_shown_the_request,
    a_service_changes_requests_and_responses,
    without_an_answer_requests_are_denied_or_let_through,
    bodies_are_shown_whole_or_in_part,
    routes_switch_the_filter_off_and_choose_services,
    a_share_of_requests_is_checked,
    a_long_denial_stays_one,
    a_changed_request_is_routed_anew,
    a_client_that_leaves_takes_its_question_along,
    questions_obey_the_breakers_of_their_cluster,
    what_a_service_says_reaches_logs,
);

/// A service with its clusters: `judge` over HTTP/1, `judge-grpc` over HTTP/2.
pub struct Court {
    pub seen: Seen,
    upstream: Upstream,
}

impl Court {
    pub fn open() -> Result<Self> {
        let judge = Judge::default();
        Ok(Self { seen: judge.seen(), upstream: Upstream::start(judge)? })
    }

    fn clusters(&self) -> [Value; 2] {
        let at = [self.upstream.address()];
        [cluster("judge", &at), over_http2(cluster("judge-grpc", &at))]
    }

    /// The filter with this configuration.
    pub fn chain(&self, config: Value) -> Script {
        let [http, grpc] = self.clusters();
        Script::of(&[filter(NAME, KIND, config)]).cluster(http).cluster(grpc)
    }
}

pub fn grpc() -> Value {
    json!({"grpc_service": {"envoy_grpc": {"cluster_name": "judge-grpc"}, "timeout": "10s"}})
}

fn http() -> Value {
    let uri = json!({"uri": "http://judge.example", "cluster": "judge", "timeout": "10s"});
    json!({"http_service": {"server_uri": uri}, "allowed_headers": {"patterns": [{"exact": "x-judge"}]}})
}

fn with(mut config: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    config
}

async fn judged(scene: &Scene, path: &str, verdict: Value, more: &[(&str, &str)]) -> Result<Response> {
    let verdict = verdict.to_string();
    scene.get(path, &[&[("x-judge", verdict.as_str())], more].concat()).await
}

async fn a_grpc_service_decides(plane: DataPlane) -> Result<()> {
    let court = Court::open()?;
    let scene = court.chain(grpc()).start(plane).await?;
    assert_eq!(scene.get("/a", &[]).await?.status, 200);
    let no = json!({"code": 16, "status": 401, "headers": [["x-why", "no"], ["content-type", "text/no"]], "body": "go away"});
    let denied = judged(&scene, "/a", no, &[]).await?;
    assert_eq!((denied.status, denied.text().as_str()), (401, "go away"));
    assert_eq!((denied.header("x-why"), denied.header("content-type")), (Some("no"), Some("text/no")));
    assert_eq!(scene.logged(2).await?, "401|UAEX|ext_authz_denied");
    let bare = judged(&scene, "/a", json!({"code": 7}), &[]).await?;
    assert_eq!((bare.status, bare.text().as_str()), (403, ""));
    let error =
        json!({"code": 13, "error": true, "status": 502, "body": "broken", "headers": [["x-why", "e"]]});
    let error = judged(&scene, "/a", error, &[]).await?;
    assert_eq!((error.status, error.text().as_str(), error.header("x-why")), (502, "broken", Some("e")));
    assert_eq!(scene.logged(4).await?, "502|UAEX|ext_authz_error");
    assert_eq!(scene.upstream.counts().requests(), 1);
    for (stat, count) in [
        ("http.ingress.ext_authz.ok", 1),
        ("http.ingress.ext_authz.denied", 2),
        ("http.ingress.ext_authz.error", 1),
        ("http.ingress.ext_authz.failure_mode_allowed", 0),
        ("cluster.a.ext_authz.ok", 1),
        ("cluster.a.ext_authz.denied", 2),
        ("cluster.a.ext_authz.error", 1),
        ("cluster.a.upstream_rq_401", 1),
        ("cluster.a.upstream_rq_403", 1),
        ("cluster.judge-grpc.upstream_rq_total", 4),
    ] {
        assert_eq!(scene.sidecar.stat(stat).await?, count, "{stat}");
    }
    Ok(())
}

async fn an_http_service_decides(plane: DataPlane) -> Result<()> {
    let court = Court::open()?;
    let mut config = http();
    config["http_service"]["path_prefix"] = json!("/check");
    config["http_service"]["authorization_request"] =
        json!({"headers_to_add": [{"key": "x-asked", "value": "%REQ(x-a)%!"}]});
    config["http_service"]["authorization_response"] = json!({
        "allowed_upstream_headers": {"patterns": [{"prefix": "x-up"}]},
        "allowed_client_headers": {"patterns": [{"exact": "x-client"}]},
        "allowed_client_headers_on_success": {"patterns": [{"exact": "x-ok"}]},
    });
    let scene = court.chain(config).start(plane).await?;
    let yes = json!({"headers": [["x-up", "1"], ["x-up-2", "2"], ["x-ok", "3"], ["x-none", "4"], ["x-envoy-auth-headers-to-remove", "x-gone, x-a"]]});
    let more =
        [("x-a", "a"), ("x-gone", "1"), ("authorization", "me"), ("x-up", "forged"), ("cookie", "c=1")];
    let granted = judged(&scene, "/p?q", yes, &more).await?;
    assert_eq!((granted.status, granted.header("x-ok"), granted.header("x-none")), (200, Some("3"), None));
    for (name, expected) in
        [("x-up", &["1"][..]), ("x-up-2", &["2"]), ("x-none", &[]), ("x-gone", &[]), ("x-a", &[])]
    {
        assert_eq!(received(&granted, name)?, expected, "{name}");
    }
    let seen = court.seen.all();
    assert_eq!((&seen[0]["method"], &seen[0]["path"]), (&json!("GET"), &json!("/check/p?q")));
    let shown = seen[0]["headers"].as_array().cloned().unwrap_or_default();
    let names: Vec<_> = shown.iter().filter_map(|line| line[0].as_str()).collect();
    let usual =
        ["authorization", "content-length", "x-asked", "x-envoy-expected-rq-timeout-ms", "x-envoy-internal"];
    assert_eq!(names, usual);
    assert!(shown.contains(&json!(["x-asked", "a!"])), "{shown:?}");
    let no = json!({"status": 302, "headers": [["location", "/login"], ["x-client", "c"], ["x-other", "o"]], "body": "moved"});
    let denied = judged(&scene, "/p", no, &[]).await?;
    assert_eq!((denied.status, denied.text().as_str()), (302, "moved"));
    assert_eq!((denied.header("location"), denied.header("x-client")), (Some("/login"), Some("c")));
    assert_eq!(denied.header("x-other"), None);
    assert_eq!(judged(&scene, "/p", json!({"status": 500}), &[]).await?.status, 403);
    assert_eq!(scene.logged(3).await?, "403|UAEX|ext_authz_error");
    Ok(())
}

async fn a_service_is_shown_the_request(plane: DataPlane) -> Result<()> {
    let court = Court::open()?;
    let mut config = with(grpc(), json!({"disallowed_headers": {"patterns": [{"exact": "x-secret"}]}}));
    config["grpc_service"]["initial_metadata"] = json!([{"key": "x-meta", "value": "%REQ(x-a)%"}]);
    let own = |fields: Value| {
        per_filter(NAME, typed("ext_authz.v3.ExtAuthzPerRoute", json!({"check_settings": fields})))
    };
    let mut route = prefix_route("/", "a");
    route["typed_per_filter_config"] = own(json!({"context_extensions": {"b": "route", "c": "route"}}));
    let scene = court
        .chain(config)
        .routes(&[route])
        .host("typed_per_filter_config", own(json!({"context_extensions": {"a": "host", "b": "host"}})))
        .start(plane)
        .await?;
    let headers = [
        ("x-a", "1"),
        ("x-many", "1"),
        ("x-many", "2"),
        ("x-secret", "s"),
        ("x-envoy-auth-partial-body", "false"),
        ("x-envoy-downstream-service-cluster", "caller"),
        ("cookie", "c=d"),
    ];
    assert_eq!(scene.send("POST", "/p?q=1", &headers, "body").await?.status, 200);
    let seen = court.seen.all().swap_remove(0);
    for (field, expected) in [
        ("method", json!("POST")),
        ("path", json!("/p?q=1")),
        ("host", json!("svc")),
        ("scheme", json!("http")),
        ("protocol", json!("HTTP/1.1")),
        ("body", json!("")),
        ("raw_body", json!("")),
        ("context", json!({"a": "host", "b": "route", "c": "route"})),
        ("timed", json!(true)),
        ("source", json!({"principal": "", "service": "caller", "certificate": 0})),
    ] {
        assert_eq!(seen[field], expected, "{plane:?} {field}");
    }
    let expected = json!([
        [":method", "POST"],
        [":path", "/p?q=1"],
        [":scheme", "http"],
        ["content-length", "4"],
        ["cookie", "c=d"],
        ["x-a", "1"],
        ["x-envoy-downstream-service-cluster", "caller"],
        ["x-forwarded-proto", "http"],
        ["x-many", "1,2"],
    ]);
    assert_eq!(seen["headers"], expected);
    let metadata = &seen["metadata"];
    for (name, expected) in [
        ("x-meta", "1"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("x-envoy-internal", "true"),
        ("x-envoy-expected-rq-timeout-ms", "10000"),
    ] {
        assert_eq!(metadata[name], expected, "{name}: {metadata}");
    }
    Ok(())
}

async fn a_service_changes_requests_and_responses(plane: DataPlane) -> Result<()> {
    let court = Court::open()?;
    let scene = court.chain(grpc()).start(plane).await?;
    let yes = json!({
        "headers": [["x-set", "new"], ["x-append", "2", true], ["x-new", "n"]],
        "remove": ["x-gone", ":method", "host"],
        "response": [["x-answer", "1"], ["x-answer", "2"]],
        "query": [["q", "9"], ["new", "n"]], "drop_query": ["r"],
    });
    let headers = [("x-set", "old"), ("x-append", "1"), ("x-gone", "1")];
    let response = judged(&scene, "/p?q=1&r=2", yes, &headers).await?;
    assert_eq!(response.status, 200);
    let answers: Vec<_> = response.headers.iter().filter(|(name, _)| name == "x-answer").collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    for (name, expected) in
        [("x-set", &["new"][..]), ("x-append", &["1,2"]), ("x-new", &["n"]), ("x-gone", &[])]
    {
        assert_eq!(received(&response, name)?, expected, "{name}");
    }
    let target = response.json()?["target"].to_string();
    assert!(target == "\"/p?q=9&new=n\"" || target == "\"/p?new=n&q=9\"", "{target}");
    let rules = json!({"decoder_header_mutation_rules": {"disallow_expression": {"regex": "x-no.*"}}, "validate_mutations": true});
    let scene = court.chain(with(grpc(), rules)).start(plane).await?;
    let response = judged(&scene, "/", json!({"headers": [["x-no", "1"], ["x-yes", "1"]]}), &[]).await?;
    assert_eq!((received(&response, "x-no")?.len(), received(&response, "x-yes")?.len()), (0, 1));
    let broken = judged(&scene, "/", json!({"headers": [["x-yes", "a\r\nx-no: b"]]}), &[]).await?;
    assert_eq!(broken.status, 500);
    assert_eq!(scene.logged(2).await?, "500|UAEX|ext_authz_invalid");
    assert_eq!(scene.sidecar.stat("http.ingress.ext_authz.invalid").await?, 1);
    Ok(())
}

/// Every way to get no answer; each is denied, and let through where the filter says so.
async fn without_an_answer_requests_are_denied_or_let_through(plane: DataPlane) -> Result<()> {
    let court = Court::open()?;
    let nobody = Port::lease()?;
    let short = |mut config: Value| {
        config["grpc_service"]["timeout"] = json!("0.3s");
        config
    };
    let refused = |mut config: Value| {
        config["grpc_service"]["envoy_grpc"]["cluster_name"] = json!("refused");
        config
    };
    let failing_http = |mut config: Value| {
        config["http_service"] = http()["http_service"].clone();
        config["http_service"]["server_uri"]["timeout"] = json!("0.3s");
        config["allowed_headers"] = http()["allowed_headers"].clone();
        drop(config.as_object_mut().map(|fields| fields.remove("grpc_service")));
        config
    };
    let cases: [(&str, Value, Value); 6] = [
        ("nobody listens", refused(grpc()), json!({})),
        ("too slow", short(grpc()), json!({"hang": true})),
        ("gRPC status", grpc(), json!({"grpc_status": 13})),
        ("garbage", grpc(), json!({"garbage": true})),
        ("HTTP 5xx", failing_http(grpc()), json!({"status": 503})),
        ("HTTP too slow", failing_http(grpc()), json!({"hang": true})),
    ];
    let mut wrong = Vec::new();
    for (case, config, verdict) in cases {
        let strict = with(config.clone(), json!({"status_on_error": {"code": "ServiceUnavailable"}}));
        let lenient =
            with(config, json!({"failure_mode_allow": true, "failure_mode_allow_header_add": true}));
        let refused = cluster("refused", &[nobody.address()]);
        let scene = court.chain(strict).cluster(over_http2(refused.clone())).start(plane).await?;
        let denied = judged(&scene, "/", verdict.clone(), &[]).await?;
        let logged = scene.logged(1).await?;
        if denied.status != 503 || logged != "503|UAEX|ext_authz_error" || !denied.text().is_empty() {
            wrong.push(format!("{case}: {} {} {logged}", denied.status, denied.text()));
        }
        assert_eq!(scene.sidecar.stat("http.ingress.ext_authz.error").await?, 1, "{case}");
        let scene = court.chain(lenient).cluster(over_http2(refused)).start(plane).await?;
        let allowed = judged(&scene, "/", verdict, &[]).await?;
        if allowed.status != 200 || received(&allowed, "x-envoy-auth-failure-mode-allowed")? != ["true"] {
            wrong.push(format!("{case}, lenient: {}", allowed.status));
        }
        assert_eq!(scene.sidecar.stat("http.ingress.ext_authz.failure_mode_allowed").await?, 1, "{case}");
    }
    assert!(wrong.is_empty(), "{plane:?}:\n{}", wrong.join("\n"));
    Ok(())
}

async fn bodies_are_shown_whole_or_in_part(plane: DataPlane) -> Result<()> {
    let court = Court::open()?;
    let body = |partial: bool, bytes: bool| json!({"with_request_body": {"max_request_bytes": 8, "allow_partial_message": partial, "pack_as_bytes": bytes}});
    let partial = court.chain(with(grpc(), body(true, false))).start(plane).await?;
    let long = "x".repeat(300_000);
    let response = partial.send("POST", "/", &[], &long).await?;
    assert_eq!((response.status, response.json()?["body"].as_str().map(str::len)), (200, Some(300_000)));
    let short = partial.send("POST", "/", &[], "short").await?;
    assert_eq!((short.status, &short.json()?["body"]), (200, &json!("short")));
    let seen = court.seen.all();
    let marks: Vec<_> = seen
        .iter()
        .map(|one| {
            let headers = one["headers"].as_array().cloned().unwrap_or_default();
            let mark = headers.into_iter().find(|line| line[0] == "x-envoy-auth-partial-body");
            (one["body"].clone(), mark.unwrap_or_default()[1].clone())
        })
        .collect();
    assert_eq!(marks, [(json!("xxxxxxxx"), json!("true")), (json!("short"), json!("false"))]);
    // Without a verdict on the whole, too long a body is refused.
    let whole = court.chain(with(grpc(), body(false, true))).start(plane).await?;
    assert_eq!(whole.send("POST", "/", &[], &long).await?.status, 413);
    assert_eq!(whole.send("POST", "/", &[], "12345678").await?.status, 200);
    assert_eq!(court.seen.all().last().map(|seen| seen["raw_body"].clone()), Some(json!("12345678")));
    let denied = partial.send("POST", "/", &[("x-judge", "{\"code\":7}")], &long).await?;
    assert_eq!(denied.status, 403);
    let over_http = court.chain(with(http(), body(true, false))).start(plane).await?;
    assert_eq!(over_http.send("POST", "/", &[], &long).await?.status, 200);
    assert_eq!(court.seen.all().last().map(|seen| seen["body"].clone()), Some(json!("xxxxxxxx")));
    Ok(())
}

async fn routes_switch_the_filter_off_and_choose_services(plane: DataPlane) -> Result<()> {
    let court = Court::open()?;
    let own = |config: Value| per_filter(NAME, typed("ext_authz.v3.ExtAuthzPerRoute", config));
    let mut routes = [
        prefix_route("/off", "a"),
        prefix_route("/unused", "a"),
        prefix_route("/http", "a"),
        prefix_route("/no-body", "a"),
        prefix_route("/", "a"),
    ];
    routes[0]["typed_per_filter_config"] = own(json!({"disabled": true}));
    routes[1]["typed_per_filter_config"] = per_filter(NAME, switched(true, None));
    let service = http()["http_service"].clone();
    routes[2]["typed_per_filter_config"] = own(json!({"check_settings": {"http_service": service}}));
    routes[3]["typed_per_filter_config"] =
        own(json!({"check_settings": {"disable_request_body_buffering": true}}));
    let body = json!({"with_request_body": {"max_request_bytes": 99}});
    let scene = court.chain(with(grpc(), body)).routes(&routes).start(plane).await?;
    for path in ["/off", "/unused"] {
        assert_eq!(judged(&scene, path, json!({"code": 7}), &[]).await?.status, 200, "{path}");
    }
    assert_eq!(court.seen.all().len(), 0);
    assert_eq!(judged(&scene, "/x", json!({"code": 7}), &[]).await?.status, 403);
    assert_eq!(scene.send("POST", "/no-body", &[], "text").await?.status, 200);
    assert_eq!(scene.send("POST", "/body", &[], "text").await?.status, 200);
    assert_eq!(scene.get("/http", &[]).await?.status, 200);
    let bodies: Vec<_> = court.seen.all().iter().map(|seen| seen["body"].clone()).collect();
    assert_eq!(bodies, ["", "", "text", ""]);
    assert_eq!(scene.sidecar.stat("cluster.judge.upstream_rq_total").await?, 1);
    Ok(())
}

async fn a_share_of_requests_is_checked(plane: DataPlane) -> Result<()> {
    let court = Court::open()?;
    let none = json!({"filter_enabled": {"default_value": {"numerator": 0}}, "stat_prefix": "waf"});
    let scene = court.chain(with(grpc(), none.clone())).start(plane).await?;
    assert_eq!(judged(&scene, "/", json!({"code": 7}), &[]).await?.status, 200);
    assert_eq!(scene.sidecar.stat("http.ingress.ext_authz.waf.disabled").await?, 1);
    let strict = json!({"deny_at_disable": {"default_value": true, "runtime_key": "k"}, "status_on_error": {"code": "NotFound"}});
    let scene = court.chain(with(with(grpc(), none), strict)).start(plane).await?;
    assert_eq!(scene.get("/", &[]).await?.status, 404);
    assert_eq!(scene.logged(1).await?, "404|UAEX|ext_authz_error");
    assert_eq!(court.seen.all().len(), 0);
    // One draw decides, with a body as without: half of 400, within five standard deviations.
    let half = json!({
        "filter_enabled": {"default_value": {"numerator": 50}},
        "with_request_body": {"max_request_bytes": 8, "allow_partial_message": true},
    });
    let scene = court.chain(with(grpc(), half)).start(plane).await?;
    for _ in 0..400 {
        assert_eq!(scene.send("POST", "/", &[], "a body").await?.status, 200);
    }
    let asked = court.seen.all().len();
    assert!((150..=250).contains(&asked), "{asked}");
    Ok(())
}

async fn a_long_denial_stays_one(plane: DataPlane) -> Result<()> {
    let court = Court::open()?;
    let scene = court.chain(with(http(), json!({"failure_mode_allow": true}))).start(plane).await?;
    let denied = judged(&scene, "/", json!({"status": 403, "long": 3 << 20}), &[]).await?;
    assert_eq!(denied.status, 403);
    Ok(())
}

async fn a_changed_request_is_routed_anew(plane: DataPlane) -> Result<()> {
    let court = Court::open()?;
    let routes = [
        json!({"match": {"prefix": "/", "headers": [{"name": "x-team", "string_match": {"exact": "blue"}}]},
            "direct_response": {"status": 200, "body": {"inline_string": "blue"}}}),
        prefix_route("/", "a"),
    ];
    let blue = json!({"headers": [["x-team", "blue"]]});
    for (clears, expected) in [(true, "blue"), (false, "a")] {
        let config = with(grpc(), json!({"clear_route_cache": clears}));
        let scene = court.chain(config).routes(&routes).start(plane).await?;
        let response = judged(&scene, "/", blue.clone(), &[]).await?;
        let served = match response.json() {
            Ok(echo) => echo["upstream"].as_str().unwrap_or_default().to_owned(),
            Err(_) => response.text(),
        };
        assert_eq!((response.status, served.as_str()), (200, expected), "{clears}");
    }
    Ok(())
}

async fn a_client_that_leaves_takes_its_question_along(plane: DataPlane) -> Result<()> {
    let court = Court::open()?;
    let mut config = grpc();
    config["grpc_service"]["timeout"] = json!("300s");
    let scene = court.chain(config).start(plane).await?;
    let active = async |count: u64| {
        let reached = async || {
            let now = scene.sidecar.stat("cluster.judge-grpc.upstream_rq_active").await.ok();
            now.filter(|now| *now == count)
        };
        wait::until(&format!("{count} questions under way"), LIMIT, reached).await
    };
    let mut connection = Connection::open(scene.port.address()).await?;
    connection.send(request("GET", "/", &[("x-judge", "{\"hang\":true}")], "")).await?;
    active(1).await?;
    drop(connection);
    active(0).await?;
    assert_eq!(scene.upstream.counts().requests(), 0);
    Ok(())
}

async fn questions_obey_the_breakers_of_their_cluster(plane: DataPlane) -> Result<()> {
    let court = Court::open()?;
    let mut narrow = over_http2(cluster("narrow", &[court.upstream.address()]));
    narrow["circuit_breakers"] = json!({"thresholds": [{"max_requests": 1}]});
    let mut config = grpc();
    config["grpc_service"]["envoy_grpc"]["cluster_name"] = json!("narrow");
    config["grpc_service"]["timeout"] = json!("300s");
    let scene = court.chain(config).cluster(narrow).start(plane).await?;
    let mut first = Connection::open(scene.port.address()).await?;
    first.send(request("GET", "/", &[("x-judge", "{\"hang\":true}")], "")).await?;
    wait::until("the first question", LIMIT, || std::future::ready(court.seen.all().pop())).await?;
    let second = scene.get("/", &[]).await?;
    assert_eq!(second.status, 403);
    assert_eq!(scene.sidecar.stat("cluster.narrow.upstream_rq_active").await?, 1);
    Ok(())
}

async fn what_a_service_says_reaches_logs(plane: DataPlane) -> Result<()> {
    let court = Court::open()?;
    let operator = "DYNAMIC_METADATA(envoy.filters.http.ext_authz:who:name)";
    let scene = court.chain(grpc()).log(&[operator]).start(plane).await?;
    let said = json!({"metadata": {"who": {"name": "me", "roles": ["a", "b"]}}});
    assert_eq!(judged(&scene, "/", said.clone(), &[]).await?.status, 200);
    assert_eq!(scene.logged(1).await?, "me");
    let denied = json!({"code": 7, "metadata": {"who": {"name": "you"}}});
    assert_eq!(judged(&scene, "/", denied, &[]).await?.status, 403);
    assert_eq!(scene.logged(2).await?, "you");
    let config = with(grpc(), json!({"enable_dynamic_metadata_ingestion": false}));
    let scene = court.chain(config).log(&[operator]).start(plane).await?;
    assert_eq!(judged(&scene, "/", said, &[]).await?.status, 200);
    assert_eq!(scene.logged(1).await?, "-");
    assert_eq!(scene.sidecar.stat("http.ingress.ext_authz.ignored_dynamic_metadata").await?, 1);
    Ok(())
}
