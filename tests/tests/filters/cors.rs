//! `envoy.filters.http.cors`.

use outrigger_tests::bootstrap::prefix_route;
use outrigger_tests::client::h1::Response;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

use crate::scene::{Script, filter, per_filter, typed};

const NAME: &str = "envoy.filters.http.cors";

on_both_data_planes!(
    preflights_are_answered,
    other_origins_are_not_allowed,
    responses_are_marked,
    a_route_completes_what_its_host_leaves_open,
    stars_repeat_what_was_asked_for,
    older_fields_are_read,
    a_shadow_only_counts,
);

fn cors() -> Value {
    filter(NAME, "cors.v3.Cors", json!({}))
}

fn policy() -> Value {
    json!({
        "allow_origin_string_match": [{"exact": "https://app.example"}, {"suffix": ".trusted.example"}],
        "allow_methods": "GET, PUT",
        "allow_headers": "x-a",
        "expose_headers": "x-b",
        "max_age": "60",
        "allow_credentials": true,
    })
}

fn typed_policy(policy: Value) -> Value {
    per_filter(NAME, typed("cors.v3.CorsPolicy", policy))
}

/// The `access-control-*` headers of a response.
fn told(response: &Response) -> Vec<(String, String)> {
    let mut told: Vec<_> = response
        .headers
        .iter()
        .filter_map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            Some((name.strip_prefix("access-control-")?.to_owned(), value.clone()))
        })
        .collect();
    told.sort();
    told
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const ORIGIN: (&str, &str) = ("Origin", "https://app.example");
const ASKED: (&str, &str) = ("Access-Control-Request-Method", "PUT");

async fn preflights_are_answered(plane: DataPlane) -> Result<()> {
    let script = Script::of(&[cors()])
        .host("typed_per_filter_config", typed_policy(policy()))
        .host("response_headers_to_add", json!([{"header": {"key": "x-edited", "value": "yes"}}]));
    let scene = script.start(plane).await?;
    let response = scene.send("OPTIONS", "/", &[ORIGIN, ASKED], "").await?;
    assert_eq!((response.status, response.text().as_str()), (200, ""));
    assert_eq!(response.header("x-edited"), None);
    let expected = [
        ("allow-credentials", "true"),
        ("allow-headers", "x-a"),
        ("allow-methods", "GET, PUT"),
        ("allow-origin", "https://app.example"),
        ("expose-headers", "x-b"),
        ("max-age", "60"),
    ];
    assert_eq!(told(&response), pairs(&expected));
    assert_eq!(scene.logged(1).await?, "200|-|cors_response");
    assert_eq!(scene.upstream.counts().requests(), 0);
    assert_eq!(scene.sidecar.stat("http.ingress.cors.origin_valid").await?, 1);
    Ok(())
}

async fn other_origins_are_not_allowed(plane: DataPlane) -> Result<()> {
    let mut strict = prefix_route("/strict", "a");
    let mut own = policy();
    own["forward_not_matching_preflights"] = json!(false);
    strict["typed_per_filter_config"] = typed_policy(own);
    let script = Script::of(&[cors()]).routes(&[strict, prefix_route("/", "a")]);
    let scene = script.host("typed_per_filter_config", typed_policy(policy())).start(plane).await?;
    let other = ("Origin", "https://other.example");

    let plain = scene.get("/", &[other]).await?;
    assert_eq!((plain.status, told(&plain)), (200, Vec::new()));
    let forwarded = scene.send("OPTIONS", "/", &[other, ASKED], "").await?;
    assert_eq!((forwarded.json()?["method"].as_str(), told(&forwarded)), (Some("OPTIONS"), Vec::new()));
    let answered = scene.send("OPTIONS", "/strict", &[other, ASKED], "").await?;
    assert_eq!((answered.status, answered.text().as_str()), (200, ""));
    assert!(told(&answered).iter().all(|(name, _)| name != "allow-origin"), "{:?}", told(&answered));
    assert_eq!(scene.sidecar.stat("http.ingress.cors.origin_invalid").await?, 3);
    Ok(())
}

