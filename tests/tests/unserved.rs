//! Requests that come to nothing: what the access log and the statistics say of them, over both data planes.

use std::net::SocketAddr;
use std::time::Duration;

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1::{self, Connection};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Scripted, Slow, Upstream};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

on_both_data_planes!(
    refused_requests_are_logged,
    refused_requests_are_counted,
    clients_that_leave_before_there_is_a_connection,
    clients_that_leave_before_the_answer,
    an_upgrade_that_is_refused,
    a_cluster_without_hosts,
    requests_per_connection,
);

const LIMIT: Duration = Duration::from_secs(20);

struct Scene {
    port: Port,
    sidecar: Sidecar,
    log: AccessLog,
}

impl Scene {
    /// One route to the cluster `a`.
    async fn start(plane: DataPlane, hosts: &[SocketAddr]) -> Result<Self> {
        Self::start_with(plane, hosts, |_| {}).await
    }

    async fn start_with(
        plane: DataPlane,
        hosts: &[SocketAddr],
        change: impl FnOnce(&mut Value),
    ) -> Result<Self> {
        let port = Port::lease()?;
        let log = AccessLog::of(&[
            "REQ(:METHOD)",
            "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)",
            "PROTOCOL",
            "RESPONSE_CODE",
            "RESPONSE_FLAGS",
            "RESPONSE_CODE_DETAILS",
            "REQ(:AUTHORITY)",
            "REQ(USER-AGENT)",
        ])?;
        let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
        let mut listener = http_listener("ingress", port.address(), inline(routes));
        manager_of(&mut listener)["access_log"] = log.config();
        let mut bootstrap = with_static(&[listener], &[cluster("a", hosts)]);
        change(&mut bootstrap);
        let sidecar = plane.launch()?.start(&bootstrap).await?;
        Ok(Self { port, sidecar, log })
    }

    /// Sends this, and reads the answer unless there is to be none.
    async fn ask(&self, bytes: &str) -> Result<u16> {
        let mut client = Connection::open(self.port.address()).await?;
        client.send(bytes).await?;
        let method = bytes.split(' ').next().unwrap_or_default();
        Ok(client.response_to(method).await?.status)
    }

    /// Waits for these counters. Names are below `http.ingress.` unless they begin with a manager or a cluster.
    async fn counted(&self, expected: &[(&str, u64)]) -> Result<()> {
        for (name, count) in expected {
            let full = match name.split_once('.') {
                Some(_) => (*name).to_owned(),
                None => format!("http.ingress.{name}"),
            };
            self.sidecar.until_stat(&full, |value| value == *count).await?;
        }
        Ok(())
    }
}

async fn refused_requests_are_logged(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene = Scene::start(plane, &[upstream.address()]).await?;
    let cases = [
        ("BAD\r\n\r\n", "-|-|HTTP/1.1|400|DPE|http1.codec_error|-|-"),
        ("GET /app HTTP/1.0\r\nHost: a\r\n\r\n", "-|-|HTTP/1.1|426|DPE|low_version|-|-"),
        (
            "CONNECT a.b:80 HTTP/1.1\r\nHost: a.b:80\r\n\r\n",
            "CONNECT|-|HTTP/1.1|404|NR|route_not_found|a.b:80|-",
        ),
        (
            "GET /app?x=1 HTTP/1.1\r\nUser-Agent: u\r\n\r\n",
            "GET|/app?x=1|HTTP/1.1|400|-|missing_host_header|-|u",
        ),
        (
            "GET /app?q#f HTTP/1.1\r\nHost: a\r\nUser-Agent: u\r\n\r\n",
            "GET|/app?q#f|HTTP/1.1|400|-|path_normalization_failed|a|u",
        ),
    ];
    for (index, (request, line)) in cases.into_iter().enumerate() {
        let status = scene.ask(request).await?;
        assert!(line.contains(&format!("|{status}|")), "{request}: {status}");
        assert_eq!(scene.log.lines(index + 1).await?[index], line, "{request}");
    }
    Ok(())
}

async fn refused_requests_are_counted(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene = Scene::start(plane, &[upstream.address()]).await?;
    for request in ["GET / HTTP/1.1\r\n\r\n", "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", "BAD\r\n\r\n"] {
        assert_eq!(scene.ask(request).await?, 400, "{request}");
    }
    scene
        .counted(&[
            ("downstream_rq_4xx", 3),
            ("downstream_cx_protocol_error", 1),
            ("downstream_rq_failed_path_normalization", 1),
            ("cluster.a.upstream_rq_total", 0),
        ])
        .await
}

/// A listener whose queue is full: connections to it stay under way.
struct NobodyAccepts {
    listener: TcpListener,
    _queued: Vec<TcpStream>,
    /// They have a place before anybody else, should there be one.
    _waiting: JoinSet<std::io::Result<TcpStream>>,
}

