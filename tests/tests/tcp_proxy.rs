//! TCP proxies: how connections end on either side, and what open circuit breakers do to them.

use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{cluster, tcp_listener, with_static};
use outrigger_tests::client::LIMIT;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Behaviour, Counts, TcpEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

on_both_data_planes!(
    a_reset_of_the_host_reaches_the_client,
    an_end_of_the_host_stays_an_end,
    a_reset_of_the_client_reaches_the_host,
    an_end_of_the_client_stays_an_end,
    connections_that_never_stand,
);

/// What a host does once it has got a byte, which it sends back.
#[derive(Clone, Copy, Debug)]
enum Then {
    Reset,
    End,
    Read,
}

/// See [`Then`]; tells what its last read found.
#[derive(Debug)]
struct Host {
    then: Then,
    found: mpsc::UnboundedSender<String>,
}

impl Behaviour for Host {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, _: Arc<Counts>) {
        let Ok(byte) = stream.read_u8().await else { return };
        let _ = stream.write_u8(byte).await;
        match self.then {
            Then::Reset => {
                let _ = stream.read_u8().await;
                let _ = stream.set_zero_linger();
                return;
            }
            Then::End => {
                let _ = stream.read_u8().await;
                let _ = stream.shutdown().await;
            }
            Then::Read => {}
        }
        let _ = self.found.send(last_read(&mut stream).await);
    }
}

async fn last_read(stream: &mut TcpStream) -> String {
    match stream.read(&mut [0; 16]).await {
        Ok(count) => format!("{count} bytes"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

struct Scene {
    port: Port,
    log: AccessLog,
    sidecar: Sidecar,
    found: mpsc::UnboundedReceiver<String>,
    _host: Option<Upstream>,
}

impl Scene {
    async fn start(plane: DataPlane, then: Then) -> Result<Self> {
        let (tell, found) = mpsc::unbounded_channel();
        let host = Upstream::start(Host { then, found: tell })?;
        let cluster = cluster("a", &[host.address()]);
        Ok(Self { found, _host: Some(host), ..Self::of(plane, Some(cluster), 1).await? })
    }

    /// Before the cluster `a`, if there is one.
    async fn of(plane: DataPlane, cluster: Option<Value>, attempts: u32) -> Result<Self> {
        let operators = ["RESPONSE_FLAGS", "BYTES_RECEIVED", "BYTES_SENT"];
        let (port, log) = (Port::lease()?, AccessLog::of(&operators)?);
        let mut listener = tcp_listener("ingress", port.address(), "a");
        let proxy = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
        proxy["access_log"] = log.config();
        proxy["max_connect_attempts"] = json!(attempts);
        let clusters: Vec<Value> = cluster.into_iter().collect();
        let sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
        Ok(Self { port, log, sidecar, found: mpsc::unbounded_channel().1, _host: None })
    }

    /// A connection that stands all the way through.
    async fn connection(&self) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.port.address()).await?;
        stream.write_u8(b'x').await?;
        assert_eq!(wait::within("the echo", LIMIT, stream.read_u8()).await??, b'x');
        Ok(stream)
    }

    /// What the host's last read found.
    async fn found(&mut self) -> Result<String> {
        Ok(wait::within("the host", LIMIT, self.found.recv()).await?.ok_or("the host is gone")?)
    }

    async fn logged(&self) -> Result<String> {
        Ok(self.log.lines(1).await?.swap_remove(0))
    }
}

async fn a_reset_of_the_host_reaches_the_client(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, Then::Reset).await?;
    let mut client = scene.connection().await?;
    client.write_u8(b'y').await?;
    assert_eq!(wait::within("the end", LIMIT, last_read(&mut client)).await?, "ConnectionReset");
    assert_eq!(scene.logged().await?, "UR|2|1");
    Ok(())
}

async fn an_end_of_the_host_stays_an_end(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, Then::End).await?;
    let mut client = scene.connection().await?;
    client.write_u8(b'y').await?;
    assert_eq!(wait::within("the end", LIMIT, last_read(&mut client)).await?, "0 bytes");
    client.shutdown().await?;
    assert_eq!(scene.logged().await?, "-|2|1");
    Ok(())
}

async fn a_reset_of_the_client_reaches_the_host(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane, Then::Read).await?;
    let client = scene.connection().await?;
    client.set_zero_linger()?;
    drop(client);
    assert_eq!(scene.found().await?, "ConnectionReset");
    assert_eq!(scene.logged().await?, "-|1|1");
    Ok(())
}

async fn an_end_of_the_client_stays_an_end(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane, Then::Read).await?;
    let mut client = scene.connection().await?;
    client.shutdown().await?;
    assert_eq!(scene.found().await?, "0 bytes");
    assert_eq!(wait::within("the end", LIMIT, last_read(&mut client)).await?, "0 bytes");
    assert_eq!(scene.logged().await?, "-|1|1");
    Ok(())
}

/// What keeps a connection from its host, in the log and in the counters.
async fn connections_that_never_stand(plane: DataPlane) -> Result<()> {
    let (echo, dead) = (Upstream::start(TcpEcho)?, Port::lease()?);
    let hosts = |hosts: &[SocketAddr]| Some(cluster("a", hosts));
    let limited = |threshold: Value| {
        let mut cluster = cluster("a", &[echo.address()]);
        cluster["circuit_breakers"] = json!({"thresholds": [threshold]});
        Some(cluster)
    };
    // Flags, connections, attempts that were too many, and what one attempt counts.
    let cases = [
        ("pending", limited(json!({"max_pending_requests": 0})), "URX", 0, 1, "upstream_rq_pending_overflow"),
        ("connections", limited(json!({"max_connections": 0})), "UO", 0, 0, "upstream_cx_overflow"),
        ("dead", hosts(&[dead.address()]), "UF,URX", 1, 1, "upstream_cx_connect_fail"),
        ("nobody", hosts(&[]), "UH", 0, 0, "upstream_cx_none_healthy"),
        ("unknown", None, "NC", 0, 0, "upstream_cx_total"),
    ];
    for (name, cluster, flags, connections, exceeded, stat) in cases {
        for attempts in [1, 3] {
            let scene = Scene::of(plane, cluster.clone(), attempts).await?;
            let mut client = TcpStream::connect(scene.port.address()).await?;
            let case = format!("{name} with {attempts}");
            assert_eq!(wait::within("the end", LIMIT, last_read(&mut client)).await?, "0 bytes", "{case}");
            // Envoy writes flags in the order in which they were found.
            let logged = scene.logged().await?;
            let mut found: Vec<&str> = logged.split([',', '|']).collect();
            found.sort_unstable();
            assert_eq!(found.join(","), format!("0,0,{flags}"), "{case}");
            let tried = if exceeded == 1 { u64::from(attempts) } else { u64::from(cluster.is_some()) };
            for (stat, value) in [
                (stat, tried),
                ("upstream_cx_total", connections * tried),
                ("upstream_rq_cancelled", 0),
                ("upstream_rq_pending_total", connections * tried),
                ("upstream_rq_pending_failure_eject", connections * tried),
                ("upstream_cx_connect_attempts_exceeded", exceeded),
            ] {
                assert_eq!(scene.sidecar.stat(&format!("cluster.a.{stat}")).await?, value, "{case}: {stat}");
            }
        }
    }
    Ok(())
}
