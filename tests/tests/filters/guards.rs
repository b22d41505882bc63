//! Network filters before the terminal one: `local_ratelimit`, `connection_limit`, `rbac`.

use std::time::{Duration, Instant};

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{cluster, tcp_listener, with_static};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{TcpEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

on_both_data_planes!(
    connections_over_the_rate_are_closed,
    connections_over_the_number_are_closed,
    closing_may_wait,
    connections_are_authorised,
    shadow_rules_only_count,
    denials_have_a_line,
);

/// A sidecar that echoes over TCP, behind one guard.
struct Scene {
    port: Port,
    sidecar: Sidecar,
    log: AccessLog,
    _upstream: Upstream,
}

/// What the log tells of a connection.
const LOGGED: [&str; 5] = [
    "CONNECTION_TERMINATION_DETAILS",
    "RESPONSE_FLAGS",
    "DYNAMIC_METADATA(envoy.filters.network.rbac:shadow_engine_result)",
    "DYNAMIC_METADATA(envoy.filters.network.rbac:dry_shadow_effective_policy_id)",
    "DYNAMIC_METADATA(envoy.filters.network.rbac:enforced_engine_result)",
];

impl Scene {
    async fn start(plane: DataPlane, kind: &str, mut config: Value) -> Result<Self> {
        let (port, upstream) = (Port::lease()?, Upstream::start(TcpEcho)?);
        config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.network.{kind}"));
        let mut listener = tcp_listener("ingress", port.address(), "a");
        let filters = &mut listener["filter_chains"][0]["filters"];
        let mut terminal = filters[0].clone();
        let log = AccessLog::of(&LOGGED)?;
        terminal["typed_config"]["access_log"] = log.config();
        *filters = json!([{"name": "guard", "typed_config": config}, terminal]);
        let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
        let sidecar = plane.launch()?.start(&bootstrap).await?;
        Ok(Self { port, sidecar, log, _upstream: upstream })
    }

    /// A connection that is served, or `None` when it was closed without a word.
    async fn connect(&self) -> Result<Option<Connection>> {
        let mut connection = Connection::open(self.port.address()).await?;
        // What is closed already may refuse the bytes.
        let _ = connection.send("hello").await;
        match connection.some_bytes().await {
            Ok(bytes) if bytes == b"hello" => Ok(Some(connection)),
            Ok(bytes) if !bytes.is_empty() => Err(format!("got {bytes:?}").into()),
            _ => Ok(None),
        }
    }
}

async fn connections_over_the_rate_are_closed(plane: DataPlane) -> Result<()> {
    let config = json!({
        "stat_prefix": "x",
        "token_bucket": {"max_tokens": 2, "fill_interval": "3600s"},
    });
    let scene = Scene::start(plane, "local_ratelimit.v3.LocalRateLimit", config).await?;
    let mut served = 0;
    for _ in 0..4 {
        served += u32::from(scene.connect().await?.is_some());
    }
    assert_eq!(served, 2);
    assert_eq!(scene.sidecar.stat("local_rate_limit.x.rate_limited").await?, 2);
    Ok(())
}

async fn connections_over_the_number_are_closed(plane: DataPlane) -> Result<()> {
    let config = json!({"stat_prefix": "x", "max_connections": 1});
    let scene = Scene::start(plane, "connection_limit.v3.ConnectionLimit", config).await?;
    let first = scene.connect().await?;
    assert!(first.is_some());
    assert!(scene.connect().await?.is_none());
    assert_eq!(scene.sidecar.stat("connection_limit.x.limited_connections").await?, 1);
    scene.sidecar.until_stat("connection_limit.x.active_connections", |open| open == 1).await?;
    drop(first);
    scene.sidecar.until_stat("connection_limit.x.active_connections", |open| open == 0).await?;
    assert!(scene.connect().await?.is_some(), "its place is free again");
    Ok(())
}

async fn closing_may_wait(plane: DataPlane) -> Result<()> {
    let config = json!({"stat_prefix": "x", "max_connections": 1, "delay": "0.2s"});
    let scene = Scene::start(plane, "connection_limit.v3.ConnectionLimit", config).await?;
    let _first = scene.connect().await?;
    let began = Instant::now();
    assert!(scene.connect().await?.is_none());
    // Envoy measures from when its loop last woke.
    assert!(began.elapsed() >= Duration::from_millis(100));
    Ok(())
}

fn rules(action: &str, address: &str) -> Value {
    json!({"action": action, "policies": {"p": {
        "permissions": [{"any": true}],
        "principals": [{"direct_remote_ip": {"address_prefix": address, "prefix_len": 32}}],
    }}})
}

async fn connections_are_authorised(plane: DataPlane) -> Result<()> {
    for (action, address, allowed) in
        [("ALLOW", "127.0.0.1", true), ("ALLOW", "10.0.0.1", false), ("DENY", "127.0.0.1", false)]
    {
        let config = json!({"stat_prefix": "x.", "rules": rules(action, address)});
        let scene = Scene::start(plane, "rbac.v3.RBAC", config).await?;
        assert_eq!(scene.connect().await?.is_some(), allowed, "{action} {address}");
        let name = if allowed { "x.rbac.allowed" } else { "x.rbac.denied" };
        assert_eq!(scene.sidecar.stat(name).await?, 1, "{name}");
    }
    Ok(())
}

async fn shadow_rules_only_count(plane: DataPlane) -> Result<()> {
    let config = json!({"stat_prefix": "x", "shadow_rules": rules("DENY", "127.0.0.1"), "shadow_rules_stat_prefix": "dry"});
    let scene = Scene::start(plane, "rbac.v3.RBAC", config).await?;
    assert!(scene.connect().await?.is_some());
    assert_eq!(scene.sidecar.stat("x.rbac.dry.shadow_denied").await?, 1);
    Ok(())
}

/// A connection that rules deny is logged like any other, with the policy that denied it.
async fn denials_have_a_line(plane: DataPlane) -> Result<()> {
    for (action, address, shadow, line) in [
        ("ALLOW", "10.0.0.1", "127.0.0.1", "rbac_access_denied_matched_policy[none]|-|-|p|-"),
        ("DENY", "127.0.0.1", "10.0.0.1", "rbac_access_denied_matched_policy[p]|-|-|-|-"),
    ] {
        let config = json!({
            "stat_prefix": "x.",
            "rules": rules(action, address),
            "shadow_rules": rules("DENY", shadow),
            "shadow_rules_stat_prefix": "dry_",
        });
        let scene = Scene::start(plane, "rbac.v3.RBAC", config).await?;
        assert!(scene.connect().await?.is_none());
        assert_eq!(scene.log.lines(1).await?, [line], "{action}");
    }
    let config = json!({"stat_prefix": "x.", "shadow_rules": rules("DENY", "127.0.0.1")});
    let scene = Scene::start(plane, "rbac.v3.RBAC", config).await?;
    drop(scene.connect().await?.ok_or("shadow rules deny nobody")?);
    assert_eq!(scene.log.lines(1).await?, ["-|-|denied|-|-"]);
    Ok(())
}