impl NobodyAccepts {
    /// As asked for; every kernel takes one more, and some take two.
    const QUEUE: u32 = 1;

    async fn start() -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let listener = socket.listen(Self::QUEUE)?;
        let at = listener.local_addr()?;
        let mut queued = Vec::new();
        for _ in 0..=Self::QUEUE {
            queued.push(wait::within("a place", LIMIT, TcpStream::connect(at)).await??);
        }
        let waiting = (0..4).map(|_| TcpStream::connect(at)).collect();
        Ok(Self { listener, _queued: queued, _waiting: waiting })
    }
}

async fn clients_that_leave_before_there_is_a_connection(plane: DataPlane) -> Result<()> {
    let full = NobodyAccepts::start().await?;
    let patient = |bootstrap: &mut Value| {
        bootstrap["static_resources"]["clusters"][0]["connect_timeout"] = json!("60s");
    };
    let scene = Scene::start_with(plane, &[full.listener.local_addr()?], patient).await?;
    for left in 1..=2 {
        let mut client = Connection::open(scene.port.address()).await?;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        scene.counted(&[("downstream_rq_active", 1), ("cluster.a.upstream_rq_pending_active", 1)]).await?;
        drop(client);
        scene.counted(&[("downstream_rq_rx_reset", left), ("downstream_rq_active", 0)]).await?;
    }
    scene
        .counted(&[
            ("cluster.a.upstream_rq_cancelled", 2),
            ("cluster.a.upstream_rq_pending_active", 0),
            ("cluster.a.upstream_rq_total", 0),
            ("downstream_cx_destroy_remote_active_rq", 2),
        ])
        .await
}

async fn clients_that_leave_before_the_answer(plane: DataPlane) -> Result<()> {
    let slow = Upstream::start(Slow { before_head: LIMIT, between_bytes: Duration::ZERO })?;
    let scene = Scene::start(plane, &[slow.address()]).await?;
    for left in 1..=3 {
        let mut client = Connection::open(scene.port.address()).await?;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        let arrived = || std::future::ready((slow.counts().requests() == left).then_some(()));
        wait::until("the request", LIMIT, arrived).await?;
        drop(client);
        scene.counted(&[("downstream_rq_rx_reset", left)]).await?;
    }
    scene.counted(&[("cluster.a.upstream_rq_cancelled", 0), ("cluster.a.upstream_rq_total", 3)]).await
}

async fn an_upgrade_that_is_refused(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene = Scene::start(plane, &[upstream.address()]).await?;
    let upgrade = "GET /app HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(scene.ask(upgrade).await?, 403);
    scene
        .counted(&[
            ("downstream_rq_4xx", 1),
            ("downstream_rq_ws_on_non_ws_route", 1),
            ("rq_total", 0),
            ("cluster.a.upstream_rq_403", 0),
            ("cluster.a.upstream_rq_completed", 0),
            ("cluster.a.external.upstream_rq_403", 0),
        ])
        .await
}

async fn a_cluster_without_hosts(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, &[]).await?;
    for _ in 0..2 {
        assert_eq!(h1::get(scene.port.address(), "a", "/").await?.status, 503);
    }
    scene
        .counted(&[
            ("cluster.a.lb_healthy_panic", 2),
            ("cluster.a.upstream_cx_none_healthy", 2),
            ("cluster.a.membership_change", 0),
            ("cluster.a.upstream_rq_maintenance_mode", 0),
            ("cluster_manager.cluster_updated", 0),
            ("listener_manager.workers_started", 1),
        ])
        .await
}

async fn requests_per_connection(plane: DataPlane) -> Result<()> {
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let closing = Upstream::start(Scripted::answering(answer))?;
    let often = |bootstrap: &mut Value| bootstrap["stats_flush_interval"] = json!("0.1s");
    let scene = Scene::start_with(plane, &[closing.address()], often).await?;
    for _ in 0..2 {
        assert_eq!(h1::get(scene.port.address(), "a", "/").await?.status, 200);
    }
    scene.counted(&[("cluster.a.upstream_cx_destroy", 2)]).await?;
    let name = "envoy_cluster_upstream_rq_per_cx";
    let counted = || async {
        let page = scene.sidecar.get("/stats/prometheus").await.ok()?.text();
        let of_a = |suffix: &str| {
            let line = format!("{name}_{suffix}{{envoy_cluster_name=\"a\"}} ");
            page.lines().find_map(|text| text.strip_prefix(&line)?.parse::<f64>().ok())
        };
        (of_a("count") == Some(2.0)).then(|| of_a("sum")).flatten()
    };
    let sum = wait::until("two connections", LIMIT, counted).await?;
    // Envoy's histograms are no more exact than this.
    assert!((sum - 2.0).abs() < 0.2, "{sum}");
    Ok(())
}
