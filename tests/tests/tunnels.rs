//! Upgrades and CONNECT: passed on, terminated, and carried between HTTP/1 and HTTP/2.

use bytes::Bytes;
use http::{Method, Request};
use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, over_http2, prefix_route, route_config, virtual_host,
    with_static,
};
use outrigger_tests::client::{LIMIT, h1, h2};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Scripted, TcpEcho, Tunnel, Upstream};
use outrigger_tests::{Result, on_both_data_planes, on_data_plane, wait};
use serde_json::{Value, json};

on_both_data_planes!(
    websocket_over_http1,
    websocket_from_http2_to_http1,
    websocket_from_http1_to_http2,
    websocket_that_the_upstream_refuses,
    connect_passed_on,
    connect_ended_here_over_http1,
    connect_ended_here_over_http2,
    connect_to_nobody,
);

on_data_plane!(outrigger_only, Outrigger, half_closes_go_through_tunnels, an_upgrade_has_no_body);

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: svc\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A sidecar that allows WebSocket and CONNECT to cluster `a`.
struct Scene {
    port: Port,
    log: AccessLog,
    sidecar: Sidecar,
}

impl Scene {
    /// `terminate`: CONNECT ends at the sidecar.
    async fn start(plane: DataPlane, cluster: Value, terminate: bool) -> Result<Self> {
        let operators = ["RESPONSE_CODE", "RESPONSE_FLAGS", "BYTES_RECEIVED", "BYTES_SENT", "UPSTREAM_HOST"];
        let (port, log) = (Port::lease()?, AccessLog::of(&operators)?);
        let mut connect = json!({"match": {"connect_matcher": {}}, "route": {"cluster": "a"}});
        if terminate {
            connect["route"]["upgrade_configs"] = json!([{"upgrade_type": "CONNECT", "connect_config": {}}]);
        } else {
            connect["route"]["upgrade_configs"] = json!([{"upgrade_type": "CONNECT"}]);
        }
        let routes = [connect, prefix_route("/", "a")];
        let routes = route_config("r", &[virtual_host("v", &["*"], &routes)]);
        let mut listener = http_listener("ingress", port.address(), inline(routes));
        let manager = manager_of(&mut listener);
        manager["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
        manager["http2_protocol_options"] = json!({"allow_connect": true});
        manager["access_log"] = log.config();
        let sidecar = plane.launch()?.start(&with_static(&[listener], &[cluster])).await?;
        Ok(Self { port, log, sidecar })
    }

    /// The log's first line has this before the host.
    async fn logged(&self, want: &str) -> Result<()> {
        let line = self.log.lines(1).await?.swap_remove(0);
        assert!(line.starts_with(want), "{line}, not {want}");
        Ok(())
    }
}

/// Envoy passes the head on and the body never, and answers whatever comes back without its body.
async fn an_upgrade_has_no_body(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Tunnel::accepting_upgrades())?;
    let scene = Scene::start(plane, cluster("a", &[upstream.address()]), false).await?;
    for body in
        ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
    {
        let mut client = h1::Connection::open(scene.port.address()).await?;
        let head = UPGRADE.trim_end().replacen("GET", "POST", 1);
        let response = client.exchange(format!("{head}\r\n{body}")).await?;
        assert_eq!((response.status, response.header("connection")), (400, Some("close")), "{body:?}");
        assert!(client.rest().await?.is_empty());
    }
    assert_eq!(upstream.counts().connections(), 0);
    let mut client = h1::Connection::open(scene.port.address()).await?;
    let head = UPGRADE.trim_end().replacen("GET", "POST", 1);
    assert_eq!(client.exchange(format!("{head}\r\nContent-Length: 0\r\n\r\n")).await?.status, 101);
    Ok(())
}

