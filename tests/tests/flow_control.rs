//! Backpressure is counted: when one side takes nothing and the other one is kept from sending, and when that ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, tcp_listener, virtual_host, with_static,
};
use outrigger_tests::client::h2;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Behaviour, Counts, Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

on_both_data_planes!(
    a_client_that_does_not_read,
    a_client_that_does_not_read_its_stream,
    a_host_that_does_not_read,
    a_client_that_leaves_a_host_that_does_not_read,
    tcp_both_ways,
    what_is_taken_is_no_backpressure,
);

/// More than sockets and buffers of any kernel hold on the way.
const LONG: usize = 96 * 1024 * 1024;
const PAUSED: &str = "upstream_flow_control_paused_reading_total";
const RESUMED: &str = "upstream_flow_control_resumed_reading_total";
const BACKED_UP: &str = "upstream_flow_control_backed_up_total";
const DRAINED: &str = "upstream_flow_control_drained_total";
const DOWN_PAUSED: &str = "downstream_flow_control_paused_reading_total";
const DOWN_RESUMED: &str = "downstream_flow_control_resumed_reading_total";

/// Reads nothing of a connection but its first bytes until it is told to.
struct Patient {
    go: Arc<Notify>,
    answer: &'static [u8],
}

impl Behaviour for Patient {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, counts: Arc<Counts>) {
        let mut chunk = vec![0; 64 * 1024];
        if stream.read_exact(&mut chunk[..1]).await.is_err() {
            return;
        }
        counts.request();
        self.go.notified().await;
        let mut received = 1;
        while received < LONG {
            match stream.read(&mut chunk).await {
                Ok(count @ 1..) => received += count,
                _ => return,
            }
        }
        let _ = stream.write_all(self.answer).await;
        while let Ok(1..) = stream.read(&mut chunk).await {}
    }
}

struct Scene {
    plane: DataPlane,
    port: Port,
    sidecar: Sidecar,
}

impl Scene {
    async fn start(plane: DataPlane, host: SocketAddr, tcp: bool) -> Result<Self> {
        let port = Port::lease()?;
        let mut listener = if tcp {
            tcp_listener("ingress", port.address(), "a")
        } else {
            let mut route = prefix_route("/", "a");
            route["route"]["timeout"] = json!("0s");
            let routes = route_config("r", &[virtual_host("v", &["*"], &[route])]);
            http_listener("ingress", port.address(), inline(routes))
        };
        let mut to = cluster("a", &[host]);
        for limited in [&mut listener, &mut to] {
            limited["per_connection_buffer_limit_bytes"] = Value::from(64 * 1024);
        }
        let sidecar = plane.launch()?.start(&with_static(&[listener], &[to])).await?;
        Ok(Self { plane, port, sidecar })
    }

    async fn connect(&self) -> Result<TcpStream> {
        Ok(TcpStream::connect(self.port.address()).await?)
    }

    fn name(stat: &str) -> String {
        if stat.starts_with("upstream") { format!("cluster.a.{stat}") } else { stat.to_owned() }
    }

    async fn at_least(&self, stat: &str, least: u64) -> Result<u64> {
        self.sidecar.until_stat(&Self::name(stat), |count| count >= least).await
    }

    /// Every pause has ended; in Envoy one may still stand when the stream is through.
    async fn balanced(&self, paused: &str, resumed: &str) -> Result<()> {
        let slack = u64::from(self.plane == DataPlane::Envoy);
        let (paused, resumed) = (&Self::name(paused), &Self::name(resumed));
        let check = || async move {
            let page = self.sidecar.get("/stats").await.ok()?.text();
            let of = |name: &str| {
                page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse::<u64>().ok())
            };
            let (paused, resumed) = (of(paused)?, of(resumed)?);
            (paused > 0 && resumed <= paused && resumed + slack >= paused).then_some(())
        };
        wait::until(&format!("{paused} to be {resumed}"), Duration::from_secs(10), check).await
    }

    /// Nobody was kept waiting here.
    async fn none(&self, stats: &[&str]) -> Result<()> {
        let page = self.sidecar.get("/stats").await?.text();
        for stat in stats {
            let line = format!("{}: 0", Self::name(stat));
            assert!(page.lines().any(|found| found == line), "{line}");
        }
        Ok(())
    }
}

async fn a_client_that_does_not_read(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene = Scene::start(plane, upstream.address(), false).await?;
    let mut client = scene.connect().await?;
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nx-echo-bytes: {LONG}\r\n\r\n");
    client.write_all(request.as_bytes()).await?;
    scene.at_least(PAUSED, 1).await?;
    assert!(read_to_end(&mut client).await? > LONG);
    scene.balanced(PAUSED, RESUMED).await?;
    scene.none(&[BACKED_UP, DRAINED, &format!("http.ingress.{DOWN_PAUSED}")]).await
}

