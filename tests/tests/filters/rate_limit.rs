//! `envoy.filters.http.local_ratelimit`.

use outrigger_tests::bootstrap::{cluster, prefix_route};
use outrigger_tests::client::grpc;
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

use crate::scene::{Script, filter, per_filter, received, request, typed};

const NAME: &str = "envoy.filters.http.local_ratelimit";
const KIND: &str = "local_ratelimit.v3.LocalRateLimit";

on_both_data_planes!(
    over_the_limit_is_429,
    what_is_not_enforced_passes_marked,
    routes_have_limits_of_their_own,
    each_connection_has_its_own,
    the_limit_holds_for_all_workers_together,
    responses_tell_what_is_left,
    grpc_callers_are_told_their_status,
    callers_are_told_apart,
    responses_tell_of_the_callers_own_bucket,
    shadows_only_count,
    shadows_hide_no_limit,
    a_connection_tells_callers_apart_by_itself,
    members_of_a_cluster_share_a_limit,
);

/// A limit that is never refilled within a test.
fn limit(tokens: u32) -> Value {
    let all = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
    json!({
        "stat_prefix": "limit",
        "token_bucket": {"max_tokens": tokens, "fill_interval": "3600s"},
        "filter_enabled": all,
        "filter_enforced": all,
    })
}

async fn over_the_limit_is_429(plane: DataPlane) -> Result<()> {
    let mut config = limit(2);
    config["response_headers_to_add"] = json!([{"header": {"key": "x-limited", "value": "%PROTOCOL%"}}]);
    let scene = Script::of(&[filter(NAME, KIND, config)]).start(plane).await?;
    for _ in 0..2 {
        assert_eq!(scene.get("/", &[]).await?.status, 200);
    }
    let refused = scene.get("/", &[]).await?;
    assert_eq!((refused.status, refused.text().as_str()), (429, "local_rate_limited"));
    assert_eq!(refused.header("x-limited"), Some("HTTP/1.1"));
    assert_eq!(refused.header("x-ratelimit-limit"), None);
    assert_eq!(scene.logged(3).await?, "429|RL|local_rate_limited");
    assert_eq!(scene.upstream.counts().requests(), 2);
    for (name, value) in [("enabled", 3), ("ok", 2), ("rate_limited", 1), ("enforced", 1)] {
        let stat = format!("limit.http_local_rate_limit.{name}");
        assert_eq!(scene.sidecar.stat(&stat).await?, value, "{name}");
    }
    Ok(())
}

async fn what_is_not_enforced_passes_marked(plane: DataPlane) -> Result<()> {
    let mut config = limit(1);
    config["filter_enforced"]["default_value"]["numerator"] = json!(0);
    config["request_headers_to_add_when_not_enforced"] =
        json!([{"header": {"key": "x-over", "value": "yes"}}]);
    config["status"] = json!({"code": "ServiceUnavailable"});
    let scene = Script::of(&[filter(NAME, KIND, config)]).start(plane).await?;
    assert!(received(&scene.get("/", &[]).await?, "x-over")?.is_empty());
    assert_eq!(received(&scene.get("/", &[]).await?, "x-over")?, ["yes"]);
    assert_eq!(scene.sidecar.stat("limit.http_local_rate_limit.rate_limited").await?, 1);
    assert_eq!(scene.sidecar.stat("limit.http_local_rate_limit.enforced").await?, 0);
    Ok(())
}

/// The filter limits nothing by itself; one route does, with a status of its own.
async fn routes_have_limits_of_their_own(plane: DataPlane) -> Result<()> {
    let mut tight = limit(1);
    tight["status"] = json!({"code": "ServiceUnavailable"});
    let mut limited = prefix_route("/tight", "a");
    limited["typed_per_filter_config"] = per_filter(NAME, typed(KIND, tight));
    let script = Script::of(&[filter(NAME, KIND, json!({"stat_prefix": "none"}))]);
    let scene = script.routes(&[limited, prefix_route("/", "a")]).start(plane).await?;
    let mut statuses = Vec::new();
    for path in ["/tight", "/tight", "/", "/"] {
        statuses.push(scene.get(path, &[]).await?.status);
    }
    assert_eq!(statuses, [200, 503, 200, 200]);
    Ok(())
}

async fn each_connection_has_its_own(plane: DataPlane) -> Result<()> {
    let mut config = limit(1);
    config["local_rate_limit_per_downstream_connection"] = json!(true);
    let scene = Script::of(&[filter(NAME, KIND, config)]).start(plane).await?;
    for _ in 0..2 {
        let mut connection = Connection::open(scene.port.address()).await?;
        let text = request("GET", "/", &[], "");
        assert_eq!(connection.exchange(&text).await?.status, 200);
        assert_eq!(connection.exchange(&text).await?.status, 429);
    }
    Ok(())
}