async fn websocket_over_http1(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Tunnel::accepting_upgrades())?;
    let scene = Scene::start(plane, cluster("a", &[upstream.address()]), false).await?;
    let mut client = h1::Connection::open(scene.port.address()).await?;
    let response = client.exchange(UPGRADE).await?;
    assert_eq!((response.status, response.header("upgrade")), (101, Some("websocket")), "{response:?}");
    assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.send("ping").await?;
    assert_eq!(client.exact_bytes(4).await?, b"ping");
    assert_eq!(scene.sidecar.stat("http.ingress.downstream_cx_upgrades_total").await?, 1);
    assert_eq!(scene.sidecar.stat("http.ingress.downstream_cx_upgrades_active").await?, 1);
    drop(client);
    scene.logged("101|").await?;
    scene.sidecar.until_stat("http.ingress.downstream_cx_upgrades_active", |count| count == 0).await?;
    Ok(())
}

/// An extended CONNECT (RFC 8441) for a WebSocket.
fn extended_connect() -> Result<Request<()>> {
    let mut request = Request::builder().method(Method::CONNECT).uri("http://svc/chat").body(())?;
    request.extensions_mut().insert(::h2::ext::Protocol::from_static("websocket"));
    Ok(request)
}

async fn websocket_from_http2_to_http1(plane: DataPlane) -> Result<()> {
    let tunnel = Tunnel::accepting_upgrades();
    let heads = tunnel.heads();
    let upstream = Upstream::start(tunnel)?;
    let scene = Scene::start(plane, cluster("a", &[upstream.address()]), false).await?;
    let mut client = h2::Connection::open(scene.port.address()).await?;
    client.until_extended_connect().await?;
    let (response, mut up) = client.start(extended_connect()?, false).await?;
    let response = wait::within("the response", LIMIT, response).await??;
    assert_eq!(response.status(), 200);
    up.send_data(Bytes::from_static(b"ping"), false)?;
    let mut down = response.into_body();
    assert_eq!(h2::exact_bytes(&mut down, 4).await?, b"ping");
    let head = heads.all().swap_remove(0).to_ascii_lowercase();
    assert!(
        head.starts_with("get /chat http/1.1\r\n") && head.contains("\r\nupgrade: websocket\r\n"),
        "{head}"
    );
    Ok(())
}

async fn websocket_from_http1_to_http2(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Tunnel::over_http2())?;
    let mut cluster = over_http2(cluster("a", &[upstream.address()]));
    let options = &mut cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    options["explicit_http_config"]["http2_protocol_options"] = json!({"allow_connect": true});
    let scene = Scene::start(plane, cluster, false).await?;
    let mut client = h1::Connection::open(scene.port.address()).await?;
    let response = client.exchange(UPGRADE).await?;
    assert_eq!((response.status, response.header("upgrade")), (101, Some("websocket")), "{response:?}");
    client.send("ping").await?;
    assert_eq!(client.exact_bytes(4).await?, b"ping");
    Ok(())
}

async fn websocket_that_the_upstream_refuses(plane: DataPlane) -> Result<()> {
    let refusal = "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno";
    let upstream = Upstream::start(Scripted::answering(refusal))?;
    let scene = Scene::start(plane, cluster("a", &[upstream.address()]), false).await?;
    let mut client = h1::Connection::open(scene.port.address()).await?;
    let response = client.exchange(UPGRADE).await?;
    assert_eq!((response.status, response.text().as_str()), (400, "no"));
    Ok(())
}

async fn connect_passed_on(plane: DataPlane) -> Result<()> {
    let tunnel = Tunnel::accepting_connect();
    let heads = tunnel.heads();
    let upstream = Upstream::start(tunnel)?;
    let scene = Scene::start(plane, cluster("a", &[upstream.address()]), false).await?;
    let mut client = h1::Connection::open(scene.port.address()).await?;
    client.send("CONNECT far.away:443 HTTP/1.1\r\nHost: far.away:443\r\n\r\n").await?;
    let response = client.response_to("HEAD").await?;
    assert_eq!((response.status, response.header("transfer-encoding")), (200, None), "{response:?}");
    client.send("ping").await?;
    assert_eq!(client.exact_bytes(4).await?, b"ping");
    let head = heads.all().swap_remove(0);
    assert!(head.starts_with("CONNECT far.away:443 HTTP/1.1\r\n"), "{head}");
    Ok(())
}