async fn responses_are_marked(plane: DataPlane) -> Result<()> {
    let script = Script::of(&[cors()]).host("typed_per_filter_config", typed_policy(policy()));
    let scene = script.start(plane).await?;
    let expected =
        |origin| pairs(&[("allow-credentials", "true"), ("allow-origin", origin), ("expose-headers", "x-b")]);
    let upstreams = ("x-echo-header", "access-control-allow-origin=*");
    let response = scene.get("/", &[ORIGIN, upstreams]).await?;
    assert_eq!(told(&response), expected("https://app.example"));
    // OPTIONS that is no preflight.
    let trusted = ("Origin", "https://a.trusted.example");
    let response = scene.send("OPTIONS", "/", &[trusted], "").await?;
    assert_eq!(told(&response), expected("https://a.trusted.example"));
    assert_eq!(response.json()?["method"], "OPTIONS");
    assert_eq!(told(&scene.get("/", &[]).await?), Vec::new());
    Ok(())
}

async fn a_route_completes_what_its_host_leaves_open(plane: DataPlane) -> Result<()> {
    let mut route = prefix_route("/", "a");
    let own = json!({"allow_methods": "DELETE", "allow_credentials": false});
    route["typed_per_filter_config"] = typed_policy(own);
    let script = Script::of(&[cors()]).routes(&[route]);
    let scene = script.host("typed_per_filter_config", typed_policy(policy())).start(plane).await?;
    let response = scene.send("OPTIONS", "/", &[ORIGIN, ASKED], "").await?;
    let expected = [
        ("allow-headers", "x-a"),
        ("allow-methods", "DELETE"),
        ("allow-origin", "https://app.example"),
        ("expose-headers", "x-b"),
        ("max-age", "60"),
    ];
    assert_eq!(told(&response), pairs(&expected));
    Ok(())
}

async fn stars_repeat_what_was_asked_for(plane: DataPlane) -> Result<()> {
    let star = json!({
        "allow_origin_string_match": [{"exact": "*"}],
        "allow_methods": "*",
        "allow_headers": "*",
        "allow_private_network_access": true,
    });
    let script = Script::of(&[cors()]).host("typed_per_filter_config", typed_policy(star));
    let scene = script.start(plane).await?;
    let asked = [
        ("Origin", "https://anyone.example"),
        ASKED,
        ("Access-Control-Request-Headers", "x-1, x-2"),
        ("Access-Control-Request-Private-Network", "true"),
    ];
    let expected = [
        ("allow-headers", "x-1, x-2"),
        ("allow-methods", "PUT"),
        ("allow-origin", "https://anyone.example"),
        ("allow-private-network", "true"),
    ];
    assert_eq!(told(&scene.send("OPTIONS", "/", &asked, "").await?), pairs(&expected));
    Ok(())
}

async fn older_fields_are_read(plane: DataPlane) -> Result<()> {
    let mut route = prefix_route("/own", "a");
    route["route"]["cors"] = json!({"max_age": "1"});
    let script = Script::of(&[cors()]).routes(&[route, prefix_route("/", "a")]);
    let scene = script.host("cors", policy()).start(plane).await?;
    for (path, age) in [("/own", "1"), ("/", "60")] {
        let response = scene.send("OPTIONS", path, &[ORIGIN, ASKED], "").await?;
        assert_eq!(response.header("access-control-max-age"), Some(age), "{path}");
        assert_eq!(response.header("access-control-allow-origin"), Some("https://app.example"));
    }
    Ok(())
}

async fn a_shadow_only_counts(plane: DataPlane) -> Result<()> {
    let mut shadow = policy();
    let share = |numerator: u32| json!({"default_value": {"numerator": numerator}});
    shadow["filter_enabled"] = share(0);
    shadow["shadow_enabled"] = share(100);
    let script = Script::of(&[cors()]).host("typed_per_filter_config", typed_policy(shadow));
    let scene = script.start(plane).await?;
    let response = scene.send("OPTIONS", "/", &[ORIGIN, ASKED], "").await?;
    assert_eq!((response.json()?["method"].as_str(), told(&response)), (Some("OPTIONS"), Vec::new()));
    assert_eq!(scene.sidecar.stat("http.ingress.cors.origin_valid").await?, 1);
    Ok(())
}