/// The window of a stream is full before any socket is.
async fn a_client_that_does_not_read_its_stream(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene = Scene::start(plane, upstream.address(), false).await?;
    let mut connection = h2::Connection::open(scene.port.address()).await?;
    let request = http::Request::get("http://a/").header("x-echo-bytes", "4000000").body(())?;
    let (response, _) = connection.start(request, true).await?;
    scene.at_least(PAUSED, 1).await?;
    assert_eq!(h2::read(response).await?.body.len(), 4_000_000);
    scene.balanced(PAUSED, RESUMED).await?;
    scene.none(&[BACKED_UP, DRAINED]).await
}

async fn a_host_that_does_not_read(plane: DataPlane) -> Result<()> {
    let go = Arc::new(Notify::new());
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let upstream = Upstream::start(Patient { go: go.clone(), answer })?;
    let scene = Scene::start(plane, upstream.address(), false).await?;
    let (mut reader, mut writer) = scene.connect().await?.into_split();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LONG}\r\n\r\n");
    let writing = tokio::spawn(async move {
        writer.write_all(head.as_bytes()).await?;
        writer.write_all(&vec![b'x'; LONG]).await?;
        std::io::Result::Ok(writer)
    });
    scene.at_least(BACKED_UP, 1).await?;
    scene.at_least(&format!("http.ingress.{DOWN_PAUSED}"), 1).await?;
    go.notify_one();
    let writer = writing.await??;
    reader.read_exact(&mut [0; 12]).await?;
    drop((reader, writer));
    scene.balanced(BACKED_UP, DRAINED).await?;
    scene.balanced(&format!("http.ingress.{DOWN_PAUSED}"), &format!("http.ingress.{DOWN_RESUMED}")).await?;
    scene.none(&[PAUSED, RESUMED]).await
}

/// What was kept waiting for an attempt that is over is not kept any more.
async fn a_client_that_leaves_a_host_that_does_not_read(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Patient { go: Arc::default(), answer: b"" })?;
    let scene = Scene::start(plane, upstream.address(), false).await?;
    let mut client = scene.connect().await?;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LONG}\r\n\r\n");
    client.write_all(head.as_bytes()).await?;
    let body = vec![b'x'; LONG];
    tokio::select! {
        written = client.write_all(&body) => written?,
        backed_up = scene.at_least(BACKED_UP, 1) => { backed_up?; }
    }
    client.set_zero_linger()?;
    drop(client);
    // Nothing is read for as long as the host does not read, so that only our clocks or the host end it.
    drop(upstream);
    scene.balanced(BACKED_UP, DRAINED).await?;
    scene.balanced(&format!("http.ingress.{DOWN_PAUSED}"), &format!("http.ingress.{DOWN_RESUMED}")).await
}

async fn tcp_both_ways(plane: DataPlane) -> Result<()> {
    let go = Arc::new(Notify::new());
    let answer: &'static [u8] = vec![b'y'; LONG].leak();
    let upstream = Upstream::start(Patient { go: go.clone(), answer })?;
    let scene = Scene::start(plane, upstream.address(), true).await?;
    let (mut reader, mut writer) = scene.connect().await?.into_split();
    let writing = tokio::spawn(async move {
        writer.write_all(&vec![b'x'; LONG]).await?;
        std::io::Result::Ok(writer)
    });
    scene.at_least(&format!("tcp.ingress.{DOWN_PAUSED}"), 1).await?;
    scene.none(&[PAUSED]).await?;
    go.notify_one();
    let writer = writing.await??;
    scene.at_least(PAUSED, 1).await?;
    let mut left = LONG;
    let mut chunk = vec![0; 64 * 1024];
    while left > 0 {
        let read = reader.read(&mut chunk).await?;
        assert!(read > 0, "{left} bytes are missing");
        left -= read;
    }
    scene.balanced(&format!("tcp.ingress.{DOWN_PAUSED}"), &format!("tcp.ingress.{DOWN_RESUMED}")).await?;
    scene.balanced(PAUSED, RESUMED).await?;
    drop(writer);
    Ok(())
}

async fn what_is_taken_is_no_backpressure(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene = Scene::start(plane, upstream.address(), false).await?;
    let mut connection = h2::Connection::open(scene.port.address()).await?;
    for _ in 0..20 {
        let request = http::Request::post("http://a/").header("x-echo-bytes", "1000");
        assert_eq!(connection.exchange(request.body(Bytes::from(vec![b'x'; 1000]))?).await?.body.len(), 1000);
    }
    scene.none(&[PAUSED, RESUMED, BACKED_UP, DRAINED, &format!("http.ingress.{DOWN_PAUSED}")]).await
}

async fn read_to_end(stream: &mut TcpStream) -> Result<usize> {
    let (mut chunk, mut sum) = (vec![0; 64 * 1024], 0);
    loop {
        match stream.read(&mut chunk).await? {
            0 => return Ok(sum),
            count => sum += count,
        }
    }
}
