//! `envoy.filters.http.rbac`.

use outrigger_tests::bootstrap::prefix_route;
use outrigger_tests::client::grpc;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

use crate::scene::{Script, filter, per_filter, typed};

const NAME: &str = "envoy.filters.http.rbac";
const KIND: &str = "rbac.v3.RBAC";

on_both_data_planes!(
    what_no_policy_allows_is_denied,
    a_deny_policy_is_named,
    rules_see_addresses_and_headers,
    shadow_rules_only_count,
    policies_may_count_by_themselves,
    routes_have_rules_of_their_own,
    a_log_action_denies_nothing,
    grpc_callers_are_told_their_status,
    verdicts_are_left_for_logs,
);

fn anyone() -> Value {
    json!([{"any": true}])
}

fn policy(permission: Value) -> Value {
    json!({"permissions": [permission], "principals": anyone()})
}

fn rules(action: &str, policies: Value) -> Value {
    json!({"action": action, "policies": policies})
}

fn chain(config: Value) -> Script {
    Script::of(&[filter(NAME, KIND, config)])
}

fn path(prefix: &str) -> Value {
    json!({"url_path": {"path": {"prefix": prefix}}})
}

async fn what_no_policy_allows_is_denied(plane: DataPlane) -> Result<()> {
    let get = json!({"header": {"name": ":method", "string_match": {"exact": "GET"}}});
    let both = json!({"and_rules": {"rules": [get, path("/open")]}});
    let scene = chain(json!({"rules": rules("ALLOW", json!({"open": policy(both)}))})).start(plane).await?;
    assert_eq!(scene.get("/open/a?b=/closed", &[]).await?.status, 200);
    let denied = scene.get("/closed", &[]).await?;
    assert_eq!((denied.status, denied.text().as_str()), (403, "RBAC: access denied"));
    assert_eq!(scene.logged(2).await?, "403|-|rbac_access_denied_matched_policy[none]");
    assert_eq!(scene.send("POST", "/open", &[], "x").await?.status, 403);
    assert_eq!(scene.sidecar.stat("http.ingress.rbac.allowed").await?, 1);
    assert_eq!(scene.sidecar.stat("http.ingress.rbac.denied").await?, 2);
    assert_eq!(scene.upstream.counts().requests(), 1);
    Ok(())
}

async fn a_deny_policy_is_named(plane: DataPlane) -> Result<()> {
    let policies = json!({"z last": policy(path("/")), "b of two": policy(path("/secret")), "a": policy(path("/other"))});
    let scene = chain(json!({"rules": rules("DENY", policies)})).start(plane).await?;
    assert_eq!(scene.get("/secret", &[]).await?.status, 403);
    assert_eq!(scene.logged(1).await?, "403|-|rbac_access_denied_matched_policy[b_of_two]");
    assert_eq!(scene.get("/x", &[]).await?.status, 403);
    assert_eq!(scene.logged(2).await?, "403|-|rbac_access_denied_matched_policy[z_last]");
    Ok(())
}

/// Each policy allows one path to one kind of caller.
async fn rules_see_addresses_and_headers(plane: DataPlane) -> Result<()> {
    let cidr = |address: &str| json!({"address_prefix": address, "prefix_len": 32});
    let header = |present: bool| json!({"header": {"name": "x-key", "present_match": present}});
    let cases = [
        ("/direct", json!({"direct_remote_ip": cidr("127.0.0.1")}), true),
        ("/other-peer", json!({"direct_remote_ip": cidr("127.0.0.2")}), false),
        ("/trusted", json!({"remote_ip": cidr("10.1.2.3")}), true),
        ("/not-trusted", json!({"remote_ip": cidr("127.0.0.1")}), false),
        ("/header", header(true), true),
        ("/no-header", header(false), false),
        ("/not", json!({"not_id": header(true)}), false),
        ("/or", json!({"or_ids": {"ids": [header(false), header(true)]}}), true),
        ("/tls", json!({"authenticated": {}}), false),
    ];
    let mut policies = json!({});
    for (prefix, principal, _) in &cases {
        policies[prefix] = json!({"permissions": [path(prefix)], "principals": [principal]});
    }
    let here = json!({"and_rules": {"rules": [path("/here"), {"destination_ip": cidr("127.0.0.1")}]}});
    policies["here"] = policy(here);
    let no_port =
        json!({"and_rules": {"rules": [path("/port"), {"destination_port_range": {"start": 1, "end": 2}}]}});
    policies["port"] = policy(no_port);
    let named = json!({"and_rules": {"rules": [path("/sni"), {"requested_server_name": {"exact": ""}}]}});
    policies["sni"] = policy(named);
    let scene = chain(json!({"rules": rules("ALLOW", policies)})).start(plane).await?;
    let sent = [("X-Key", "1"), ("X-Forwarded-For", "10.1.2.3")];
    for (prefix, _, allowed) in &cases {
        let status = scene.get(prefix, &sent).await?.status;
        assert_eq!(status, if *allowed { 200 } else { 403 }, "{prefix}");
    }
    for (prefix, status) in [("/here", 200), ("/port", 403), ("/sni", 200)] {
        assert_eq!(scene.get(prefix, &sent).await?.status, status, "{prefix}");
    }
    Ok(())
}

