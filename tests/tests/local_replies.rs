//! What a client and the access log are told when no upstream answered: status, response flags, details.

use std::net::SocketAddr;
use std::time::Duration;

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1::{self, Connection, Response};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Closing, Echo, Garbage, Slow, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

on_both_data_planes!(
    no_route,
    no_cluster,
    no_healthy_host,
    unreachable_host,
    upstream_that_closes,
    upstream_that_speaks_no_http,
    upstream_that_is_too_slow,
    upstream_that_stops_within_its_body,
    header_flood,
    garbage_instead_of_a_request,
    upgrade_that_is_not_allowed,
    plaintext_where_tls_is_required,
);

/// A sidecar with one route to cluster `a`, and its access log.
struct Scene {
    port: Port,
    log: AccessLog,
    sidecar: Sidecar,
}

impl Scene {
    async fn start(plane: DataPlane, cluster: Value) -> Result<Self> {
        Self::start_with(plane, cluster, |_| {}).await
    }

    async fn start_with(plane: DataPlane, cluster: Value, change: impl FnOnce(&mut Value)) -> Result<Self> {
        let (port, log) =
            (Port::lease()?, AccessLog::of(&["RESPONSE_CODE", "RESPONSE_FLAGS", "RESPONSE_CODE_DETAILS"])?);
        let routes = route_config("routes", &[virtual_host("mesh", &["svc"], &[prefix_route("/", "a")])]);
        let mut listener = http_listener("ingress", port.address(), inline(routes));
        let manager = manager_of(&mut listener);
        manager["access_log"] = log.config();
        change(manager);
        let sidecar = plane.launch()?.start(&with_static(&[listener], &[cluster])).await?;
        Ok(Self { port, log, sidecar })
    }

    async fn get(&self) -> Result<Response> {
        h1::get(self.port.address(), "svc", "/path?q=1").await
    }

    /// The first line of the access log.
    async fn logged(&self) -> Result<String> {
        Ok(self.log.lines(1).await?.swap_remove(0))
    }
}

/// Nobody listens there, nor will.
fn nobody() -> Result<(Port, SocketAddr)> {
    let port = Port::lease()?;
    let address = port.address();
    Ok((port, address))
}

async fn no_route(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, cluster("a", &[])).await?;
    let response = h1::get(scene.port.address(), "other", "/").await?;
    assert_eq!((response.status, response.text().as_str()), (404, ""));
    assert_eq!(scene.logged().await?, "404|NR|route_not_found");
    assert_eq!(scene.sidecar.stat("http.ingress.no_route").await?, 1);
    Ok(())
}

async fn no_cluster(plane: DataPlane) -> Result<()> {
    let to_nowhere = |manager: &mut Value| {
        manager["route_config"]["validate_clusters"] = json!(false);
        manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["cluster"] = json!("missing");
    };
    let scene = Scene::start_with(plane, cluster("a", &[]), to_nowhere).await?;
    let response = scene.get().await?;
    assert_eq!((response.status, response.text().as_str()), (503, ""));
    assert_eq!(scene.logged().await?, "503|NC|cluster_not_found");
    Ok(())
}

async fn no_healthy_host(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, cluster("a", &[])).await?;
    let response = scene.get().await?;
    assert_eq!((response.status, response.text().as_str()), (503, "no healthy upstream"));
    assert_eq!(scene.logged().await?, "503|UH|no_healthy_upstream");
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_cx_none_healthy").await?, 1);
    Ok(())
}

async fn unreachable_host(plane: DataPlane) -> Result<()> {
    let (_port, address) = nobody()?;
    let scene = Scene::start(plane, cluster("a", &[address])).await?;
    let response = scene.get().await?;
    let told =
        "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure";
    assert_eq!((response.status, response.text().as_str()), (503, told));
    let details = "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}";
    assert_eq!(scene.logged().await?, format!("503|UF|{details}"));
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_cx_connect_fail").await?, 1);
    Ok(())
}

async fn upstream_that_closes(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Closing::BeforeResponse)?;
    let scene = Scene::start(plane, cluster("a", &[upstream.address()])).await?;
    let response = scene.get().await?;
    let told =
        "upstream connect error or disconnect/reset before headers. reset reason: connection termination";
    assert_eq!((response.status, response.text().as_str()), (503, told));
    assert_eq!(
        scene.logged().await?,
        "503|UC|upstream_reset_before_response_started{connection_termination}"
    );
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_rq_503").await?, 1);
    Ok(())
}

async fn upstream_that_speaks_no_http(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Garbage)?;
    let scene = Scene::start(plane, cluster("a", &[upstream.address()])).await?;
    assert_eq!(scene.get().await?.status, 502);
    assert_eq!(scene.logged().await?, "502|UPE|upstream_reset_before_response_started{protocol_error}");
    Ok(())
}

