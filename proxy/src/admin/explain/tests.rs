use super::*;
use crate::admin::test_world::{World, text};
use crate::base::details::Detail;

fn ask(world: &World, query: &str) -> (StatusCode, String) {
    text(explain(&world.state, &Held::default(), &Query::parse(query)))
}

/// What the details of a line say beside its flags.
fn behind(line: &str) -> Vec<&'static str> {
    let question = Line::read(line).unwrap_or_default();
    details::of(&question).into_iter().map(|one| one.name).collect()
}

/// App Mesh's default format.
fn default_line(status: u16, flags: &str, host: &str) -> String {
    format!(
        r#"[t] "GET /x HTTP/1.1" {status} {flags} 0 91 12 - "-" "curl/8" "8f2c" "cart.local:80" "{host}""#
    )
}

fn json_line(status: u16, flags: &str, details: &str) -> String {
    json!({"response_flags": flags, "response_code": status, "response_code_details": details}).to_string()
}

#[test]
fn every_flag_has_a_cause_and_a_next_step() {
    for (short, long) in flag_names() {
        let cause = causes::of(short).unwrap_or_else(|| panic!("{short} is not explained"));
        assert!(!cause.what.is_empty() && !cause.next.is_empty() && !long.is_empty());
    }
}

/// Whoever adds details adds what they mean.
#[test]
fn all_details_that_anything_here_says_are_explained() {
    for detail in Detail::ALL {
        for (text, line) in [
            ("json", json_line(403, "-", detail.text())),
            ("piped", format!("403|-|{}", detail.text())),
            ("with more", json_line(403, "-", &detail.with("{and a reason}"))),
        ] {
            let question = Line::read(&line).unwrap_or_else(|| panic!("{text}: {line} tells of no failure"));
            let found = details::of(&question);
            assert!(!found.is_empty(), "{text}: {line}");
            for Explanation { name, cause } in found {
                assert!(!matches!(name, "no details" | "unknown details"), "{line}: {name}");
                assert!(!cause.what.is_empty() && !cause.next.is_empty(), "{line}: {cause:?}");
            }
        }
    }
}

/// Somebody else's answer, and our own by rules.
#[test]
fn a_line_without_a_flag_is_explained_by_its_details() {
    for (details, expected) in [
        ("rbac_access_denied_matched_policy[none]", "rbac_access_denied_matched_policy"),
        ("jwt_authn_access_denied{Jwt_is_expired}", "jwt_authn_access_denied"),
        ("overload", "overload"),
        ("max_duration_timeout", "max_duration_timeout"),
        ("upgrade_failed", "upgrade_failed"),
        ("via_upstream", "via_upstream"),
        ("health_check_failed_cluster_empty", "health_check_failed_cluster_empty"),
        ("upstream_reset_before_response_started{connection_timeout}", "UF"),
        ("upstream_reset_after_response_started{connection_termination}", "UC"),
        ("http1.codec_error", "DPE"),
        ("duration_timeout", "DT"),
        ("lua_response", "unknown details"),
    ] {
        assert_eq!(behind(&json_line(503, "-", details)), [expected], "{details}");
    }
    let noted = "via_upstream{request_payload_exceeded_retry_buffer_limit}";
    assert_eq!(
        behind(&json_line(503, "-", noted)),
        ["via_upstream", "request_payload_exceeded_retry_buffer_limit"]
    );
    assert_eq!(Line::read("200|-|via_upstream"), None);
    let world = World::new();
    let (status, text) = ask(&world, "details=rbac_access_denied_matched_policy[none]");
    assert!(status == StatusCode::OK && text.contains("an RBAC rule denied"), "{text}");
}