async fn shadow_rules_only_count(plane: DataPlane) -> Result<()> {
    let config = json!({
        "shadow_rules": rules("DENY", json!({"all": policy(path("/a"))})),
        "shadow_rules_stat_prefix": "dry_run",
        "rules": rules("ALLOW", json!({"all": policy(path("/"))})),
        "rules_stat_prefix": "real.",
    });
    let scene = chain(config).start(plane).await?;
    assert_eq!(scene.get("/a", &[]).await?.status, 200);
    assert_eq!(scene.get("/b", &[]).await?.status, 200);
    for (name, value) in
        [("real.allowed", 2), ("real.denied", 0), ("dry_run.shadow_denied", 1), ("dry_run.shadow_allowed", 1)]
    {
        assert_eq!(scene.sidecar.stat(&format!("http.ingress.rbac.{name}")).await?, value, "{name}");
    }
    Ok(())
}

async fn policies_may_count_by_themselves(plane: DataPlane) -> Result<()> {
    let policies = json!({"one": policy(path("/1")), "two": policy(path("/2"))});
    let config = json!({"rules": rules("ALLOW", policies), "track_per_rule_stats": true});
    let scene = chain(config).start(plane).await?;
    for path in ["/1", "/2", "/2", "/3"] {
        scene.get(path, &[]).await?;
    }
    assert_eq!(scene.sidecar.stat("http.ingress.rbac.policy.one.allowed").await?, 1);
    assert_eq!(scene.sidecar.stat("http.ingress.rbac.policy.two.allowed").await?, 2);
    assert_eq!(scene.sidecar.stat("http.ingress.rbac.denied").await?, 1);
    Ok(())
}

async fn routes_have_rules_of_their_own(plane: DataPlane) -> Result<()> {
    let per_route = |config: Value| per_filter(NAME, typed("rbac.v3.RBACPerRoute", config));
    let mut open = prefix_route("/open", "a");
    open["typed_per_filter_config"] = per_route(json!({}));
    let mut own = prefix_route("/own", "a");
    let allow = rules("ALLOW", json!({"own": policy(path("/own/yes"))}));
    own["typed_per_filter_config"] = per_route(json!({"rbac": {"rules": allow}}));
    let scene = chain(json!({"rules": rules("DENY", json!({"all": policy(json!({"any": true}))}))}))
        .routes(&[open, own, prefix_route("/", "a")])
        .start(plane)
        .await?;
    for (path, status) in [("/open", 200), ("/own/yes", 200), ("/own/no", 403), ("/", 403)] {
        assert_eq!(scene.get(path, &[]).await?.status, status, "{path}");
    }
    assert_eq!(scene.sidecar.stat("http.ingress.rbac.denied").await?, 2);
    Ok(())
}

async fn a_log_action_denies_nothing(plane: DataPlane) -> Result<()> {
    let scene =
        chain(json!({"rules": rules("LOG", json!({"all": policy(path("/a"))}))})).start(plane).await?;
    assert_eq!(scene.get("/a", &[]).await?.status, 200);
    assert_eq!(scene.get("/b", &[]).await?.status, 200);
    assert_eq!(scene.sidecar.stat("http.ingress.rbac.allowed").await?, 2);
    Ok(())
}

async fn grpc_callers_are_told_their_status(plane: DataPlane) -> Result<()> {
    let script = chain(json!({"rules": rules("ALLOW", json!({}))})).routes(&[prefix_route("/", "grpc")]);
    let scene = script.start(plane).await?;
    let reply = grpc::call(scene.port.address(), "svc", "/s.S/M", &[b"x"]).await?;
    assert_eq!((reply.http_status, reply.status), (200, Some(7)));
    assert_eq!(reply.message, "RBAC: access denied");
    Ok(())
}

/// What the rules said stands in the metadata of the request, under the prefix of their statistics.
async fn verdicts_are_left_for_logs(plane: DataPlane) -> Result<()> {
    const FIELDS: [&str; 6] = [
        "shadow_engine_result",
        "dry_shadow_engine_result",
        "dry_shadow_effective_policy_id",
        "enforced_engine_result",
        "real.enforced_engine_result",
        "real.enforced_effective_policy_id",
    ];
    let config = json!({
        "shadow_rules": rules("DENY", json!({"secret": policy(path("/a"))})),
        "shadow_rules_stat_prefix": "dry_",
        "rules": rules("ALLOW", json!({"known": policy(path("/known")), "a": policy(path("/a"))})),
        "rules_stat_prefix": "real.",
    });
    let operators = FIELDS.map(|field| format!("DYNAMIC_METADATA({NAME}:{field})"));
    let operators: Vec<&str> = operators.iter().map(String::as_str).collect();
    let scene = chain(config).log(&operators).start(plane).await?;
    for (at, path, line) in [
        (1, "/a", "-|denied|secret|-|allowed|a"),
        (2, "/known", "-|allowed|-|-|allowed|known"),
        (3, "/other", "-|allowed|-|-|denied|-"),
    ] {
        scene.get(path, &[]).await?;
        assert_eq!(scene.logged(at).await?, line, "{path}");
    }
    Ok(())
}