async fn upstream_that_is_too_slow(plane: DataPlane) -> Result<()> {
    let slow = Slow { before_head: Duration::from_secs(60), between_bytes: Duration::ZERO };
    let upstream = Upstream::start(slow)?;
    let hurry = |manager: &mut Value| {
        manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["timeout"] = json!("0.2s");
    };
    let scene = Scene::start_with(plane, cluster("a", &[upstream.address()]), hurry).await?;
    let response = scene.get().await?;
    assert_eq!((response.status, response.text().as_str()), (504, "upstream request timeout"));
    assert_eq!(scene.logged().await?, "504|UT|response_timeout");
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_rq_timeout").await?, 1);
    Ok(())
}

async fn upstream_that_stops_within_its_body(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Closing::WithinBody)?;
    let scene = Scene::start(plane, cluster("a", &[upstream.address()])).await?;
    let cut = scene.get().await.map(|response| response.status).map_err(|error| error.to_string());
    assert_eq!(cut, Err("connection closed 5 bytes early".to_owned()));
    let line = scene.logged().await?;
    assert_eq!(line, "200|UPE|upstream_reset_after_response_started{protocol_error}");
    Ok(())
}

async fn header_flood(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, cluster("a", &[])).await?;
    let mut connection = Connection::open(scene.port.address()).await?;
    let flood = format!("GET / HTTP/1.1\r\nHost: svc\r\nX-Long: {}\r\n\r\n", "x".repeat(100 * 1024));
    let response = connection.exchange(flood).await?;
    assert_eq!((response.status, response.header("connection")), (431, Some("close")));
    assert!(connection.rest().await?.is_empty());
    let flags = scene.logged().await?;
    assert_eq!(flags, "431|DPE|http1.headers_too_large");
    assert_eq!(scene.sidecar.stat("http.ingress.downstream_cx_protocol_error").await?, 1);
    Ok(())
}

async fn garbage_instead_of_a_request(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, cluster("a", &[])).await?;
    let mut connection = Connection::open(scene.port.address()).await?;
    let response = connection.exchange(b"\x16\x03\x01\x02\x00 no request\r\n\r\n").await?;
    assert_eq!((response.status, response.header("connection")), (400, Some("close")));
    assert!(connection.rest().await?.is_empty());
    let line = scene.logged().await?;
    assert!(line.starts_with("400|DPE|http1."), "{line}");
    assert_eq!(scene.sidecar.stat("http.ingress.downstream_cx_protocol_error").await?, 1);
    Ok(())
}

async fn upgrade_that_is_not_allowed(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene = Scene::start(plane, cluster("a", &[upstream.address()])).await?;
    let mut connection = Connection::open(scene.port.address()).await?;
    let upgrade = "GET / HTTP/1.1\r\nHost: svc\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(connection.exchange(upgrade).await?.status, 403);
    assert_eq!(scene.logged().await?, "403|-|upgrade_failed");
    assert_eq!(upstream.counts().requests(), 0);
    Ok(())
}

async fn plaintext_where_tls_is_required(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let require = |manager: &mut Value| {
        manager["route_config"]["virtual_hosts"][0]["require_tls"] = json!("ALL");
        let mut outside = virtual_host("outside", &["out"], &[prefix_route("/", "a")]);
        outside["require_tls"] = json!("EXTERNAL_ONLY");
        let hosts = manager["route_config"]["virtual_hosts"].as_array_mut();
        hosts.into_iter().for_each(|hosts| hosts.push(outside.clone()));
    };
    let scene = Scene::start_with(plane, cluster("a", &[upstream.address()]), require).await?;
    let response = scene.get().await?;
    assert_eq!((response.status, response.header("location")), (301, Some("https://svc/path?q=1")));
    assert_eq!(scene.logged().await?, "301|-|direct_response");

    // What a proxy in front took off counts as TLS.
    let told = "GET / HTTP/1.1\r\nHost: svc\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n";
    let mut connection = Connection::open(scene.port.address()).await?;
    assert_eq!(connection.exchange(told).await?.status, 200);

    // One internal address makes the request internal.
    let inside = "GET / HTTP/1.1\r\nHost: out\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: close\r\n\r\n";
    let mut connection = Connection::open(scene.port.address()).await?;
    assert_eq!(connection.exchange(inside).await?.status, 301);
    assert_eq!(h1::get(scene.port.address(), "out", "/").await?.status, 301);
    let page = scene.sidecar.get("/stats?filter=rq_(redirect|direct_response)").await?.text();
    assert!(page.contains("http.ingress.rq_direct_response: 3\n"), "{page}");
    Ok(())
}
