//! Bytes on the wire as access logs tell them, held against what listeners on both wires saw: over both data planes.

use std::ops::Sub;

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, over_http2, prefix_route, route_config, tcp_listener,
    virtual_host, with_static,
};
use outrigger_tests::client::{h1, h2};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::log_service::LogService;
use outrigger_tests::ports::Port;
use outrigger_tests::relay::Relay;
use outrigger_tests::upstream::{Echo, Scripted, TcpEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes, on_data_plane};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

on_both_data_planes!(
    bytes_of_http1,
    bytes_of_http2,
    bytes_of_connections,
    how_connections_closed,
    entries_tell_them
);
on_data_plane!(outrigger_alone, Outrigger, requests_sent_ahead_are_not_of_this_one);

/// What one exchange took of one wire: all of it, and field lines of heads, in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    to_server: u64,
    to_client: u64,
    fields_to_server: u64,
    fields_to_client: u64,
}

impl Sub for Taken {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            to_server: self.to_server - other.to_server,
            to_client: self.to_client - other.to_client,
            fields_to_server: self.fields_to_server - other.fields_to_server,
            fields_to_client: self.fields_to_client - other.fields_to_client,
        }
    }
}

/// Field lines of HTTP/1 heads: of those that the data plane wrote whole, of those that it read without blanks.
fn fields(wire: &[u8], written: bool) -> u64 {
    let text = String::from_utf8_lossy(wire);
    let mut in_head = false;
    let mut sum = 0;
    for line in text.split("\r\n") {
        if line.contains("HTTP/1.1") {
            in_head = true;
        } else if line.is_empty() {
            in_head = false;
        } else if let Some((name, value)) = line.split_once(':').filter(|_| in_head) {
            sum += if written { line.len() + 2 } else { name.len() + value.trim().len() + 3 };
        }
    }
    sum as u64
}

/// All connections of a wire that the data plane is the server (or the client) of.
fn of_http1(wire: &Relay, is_server: bool) -> Taken {
    let mut taken = Taken::default();
    for (up, down) in wire.connections() {
        taken.to_server += up.len() as u64;
        taken.to_client += down.len() as u64;
        taken.fields_to_server += fields(&up, !is_server);
        taken.fields_to_client += fields(&down, is_server);
    }
    taken
}

/// Frames of streams, and among them those of heads.
fn frames(mut wire: &[u8]) -> (u64, u64) {
    wire = wire.strip_prefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap_or(wire);
    let (mut all, mut heads) = (0, 0);
    while let [l2, l1, l0, kind, _, s3, s2, s1, s0, rest @ ..] = wire {
        let length = u32::from_be_bytes([0, *l2, *l1, *l0]) as usize;
        if u32::from_be_bytes([*s3, *s2, *s1, *s0]) != 0 {
            all += length as u64 + 9;
            heads += if matches!(kind, 1 | 9) { length as u64 + 9 } else { 0 };
        }
        wire = rest.get(length..).unwrap_or_default();
    }
    (all, heads)
}

fn of_http2(wire: &Relay, _is_server: bool) -> Taken {
    let mut taken = Taken::default();
    for (up, down) in wire.connections() {
        let (up, down) = (frames(&up), frames(&down));
        taken.to_server += up.0;
        taken.fields_to_server += up.1;
        taken.to_client += down.0;
        taken.fields_to_client += down.1;
    }
    taken
}

const OPERATORS: &[&str] = &[
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_WIRE_BYTES_SENT",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "LISTENER_NAME",
];

fn numbers(line: &str) -> Result<Vec<u64>> {
    let told = line.split('|').filter(|field| *field != "in").map(str::parse);
    Ok(told.collect::<Result<_, _>>()?)
}

fn both(client: Taken, host: Taken) -> Vec<u64> {
    [client, host]
        .iter()
        .flat_map(|wire| [wire.to_server, wire.to_client, wire.fields_to_server, wire.fields_to_client])
        .collect()
}