/// The default format has no details: the status, and whether a host was chosen, leave several.
#[test]
fn without_details_all_that_may_have_been_is_told() {
    let host = "10.0.0.7:8080";
    for (status, host, expected) in [
        (503, host, &["via_upstream"][..]),
        (504, host, &["no details", "via_upstream", "max_duration_timeout"]),
        (507, host, &["no details", "via_upstream", "request_payload_exceeded_retry_buffer_limit"]),
        (408, host, &["no details", "via_upstream", "max_duration_timeout", "request_overall_timeout"]),
        (
            403,
            "-",
            &[
                "no details",
                "rbac_access_denied_matched_policy",
                "jwt_authn_access_denied",
                "upgrade_failed",
                "direct_response",
            ],
        ),
        (503, "-", &["no details", "overload", "reached_concurrency_limit", "direct_response"]),
        (418, "-", &["direct_response"]),
        (200, host, &[]),
    ] {
        assert_eq!(behind(&default_line(status, "-", host)), expected, "{status} {host}");
    }
}

#[test]
fn details_add_to_a_flag_what_it_does_not_say() {
    assert_eq!(behind(&json_line(403, "UAEX", "ext_authz_error")), ["ext_authz_error"]);
    assert_eq!(behind(&json_line(404, "NR", "route_not_found")), [""; 0]);
    let reset = "upstream_reset_before_response_started{remote_reset}";
    assert_eq!(behind(&json_line(503, "URX", reset)), ["UR"]);
    let world = World::new();
    let line = json_line(403, "UAEX", "ext_authz_error").replace('"', "%22");
    let (_, text) = ask(&world, &format!("line={line}"));
    let order = text.find("UAEX (").zip(text.find("\next_authz_error\n"));
    assert!(order.is_some_and(|(flag, details)| flag < details), "{text}");
}

/// Some flags have no cluster behind them but a filter, or the process.
#[test]
fn what_filters_and_the_overload_manager_counted_stands_beside_their_flags() {
    use crate::stats::scope::LocalRateLimitStats;
    let world = World::new();
    let registry = &world.state.registry;
    let stats = LocalRateLimitStats::for_prefix(registry, "limit");
    registry.shared().inc(stats.rate_limited);
    let (_, text) = ask(&world, "flag=RL");
    assert!(text.contains("now:   limit.http_local_rate_limit.rate_limited 1\n"), "{text}");
    let (_, text) = ask(&world, "flag=UAEX");
    assert!(text.contains("now:   all statistics of ext_authz. are zero\n"), "{text}");
    let (_, text) = ask(&world, "flag=OM");
    assert!(text.contains("now:   all statistics of overload., .gradient_controller. are zero\n"), "{text}");
}

#[test]
fn why_a_name_did_not_resolve_stands_with_its_cluster() {
    let world = World::new();
    world.publish();
    let why = "\"dead.local.\": no such name (NXDOMAIN), 3 s ago".to_owned();
    let held = Held { unresolved: vec![("dead".to_owned(), why)], ..Held::default() };
    for flag in ["UH", "DF"] {
        let (_, text) = text(explain(&world.state, &held, &Query::parse(&format!("flag={flag}"))));
        let line =
            "now:     last lookup without an address: \"dead.local.\": no such name (NXDOMAIN), 3 s ago\n";
        assert!(text.contains(line), "{flag}: {text}");
    }
}

#[test]
fn a_breaker_that_was_open_is_found_after_the_burst() {
    let world = World::new();
    let up = world.publish();
    assert!(!ask(&world, "flag=UO").1.contains("cluster up:1"));
    let stats = &up.config.stats;
    world.state.registry.shared().inc(stats.upstream_rq_pending_overflow);
    let (_, text) = ask(&world, "flag=UO");
    assert!(text.contains("cluster up:1") && text.contains("upstream_rq_pending_overflow 1"), "{text}");
    assert!(!text.contains("breaker open") && !text.contains("cluster dead"), "{text}");
    let breakers = &up.config.breakers[0];
    for _ in 0..3 {
        assert!(breakers.retries.try_acquire(0, &breakers.requests, std::time::Instant::now()));
    }
    let (_, text) = ask(&world, "flag=UO");
    assert!(text.contains("breaker open (default priority): retries 3 of 3"), "{text}");
    let pools = std::iter::repeat_with(|| breakers.pools.try_acquire(0)).take_while(|taken| *taken).count();
    let (_, text) = ask(&world, "flag=UO");
    assert!(text.contains(&format!("connection pools {pools} of {pools}")), "{text}");
}

