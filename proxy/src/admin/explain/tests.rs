use super::*;
use crate::admin::test_world::{World, text};

fn ask(world: &World, query: &str) -> (StatusCode, String) {
    text(explain(&world.state, &Query::parse(query)))
}

#[test]
fn every_flag_has_a_cause_and_a_next_step() {
    for (short, _) in flag_names() {
        let cause = causes::of(short).unwrap_or_else(|| panic!("{short} is not explained"));
        assert!(!cause.what.is_empty() && !cause.next.is_empty() && !cause.name().is_empty());
    }
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
    for query in ["", "flag=XX", "line=hello", "flag=UH,"] {
        let (status, text) = ask(&world, query);
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(text.contains("UH NoHealthyUpstream: "), "{text}");
    }
    let (_, text) = ask(&world, "flag=UH&cluster=a%1b%5b31mb%0a");
    assert!(text.contains("there is no cluster a[31mb now"), "{text:?}");
}
