//! TCP proxies: connections, how they end, and hosts that cannot be reached.

use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_tests::bootstrap::{cluster, tcp_listener, with_static};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Behaviour, Closing, Counts, Slow, TcpEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::scene::{LIMIT, counted, never_ready};

on_both_data_planes!(tcp_connections, tcp_endings, hosts_out_of_reach);

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
        (&*format!("listener.127.0.0.1_{}.downstream_cx_total", port.number()), connections),
        (&*format!("listener.127.0.0.1_{}.downstream_cx_destroy", port.number()), connections),
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
    counted(&sidecar, upstream, &expected.map(|(name, count)| (name.to_owned(), count))).await
}

/// What a host does with a connection once it has got a byte.
struct Resetting;

impl Behaviour for Resetting {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, counts: Arc<Counts>) {
        let _ = stream.read_u8().await;
        counts.request();
        let _ = stream.set_zero_linger();
    }
}

const PER_CLUSTER: [&str; 8] = [
    "upstream_cx_total",
    "upstream_cx_destroy",
    "upstream_cx_destroy_local",
    "upstream_cx_destroy_remote",
    "upstream_cx_destroy_with_active_rq",
    "upstream_cx_destroy_local_with_active_rq",
    "upstream_cx_destroy_remote_with_active_rq",
    "upstream_rq_total",
];

fn of(name: &str, counts: [u64; 8]) -> Vec<(String, u64)> {
    let names = PER_CLUSTER.iter().map(|stat| format!("cluster.{name}.{stat}"));
    names.zip(counts).collect()
}

/// A sidecar with a TCP proxy and a cluster for each of these names.
async fn proxies(
    plane: DataPlane,
    stories: &[(&str, SocketAddr)],
    edit: impl Fn(&str, &mut Value, &mut Value),
) -> Result<(Vec<Port>, Sidecar)> {
    let ports: Vec<Port> = stories.iter().map(|_| Port::lease()).collect::<std::result::Result<_, _>>()?;
    let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
    for ((name, to), port) in stories.iter().zip(&ports) {
        let (mut listener, mut cluster) = (tcp_listener(name, port.address(), name), cluster(name, &[*to]));
        edit(name, &mut listener["filter_chains"][0]["filters"][0]["typed_config"], &mut cluster);
        listeners.push(listener);
        clusters.push(cluster);
    }
    Ok((ports, plane.launch()?.start(&with_static(&listeners, &clusters)).await?))
}

/// Connections that are reset by the client or by the host, closed by the host, or idle for too long.
async fn tcp_endings(plane: DataPlane) -> Result<()> {
    let (echo, closing) = (Upstream::start(TcpEcho)?, Upstream::start(Closing::BeforeResponse)?);
    let resetting = Upstream::start(Resetting)?;
    let stories = [
        ("reset", echo.address()),
        ("idle", echo.address()),
        ("closing", closing.address()),
        ("resetting", resetting.address()),
    ];
    let (ports, sidecar) = proxies(plane, &stories, |name, proxy, _| {
        if name == "idle" {
            proxy["idle_timeout"] = json!("0.3s");
        }
    })
    .await?;
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
    let mut expected = [
        of("reset", [1, 1, 1, 0, 1, 1, 0, 1]),
        of("idle", [1, 1, 1, 0, 1, 1, 0, 1]),
        of("closing", [1, 1, 1, 0, 1, 1, 0, 1]),
        of("resetting", [1, 1, 0, 1, 1, 0, 1, 1]),
    ]
    .concat();
    for (name, _) in &stories {
        expected.push((format!("tcp.{name}.downstream_cx_total"), 1));
        expected.push((format!("tcp.{name}.idle_timeout"), u64::from(*name == "idle")));
    }
    counted(&sidecar, (echo, closing, resetting), &expected).await
}

/// Hosts that refuse connections, as often as they may be tried; and one that never gets ready.
async fn hosts_out_of_reach(plane: DataPlane) -> Result<()> {
    let silent = Slow { before_head: LIMIT, between_bytes: LIMIT };
    let (dead, silent) = (Port::lease()?, Upstream::start(silent)?);
    let stories = [("once", dead.address()), ("thrice", dead.address()), ("silent", silent.address())];
    let (ports, sidecar) = proxies(plane, &stories, |name, proxy, cluster| match name {
        "thrice" => proxy["max_connect_attempts"] = json!(3),
        "silent" => never_ready(cluster),
        _ => {}
    })
    .await?;
    for port in &ports {
        let mut stream = TcpStream::connect(port.address()).await?;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    let mut expected = [
        of("once", [1, 1, 0, 1, 0, 0, 0, 0]),
        of("thrice", [3, 3, 0, 3, 0, 0, 0, 0]),
        of("silent", [1, 1, 1, 0, 0, 0, 0, 0]),
    ]
    .concat();
    for (name, tries, late) in [("once", 1, 0), ("thrice", 3, 0), ("silent", 1, 1)] {
        for (stat, count) in [
            ("upstream_cx_connect_fail", tries),
            ("upstream_cx_connect_timeout", late),
            ("upstream_cx_connect_attempts_exceeded", 1),
            ("upstream_rq_pending_total", tries),
            ("upstream_rq_pending_failure_eject", tries),
        ] {
            expected.push((format!("cluster.{name}.{stat}"), count));
        }
    }
    counted(&sidecar, silent, &expected).await
}
