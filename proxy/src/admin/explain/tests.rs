use super::*;
use crate::admin::test_world::{World, text};

fn ask(world: &World, query: &str) -> (StatusCode, String) {
    text(explain(&world.state, &[], &Query::parse(query)))
}

#[test]
fn every_flag_has_a_cause_and_a_next_step() {
    for (short, _) in flag_names() {
        let cause = causes::of(short).unwrap_or_else(|| panic!("{short} is not explained"));
        assert!(!cause.what.is_empty() && !cause.next.is_empty() && !cause.name().is_empty());
    }
}

#[test]
fn every_detail_has_a_cause_and_a_next_step() {
    for cause in details::all() {
        assert!(!cause.what.is_empty() && !cause.next.is_empty(), "{cause:?}");
    }
}

/// What raises no flag: somebody else's answer, and our own by rules.
#[test]
fn a_line_without_a_flag_is_explained_by_its_details() {
    let default = |status: u16, host: &str| {
        format!(r#"[t] "GET /x HTTP/1.1" {status} - 0 91 12 - "-" "curl/8" "8f2c" "cart.local:80" "{host}""#)
    };
    let cause =
        |line: &str| Line::read(line).and_then(|question| details::of(&question)).map(|cause| cause.flag);
    assert_eq!(cause(&default(503, "10.0.0.7:8080")), Some("via_upstream"));
    assert_eq!(cause(&default(403, "-")), Some("no details"));
    assert_eq!(cause(&default(200, "10.0.0.7:8080")), None);
    for (details, expected) in [
        ("rbac_access_denied_matched_policy[none]", "rbac_access_denied"),
        ("jwt_authn_access_denied{Jwt_is_expired}", "jwt_authn_access_denied"),
        ("overload", "overload"),
        ("max_duration_timeout", "max_duration_timeout"),
        ("via_upstream", "via_upstream"),
    ] {
        assert_eq!(cause(&format!("503|-|{details}")), Some(expected));
        let json = json!({"response_flags": "-", "response_code": 503, "response_code_details": details});
        assert_eq!(cause(&json.to_string()), Some(expected));
    }
    assert_eq!(cause("200|-|via_upstream"), None);
    let world = World::new();
    let (status, text) = ask(&world, "details=rbac_access_denied_matched_policy[none]");
    assert!(status == StatusCode::OK && text.contains("an RBAC rule denied"), "{text}");
}

#[test]
fn what_was_rejected_stands_with_its_reason() {
    let world = World::new();
    let state = |details: &str| json!({"details": details, "failed_configuration": {"name": "late"}});
    let sections = [
        json!({"@type": "x", "dynamic_route_configs":
            [{"route_config": {"name": "routes"}, "error_state": state("bad\u{1b} regex")}]}),
        json!({"dynamic_endpoint_configs": [{"endpoint_config": {"cluster_name": "cart"}, "error_state": state("no port")}]}),
        json!({"dynamic_warming_secrets": [{"name": "key", "error_state": state("no PEM")}, {"name": "fine"}]}),
        json!({"dynamic_warming_clusters": [{"error_state": state("never held")}]}),
    ];
    let (_, text) = text(explain(&world.state, &sections, &Query::parse("flag=NR")));
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
    }
    let (_, text) = ask(&world, "flag=UH&cluster=a%1b%5b31mb%0a");
    assert!(text.contains("there is no cluster a[31mb now"), "{text:?}");
}
