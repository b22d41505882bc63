//! Counters are exact: after requests of every kind each counter is what the test itself kept, gauges are back at
//! zero, and what the test keeps no book of equals Envoy's count of the same story.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, over_http2, prefix_route, route_config, tcp_listener, virtual_host,
    with_static,
};
use outrigger_tests::client::{grpc, h1, h2};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Closing, Echo, Garbage, GrpcEcho, Scripted, Slow, TcpEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes, requirement, wait};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

on_both_data_planes!(
    http1_requests,
    http2_requests,
    grpc_calls,
    grpc_retries_and_timeouts,
    tcp_connections,
    tcp_endings,
    an_http2_host_that_goes_away,
    retries,
    timeouts,
    resets,
    aborted_uploads,
    local_replies,
);

const LIMIT: Duration = Duration::from_secs(20);

/// A sidecar with one connection manager, `ingress`, and the clusters that its routes name.
struct Scene {
    port: Port,
    sidecar: Sidecar,
}

impl Scene {
    async fn start(plane: DataPlane, routes: &[Value], clusters: &[Value]) -> Result<Self> {
        let port = Port::lease()?;
        let hosts = [virtual_host("v", &["*"], routes)];
        let listener = http_listener("ingress", port.address(), inline(route_config("r", &hosts)));
        let sidecar = plane.launch()?.start(&with_static(&[listener], clusters)).await?;
        Ok(Self { port, sidecar })
    }

    fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Waits for the counters to be these, and for every gauge of traffic to be zero. Names are below
    /// `http.ingress.` unless they begin with `cluster.`, `listener.` or `tcp.`.
    async fn counted(&self, expected: &[(&str, u64)]) -> Result<()> {
        counted(&self.sidecar, &self.port, expected).await
    }
}

