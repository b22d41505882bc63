//! The harness itself: what the other tests take for granted.

use std::net::IpAddr;
use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, over_http2, prefix_route, route_config, tcp_listener, terminate_tls,
    virtual_host, with_static,
};
use outrigger_tests::client::{grpc, h1, h2};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::netns::{Namespace, Place};
use outrigger_tests::ports::Port;
use outrigger_tests::requirement::met;
use outrigger_tests::tls::{self, Authority};
use outrigger_tests::upstream::{Banner, Closing, Echo, GrpcEcho, Scripted, TcpEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes};

on_both_data_planes!(
    static_bootstrap_reaches_the_echo,
    grpc_keeps_its_trailers,
    tcp_keeps_a_half_close,
    protocols_are_chosen_in_the_handshake,
);

async fn static_bootstrap_reaches_the_echo(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let routes =
        route_config("routes", &[virtual_host("mesh", &["svc.mesh.local"], &[prefix_route("/", "a")])]);
    let listener = http_listener("ingress", port.address(), inline(routes));
    let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
    let mut sidecar = plane.launch()?.start(&bootstrap).await?;

    let response = h1::get(port.address(), "svc.mesh.local", "/hello?x=1").await?;
    assert_eq!(response.status, 200, "{response:?}");
    let seen = response.json()?;
    assert_eq!((&seen["upstream"], &seen["target"]), (&"a".into(), &"/hello?x=1".into()));
    assert_eq!(upstream.counts().requests(), 1);
    assert_eq!(h1::get(port.address(), "other.local", "/").await?.status, 404);

    sidecar.until_stat("http.ingress.downstream_rq_2xx", |count| count == 1).await?;
    sidecar.until_stat("cluster.a.upstream_rq_200", |count| count == 1).await?;
    assert_eq!(sidecar.get("/server_info").await?.json()?["state"], "LIVE");
    let status = sidecar.terminate(Duration::from_secs(20)).await?;
    assert_eq!(status.code(), Some(0));
    Ok(())
}

async fn grpc_keeps_its_trailers(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(GrpcEcho)?);
    let routes = route_config("routes", &[virtual_host("all", &["*"], &[prefix_route("/", "a")])]);
    let listener = http_listener("ingress", port.address(), inline(routes));
    let bootstrap = with_static(&[listener], &[over_http2(cluster("a", &[upstream.address()]))]);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;

    let reply = grpc::call(port.address(), "svc", "/echo.Echo/Both", &[b"one", b"two"]).await?;
    assert_eq!((reply.status, reply.trailers_only), (Some(0), false), "{reply:?}");
    assert_eq!(reply.messages, ["one", "two"]);
    let failure = grpc::call(port.address(), "svc", "/echo.Echo/Fail", &[b"one"]).await?;
    assert_eq!((failure.status, failure.trailers_only), (Some(0), true), "{failure:?}");
    Ok(())
}

async fn tcp_keeps_a_half_close(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(TcpEcho)?);
    let bootstrap =
        with_static(&[tcp_listener("raw", port.address(), "a")], &[cluster("a", &[upstream.address()])]);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;

    let mut connection = h1::Connection::open(port.address()).await?;
    connection.send("hello ").await?;
    connection.shut_down().await?;
    assert_eq!(connection.rest().await?, b"hello bye");
    Ok(())
}