/// A sidecar with a relay on either side.
struct Scene {
    log: AccessLog,
    client: Relay,
    host: Relay,
    _sidecar: Sidecar,
    _upstream: Upstream,
    _port: Port,
}

impl Scene {
    async fn start(plane: DataPlane, http2: bool) -> Result<Self> {
        let (port, upstream, log) =
            (Port::lease()?, Upstream::start(Echo::new("a"))?, AccessLog::of(OPERATORS)?);
        let host = Relay::start(upstream.address()).await?;
        let mut retried = prefix_route("/retried", "a");
        retried["route"]["retry_policy"] = json!({"retry_on": "5xx", "num_retries": 2});
        let mut direct = prefix_route("/direct", "a");
        direct["direct_response"] = json!({"status": 404, "body": {"inline_string": "nobody"}});
        if let Some(fields) = direct.as_object_mut() {
            fields.remove("route");
        }
        let routes = [retried, direct, prefix_route("/", "a")];
        let table = route_config("r", &[virtual_host("v", &["*"], &routes)]);
        let mut listener = http_listener("in", port.address(), inline(table));
        manager_of(&mut listener)["access_log"] = log.config();
        let to_host = cluster("a", &[host.address()]);
        let to_host = if http2 { over_http2(to_host) } else { to_host };
        let sidecar = plane.launch()?.start(&with_static(&[listener], &[to_host])).await?;
        let client = Relay::start(port.address()).await?;
        Ok(Self { log, client, host, _sidecar: sidecar, _upstream: upstream, _port: port })
    }
}

async fn bytes_of_http1(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, false).await?;
    let head = "HTTP/1.1\r\nHost: svc\r\nX-Padded:   two  \r\n";
    let requests = [
        format!("GET /plain {head}\r\n"),
        format!("POST /length {head}Content-Length: 5\r\n\r\nhello"),
        format!(
            "POST /chunks {head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"
        ),
        format!("GET /large {head}x-echo-bytes: 300000\r\n\r\n"),
        format!("GET /retried {head}x-echo-status: 503\r\n\r\n"),
        format!("GET /direct {head}\r\n"),
    ];
    let mut connection = h1::Connection::open(scene.client.address()).await?;
    let mut before = (Taken::default(), Taken::default());
    for (at, request) in requests.iter().enumerate() {
        connection.exchange(request).await?;
        let lines = scene.log.lines(at + 1).await?;
        let now = (of_http1(&scene.client, true), of_http1(&scene.host, false));
        let told = numbers(&lines[at])?;
        let expected = both(now.0 - before.0, now.1 - before.1);
        assert_eq!(told[..8], expected, "{request}");
        // There is no compression. Of retried requests Envoy counts the heads of earlier answers again and again.
        if plane == DataPlane::Outrigger || !request.contains("/retried") {
            assert_eq!(told[8..], [told[2], told[3], told[6], told[7]], "{request}");
        }
        assert!(lines[at].ends_with("|in"), "{}", lines[at]);
        before = now;
    }
    Ok(())
}

/// Path, headers, length of the body.
type Case = (&'static str, &'static [(&'static str, &'static str)], usize);