async fn the_limit_holds_for_all_workers_together(plane: DataPlane) -> Result<()> {
    let scene = Script::of(&[filter(NAME, KIND, limit(5))]).workers(2).start(plane).await?;
    let mut passed = 0;
    for _ in 0..20 {
        passed += u32::from(scene.get("/", &[]).await?.status == 200);
    }
    assert_eq!(passed, 5);
    Ok(())
}

async fn responses_tell_what_is_left(plane: DataPlane) -> Result<()> {
    let mut config = limit(2);
    config["enable_x_ratelimit_headers"] = json!("DRAFT_VERSION_03");
    let scene = Script::of(&[filter(NAME, KIND, config)]).start(plane).await?;
    let told = async || {
        let response = scene.get("/", &[]).await?;
        let header = |name: &str| response.header(name).map(str::to_owned);
        let told = [header("x-ratelimit-limit"), header("x-ratelimit-remaining")];
        let reset = header("x-ratelimit-reset").and_then(|reset| reset.parse::<u32>().ok());
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((response.status, told, reset))
    };
    let two = |remaining: &str| [Some("2".to_owned()), Some(remaining.to_owned())];
    let first = told().await?;
    assert_eq!((first.0, first.1, first.2), (200, two("1"), Some(0)));
    let second = told().await?;
    assert_eq!((second.0, second.1), (200, two("0")));
    assert!(second.2.is_some_and(|reset| (3500..=3600).contains(&reset)), "{:?}", second.2);
    let third = told().await?;
    assert_eq!((third.0, third.1), (429, two("0")));
    Ok(())
}

async fn grpc_callers_are_told_their_status(plane: DataPlane) -> Result<()> {
    let mut tight = limit(0);
    tight["token_bucket"]["max_tokens"] = json!(1);
    let mut exhausted = tight.clone();
    exhausted["rate_limited_as_resource_exhausted"] = json!(true);
    let route = |prefix: &str, config: Value| {
        let mut route = prefix_route(prefix, "grpc");
        route["typed_per_filter_config"] = per_filter(NAME, typed(KIND, config));
        route
    };
    let script = Script::of(&[filter(NAME, KIND, json!({"stat_prefix": "none"}))]);
    let scene = script.routes(&[route("/a.A", exhausted), route("/b.B", tight)]).start(plane).await?;
    for (method, status) in [("/a.A/Call", 8), ("/b.B/Call", 14)] {
        grpc::call(scene.port.address(), "svc", method, &[b"x"]).await?;
        let refused = grpc::call(scene.port.address(), "svc", method, &[b"x"]).await?;
        assert_eq!((refused.http_status, refused.status), (200, Some(status)));
        assert_eq!(refused.message, "local_rate_limited");
    }
    Ok(())
}

/// A rule by the header `x-user`, with the fields of `rule`, and limits of one token for these values of it.
fn by_user(default_tokens: u32, values: &[&str], rule: Value) -> Value {
    let mut rules = json!({"actions": [
        {"request_headers": {"header_name": "x-user", "descriptor_key": "user"}},
    ]});
    for (field, value) in rule.as_object().into_iter().flatten() {
        rules[field] = value.clone();
    }
    let one = |value: &&str| {
        json!({
            "entries": [{"key": "user", "value": value}],
            "token_bucket": {"max_tokens": 1, "fill_interval": "3600s"},
        })
    };
    let mut config = limit(default_tokens);
    config["rate_limits"] = json!([rules]);
    config["descriptors"] = values.iter().map(one).collect();
    config
}

/// Statuses of one request for each of these users.
async fn statuses(scene: &crate::scene::Scene, users: &[&str]) -> Result<Vec<u16>> {
    let mut statuses = Vec::new();
    for user in users {
        statuses.push(scene.get("/", &[("x-user", user)]).await?.status);
    }
    Ok(statuses)
}

async fn callers_are_told_apart(plane: DataPlane) -> Result<()> {
    // Every user has one request, whoever it is; three are remembered.
    let mut config = by_user(1000, &[""], json!({}));
    config["max_dynamic_descriptors"] = json!(3);
    let scene = Script::of(&[filter(NAME, KIND, config)]).workers(2).start(plane).await?;
    let users = ["a", "b", "c", "a", "b", "c", "d", "a", "b", "c"];
    // The fourth takes the place of the first, which takes that of the second, and so on.
    assert_eq!(statuses(&scene, &users).await?, [200, 200, 200, 429, 429, 429, 200, 200, 200, 200]);
    for (name, value) in [("enabled", 10), ("ok", 7), ("rate_limited", 3), ("enforced", 3)] {
        let stat = format!("limit.http_local_rate_limit.{name}");
        assert_eq!(scene.sidecar.stat(&stat).await?, value, "{name}");
    }
    Ok(())
}

