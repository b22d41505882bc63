//! Bodies without an end: they stream, and what cannot go on waits with the client, not in the sidecar.

use std::sync::Arc;
use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Behaviour, Counts, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

on_both_data_planes!(endless_request_to_a_reader, endless_request_to_nobody_who_reads);

const MIB: u64 = 1024 * 1024;
/// What the sidecar may grow by: buffers, not bodies.
const MAY_GROW: u64 = 16 * MIB;

/// Never answers; reads everything or nothing.
#[derive(Debug)]
struct Silent {
    reads: bool,
}

impl Behaviour for Silent {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, _: Arc<Counts>) {
        let mut chunk = vec![0; MIB as usize];
        if !self.reads {
            std::future::pending::<()>().await;
        }
        while let Ok(1..) = stream.read(&mut chunk).await {}
    }
}

/// A sidecar in front of a silent upstream, and a connection whose request has begun.
async fn begun(plane: DataPlane, reads: bool) -> Result<(Upstream, Port, Sidecar, Connection)> {
    let (port, upstream) = (Port::lease()?, Upstream::start(Silent { reads })?);
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
    let listener = http_listener("ingress", port.address(), inline(routes));
    let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
    let sidecar = plane.launch()?.start(&bootstrap).await?;
    let mut client = Connection::open(port.address()).await?;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    Ok((upstream, port, sidecar, client))
}

fn chunk_of(size: usize) -> Vec<u8> {
    [format!("{size:x}\r\n").as_bytes(), &vec![b'x'; size], b"\r\n"].concat()
}

async fn endless_request_to_a_reader(plane: DataPlane) -> Result<()> {
    let (_upstream, _port, mut sidecar, mut client) = begun(plane, true).await?;
    let chunk = chunk_of(MIB as usize);
    client.send(&chunk).await?;
    let before = sidecar.process().resident()?;
    for _ in 0..128 {
        client.send(&chunk).await?;
    }
    let after = sidecar.process().resident()?;
    assert!(after < before + MAY_GROW, "{before} before, {after} after");
    Ok(())
}

async fn endless_request_to_nobody_who_reads(plane: DataPlane) -> Result<()> {
    let (_upstream, _port, mut sidecar, mut client) = begun(plane, false).await?;
    let before = sidecar.process().resident()?;
    let (chunk, mut taken) = (chunk_of(64 * 1024), 0);
    // The kernel's buffers take some megabytes; then nothing goes on, and sending takes for ever.
    while taken < 128 * MIB
        && tokio::time::timeout(Duration::from_secs(1), client.send(&chunk))
            .await
            .is_ok_and(|sent| sent.is_ok())
    {
        taken += chunk.len() as u64;
    }
    let after = sidecar.process().resident()?;
    assert!(taken < 128 * MIB, "somebody takes what nobody reads");
    assert!(after < before + MAY_GROW, "{before} before, {after} after");
    Ok(())
}
