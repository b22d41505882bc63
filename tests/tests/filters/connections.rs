//! `envoy.filters.network.ext_authz`: a service decides about connections, before bytes are proxied and before requests.

use std::time::Duration;

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{cluster, over_http2, tcp_listener, terminate_tls, with_static};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{self, Authority};
use outrigger_tests::upstream::{Judge, Seen, TcpEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};

use crate::scene::{Script, request};

on_both_data_planes!(
    a_service_decides_about_connections,
    without_an_answer_connections_are_closed_or_served,
    a_service_is_shown_the_connection,
    connections_of_requests_are_decided_about,
);

const LIMIT: Duration = Duration::from_secs(15);

/// What the service says of every connection.
fn guard(verdict: &Value, more: Value) -> Value {
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
        "stat_prefix": "door",
        "grpc_service": {
            "envoy_grpc": {"cluster_name": "judge"},
            "timeout": "10s",
            "initial_metadata": [{"key": "x-judge", "value": verdict.to_string()}],
        },
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    json!({"name": "envoy.filters.network.ext_authz", "typed_config": config})
}

/// A TCP proxy to an echo, behind a service.
struct Scene {
    port: Port,
    log: AccessLog,
    sidecar: Sidecar,
    seen: Seen,
    _upstreams: [Upstream; 2],
}

impl Scene {
    async fn start(plane: DataPlane, guard: Value, transport: Value) -> Result<Self> {
        let judge = Judge::default();
        let (seen, judge, echo) = (judge.seen(), Upstream::start(judge)?, Upstream::start(TcpEcho)?);
        let port = Port::lease()?;
        let log = AccessLog::of(&["RESPONSE_FLAGS", "RESPONSE_CODE_DETAILS", "BYTES_SENT"])?;
        let mut listener = tcp_listener("ingress", port.address(), "a");
        let chain = &mut listener["filter_chains"][0];
        if !transport.is_null() {
            chain["transport_socket"] = transport;
        }
        let mut terminal = chain["filters"][0].take();
        terminal["typed_config"]["access_log"] = log.config();
        chain["filters"] = json!([guard, terminal]);
        let clusters = [cluster("a", &[echo.address()]), over_http2(cluster("judge", &[judge.address()]))];
        let sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
        Ok(Self { port, log, sidecar, seen, _upstreams: [judge, echo] })
    }

    /// What comes back of some bytes; nothing where the connection was closed.
    async fn echo(&self) -> Result<Vec<u8>> {
        echo(Connection::open(self.port.address()).await?).await
    }

    async fn counts(&self, expected: &[(&str, u64)]) -> Result<()> {
        for (name, count) in expected {
            let name = format!("ext_authz.door.{name}");
            self.sidecar.until_stat(&name, |now| now == *count).await?;
        }
        Ok(())
    }
}

async fn echo(mut connection: Connection) -> Result<Vec<u8>> {
    // What is closed already may refuse the bytes.
    let _ = connection.send("hello").await;
    Ok(connection.some_bytes().await.unwrap_or_default())
}

async fn a_service_decides_about_connections(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, guard(&json!({}), json!({})), Value::Null).await?;
    assert_eq!(scene.echo().await?, b"hello");
    assert_eq!(scene.log.lines(1).await?, ["-|-|8"]);
    scene
        .counts(&[("total", 1), ("ok", 1), ("denied", 0), ("error", 0), ("cx_closed", 0), ("active", 0)])
        .await?;
    let scene = Scene::start(plane, guard(&json!({"code": 7}), json!({})), Value::Null).await?;
    for turn in 1..3 {
        assert_eq!(scene.echo().await?, b"");
        assert_eq!(scene.log.lines(turn).await?.pop().as_deref(), Some("UAEX|ext_authz_denied|0"));
    }
    scene
        .counts(&[("total", 2), ("ok", 0), ("denied", 2), ("error", 0), ("cx_closed", 2), ("active", 0)])
        .await?;
    scene.counts(&[("disabled", 0), ("failure_mode_allowed", 0)]).await
}

