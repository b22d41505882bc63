//! What the sidecar holds for readers that do not read: `per_connection_buffer_limit_bytes` of listener and cluster
//! bound it, for each connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, over_http2, prefix_route, route_config, tcp_listener,
    virtual_host, with_static,
};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::ends::{Taken, Wire, client, echo, server, small_exchange};

on_both_data_planes!(http1, http2, http1_to_http2, http2_to_http1, tcp);

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// A limit and what is held against it.
struct Load {
    /// `None`: the default, which is 1 MiB.
    limit: Option<u64>,
    connections: u64,
}

const SMALL: Load = Load { limit: Some(64 * KIB), connections: 100 };
const DEFAULT: Load = Load { limit: None, connections: 30 };

impl Load {
    /// What the sidecar may grow by: for each path the limit of both its connections in the direction that stands
    /// still, 64 KiB for all else that belongs to it, and 24 MiB that belong to nobody.
    fn bound(&self) -> u64 {
        self.connections * (2 * self.limit.unwrap_or(MIB) + 64 * KIB) + 24 * MIB
    }
}

/// A listener before one cluster, both of this name and limited.
fn path(
    plane: DataPlane,
    name: &str,
    port: &Port,
    (down, up): (Wire, Wire),
    server: SocketAddr,
    load: &Load,
) -> (Value, Value) {
    let mut cluster = cluster(name, &[server]);
    let mut listener = if down == Wire::Tcp {
        tcp_listener(name, port.address(), name)
    } else {
        let mut route = prefix_route("/", name);
        route["route"]["timeout"] = json!("0s");
        let routes = route_config("r", &[virtual_host("v", &["*"], &[route])]);
        http_listener(name, port.address(), inline(routes))
    };
    // A connection for each stream; and Envoy holds whatever windows let in, where ours follow from the limit.
    let mut http2 = json!({"max_concurrent_streams": 1});
    if plane == DataPlane::Envoy {
        http2["initial_stream_window_size"] = json!(load.limit.unwrap_or(MIB));
    }
    if up == Wire::Http2 {
        cluster = over_http2(cluster);
        let options = &mut cluster["typed_extension_protocol_options"];
        options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]["explicit_http_config"]["http2_protocol_options"] =
            http2.clone();
    }
    if down == Wire::Http2 {
        manager_of(&mut listener)["http2_protocol_options"] = http2;
    }
    if let Some(limit) = load.limit {
        cluster["per_connection_buffer_limit_bytes"] = json!(limit);
        listener["per_connection_buffer_limit_bytes"] = json!(limit);
    }
    (listener, cluster)
}

/// Every path is full when nothing has moved for a while. To look too early would only hide something.
async fn until_still(taken: &Taken, atleast: u64) -> Result<()> {
    let (mut last, mut since) = (taken.bytes(), Instant::now());
    let check = || {
        let now = taken.bytes();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        let still = now >= atleast && since.elapsed() > Duration::from_millis(500);
        std::future::ready((still || taken.all()).then_some(()))
    };
    let stood = wait::until("writers to stand still", Duration::from_secs(60), check).await;
    stood.map_err(|error| format!("{error}: {} KiB written", taken.bytes() / KIB).into())
}

/// Has as many connections carry something small at once: what code, tables and pools take for good is not held for
/// those that come next.
async fn warm(wire: Wire, to: SocketAddr, connections: u64) -> Result<()> {
    let together = Arc::new(Barrier::new(usize::try_from(connections)?));
    let mut exchanges = JoinSet::new();
    for _ in 0..connections {
        let together = Arc::clone(&together);
        exchanges.spawn(async move { small_exchange(wire, to, &together).await });
    }
    while let Some(done) = exchanges.join_next().await {
        done??;
    }
    Ok(())
}

async fn held(plane: DataPlane, wires: (Wire, Wire), ahead: bool, load: &Load) -> Result<()> {
    let (down, up) = wires;
    let taken = Taken::at_most(load.connections * 16 * MIB);
    let writes = |writes: bool| writes.then(|| taken.clone());
    let (port, server) = (Port::lease()?, server(up, writes(!ahead))?);
    let (warm_port, warm_server) = (Port::lease()?, echo(up)?);
    let (listener, cluster) = path(plane, "a", &port, wires, server.address(), load);
    let (warm_listener, warm_cluster) = path(plane, "warm", &warm_port, wires, warm_server.address(), load);
    let bootstrap = with_static(&[listener, warm_listener], &[cluster, warm_cluster]);
    // Of more workers each would keep something of its own.
    let mut sidecar = plane.launch()?.concurrency(1).start(&bootstrap).await?;
    warm(down, warm_port.address(), load.connections).await?;
    let before = sidecar.process().resident()?;
    let mut clients = JoinSet::new();
    for _ in 0..load.connections {
        client(down, port.address(), writes(ahead), &mut clients).await?;
    }
    until_still(&taken, load.connections * 64 * KIB).await?;
    let grown = sidecar.process().resident()?.saturating_sub(before);
    let case = format!("{down:?} to {up:?}, {}", if ahead { "requests" } else { "responses" });
    eprintln!(
        "{case}: {} connections, {} KiB written, {} KiB held",
        load.connections,
        taken.bytes() / KIB,
        grown / KIB
    );
    // That writers came to their end says nothing: some kernels take 32 MiB for a socket that is read slowly.
    assert!(grown <= load.bound(), "{case}: {grown} bytes more, {} are allowed", load.bound());
    Ok(())
}

async fn both_ways(plane: DataPlane, wires: (Wire, Wire)) -> Result<()> {
    for load in [SMALL, DEFAULT] {
        for ahead in [true, false] {
            held(plane, wires, ahead, &load).await?;
        }
    }
    Ok(())
}

async fn http1(plane: DataPlane) -> Result<()> {
    both_ways(plane, (Wire::Http1, Wire::Http1)).await
}

async fn http2(plane: DataPlane) -> Result<()> {
    both_ways(plane, (Wire::Http2, Wire::Http2)).await
}

async fn http1_to_http2(plane: DataPlane) -> Result<()> {
    both_ways(plane, (Wire::Http1, Wire::Http2)).await
}

async fn http2_to_http1(plane: DataPlane) -> Result<()> {
    both_ways(plane, (Wire::Http2, Wire::Http1)).await
}

async fn tcp(plane: DataPlane) -> Result<()> {
    both_ways(plane, (Wire::Tcp, Wire::Tcp)).await
}