async fn responses_tell_of_the_callers_own_bucket(plane: DataPlane) -> Result<()> {
    let told = async |config: Value, user: &'static str| {
        let scene = Script::of(&[filter(NAME, KIND, config)]).start(plane).await?;
        let response = scene.get("/", &[("x-user", user)]).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(
            ["x-ratelimit-limit", "x-ratelimit-remaining"]
                .map(|name| response.header(name).map(str::to_owned)),
        )
    };
    let tells = |rule: Value, all: bool| {
        let mut config = by_user(1000, &["a"], rule);
        if all {
            config["enable_x_ratelimit_headers"] = json!("DRAFT_VERSION_03");
        }
        config
    };
    let text = |limit: &str, remaining: &str| [Some(limit.to_owned()), Some(remaining.to_owned())];
    assert_eq!(told(tells(json!({}), true), "a").await?, text("1", "0"));
    assert_eq!(told(tells(json!({}), true), "b").await?, text("1000", "999"));
    let off = json!({"x_ratelimit_option": "OFF"});
    assert_eq!(told(tells(off, true), "a").await?, [None, None]);
    let on = json!({"x_ratelimit_option": "DRAFT_VERSION_03"});
    assert_eq!(told(tells(on.clone(), false), "a").await?, text("1", "0"));
    assert_eq!(told(tells(on, false), "b").await?, [None, None]);
    Ok(())
}

async fn shadows_only_count(plane: DataPlane) -> Result<()> {
    let mut config = by_user(1000, &["a"], json!({}));
    config["descriptors"][0]["shadow_mode"] = json!(true);
    let scene = Script::of(&[filter(NAME, KIND, config)]).start(plane).await?;
    assert_eq!(statuses(&scene, &["a", "a", "a"]).await?, [200, 200, 200]);
    for (name, value) in [("ok", 1), ("rate_limited", 2), ("shadow_mode", 2), ("enforced", 0)] {
        let stat = format!("limit.http_local_rate_limit.{name}");
        assert_eq!(scene.sidecar.stat(&stat).await?, value, "{name}");
    }
    Ok(())
}

async fn shadows_hide_no_limit(plane: DataPlane) -> Result<()> {
    let mut config = by_user(1000, &["a", "b"], json!({}));
    // The shadow of `a` is the slower one: it is asked first.
    config["descriptors"][0]["shadow_mode"] = json!(true);
    config["descriptors"][0]["token_bucket"]["fill_interval"] = json!("7200s");
    config["descriptors"][1]["token_bucket"]["max_tokens"] = json!(2);
    let by_team = json!({"request_headers": {"header_name": "x-team", "descriptor_key": "user"}});
    config["rate_limits"].as_array_mut().ok_or("no rules")?.push(json!({"actions": [by_team]}));
    let scene = Script::of(&[filter(NAME, KIND, config)]).start(plane).await?;
    for status in [200, 200, 429, 429] {
        let response = scene.get("/", &[("x-user", "a"), ("x-team", "b")]).await?;
        assert_eq!(response.status, status);
    }
    for (name, value) in [("ok", 1), ("rate_limited", 3), ("shadow_mode", 1), ("enforced", 2)] {
        let stat = format!("limit.http_local_rate_limit.{name}");
        assert_eq!(scene.sidecar.stat(&stat).await?, value, "{name}");
    }
    Ok(())
}

async fn a_connection_tells_callers_apart_by_itself(plane: DataPlane) -> Result<()> {
    let mut config = by_user(1000, &["a"], json!({}));
    config["local_rate_limit_per_downstream_connection"] = json!(true);
    let scene = Script::of(&[filter(NAME, KIND, config)]).start(plane).await?;
    for _ in 0..2 {
        let mut connection = Connection::open(scene.port.address()).await?;
        for (user, status) in [("a", 200), ("a", 429), ("b", 200), ("b", 200)] {
            let text = request("GET", "/", &[("x-user", user)], "");
            assert_eq!(connection.exchange(&text).await?.status, status, "{user}");
        }
    }
    Ok(())
}

async fn members_of_a_cluster_share_a_limit(plane: DataPlane) -> Result<()> {
    let mut config = by_user(6, &["a", "b"], json!({}));
    config["descriptors"][0]["token_bucket"]["max_tokens"] = json!(4);
    config["descriptors"][1]["token_bucket"]["max_tokens"] = json!(2);
    config["always_consume_default_token_bucket"] = json!(false);
    config["local_cluster_rate_limit"] = json!({});
    // Three members, of which this one has a third of each bucket: two tokens, one and a third, two thirds.
    let members = [1, 2, 3].map(|port| ([127, 0, 0, 1], port).into());
    let script = Script::of(&[filter(NAME, KIND, config)]).cluster(cluster("own", &members));
    let script = script.bootstrap("cluster_manager", json!({"local_cluster_name": "own"}));
    let scene = script.start(plane).await?;
    assert_eq!(statuses(&scene, &["a", "a", "b", "c", "c", "c"]).await?, [200, 429, 429, 200, 200, 429]);
    Ok(())
}