async fn connect_ended_here_over_http1(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(TcpEcho)?;
    let scene = Scene::start(plane, cluster("a", &[upstream.address()]), true).await?;
    let mut client = h1::Connection::open(scene.port.address()).await?;
    client.send("CONNECT far.away:443 HTTP/1.1\r\nHost: far.away:443\r\n\r\n").await?;
    let response = client.response_to("HEAD").await?;
    assert_eq!(response.status, 200);
    assert_eq!((response.header("content-length"), response.header("transfer-encoding")), (None, None));
    client.send("\x16\x03\x01 raw bytes").await?;
    assert_eq!(client.exact_bytes(13).await?, b"\x16\x03\x01 raw bytes");
    drop(client);
    scene.log.lines(1).await?;
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_cx_total").await?, 1);
    scene.sidecar.until_stat("cluster.a.upstream_cx_active", |count| count == 0).await?;
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_rq_active").await?, 0);
    Ok(())
}

/// Envoy ends an HTTP/1 tunnel when either side has finished; ours lets the other side finish as well.
async fn half_closes_go_through_tunnels(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(TcpEcho)?;
    let scene = Scene::start(plane, cluster("a", &[upstream.address()]), true).await?;
    let mut client = h1::Connection::open(scene.port.address()).await?;
    client.send("CONNECT far.away:443 HTTP/1.1\r\nHost: far.away:443\r\n\r\n").await?;
    assert_eq!(client.response_to("HEAD").await?.status, 200);
    client.send("ping").await?;
    client.shut_down().await?;
    assert_eq!(client.rest().await?, b"pingbye");
    scene.logged(&format!("200|-|4|7|{}", upstream.address())).await?;

    let upstream = Upstream::start(Tunnel::accepting_upgrades())?;
    let scene = Scene::start(plane, cluster("a", &[upstream.address()]), false).await?;
    let mut client = h1::Connection::open(scene.port.address()).await?;
    assert_eq!(client.exchange(UPGRADE).await?.status, 101);
    client.shut_down().await?;
    assert_eq!(client.rest().await?, b"bye");
    scene.logged("101|-|0|3|").await
}

async fn connect_ended_here_over_http2(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(TcpEcho)?;
    let scene = Scene::start(plane, cluster("a", &[upstream.address()]), true).await?;
    let mut client = h2::Connection::open(scene.port.address()).await?;
    let request = Request::builder().method(Method::CONNECT).uri("far.away:443").body(())?;
    let (response, mut up) = client.start(request, false).await?;
    let response = wait::within("the response", LIMIT, response).await??;
    assert_eq!(response.status(), 200);
    up.send_data(Bytes::from_static(b"one"), false)?;
    let mut down = response.into_body();
    assert_eq!(h2::exact_bytes(&mut down, 3).await?, b"one");
    up.send_data(Bytes::from_static(b"two"), true)?;
    assert_eq!(h2::exact_bytes(&mut down, 6).await?, b"twobye");
    scene.logged("200|-|6|9|").await
}

async fn connect_to_nobody(plane: DataPlane) -> Result<()> {
    let nobody = Port::lease()?;
    let scene = Scene::start(plane, cluster("a", &[nobody.address()]), true).await?;
    let mut client = h1::Connection::open(scene.port.address()).await?;
    let response = client.exchange("CONNECT far.away:443 HTTP/1.1\r\nHost: far.away:443\r\n\r\n").await?;
    assert_eq!(response.status, 503);
    scene.logged("503|UF|0|").await
}