async fn without_an_answer_connections_are_closed_or_served(plane: DataPlane) -> Result<()> {
    let (fails, hangs) = (json!({"grpc_status": 14}), json!({"hang": true}));
    for verdict in [&fails, &hangs] {
        for allow in [false, true] {
            let mut guard = guard(verdict, json!({"failure_mode_allow": allow}));
            if verdict["hang"] == true {
                guard["typed_config"]["grpc_service"]["timeout"] = json!("0.2s");
            }
            let scene = Scene::start(plane, guard, Value::Null).await?;
            let echoed = scene.echo().await?;
            assert_eq!(echoed, if allow { &b"hello"[..] } else { b"" }, "{verdict} {allow}");
            let line = if allow { "-|-|8" } else { "UAEX|ext_authz_error|0" };
            assert_eq!(scene.log.lines(1).await?, [line], "{verdict} {allow}");
            let (allowed, closed) = (u64::from(allow), u64::from(!allow));
            scene.counts(&[("total", 1), ("error", 1), ("ok", 0), ("denied", 0), ("active", 0)]).await?;
            scene.counts(&[("failure_mode_allowed", allowed), ("cx_closed", closed)]).await?;
        }
    }
    Ok(())
}

async fn a_service_is_shown_the_connection(plane: DataPlane) -> Result<()> {
    let authority = Authority::new()?;
    let mut socket = terminate_tls(&authority.issue(&["svc.example"])?, &[]);
    socket["typed_config"]["common_tls_context"]["validation_context"] =
        json!({"trusted_ca": {"inline_string": authority.certificate()}});
    let caller = authority.issue(&["spiffe://mesh/a"])?;
    for wanted in [true, false] {
        let more = json!({"include_peer_certificate": wanted, "include_tls_session": wanted});
        let scene = Scene::start(plane, guard(&json!({}), more), socket.clone()).await?;
        let client = authority.client(&[], Some(&caller))?;
        let stream = tls::connect(&Place::Host, scene.port.address(), "svc.example", client).await?;
        assert_eq!(echo(Connection::over(stream)).await?, b"hello");
        let asked = scene.seen.all().pop().ok_or("nobody was asked")?;
        let shown = asked["source"]["certificate"].as_u64().is_some_and(|length| length > 500);
        assert_eq!(shown, wanted, "{asked}");
        assert_eq!(asked["source"]["principal"], "spiffe://mesh/a", "{asked}");
        assert_eq!(asked["destination"]["principal"], "svc.example", "{asked}");
        assert_eq!(asked["sni"], if wanted { json!("svc.example") } else { Value::Null }, "{asked}");
        assert_eq!((&asked["path"], &asked["timed"]), (&json!(""), &json!(false)), "{asked}");
    }
    Ok(())
}

async fn connections_of_requests_are_decided_about(plane: DataPlane) -> Result<()> {
    for (verdict, served) in [(json!({}), true), (json!({"code": 7}), false)] {
        let judge = Judge::default();
        let (seen, judge) = (judge.seen(), Upstream::start(judge)?);
        let script = Script::of(&[]).guard(guard(&verdict, json!({})));
        let scene = script.cluster(over_http2(cluster("judge", &[judge.address()]))).start(plane).await?;
        let mut connection = Connection::open(scene.port.address()).await?;
        for turn in 0..2 {
            match connection.exchange(request("GET", "/", &[], "")).await {
                Ok(answer) => assert_eq!((answer.status, served), (200, true), "{turn}"),
                Err(error) => assert!(!served, "{turn}: {error}"),
            }
        }
        assert_eq!(seen.all().len(), 1, "once for a connection");
        assert_eq!(scene.upstream.counts().requests(), if served { 2 } else { 0 });
        let name = if served { "ext_authz.door.ok" } else { "ext_authz.door.cx_closed" };
        scene.sidecar.until_stat(name, |count| count == 1).await?;
        assert_eq!(scene.sidecar.stat("ext_authz.door.active").await?, 0);
        drop(connection);
        let gone =
            async || (scene.sidecar.stat("http.ingress.downstream_cx_active").await.ok()? == 0).then_some(());
        wait::until("the connection to be gone", LIMIT, gone).await?;
    }
    Ok(())
}
