//! A sidecar that is told to end while clients share connections: nothing that it has accepted fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Request;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, over_http2, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::{grpc, h2};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, GrpcEcho, Upstream};
use outrigger_tests::{Result, on_data_plane, wait};
use serde_json::Value;
use tokio::net::TcpStream;

on_data_plane!(outrigger_only, Outrigger, requests_over_http2, grpc_calls);

const LIMIT: Duration = Duration::from_secs(40);
const CLIENTS: usize = 8;
/// Requests under way at once on each connection.
const STREAMS: usize = 4;

/// Sends requests until nobody listens any more, on a connection for as long as it takes new ones. An error is a request
/// that was sent and not answered.
async fn client(at: SocketAddr, is_grpc: bool, answered: Arc<AtomicU64>) -> Result<()> {
    loop {
        let Ok(stream) = TcpStream::connect(at).await else { return Ok(()) };
        stream.set_nodelay(true)?;
        let Ok(mut connection) = h2::Connection::over(stream).await else { continue };
        loop {
            let mut sent = Vec::new();
            for _ in 0..STREAMS {
                let Ok(started) = connection.start(request(is_grpc)?, !is_grpc).await else { break };
                sent.push(started);
            }
            let goes_on = sent.len() == STREAMS;
            for (response, mut body) in sent {
                if is_grpc {
                    body.send_data(grpc::encode(&[b"one"]), true)?;
                }
                let response = h2::read(response).await?;
                let is_complete =
                    !is_grpc || response.trailers.get("grpc-status").is_some_and(|status| status == "0");
                if response.status != 200 || !is_complete {
                    return Err(format!("{response:?}").into());
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
            if !goes_on {
                break;
            }
        }
    }
}

fn request(is_grpc: bool) -> Result<Request<()>> {
    if !is_grpc {
        return Ok(Request::get("http://svc/").body(())?);
    }
    let call = Request::post("http://svc/p.S/Echo").header("content-type", "application/grpc");
    Ok(call.header("te", "trailers").body(())?)
}

async fn terminate_under_load(plane: DataPlane, to: Value, is_grpc: bool) -> Result<()> {
    let port = Port::lease()?;
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
    let listener = http_listener("ingress", port.address(), inline(routes));
    let mut sidecar = plane.launch()?.concurrency(2).start(&with_static(&[listener], &[to])).await?;
    let answered = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(client(port.address(), is_grpc, answered.clone()))).collect();
    let busy = || std::future::ready((answered.load(Ordering::Relaxed) > 200).then_some(()));
    wait::until("200 answers", LIMIT, busy).await?;
    assert_eq!(sidecar.terminate(LIMIT).await?.code(), Some(0));
    for client in clients {
        wait::within("a client", LIMIT, client).await???;
    }
    Ok(())
}

async fn requests_over_http2(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    terminate_under_load(plane, cluster("a", &[upstream.address()]), false).await
}

async fn grpc_calls(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(GrpcEcho)?;
    terminate_under_load(plane, over_http2(cluster("a", &[upstream.address()])), true).await
}