async fn bytes_of_http2(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, true).await?;
    let mut connection = h2::Connection::open(scene.client.address()).await?;
    let mut before = (Taken::default(), Taken::default());
    let cases: [Case; 6] = [
        ("/plain", &[], 0),
        ("/body", &[("x-one", "two")], 20_000),
        // Of less than half a window nobody gives anything back, which might come too late to be counted.
        ("/large", &[("x-echo-bytes", "20000")], 0),
        ("/trailers", &[("x-echo-trailer", "x-checksum=abc")], 5),
        // A body that nobody waits for may come too late to be counted.
        ("/retried", &[("x-echo-status", "503"), ("x-echo-bytes", "0")], 0),
        ("/direct", &[], 0),
    ];
    for (at, (path, headers, body)) in cases.into_iter().enumerate() {
        let method = if body > 0 { "POST" } else { "GET" };
        let mut request = http::Request::builder().method(method).uri(format!("http://svc{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = connection.exchange(request.body(vec![b'x'; body].into())?).await?;
        let lines = scene.log.lines(at + 1).await?;
        let now = (of_http2(&scene.client, true), of_http2(&scene.host, false));
        let told = numbers(&lines[at])?;
        let expected = both(now.0 - before.0, now.1 - before.1);
        assert_eq!(told[..8], expected, "{path}");
        let pseudo = [(":method", method), (":scheme", "http"), (":authority", "svc"), (":path", path)];
        let asked: usize = pseudo.iter().chain(headers).map(|(name, value)| name.len() + value.len()).sum();
        assert_eq!(told[8], asked as u64, "{path}");
        let fields = answer.headers.iter().chain(&answer.trailers);
        let answered: usize = fields.map(|(name, value)| name.as_str().len() + value.len()).sum();
        assert_eq!(told[9], answered as u64 + 10, "{path}: {:?}", answer.headers);
        assert_eq!(told[10] > told[8], path != "/direct", "the host is told more: {told:?}");
        before = now;
    }
    Ok(())
}

async fn bytes_of_connections(plane: DataPlane) -> Result<()> {
    let (port, upstream, log) =
        (Port::lease()?, Upstream::start(TcpEcho)?, AccessLog::of(&OPERATORS[..OPERATORS.len() - 1])?);
    let mut listener = tcp_listener("in", port.address(), "a");
    listener["filter_chains"][0]["filters"][0]["typed_config"]["access_log"] = log.config();
    let _sidecar =
        plane.launch()?.start(&with_static(&[listener], &[cluster("a", &[upstream.address()])])).await?;
    let mut stream = TcpStream::connect(port.address()).await?;
    stream.write_all(b"hello").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert_eq!(answer, "hellobye");
    assert_eq!(numbers(&log.lines(1).await?[0])?, [5, 8, 0, 0, 5, 8, 0, 0, 0, 0, 0, 0]);
    Ok(())
}

const CLOSES: &[&str] = &[
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_LOCAL_CLOSE_REASON",
];

async fn how_connections_closed(plane: DataPlane) -> Result<()> {
    let (tcp, idling) = (Port::lease()?, Port::lease()?);
    let (http, resetting) = (Port::lease()?, Port::lease()?);
    let (upstream, log) = (Upstream::start(TcpEcho)?, AccessLog::of(CLOSES)?);
    let logged = |name: &str, port: &Port, cluster: &str| {
        let mut listener = tcp_listener(name, port.address(), cluster);
        listener["filter_chains"][0]["filters"][0]["typed_config"]["access_log"] = log.config();
        listener
    };
    let (raw, to_resetting) = (logged("tcp", &tcp, "a"), logged("resetting", &resetting, "c"));
    let mut impatient = logged("idling", &idling, "a");
    impatient["filter_chains"][0]["filters"][0]["typed_config"]["idle_timeout"] = json!("0.3s");
    let host = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let at = host.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = host.accept().await {
            // What is left unread makes a reset of the close.
            let _ = stream.read(&mut [0; 1]).await;
        }
    });
    let answering = Upstream::start(Scripted::answering("HTTP/1.1 204 -\r\n\r\n"))?;
    let table = route_config("r", &[virtual_host("v", &["known"], &[prefix_route("/", "b")])]);
    let mut requests = http_listener("in", http.address(), inline(table));
    manager_of(&mut requests)["access_log"] = log.config();
    let clusters =
        [cluster("a", &[upstream.address()]), cluster("b", &[answering.address()]), cluster("c", &[at])];
    let _sidecar =
        plane.launch()?.start(&with_static(&[raw, impatient, requests, to_resetting], &clusters)).await?;
    let open = || async {
        let mut stream = TcpStream::connect(tcp.address()).await?;
        stream.write_all(b"hello").await?;
        stream.read_exact(&mut [0; 5]).await?;
        Ok::<_, std::io::Error>(stream)
    };
    drop(open().await?);
    assert_eq!(log.lines(1).await?[0], "Normal|Normal|-|-");
    let stream = open().await?;
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))?;
    drop(stream);
    assert_eq!(log.lines(2).await?[1], "RemoteReset|Normal|-|-");
    // It says nothing: what came after the end of the wait would make a reset of the close.
    let mut idle = TcpStream::connect(idling.address()).await?;
    assert_eq!(idle.read(&mut [0; 1]).await?, 0);
    assert_eq!(log.lines(3).await?[2], "Normal|Normal|tcp_session_idle_timeout|tcp_session_idle_timeout");
    let mut reset = TcpStream::connect(resetting.address()).await?;
    reset.write_all(b"hello").await?;
    assert!(reset.read(&mut [0; 1]).await.is_err(), "the client's connection is reset, too");
    assert_eq!(log.lines(4).await?[3], "LocalReset|RemoteReset|-|-");
    assert_eq!(h1::get(http.address(), "known", "/").await?.status, 204);
    assert_eq!(log.lines(5).await?[4], "Normal|Normal|-|-");
    assert_eq!(h1::get(http.address(), "unknown", "/").await?.status, 404);
    assert_eq!(log.lines(6).await?[5], "Normal|-|-|-");
    Ok(())
}