async fn counted(sidecar: &Sidecar, port: &Port, expected: &[(&str, u64)]) -> Result<()> {
    let full = |name: &str| match name.split_once('.') {
        Some(("cluster" | "tcp", _)) => name.to_owned(),
        Some(("listener", rest)) => format!("listener.127.0.0.1_{}.{rest}", port.number()),
        _ => format!("http.ingress.{name}"),
    };
    let expected: BTreeMap<String, u64> = expected.iter().map(|(name, count)| (full(name), *count)).collect();
    let deadline = Instant::now() + LIMIT;
    loop {
        let all = numbers(&sidecar.get("/stats").await?.text());
        let found = |name: &String| all.get(name).copied().unwrap_or(0);
        let wrong: Vec<_> = expected
            .iter()
            .map(|(name, count)| (name, *count, found(name)))
            .filter(|(_, count, found)| count != found)
            .collect();
        let busy: Vec<_> = all.iter().filter(|(name, value)| is_traffic_gauge(name) && **value > 0).collect();
        if wrong.is_empty() && busy.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("name, kept, counted: {wrong:#?}; not idle: {busy:#?}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn numbers(page: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    page.lines().filter_map(line).collect()
}

/// Gauges of traffic in flight, by what their names end in. Idle upstream connections stay open in the pool, and the
/// admin endpoint serves who asks.
fn is_traffic_gauge(name: &str) -> bool {
    const ENDS: [&str; 4] = ["_active", "_open", "_buffered", "pending_send_bytes"];
    const ELSEWHERE: [&str; 4] = ["http.admin", "listener.admin", "listener_manager.", "upstream_cx_"];
    ENDS.iter().any(|end| name.ends_with(end)) && !ELSEWHERE.iter().any(|other| name.contains(other))
}

async fn http1_requests(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene =
        Scene::start(plane, &[prefix_route("/", "a")], &[cluster("a", &[upstream.address()])]).await?;
    let mut kept = h1::Connection::open(scene.address()).await?;
    for _ in 0..7 {
        assert_eq!(kept.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?.status, 200);
    }
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(kept.exchange(body).await?.status, 200);
    drop(kept);
    for _ in 0..3 {
        assert_eq!(h1::get(scene.address(), "a", "/").await?.status, 200);
    }
    scene
        .counted(&[
            ("downstream_cx_total", 4),
            ("downstream_cx_http1_total", 4),
            ("downstream_cx_http2_total", 0),
            ("downstream_cx_destroy", 4),
            ("downstream_rq_total", 11),
            ("downstream_rq_http1_total", 11),
            ("downstream_rq_completed", 11),
            ("downstream_rq_2xx", 11),
            ("rq_total", 11),
            ("listener.downstream_cx_total", 4),
            ("listener.downstream_cx_destroy", 4),
            ("listener.http.ingress.downstream_rq_2xx", 11),
            ("cluster.a.upstream_cx_total", 1),
            ("cluster.a.upstream_cx_http1_total", 1),
            ("cluster.a.upstream_rq_total", 11),
            ("cluster.a.upstream_rq_completed", 11),
            ("cluster.a.upstream_rq_200", 11),
            ("cluster.a.upstream_rq_2xx", 11),
            ("cluster.a.external.upstream_rq_200", 11),
            ("cluster.a.upstream_rq_pending_total", 1),
            ("cluster.a.upstream_rq_retry", 0),
        ])
        .await
}

async fn http2_requests(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene =
        Scene::start(plane, &[prefix_route("/", "a")], &[over_http2(cluster("a", &[upstream.address()]))])
            .await?;
    let mut connection = h2::Connection::open(scene.address()).await?;
    let mut streams = Vec::new();
    assert_eq!(connection.exchange(h2::get("a", "/")?).await?.status, 200);
    for _ in 0..8 {
        let (head, _) = h2::get("a", "/")?.into_parts();
        streams.push(connection.start(http::Request::from_parts(head, ()), true).await?.0);
    }
    for stream in streams {
        assert_eq!(h2::read(stream).await?.status, 200);
    }
    drop(connection);
    scene
        .counted(&[
            ("downstream_cx_total", 1),
            ("downstream_cx_http2_total", 1),
            ("downstream_rq_total", 9),
            ("downstream_rq_http2_total", 9),
            ("downstream_rq_2xx", 9),
            ("downstream_rq_rx_reset", 0),
            ("downstream_rq_tx_reset", 0),
            ("cluster.a.upstream_cx_total", 1),
            ("cluster.a.upstream_cx_http2_total", 1),
            ("cluster.a.upstream_rq_total", 9),
            ("cluster.a.upstream_rq_200", 9),
        ])
        .await
}

async fn grpc_calls(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(GrpcEcho)?;
    let scene =
        Scene::start(plane, &[prefix_route("/", "a")], &[over_http2(cluster("a", &[upstream.address()]))])
            .await?;
    let calls = 5;
    for _ in 0..calls {
        let reply = grpc::call(scene.address(), "a", "/p.S/Echo", &[b"one", b"two"]).await?;
        assert_eq!((reply.http_status, reply.status), (200, Some(0)));
    }
    scene
        .counted(&[
            ("downstream_rq_total", calls),
            ("downstream_rq_http2_total", calls),
            ("downstream_cx_total", calls),
            ("downstream_rq_2xx", calls),
            ("cluster.a.upstream_rq_total", calls),
            ("cluster.a.upstream_rq_200", calls),
            ("cluster.a.upstream_cx_total", 1),
        ])
        .await
}

/// Calls that are retried by their gRPC status, and calls that nobody answers.
async fn grpc_retries_and_timeouts(plane: DataPlane) -> Result<()> {
    const UNAVAILABLE: &str =
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 14\r\nContent-Length: 0\r\n\r\n";
    let failing = Upstream::start(Scripted::answering(UNAVAILABLE))?;
    let slow = Upstream::start(Slow { before_head: Duration::from_secs(60), between_bytes: Duration::ZERO })?;
    let mut timed = prefix_route("/p.Slow", "b");
    timed["route"]["timeout"] = json!("0.1s");
    let routes = [timed, retried(prefix_route("/", "a"), "unavailable", 2)];
    let clusters = [cluster("a", &[failing.address()]), cluster("b", &[slow.address()])];
    let scene = Scene::start(plane, &routes, &clusters).await?;
    let calls = 3;
    for _ in 0..calls {
        let reply = grpc::call(scene.address(), "a", "/p.S/Fails", &[b"one"]).await?;
        assert_eq!((reply.http_status, reply.status), (200, Some(14)));
    }
    let reply = grpc::call(scene.address(), "a", "/p.Slow/Hangs", &[b"one"]).await?;
    assert!(reply.http_status == 200 && reply.status.is_some_and(|status| status > 0), "{reply:?}");
    scene
        .counted(&[
            ("downstream_rq_total", calls + 1),
            ("downstream_rq_http2_total", calls + 1),
            ("downstream_rq_2xx", calls + 1),
            ("cluster.a.upstream_rq_total", calls * 3),
            ("cluster.a.upstream_rq_retry", calls * 2),
            ("cluster.a.upstream_rq_retry_limit_exceeded", calls),
            ("cluster.a.upstream_rq_retry_success", 0),
            ("cluster.b.upstream_rq_total", 1),
            ("cluster.b.upstream_rq_timeout", 1),
            ("cluster.b.upstream_rq_retry", 0),
        ])
        .await
}

async fn tcp_connections(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(TcpEcho)?);
    let listener = tcp_listener("ingress", port.address(), "a");
    let sidecar =
        plane.launch()?.start(&with_static(&[listener], &[cluster("a", &[upstream.address()])])).await?;
    let (connections, bytes) = (4, 10_000);
    for _ in 0..connections {
        let mut stream = TcpStream::connect(port.address()).await?;
        stream.write_all(&vec![7; bytes]).await?;
        let mut echoed = vec![0; bytes];
        stream.read_exact(&mut echoed).await?;
        stream.shutdown().await?;
        let mut farewell = Vec::new();
        stream.read_to_end(&mut farewell).await?;
        assert_eq!(farewell, b"bye");
    }
    let total = connections * bytes as u64;
    let expected = [
        ("listener.downstream_cx_total", connections),
        ("listener.downstream_cx_destroy", connections),
        ("tcp.ingress.downstream_cx_total", connections),
        ("tcp.ingress.downstream_cx_rx_bytes_total", total),
        ("tcp.ingress.downstream_cx_tx_bytes_total", total + 3 * connections),
        ("tcp.ingress.downstream_cx_no_route", 0),
        ("cluster.a.upstream_cx_total", connections),
        ("cluster.a.upstream_cx_destroy", connections),
        ("cluster.a.upstream_cx_rx_bytes_total", total + 3 * connections),
        ("cluster.a.upstream_cx_tx_bytes_total", total),
        ("cluster.a.upstream_cx_active", 0),
        // The host's FIN was the last word, and the connection was one request.
        ("cluster.a.upstream_cx_destroy_remote", connections),
        ("cluster.a.upstream_cx_destroy_remote_with_active_rq", connections),
        ("cluster.a.upstream_cx_destroy_with_active_rq", connections),
        ("cluster.a.upstream_cx_destroy_local", 0),
        ("cluster.a.upstream_rq_total", connections),
        ("cluster.a.upstream_rq_pending_total", connections),
        ("cluster.a.upstream_rq_pending_failure_eject", 0),
    ];
    counted(&sidecar, &port, &expected).await
}

/// Connections that are reset by the client, closed or reset by the host, idle for too long, or refused.
async fn tcp_endings(plane: DataPlane) -> Result<()> {
    let (echo, closing) = (Upstream::start(TcpEcho)?, Upstream::start(Closing::BeforeResponse)?);
    let dead = Port::lease()?;
    let stories = [
        ("reset", echo.address()),
        ("idle", echo.address()),
        ("closing", closing.address()),
        ("dead", dead.address()),
    ];
    let ports: Vec<Port> = stories.iter().map(|_| Port::lease()).collect::<std::result::Result<_, _>>()?;
    let listener = |((name, _), port): (&(&str, SocketAddr), &Port)| {
        let mut listener = tcp_listener(name, port.address(), name);
        if *name == "idle" {
            listener["filter_chains"][0]["filters"][0]["typed_config"]["idle_timeout"] = json!("0.3s");
        }
        listener
    };
    let listeners: Vec<Value> = stories.iter().zip(&ports).map(listener).collect();
    let clusters: Vec<Value> = stories.iter().map(|(name, to)| cluster(name, &[*to])).collect();
    let sidecar = plane.launch()?.start(&with_static(&listeners, &clusters)).await?;
    for ((name, _), port) in stories.iter().zip(&ports) {
        let mut stream = TcpStream::connect(port.address()).await?;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        let mut farewell = Vec::new();
        if *name == "reset" {
            stream.read_exact(&mut [0; 5]).await?;
            stream.set_zero_linger()?;
            drop(stream);
        } else {
            // A reset ends it as well as a FIN.
            let _ = stream.read_to_end(&mut farewell).await;
        }
    }
    let of = |name: &str, counts: [u64; 6]| {
        let names = [
            "upstream_cx_total",
            "upstream_cx_destroy",
            "upstream_cx_destroy_local",
            "upstream_cx_destroy_remote",
            "upstream_cx_destroy_with_active_rq",
            "upstream_rq_total",
        ];
        names
            .iter()
            .zip(counts)
            .map(|(stat, count)| (format!("cluster.{name}.{stat}"), count))
            .collect::<Vec<_>>()
    };
    let expected = [
        of("reset", [1, 1, 1, 0, 1, 1]),
        of("idle", [1, 1, 1, 0, 1, 1]),
        of("dead", [1, 1, 0, 1, 0, 0]),
        of("closing", [1, 1, 1, 0, 1, 1]),
    ]
    .concat();
    for (name, count) in expected {
        sidecar
            .until_stat(&name, |found| found == count)
            .await
            .map_err(|error| format!("{name}: {error}"))?;
    }
    for (name, _) in &stories {
        for gauge in ["upstream_cx_active", "upstream_rq_active", "upstream_rq_pending_active"] {
            assert_eq!(sidecar.stat(&format!("cluster.{name}.{gauge}")).await?, 0, "{name}: {gauge}");
        }
    }
    Ok(())
}

/// A host that closes its shared connection between requests.
async fn an_http2_host_that_goes_away(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(GrpcEcho)?;
    let to = over_http2(cluster("a", &[upstream.address()]));
    let scene = Scene::start(plane, &[prefix_route("/", "a")], &[to]).await?;
    let reply = grpc::call(scene.address(), "a", "/p.S/Echo", &[b"one"]).await?;
    assert_eq!((reply.http_status, reply.status), (200, Some(0)));
    drop(upstream);
    scene
        .counted(&[
            ("cluster.a.upstream_cx_total", 1),
            ("cluster.a.upstream_cx_http2_total", 1),
            ("cluster.a.upstream_cx_destroy", 1),
            ("cluster.a.upstream_cx_destroy_remote", 1),
            ("cluster.a.upstream_cx_destroy_local", 0),
            ("cluster.a.upstream_cx_destroy_with_active_rq", 0),
        ])
        .await
}

fn retried(mut route: Value, on: &str, times: u32) -> Value {
    route["route"]["retry_policy"] = json!({
        "retry_on": on, "num_retries": times,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
    });
    route
}

const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

async fn retries(plane: DataPlane) -> Result<()> {
    let failing = Upstream::start(Scripted::answering(UNAVAILABLE))?;
    let routes = [retried(prefix_route("/", "a"), "5xx", 2)];
    let scene = Scene::start(plane, &routes, &[cluster("a", &[failing.address()])]).await?;
    let requests = 3;
    for _ in 0..requests {
        assert_eq!(h1::get(scene.address(), "a", "/").await?.status, 503);
    }
    assert_eq!(failing.counts().requests(), requests * 3);
    scene
        .counted(&[
            ("downstream_rq_total", requests),
            ("downstream_rq_5xx", requests),
            ("cluster.a.upstream_rq_total", requests * 3),
            ("cluster.a.upstream_rq_retry", requests * 2),
            ("cluster.a.upstream_rq_retry_backoff_exponential", requests * 2),
            ("cluster.a.upstream_rq_retry_limit_exceeded", requests),
            ("cluster.a.upstream_rq_retry_success", 0),
            ("cluster.a.upstream_rq_503", requests),
            ("cluster.a.upstream_rq_completed", requests),
            ("cluster.a.retry.upstream_rq_503", requests * 2),
            ("cluster.a.retry.upstream_rq_completed", requests * 2),
        ])
        .await
}

async fn timeouts(plane: DataPlane) -> Result<()> {
    let slow = || Slow { before_head: Duration::from_secs(60), between_bytes: Duration::ZERO };
    let (one, two) = (Upstream::start(slow())?, Upstream::start(slow())?);
    let mut whole = prefix_route("/whole", "a");
    whole["route"]["timeout"] = json!("0.1s");
    let mut tried = retried(prefix_route("/tried", "b"), "reset", 1);
    tried["route"]["retry_policy"]["per_try_timeout"] = json!("0.1s");
    let clusters = [cluster("a", &[one.address()]), cluster("b", &[two.address()])];
    let scene = Scene::start(plane, &[whole, tried], &clusters).await?;
    for path in ["/whole", "/whole", "/tried"] {
        assert_eq!(h1::get(scene.address(), "a", path).await?.status, 504);
    }
    scene
        .counted(&[
            ("downstream_rq_total", 3),
            ("downstream_rq_5xx", 3),
            ("cluster.a.upstream_rq_total", 2),
            ("cluster.a.upstream_rq_timeout", 2),
            ("cluster.a.upstream_rq_504", 2),
            ("cluster.a.upstream_rq_per_try_timeout", 0),
            ("cluster.a.upstream_cx_destroy_local_with_active_rq", 2),
            ("cluster.b.upstream_rq_per_try_timeout", 2),
            ("cluster.b.upstream_rq_timeout", 0),
            ("cluster.b.upstream_rq_retry", 1),
            ("cluster.b.upstream_rq_total", 2),
        ])
        .await
}

async fn resets(plane: DataPlane) -> Result<()> {
    let gone = Upstream::start(Closing::BeforeResponse)?;
    let slow = Upstream::start(Slow { before_head: Duration::from_secs(60), between_bytes: Duration::ZERO })?;
    let routes = [prefix_route("/gone", "gone"), prefix_route("/slow", "slow")];
    let clusters = [cluster("gone", &[gone.address()]), cluster("slow", &[slow.address()])];
    let scene = Scene::start(plane, &routes, &clusters).await?;
    for _ in 0..2 {
        assert_eq!(h1::get(scene.address(), "a", "/gone").await?.status, 503);
    }
    // A client that gives up: one by closing, one by resetting its stream.
    let mut client = h1::Connection::open(scene.address()).await?;
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    wait::until("the request", LIMIT, || std::future::ready((slow.counts().requests() == 1).then_some(())))
        .await?;
    drop(client);
    let mut connection = h2::Connection::open(scene.address()).await?;
    let (response, mut stream) =
        connection.start(http::Request::get("http://a/slow").body(())?, false).await?;
    stream.send_data(Bytes::new(), true)?;
    wait::until("the request", LIMIT, || std::future::ready((slow.counts().requests() == 2).then_some(())))
        .await?;
    stream.send_reset(::h2::Reason::CANCEL);
    drop((response, stream));
    scene.sidecar.until_stat("http.ingress.downstream_rq_rx_reset", |count| count == 2).await?;
    drop(connection);
    scene
        .counted(&[
            ("downstream_rq_total", 4),
            ("downstream_rq_5xx", 2),
            ("downstream_rq_rx_reset", 2),
            ("downstream_cx_destroy_remote_active_rq", 1),
            ("cluster.gone.upstream_rq_total", 2),
            ("cluster.gone.upstream_rq_503", 2),
            ("cluster.gone.upstream_rq_rx_reset", 0),
            ("cluster.gone.upstream_cx_destroy_remote_with_active_rq", 2),
            ("cluster.slow.upstream_rq_total", 2),
            ("cluster.slow.upstream_rq_completed", 0),
        ])
        .await
}

/// Clients that leave in the middle of a body.
async fn aborted_uploads(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene =
        Scene::start(plane, &[prefix_route("/", "a")], &[cluster("a", &[upstream.address()])]).await?;
    let mut client = h1::Connection::open(scene.address()).await?;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nten bytes.").await?;
    scene.sidecar.until_stat("cluster.a.upstream_rq_active", |active| active == 1).await?;
    drop(client);
    let mut connection = h2::Connection::open(scene.address()).await?;
    let (response, mut stream) = connection.start(http::Request::post("http://a/").body(())?, false).await?;
    stream.send_data(Bytes::from_static(b"ten bytes."), false)?;
    scene.sidecar.until_stat("cluster.a.upstream_rq_total", |count| count == 2).await?;
    stream.send_reset(::h2::Reason::CANCEL);
    drop((response, stream));
    scene.sidecar.until_stat("http.ingress.downstream_rq_rx_reset", |count| count == 2).await?;
    drop(connection);
    scene
        .counted(&[
            ("downstream_rq_total", 2),
            ("downstream_rq_completed", 0),
            ("downstream_rq_rx_reset", 2),
            ("downstream_cx_destroy_remote_active_rq", 1),
            ("cluster.a.upstream_rq_total", 2),
            ("cluster.a.upstream_rq_completed", 0),
            ("cluster.a.upstream_cx_destroy_local_with_active_rq", 2),
        ])
        .await
}

async fn local_replies(plane: DataPlane) -> Result<()> {
    let dead = Port::lease()?;
    let direct = json!({"match": {"prefix": "/direct"}, "direct_response": {"status": 418}});
    let redirect = json!({"match": {"prefix": "/moved"}, "redirect": {"path_redirect": "/"}});
    let routes = [
        direct,
        redirect,
        prefix_route("/dead", "dead"),
        prefix_route("/empty", "empty"),
        json!({"match": {"prefix": "/none"}, "route": {"cluster_header": "x-cluster"}}),
    ];
    let clusters = [cluster("dead", &[dead.address()]), cluster("empty", &[])];
    let scene = Scene::start(plane, &routes, &clusters).await?;
    for (path, status) in
        [("/direct", 418), ("/moved", 301), ("/dead", 503), ("/empty", 503), ("/none", 503), ("/else", 404)]
    {
        assert_eq!(h1::get(scene.address(), "a", path).await?.status, status, "{path}");
    }
    let mut wrong = h1::Connection::open(scene.address()).await?;
    assert_eq!(wrong.exchange("NOT HTTP AT ALL\r\n\r\n").await?.status, 400);
    drop(wrong);
    scene
        .counted(&[
            ("downstream_rq_3xx", 1),
            ("downstream_rq_4xx", 3),
            ("downstream_rq_5xx", 3),
            ("rq_direct_response", 2),
            ("no_route", 1),
            ("no_cluster", 1),
            ("rq_total", 6),
            ("downstream_cx_protocol_error", 1),
            ("cluster.dead.upstream_cx_connect_fail", 1),
            ("cluster.dead.upstream_rq_503", 1),
            ("cluster.dead.upstream_rq_pending_failure_eject", 1),
            ("cluster.empty.upstream_cx_none_healthy", 1),
            ("cluster.empty.upstream_rq_503", 1),
        ])
        .await
}

/// Statistics of Envoy's that do not exist here: sockets of a cluster are matched in no way.
const NOT_HERE: &[&str] = &["default.total_match_count"];

/// The same story over both: every counter that we have is Envoy's. What counts bytes on the wire is left out, as
/// the two write different `server` dates and HTTP/2 settings.
#[tokio::test]
async fn every_counter_of_a_mixed_story_is_envoys() -> Result<()> {
    let Some(_) = requirement::met(DataPlane::Envoy.launch()) else { return Ok(()) };
    let (ours, envoys) = (mixed(DataPlane::Outrigger).await?, mixed(DataPlane::Envoy).await?);
    let differ: Vec<_> = ours
        .iter()
        .filter(|(name, _)| !name.contains("bytes"))
        .map(|(name, count)| (name, count, envoys.get(name).copied().unwrap_or(0)))
        .filter(|(_, ours, envoys)| *ours != envoys)
        .collect();
    assert!(differ.is_empty(), "name, ours, Envoy's: {differ:#?}");
    let unknown: Vec<_> = envoys
        .iter()
        .filter(|(name, count)| **count > 0 && !ours.contains_key(*name) && !name.contains("bytes"))
        .filter(|(name, _)| !NOT_HERE.iter().any(|known| name.ends_with(known)))
        .collect();
    assert!(unknown.is_empty(), "Envoy's alone: {unknown:#?}");
    Ok(())
}

async fn mixed(plane: DataPlane) -> Result<BTreeMap<String, u64>> {
    let good = Upstream::start(Echo::new("good"))?;
    let failing = Upstream::start(Scripted::answering(UNAVAILABLE))?;
    let gone = Upstream::start(Closing::BeforeResponse)?;
    let garbage = Upstream::start(Garbage)?;
    let dead = Port::lease()?;
    let routes = [
        retried(prefix_route("/failing", "failing"), "5xx", 2),
        retried(prefix_route("/gone", "gone"), "reset,connect-failure", 1),
        retried(prefix_route("/dead", "dead"), "connect-failure", 1),
        prefix_route("/garbage", "garbage"),
        prefix_route("/", "good"),
    ];
    let at = |name: &str, address: SocketAddr| cluster(name, &[address]);
    let clusters = [
        at("good", good.address()),
        at("failing", failing.address()),
        at("gone", gone.address()),
        at("garbage", garbage.address()),
        at("dead", dead.address()),
    ];
    let scene = Scene::start(plane, &routes, &clusters).await?;
    for path in ["/", "/failing", "/gone", "/dead", "/garbage", "/"] {
        h1::get(scene.address(), "a", path).await?;
    }
    let mut connection = h2::Connection::open(scene.address()).await?;
    for path in ["/", "/failing", "/dead"] {
        connection.exchange(h2::get("a", path)?).await?;
    }
    drop(connection);
    scene.sidecar.until_stat("http.ingress.downstream_cx_active", |count| count == 0).await?;
    scene.sidecar.until_stat("http.ingress.downstream_cx_destroy", |count| count == 7).await?;
    let page = scene.sidecar.get("/stats?usedonly").await?.text();
    let listener = format!("listener.127.0.0.1_{}.", scene.port.number());
    let mut found = BTreeMap::new();
    for (name, count) in numbers(&page) {
        match name.strip_prefix(&listener) {
            Some(rest) => found.insert(format!("listener.{rest}"), count),
            None if name.starts_with("cluster.") || name.starts_with("http.ingress.") => {
                found.insert(name, count)
            }
            None => None,
        };
    }
    Ok(found)
}
