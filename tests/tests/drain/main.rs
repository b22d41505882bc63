//! Ending: a sidecar that is told to end under load, listeners that leave the configuration, and drains that signals
//! and admin begin.

mod listeners;
mod multiplexed;
mod signals;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, tcp_listener, virtual_host,
    with_ads, with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Endless, TcpEcho, Upstream};
use outrigger_tests::xds::{Resource, Server};
use outrigger_tests::{Result, on_both_data_planes, on_data_plane, wait};
use outrigger_xds_protos::type_url::{CLUSTER, LISTENER};
use outrigger_xds_protos::v3;
use tokio::net::TcpStream;

on_data_plane!(
    outrigger_only,
    Outrigger,
    termination_under_load_loses_nothing,
    what_remains_is_cut_and_logged
);
on_both_data_planes!(connections_of_a_removed_listener_are_cut);

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: svc\r\n\r\n";

/// What the clients of one load have seen.
#[derive(Default)]
struct Load {
    answered: AtomicU64,
    refused: AtomicBool,
}

/// Sends requests, one after the other, until nobody listens any more. A connection is kept as long as the server
/// wants and at most for `kept` requests. An error is a request without an answer.
async fn client(load: Arc<Load>, port: std::net::SocketAddr, kept: u32) -> Result<()> {
    loop {
        let Ok(stream) = TcpStream::connect(port).await else {
            load.refused.store(true, Ordering::Relaxed);
            return Ok(());
        };
        stream.set_nodelay(true)?;
        let mut connection = Connection::over(stream);
        for _ in 0..kept {
            let response = connection.exchange(REQUEST).await?;
            if response.status != 200 {
                return Err(format!("{response:?}").into());
            }
            load.answered.fetch_add(1, Ordering::Relaxed);
            if response.header("connection") == Some("close") {
                break;
            }
        }
    }
}

async fn termination_under_load_loses_nothing(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
    let listener = http_listener("ingress", port.address(), inline(routes));
    let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
    let mut sidecar = plane.launch()?.concurrency(2).start(&bootstrap).await?;
    let load = Arc::new(Load::default());
    // Half of the clients keep their connections, half open one for each request.
    let clients: Vec<_> = (0..16)
        .map(|n| tokio::spawn(client(load.clone(), port.address(), if n % 2 == 0 { u32::MAX } else { 1 })))
        .collect();
    let busy = || std::future::ready((load.answered.load(Ordering::Relaxed) > 200).then_some(()));
    wait::until("200 answers", Duration::from_secs(20), busy).await?;
    let status = sidecar.terminate(Duration::from_secs(20)).await?;
    assert_eq!(status.code(), Some(0));
    for client in clients {
        wait::within("a client", Duration::from_secs(20), client).await???;
    }
    assert!(load.refused.load(Ordering::Relaxed));
    Ok(())
}

async fn what_remains_is_cut_and_logged(plane: DataPlane) -> Result<()> {
    let (http, tcp) = (Port::lease()?, Port::lease()?);
    let (endless, echo) = (Upstream::start(Endless)?, Upstream::start(TcpEcho)?);
    let log = AccessLog::of(&["RESPONSE_CODE", "RESPONSE_FLAGS", "BYTES_RECEIVED"])?;
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "endless")])]);
    let mut download = http_listener("ingress", http.address(), inline(routes));
    manager_of(&mut download)["access_log"] = log.config();
    let mut raw = tcp_listener("raw", tcp.address(), "echo");
    manager_of(&mut raw)["access_log"] = log.config();
    let clusters = [cluster("endless", &[endless.address()]), cluster("echo", &[echo.address()])];
    let launch = plane.launch()?.args(&["--drain-time-s", "1"]);
    let mut sidecar = launch.start(&with_static(&[download, raw], &clusters)).await?;

    let mut reader = Connection::open(http.address()).await?;
    reader.send(REQUEST).await?;
    reader.some_bytes().await?;
    let mut talker = Connection::open(tcp.address()).await?;
    talker.send("hello").await?;
    assert_eq!(talker.exact_bytes(5).await?, b"hello");
    let status = sidecar.terminate(Duration::from_secs(20)).await?;
    assert_eq!(status.code(), Some(0));
    let mut lines = log.lines(2).await?;
    lines.sort();
    assert_eq!(lines, ["0|DC|5", "200|DC|0"]);
    Ok(())
}

async fn connections_of_a_removed_listener_are_cut(plane: DataPlane) -> Result<()> {
    let (going, staying, xds) = (Port::lease()?, Port::lease()?, Server::start()?);
    let (endless, echo) = (Upstream::start(Endless)?, Upstream::start(TcpEcho)?);
    let of = |json: &serde_json::Value| {
        Resource::of::<v3::listener::Listener>(json["name"].as_str().unwrap_or_default(), json)
    };
    let cluster_of = |name: &str, upstream: &Upstream| {
        Resource::of::<v3::cluster::Cluster>(name, &cluster(name, &[upstream.address()]))
    };
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "endless")])]);
    let leaves = of(&http_listener("leaves", going.address(), inline(routes)))?;
    let stays = of(&tcp_listener("stays", staying.address(), "echo"))?;
    xds.set_all([
        (CLUSTER, vec![cluster_of("endless", &endless)?, cluster_of("echo", &echo)?]),
        (LISTENER, vec![leaves, stays.clone()]),
    ]);
    let launch = plane.launch()?.args(&["--drain-time-s", "1"]);
    let sidecar = launch.start(&with_ads(xds.address(), "DELTA_GRPC")).await?;
    xds.until_accepted(LISTENER).await?;

    let mut reader = Connection::open(going.address()).await?;
    reader.send(REQUEST).await?;
    reader.some_bytes().await?;
    let mut idle = Connection::open(going.address()).await?;
    let mut talker = Connection::open(staying.address()).await?;
    talker.send("one").await?;
    assert_eq!(talker.exact_bytes(3).await?, b"one");

    xds.set(LISTENER, vec![stays]);
    xds.until_accepted(LISTENER).await?;
    let cut = async {
        while !reader.some_bytes().await?.is_empty() {}
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    // A reset ends it as well as a FIN.
    let _ended = wait::within("the end of the download", Duration::from_secs(20), cut).await?;
    assert!(idle.rest().await.is_ok_and(|rest| rest.is_empty()));
    let closed = || async { TcpStream::connect(going.address()).await.is_err().then_some(()) };
    wait::until("the closed port", Duration::from_secs(10), closed).await?;

    talker.send("two").await?;
    assert_eq!(talker.exact_bytes(3).await?, b"two");
    sidecar.until_stat("listener_manager.total_listeners_active", |count| count == 1).await?;
    Ok(())
}
