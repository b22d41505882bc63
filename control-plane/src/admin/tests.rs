use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::ads::registry::{Client, HeldBack};
use crate::ads::service::Variant;
use crate::metrics::{Refusal, Reload};
use crate::snapshot::{StaticSource, TypeUrl, Version};

async fn get_page(routes: &Router, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = routes.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn view(metrics: &Arc<Metrics>, registry: &Arc<Registry>) -> View {
    let source: Arc<dyn ResourceSource> = Arc::new(StaticSource::default());
    View {
        metrics: Arc::clone(metrics),
        registry: Arc::clone(registry),
        loads: Arc::default(),
        source: watch::channel(source).1,
    }
}

fn client(node_id: &str, variant: Variant) -> Client {
    Client {
        node_id: node_id.into(),
        user_agent: "envoy 1.40.0".into(),
        peer: "127.0.0.1:5".into(),
        variant,
        service: "ADS",
    }
}

#[tokio::test]
async fn nodes_shows_versions_and_answers_of_connected_streams() {
    let metrics = Arc::new(Metrics::default());
    let registry = Arc::new(Registry::new(Arc::clone(&metrics)));
    let routes = routes(view(&metrics, &registry));
    let (one, two) = (Version::of(b"1"), Version::of(b"2"));

    let b = registry.register(client("b", Variant::Sotw));
    let a = registry.register(client("a", Variant::Delta));
    a.asked(&TypeUrl::ROUTE);
    a.holds(&TypeUrl::ENDPOINTS, one);
    a.sent(&TypeUrl::CLUSTER, one);
    a.acked(&TypeUrl::CLUSTER);
    a.sent(&TypeUrl::LISTENER, one);
    a.acked(&TypeUrl::LISTENER);
    a.sent(&TypeUrl::LISTENER, two);
    a.nacked(&TypeUrl::LISTENER, "no such filter".into());
    a.sent(&TypeUrl::SECRET, one);

    let (status, page) = get_page(&routes, "/nodes").await;
    assert_eq!(status, 200);
    let page: Value = serde_json::from_str(&page).unwrap();
    let nodes = page["nodes"].as_array().unwrap();
    assert_eq!(nodes.iter().map(|n| n["node_id"].as_str().unwrap()).collect::<Vec<_>>(), ["a", "b"]);
    let a_page = &nodes[0];
    assert_eq!((&a_page["peer"], &a_page["transport"]), (&"127.0.0.1:5".into(), &"delta".into()));
    assert!(a_page["connected_since"].as_str().unwrap().ends_with('Z'));
    let types = &a_page["types"];
    let status_of = |name: &str| types[name]["status"].as_str().unwrap().to_owned();
    assert_eq!(["CDS", "EDS", "LDS", "RDS", "SDS"].map(status_of), ["ACK", "ACK", "NACK", "WAITING", "SENT"]);
    assert_eq!(types["LDS"]["error"], "no such filter");
    assert_eq!(types["LDS"]["version"], two.to_string());
    assert_eq!(types["LDS"]["accepted_version"], one.to_string());
    assert_eq!(types["CDS"]["error"], Value::Null);

    // A fix: the NACK is history once something newer is under way.
    a.sent(&TypeUrl::LISTENER, Version::of(b"3"));
    let page: Value = serde_json::from_str(&get_page(&routes, "/nodes").await.1).unwrap();
    assert_eq!(page["nodes"][0]["types"]["LDS"]["status"], "SENT");

    drop((a, b));
    assert_eq!(get_page(&routes, "/nodes").await.1, r#"{"nodes":[]}"#);
}

#[tokio::test]
async fn metrics_count() {
    let metrics = Arc::new(Metrics::default());
    let registry = Arc::new(Registry::new(Arc::clone(&metrics)));
    let routes = routes(view(&metrics, &registry));
    let stream = registry.register(client("a", Variant::Delta));
    stream.sent(&TypeUrl::CLUSTER, Version::of(b"1"));
    stream.acked(&TypeUrl::CLUSTER);
    stream.sent(&TypeUrl::new("type.googleapis.com/x.Y"), Version::of(b"1"));
    stream.nacked(&TypeUrl::new("type.googleapis.com/x.Y"), "?".into());
    metrics.refused(Refusal::UnknownNode);
    metrics.reloaded(Reload::Success);
    metrics.reloaded(Reload::Failure);
    let (status, page) = get_page(&routes, "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "outrigger_xds_connected_streams{variant=\"delta\"} 1",
        "outrigger_xds_connected_streams{variant=\"sotw\"} 0",
        "outrigger_xds_pushes_total{type=\"CDS\"} 1",
        "outrigger_xds_acks_total{type=\"CDS\"} 1",
        "outrigger_xds_nacks_total{type=\"other\"} 1",
        "outrigger_xds_refused_streams_total{reason=\"unknown_node\"} 1",
        "outrigger_config_reloads_total{result=\"success\"} 1",
        "outrigger_config_reloads_total{result=\"failure\"} 1",
        "outrigger_config_reloads_total{result=\"partial\"} 0",
        concat!("outrigger_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is missing in\n{page}");
    }
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    assert!(
        samples
            .clone()
            .all(|line| line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<i64>().is_ok()))
    );
    drop(stream);
    assert!(get_page(&routes, "/metrics").await.1.contains("streams{variant=\"delta\"} 0"));
}

#[tokio::test]
async fn nodes_shows_who_is_held_back() {
    let registry = Arc::new(Registry::default());
    let routes = routes(view(&Arc::default(), &registry));
    let node = |id: &str, kept| HeldBack { node_id: id.into(), reason: "m.yaml:1:1: error".into(), kept };
    registry.hold_back(vec![node("a", true), node("b", false)]);
    let page: Value = serde_json::from_str(&get_page(&routes, "/nodes").await.1).unwrap();
    let held = |id: &str, served: &str| serde_json::json!({"node_id": id, "reason": "m.yaml:1:1: error", "served": served});
    assert_eq!(page["held_back"], serde_json::json!([held("a", "last good state"), held("b", "nothing")]));
    registry.hold_back(Vec::new());
    let page: Value = serde_json::from_str(&get_page(&routes, "/nodes").await.1).unwrap();
    assert!(page.get("held_back").is_none());
}

#[tokio::test]
async fn there_is_help() {
    let metrics = Arc::new(Metrics::default());
    let routes = routes(view(&metrics, &Arc::new(Registry::new(Arc::clone(&metrics)))));
    assert_eq!(get_page(&routes, "/ready").await, (StatusCode::OK, "ready\n".into()));
    assert_eq!(get_page(&routes, "/help").await, (StatusCode::OK, HELP.into()));
    let (status, text) = get_page(&routes, "/config_dump").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("/nodes"));
    let post = Request::post("/ready").body(Body::empty()).unwrap();
    assert_eq!(routes.oneshot(post).await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn times_are_written_as_rfc_3339() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_709_251_199, "2024-02-29T23:59:59Z"),
        (1_735_689_599, "2024-12-31T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
    }
}

#[tokio::test]
async fn browsers_get_the_picture_and_others_the_list_of_pages() {
    let metrics = Arc::new(Metrics::default());
    let routes = routes(view(&metrics, &Arc::new(Registry::new(Arc::clone(&metrics)))));
    assert_eq!(get_page(&routes, "/").await.1, HELP);
    let request = Request::get("/").header("accept", "text/html,*/*").body(Body::empty()).unwrap();
    let response = routes.clone().oneshot(request).await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(policy.starts_with("default-src 'none'") && body.starts_with(b"<!doctype html>"));
}
