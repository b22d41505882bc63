//! Drains that admin begins: of all listeners or the inbound ones, with or without grace, and of health checks that
//! are to fail.

use std::net::SocketAddr;
use std::time::Duration;

use outrigger_tests::bootstrap::{http_listener, inline, route_config, virtual_host, with_static};
use outrigger_tests::client::{h1, h2};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};

on_both_data_planes!(
    failing_health_checks_ask_to_close,
    listeners_close_at_once,
    a_graceful_drain_asks_first,
    a_drain_without_exit_leaves_ports_open,
    inbound_listeners_drain_alone,
    chains_that_are_used_later_drain_as_well,
);

const REQUEST: &str = super::REQUEST;

/// Two listeners that answer everything.
struct Scene {
    one: Port,
    other: Port,
    sidecar: Sidecar,
}

impl Scene {
    /// `change`: what is special about the two.
    async fn start(plane: DataPlane, change: impl Fn(&mut [Value; 2])) -> Result<Self> {
        let (one, other) = (Port::lease()?, Port::lease()?);
        let mut listeners = [answering("one", one.address()), answering("other", other.address())];
        change(&mut listeners);
        // Envoy tells everybody at once, as we always do.
        let launch = plane.launch()?.args(&["--drain-strategy", "immediate", "--drain-time-s", "1"]);
        Ok(Self { sidecar: launch.start(&with_static(&listeners, &[])).await?, one, other })
    }

    async fn post(&self, path: &str) -> Result<()> {
        let reply = self.sidecar.post(path).await?;
        assert_eq!(reply.status, 200, "{reply:?}");
        Ok(())
    }
}

fn answering(name: &str, at: SocketAddr) -> Value {
    let route = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}});
    http_listener(name, at, inline(route_config("r", &[virtual_host("v", &["*"], &[route])])))
}

/// Whether the answer to the next request asks to close.
async fn told_to_close(connection: &mut h1::Connection) -> Result<bool> {
    let response = connection.exchange(REQUEST).await?;
    assert_eq!(response.status, 200);
    Ok(response.header("connection") == Some("close"))
}

/// Asks until an answer asks to close: workers hear of a drain a moment after it began.
async fn until_told_to_close(connection: &mut h1::Connection) -> Result<()> {
    let asking = async {
        while !told_to_close(connection).await? {}
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    wait::within("an answer that asks to close", Duration::from_secs(20), asking).await?
}

async fn until_closed(port: &Port) -> Result<()> {
    let refused = || async { TcpStream::connect(port.address()).await.is_err().then_some(()) };
    wait::until("the closed port", Duration::from_secs(20), refused).await
}

async fn failing_health_checks_ask_to_close(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, |listeners| listeners[1]["drain_type"] = json!("MODIFY_ONLY")).await?;
    let mut default = h1::Connection::open(scene.one.address()).await?;
    let mut modify_only = h1::Connection::open(scene.other.address()).await?;
    let mut multiplexed = h2::Connection::open(scene.one.address()).await?;
    assert!(!told_to_close(&mut default).await? && !told_to_close(&mut modify_only).await?);
    assert_eq!(multiplexed.exchange(h2::get("a", "/")?).await?.status, 200);
    scene.post("/healthcheck/fail").await?;
    assert!(told_to_close(&mut default).await?);
    assert!(!told_to_close(&mut modify_only).await?);
    assert_eq!(multiplexed.exchange(h2::get("a", "/")?).await?.status, 200);
    // GOAWAY without an error.
    multiplexed.ended().await??;
    assert_eq!(scene.sidecar.stat("http.one.downstream_cx_drain_close").await?, 2);
    assert_eq!(scene.sidecar.stat("http.other.downstream_cx_drain_close").await?, 0);
    scene.post("/healthcheck/ok").await?;
    let mut again = h1::Connection::open(scene.one.address()).await?;
    assert!(!told_to_close(&mut again).await?);
    Ok(())
}

async fn listeners_close_at_once(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, |_| {}).await?;
    let mut open = h1::Connection::open(scene.one.address()).await?;
    assert!(!told_to_close(&mut open).await?);
    let (begun, rest) = REQUEST.split_at(10);
    open.send(begun).await?;
    scene.post("/drain_listeners").await?;
    until_closed(&scene.one).await?;
    until_closed(&scene.other).await?;
    // What had begun is still served.
    assert_eq!(open.exchange(rest).await?.status, 200);
    Ok(())
}

async fn a_graceful_drain_asks_first(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, |_| {}).await?;
    let mut open = h1::Connection::open(scene.one.address()).await?;
    assert!(!told_to_close(&mut open).await?);
    scene.post("/drain_listeners?graceful").await?;
    until_told_to_close(&mut open).await?;
    until_closed(&scene.one).await?;
    until_closed(&scene.other).await?;
    Ok(())
}

async fn a_drain_without_exit_leaves_ports_open(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, |_| {}).await?;
    scene.post("/drain_listeners?graceful&skip_exit").await?;
    until_told_to_close(&mut h1::Connection::open(scene.one.address()).await?).await?;
    // Longer than the drain takes.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(told_to_close(&mut h1::Connection::open(scene.one.address()).await?).await?);
    Ok(())
}

async fn inbound_listeners_drain_alone(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, |listeners| {
        listeners[0]["traffic_direction"] = json!("INBOUND");
        listeners[1]["traffic_direction"] = json!("OUTBOUND");
    });
    let scene = scene.await?;
    let mut outbound = h1::Connection::open(scene.other.address()).await?;
    scene.post("/drain_listeners?inboundonly").await?;
    until_closed(&scene.one).await?;
    assert!(!told_to_close(&mut outbound).await?);
    assert!(!told_to_close(&mut h1::Connection::open(scene.other.address()).await?).await?);
    Ok(())
}

async fn chains_that_are_used_later_drain_as_well(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, |listeners| {
        let mut for_others = listeners[0]["filter_chains"][0].clone();
        for_others["filter_chain_match"] =
            json!({"source_prefix_ranges": [{"address_prefix": "127.0.0.2", "prefix_len": 32}]});
        listeners[0]["filter_chains"].as_array_mut().into_iter().for_each(|chains| {
            chains.push(for_others.clone());
        });
    });
    let scene = scene.await?;
    let mut open = h1::Connection::open(scene.one.address()).await?;
    assert!(!told_to_close(&mut open).await?);
    scene.post("/drain_listeners?graceful&skip_exit").await?;
    until_told_to_close(&mut open).await?;
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 2], 0).into())?;
    let mut late = h1::Connection::over(socket.connect(scene.one.address()).await?);
    assert!(told_to_close(&mut late).await?);
    Ok(())
}
