use super::*;
use crate::admin::reply::Body;
use crate::admin::test_world::World;

fn text(world: &World, query: &str) -> String {
    match clusters(&world.state, &Query::parse(query)).body {
        Body::Whole(text) => text,
        Body::Pieces(pieces) => pieces.collect(),
        Body::Live(_) => panic!("a live answer"),
    }
}

/// The lines of Envoy 1.40 for the same clusters.
#[test]
fn text_lists_limits_hosts_counters_and_health() {
    let world = World::new();
    world.publish();
    let limits = |name: &str, connections: u32| {
        let line =
            |priority: &str, limit: &str, max: u32| format!("{name}::{priority}_priority::{limit}::{max}\n");
        let mut out = format!("{name}::observability_name::{name}\n");
        for (priority, connections) in [("default", connections), ("high", 1024)] {
            out += &line(priority, "max_connections", connections);
            out += &line(priority, "max_pending_requests", 1024);
            out += &line(priority, "max_requests", 1024);
            out += &line(priority, "max_retries", 3);
        }
        out
    };
    let mut expected = limits("dead", 1024) + "dead::added_via_api::false\n";
    expected += &(limits("up:1", 5) + "up:1::added_via_api::true\n");
    for line in [
        "cx_active::2",
        "cx_connect_fail::0",
        "cx_total::2",
        "rq_active::0",
        "rq_error::0",
        "rq_success::3",
        "rq_timeout::0",
        "rq_total::3",
        "hostname::hh",
        "health_flags::healthy",
        "weight::1",
        "region::us",
        "zone::",
        "sub_zone::",
        "canary::false",
        "priority::0",
        "success_rate::-1",
        "local_origin_success_rate::-1",
    ] {
        expected += &format!("up:1::127.0.0.1:19901::{line}\n");
    }
    assert_eq!(text(&world, ""), expected);
    assert!(!text(&world, "filter=^dead$").contains("up:1"));
}

#[test]
fn failed_hosts_say_why() {
    let world = World::new();
    let up = world.publish();
    let health = Health::FAILED_ACTIVE_HC | Health::FAILED_OUTLIER | Health::PENDING_ACTIVE_HC;
    up.hosts.hosts[0].live.health.set(health);
    assert!(
        text(&world, "")
            .contains("::health_flags::/failed_active_hc/failed_outlier_check/pending_active_hc\n")
    );
    let json: Value = serde_json::from_str(&text(&world, "format=json")).unwrap();
    let status = &json["cluster_statuses"][1]["host_statuses"][0]["health_status"];
    assert_eq!(
        *status,
        json!({
            "failed_active_health_check": true, "failed_outlier_check": true, "pending_active_hc": true, "eds_health_status": "HEALTHY"
        })
    );
}

/// As Envoy 1.40 prints it.
#[test]
fn json_leaves_zeros_out_and_writes_counters_as_strings() {
    let world = World::new();
    world.publish();
    let json: Value = serde_json::from_str(&text(&world, "format=json")).unwrap();
    let up = &json["cluster_statuses"][1];
    assert_eq!(
        up["host_statuses"][0],
        json!({
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": 19901 } },
            "stats": [
                { "name": "cx_connect_fail" },
                { "value": "2", "name": "cx_total" },
                { "name": "rq_error" },
                { "value": "3", "name": "rq_success" },
                { "name": "rq_timeout" },
                { "value": "3", "name": "rq_total" },
                { "type": "GAUGE", "value": "2", "name": "cx_active" },
                { "type": "GAUGE", "name": "rq_active" },
            ],
            "health_status": { "eds_health_status": "HEALTHY" },
            "weight": 1,
            "hostname": "hh",
            "locality": { "region": "us" },
        })
    );
    assert_eq!(up["added_via_api"], json!(true));
    assert_eq!(up["circuit_breakers"]["thresholds"][0]["max_connections"], json!(5));
    assert_eq!(up["circuit_breakers"]["thresholds"][1]["priority"], json!("HIGH"));
    assert_eq!(json["cluster_statuses"][0].get("host_statuses"), None);
}

#[test]
fn bad_filters_are_refused() {
    let world = World::new();
    assert_eq!(clusters(&world.state, &Query::parse("filter=(")).status, StatusCode::BAD_REQUEST);
}