/// Entries of an access-log service tell the same without being asked.
async fn entries_tell_them(plane: DataPlane) -> Result<()> {
    let (port, upstream, logs) =
        (Port::lease()?, Upstream::start(Echo::new("a"))?, LogService::start().await?);
    let host = Relay::start(upstream.address()).await?;
    let table = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
    let mut listener = http_listener("in", port.address(), inline(table));
    manager_of(&mut listener)["access_log"] = service_log();
    let clusters =
        [over_http2(cluster("a", &[host.address()])), over_http2(cluster("logs", &[logs.address()]))];
    let _sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
    let client = Relay::start(port.address()).await?;
    let mut connection = h2::Connection::open(client.address()).await?;
    connection.exchange(h2::get("svc", "/")?).await?;
    let entries = logs.until_requests(1).await?;
    let common = entries[0].common_properties.as_ref().ok_or("no common properties")?;
    let (down, up) = (of_http2(&client, true), of_http2(&host, false));
    let told = [
        common.downstream_wire_bytes_received,
        common.downstream_wire_bytes_sent,
        common.upstream_wire_bytes_sent,
        common.upstream_wire_bytes_received,
    ];
    assert_eq!(told, [down.to_server, down.to_client, up.to_server, up.to_client]);
    Ok(())
}

fn service_log() -> Value {
    json!([{"name": "service", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        "common_config": {"log_name": "l", "transport_api_version": "V3", "buffer_flush_interval": "0.05s",
            "grpc_service": {"envoy_grpc": {"cluster_name": "logs"}}}}}])
}

/// Envoy adds what was sent ahead to the request that is being served.
async fn requests_sent_ahead_are_not_of_this_one(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, false).await?;
    let requests = ["GET /one HTTP/1.1\r\nHost: svc\r\n\r\n", "GET /second HTTP/1.1\r\nHost: svc\r\n\r\n"];
    let mut connection = h1::Connection::open(scene.client.address()).await?;
    connection.send(requests.concat()).await?;
    for _ in requests {
        assert_eq!(connection.response().await?.status, 200);
    }
    let lines = scene.log.lines(2).await?;
    let received: Vec<u64> = lines.iter().map(|line| Ok(numbers(line)?[0])).collect::<Result<_>>()?;
    assert_eq!(received, requests.map(|request| request.len() as u64));
    Ok(())
}