#[test]
fn what_was_rejected_stands_with_its_reason() {
    let world = World::new();
    let state = |details: &str| json!({"details": details, "failed_configuration": {"name": "late"}});
    let sections = vec![
        json!({"@type": "x", "dynamic_route_configs":
            [{"route_config": {"name": "routes"}, "error_state": state("bad\u{1b} regex")}]}),
        json!({"dynamic_endpoint_configs": [{"endpoint_config": {"cluster_name": "cart"}, "error_state": state("no port")}]}),
        json!({"dynamic_warming_secrets": [{"name": "key", "error_state": state("no PEM")}, {"name": "fine"}]}),
        json!({"dynamic_warming_clusters": [{"error_state": state("never held")}]}),
    ];
    let held = Held { sections, ..Held::default() };
    let (_, text) = text(explain(&world.state, &held, &Query::parse("flag=NR")));
    for line in ["routes: bad regex", "cart: no port", "key: no PEM", "late: never held"] {
        assert!(text.contains(&format!("now:   rejected: {line}\n")), "{line}: {text}");
    }
    assert_eq!(text.matches("rejected: ").count(), 4, "{text}");
}

#[test]
fn a_flag_leads_to_the_clusters_that_show_it() {
    let world = World::new();
    let up = world.publish();
    let (_, text) = ask(&world, "flag=UH");
    assert!(text.contains("cluster dead: 0 hosts, 0 healthy"), "{text}");
    assert!(!text.contains("cluster up:1"), "{text}");
    world.state.registry.shared().inc(up.config.stats.upstream_cx_connect_fail);
    let (_, text) = ask(&world, "flag=UF&cluster=up:1");
    assert!(text.contains("since start: upstream_cx_connect_fail 1"), "{text}");
    assert!(text.contains("host 127.0.0.1:19901 (hh): healthy, 0 connections failed of 2"), "{text}");
    for _ in 0..5 {
        assert!(up.config.breakers[0].connections.limit().try_acquire(0));
    }
    let (_, text) = ask(&world, "flag=UO");
    assert!(text.contains("cluster up:1") && text.contains("connections 5 of 5"), "{text}");
    let (_, json) = ask(&world, "flag=UO&format=json");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["findings"][0]["name"], "UpstreamOverflow");
}

#[test]
fn a_line_of_the_log_is_taken_apart() {
    let default = r#"[2026-10-03T10:00:00.123Z] "GET /x HTTP/1.1" 503 UF,URX 0 91 12 - "-" "curl/8" "8f2c" "cart.local:80" "10.0.0.7:8080""#;
    let question = Line::read(default).unwrap();
    assert_eq!(question.flags, ["UF", "URX"]);
    assert_eq!(
        (question.authority.as_deref(), question.host.as_deref()),
        (Some("cart.local:80"), Some("10.0.0.7:8080"))
    );
    let json =
        r#"{"response_flags":"NR","response_code_details":"route_not_found","authority":"a","path":"/UH"}"#;
    let question = Line::read(json).unwrap();
    assert_eq!((question.flags, question.details.as_str()), (vec!["NR"], "route_not_found"));
    let piped = "503|UO|upstream_reset_before_response_started{overflow}";
    assert_eq!(Line::read(piped).unwrap().details, "upstream_reset_before_response_started{overflow}");
    let fine = r#"[t] "GET / HTTP/1.1" 200 - 0 5 1 0 "-" "OK" "-" "a" "10.0.0.7:8080""#;
    assert_eq!(Line::read(fine), None);
}

#[test]
fn nonsense_is_refused_with_the_list_and_controls_are_not_echoed() {
    let world = World::new();
    for query in ["", "flag=XX", "line=hello", "flag=UH,", "details=unheard_of"] {
        let (status, text) = ask(&world, query);
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(text.contains("UH NoHealthyUpstream: "), "{text}");
        assert!(text.contains("\n  upgrade_failed: the request asked for an upgrade"), "{text}");
    }
    let (_, text) = ask(&world, "flag=UH&cluster=a%1b%5b31mb%0a");
    assert!(text.contains("there is no cluster a[31mb now"), "{text:?}");
}