async fn protocols_are_chosen_in_the_handshake(plane: DataPlane) -> Result<()> {
    let (port, upstream, authority) = (Port::lease()?, Upstream::start(Echo::new("a"))?, Authority::new()?);
    let routes = route_config("routes", &[virtual_host("all", &["*"], &[prefix_route("/", "a")])]);
    let mut listener = http_listener("ingress", port.address(), inline(routes));
    let identity = authority.issue(&["svc.mesh.local"])?;
    listener["filter_chains"][0]["transport_socket"] = terminate_tls(&identity, &["h2", "http/1.1"]);
    let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;

    let address = port.address();
    let dial = |protocols: &[&str]| {
        let config = authority.client(protocols, None);
        async move { tls::connect(&Place::Host, address, "svc.mesh.local", config?).await }
    };
    let stream = dial(&["http/1.1"]).await?;
    assert_eq!(tls::chosen_protocol(&stream).as_deref(), Some("http/1.1"));
    let response =
        h1::Connection::over(stream).exchange("GET / HTTP/1.1\r\nHost: svc.mesh.local\r\n\r\n").await?;
    assert_eq!(response.json()?["upstream"], "a");

    let stream = dial(&["h2", "http/1.1"]).await?;
    assert_eq!(tls::chosen_protocol(&stream).as_deref(), Some("h2"));
    let mut request = h2::get("svc.mesh.local", "/")?;
    *request.uri_mut() = "https://svc.mesh.local/".parse()?;
    let response = h2::Connection::over(stream).await?.exchange(request).await?;
    assert_eq!(response.json()?["upstream"], "a");
    Ok(())
}

#[tokio::test]
async fn echo_speaks_both_versions_and_does_as_told() -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let mut plain = h1::Connection::open(upstream.address()).await?;
    let told = "x-echo-status: 418\r\nx-echo-trailer: x-end=1\r\nTE: trailers\r\n";
    plain.send(format!("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{told}\r\nhi")).await?;
    let response = plain.response().await?;
    assert_eq!((response.status, &response.json()?["body"]), (418, &"hi".into()));

    let mut multiplexed = h2::Connection::open(upstream.address()).await?;
    let response = multiplexed.exchange(h2::get("a", "/q")?).await?;
    assert_eq!(response.json()?["version"], "HTTP/2");
    assert_eq!((upstream.counts().connections(), upstream.counts().requests()), (2, 2));
    Ok(())
}

#[tokio::test]
async fn scripted_and_closing_upstreams_show_exact_bytes() -> Result<()> {
    let scripted = Scripted::answering("HTTP/1.1 204 No Content\r\nX-Odd:  1\r\n\r\n");
    let transcripts = scripted.transcripts();
    let upstream = Upstream::start(scripted)?;
    let request = "GET /Exact HTTP/1.1\r\nhOsT: a\r\n\r\n";
    let response = h1::Connection::open(upstream.address()).await?.exchange(request).await?;
    assert_eq!(response.headers, [("X-Odd".to_owned(), "1".to_owned())]);
    assert_eq!(transcripts.all(), [request]);

    let closing = Upstream::start(Closing::WithinBody)?;
    let mut connection = h1::Connection::open(closing.address()).await?;
    let error = connection.exchange(request).await.map(|r| r.status).map_err(|e| e.to_string());
    assert_eq!(error, Err("connection closed 5 bytes early".to_owned()));
    Ok(())
}

#[tokio::test]
async fn banner_speaks_first() -> Result<()> {
    let upstream = Upstream::start(Banner("220 ready\r\n"))?;
    let mut connection = h1::Connection::open(upstream.address()).await?;
    assert_eq!(connection.exact_bytes(11).await?, b"220 ready\r\n");
    connection.send("EHLO\r\n").await?;
    assert_eq!(connection.exact_bytes(6).await?, b"EHLO\r\n");
    Ok(())
}

#[tokio::test]
async fn namespaces_are_separate_machines_with_a_cable_and_rules() -> Result<()> {
    let Some(client) = met(Namespace::create()) else { return Ok(()) };
    let server = Namespace::create()?;
    let (near, far): (IpAddr, IpAddr) = ("10.99.0.1".parse()?, "10.99.0.2".parse()?);
    client.connect((near, 24), &server, (far, 24))?;
    server.redirect_incoming("iptables", 8080, 15000)?;

    let listener = Place::Inside(server).listen((far, 15000).into())?;
    let upstream = Upstream::start_on(listener, Echo::new("inside"))?;
    let seen = h1::get_from(&Place::Inside(client), (far, 8080).into(), "a", "/").await?;
    assert_eq!(seen.json()?["upstream"], "inside");
    assert_eq!(upstream.counts().requests(), 1);
    Ok(())
}
