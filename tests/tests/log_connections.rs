//! A listener's own access log: one line for each connection, also for those that no filter has ever seen.

use std::net::SocketAddr;

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, over_http2, prefix_route, route_config, tcp_listener, terminate_tls,
    virtual_host, with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::log_service::LogService;
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{Authority, Identity, connect};
use outrigger_tests::upstream::{Echo, TcpEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use outrigger_xds_protos::v3::accesslog_data::AccessLogCommon;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

on_both_data_planes!(
    connections_with_requests,
    connections_whose_requests_go_wrong,
    resets_between_requests,
    tcp_sessions,
    sessions_without_a_host,
    connections_that_no_chain_serves,
    handshakes_that_fail,
    connections_that_filters_refuse,
    lines_by_moment,
    entries_for_a_service,
);

const LOGGED: &[&str] = &[
    "RESPONSE_FLAGS",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "CONNECTION_TERMINATION_DETAILS",
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "PROTOCOL",
    "ACCESS_LOG_TYPE",
    "LISTENER_NAME",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
];
const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// One listener with its own log and that of its terminal filter.
struct Scene {
    at: SocketAddr,
    listener: AccessLog,
    durations: AccessLog,
    filter: AccessLog,
    _port: Port,
    _sidecar: Sidecar,
}

impl Scene {
    async fn start(plane: DataPlane, mut listener: Value, port: Port, hosts: &[SocketAddr]) -> Result<Self> {
        let (own, filter) = (AccessLog::of(LOGGED)?, AccessLog::of(LOGGED)?);
        let durations = AccessLog::of(&["DURATION"])?;
        listener["access_log"] = json!([durations.config()[0], own.config()[0]]);
        terminal(&mut listener)["access_log"] = filter.config();
        let sidecar = plane.launch()?.start(&with_static(&[listener], &[cluster("a", hosts)])).await?;
        Ok(Self { at: port.address(), listener: own, durations, filter, _port: port, _sidecar: sidecar })
    }

    async fn connect(&self) -> Result<Connection> {
        Connection::open(self.at).await
    }

    /// Connects, sends nothing and waits for the end.
    async fn wait_for_end(&self) -> Result<()> {
        let _ = self.connect().await?.rest().await;
        Ok(())
    }

    /// Milliseconds that the listener's first line tells.
    fn duration(&self) -> Result<u64> {
        let text = self.durations.lines_now().first().cloned().ok_or("no line")?;
        Ok(text.parse()?)
    }

    /// The listener's first line. What Envoy would print in BoringSSL's words is cut to its beginning.
    async fn line(&self) -> Result<String> {
        let lines = self.listener.lines(1).await?;
        let fields: Vec<_> = lines[0].splitn(LOGGED.len(), '|').collect();
        let (reason, before) = fields.split_last().ok_or("no fields")?;
        assert!(!reason.contains(' '), "{reason}");
        Ok(format!("{}|{}", before.join("|"), reason.split(':').next().unwrap_or_default()))
    }
}

/// The last filter of the only chain.
fn terminal(listener: &mut Value) -> &mut Value {
    let filters = listener["filter_chains"][0]["filters"].as_array_mut().into_iter().flatten();
    filters.last().map(|filter| &mut filter["typed_config"]).unwrap_or_else(|| unreachable!("no filter"))
}

/// Which listener a case is about.
#[derive(Clone, Copy)]
enum Kind {
    Http,
    Tcp,
}

impl Kind {
    fn listener(self, at: SocketAddr) -> Value {
        let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
        match self {
            Kind::Http => http_listener("in", at, inline(routes)),
            Kind::Tcp => tcp_listener("in", at, "a"),
        }
    }

    /// A running listener, changed beforehand, before one host.
    async fn scene(self, plane: DataPlane, change: impl FnOnce(&mut Value)) -> Result<(Scene, Upstream)> {
        let upstream = match self {
            Kind::Http => Upstream::start(Echo::new("a"))?,
            Kind::Tcp => Upstream::start(TcpEcho)?,
        };
        let port = Port::lease()?;
        let mut listener = self.listener(port.address());
        change(&mut listener);
        Ok((Scene::start(plane, listener, port, &[upstream.address()]).await?, upstream))
    }
}

/// Bytes are those of the connection, with the heads.
async fn connections_with_requests(plane: DataPlane) -> Result<()> {
    let (scene, _upstream) = Kind::Http.scene(plane, |_| ()).await?;
    let mut connection = scene.connect().await?;
    let mut sent = 0;
    for _ in 0..2 {
        let response = connection.exchange(GET).await?;
        sent += response.head.len() + response.body.len();
    }
    drop(connection);
    let begins = format!("-|0|-|-|{}|", 2 * GET.len());
    let line = scene.line().await?;
    assert!(line.starts_with(&begins) && line.ends_with("|HTTP/1.1|NotSet|in|127.0.0.1|-|-"), "{line}");
    let told: usize = line.split('|').nth(5).ok_or("no bytes")?.parse()?;
    assert!((sent..sent + 16).contains(&told), "{told} of {sent}");
    assert_eq!(scene.filter.lines(2).await?.len(), 2);
    Ok(())
}

async fn connections_whose_requests_go_wrong(plane: DataPlane) -> Result<()> {
    let broken = "bad bad\r\n\r\n";
    let (scene, _upstream) = Kind::Http.scene(plane, |_| ()).await?;
    let mut connection = scene.connect().await?;
    connection.send(broken).await?;
    connection.response().await?;
    drop(connection);
    let line = scene.line().await?;
    assert!(line.starts_with("DPE|0|-|-|11|") && line.contains("|-|NotSet|in|127.0.0.1|"), "{line}");

    // The same over HTTP/2: a frame of settings that are no settings.
    let (scene, _upstream) = Kind::Http.scene(plane, |_| ()).await?;
    let mut connection = scene.connect().await?;
    connection.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\u{5}\u{4}\0\0\0\0\0abcde").await?;
    let _ = connection.rest().await;
    let line = scene.line().await?;
    assert!(line.starts_with("DPE|0|-|-|38|") && line.contains("|-|NotSet|in|127.0.0.1|"), "{line}");

    // Half a head: the request has begun, for connection managers too.
    let (scene, _upstream) = Kind::Http.scene(plane, |_| ()).await?;
    let mut connection = scene.connect().await?;
    connection.send("GET / HTTP/1.1\r\nho").await?;
    drop(connection);
    assert_eq!(scene.line().await?, "-|0|-|-|18|0|HTTP/1.1|NotSet|in|127.0.0.1|-|-");
    let lines = scene.filter.lines(1).await?;
    assert_eq!(lines, ["DC|0|downstream_remote_disconnect|-|0|0|HTTP/1.1|DownstreamEnd|in|127.0.0.1|-|-"]);
    assert_eq!(scene._sidecar.stat("http.in.downstream_rq_rx_reset").await?, 1);
    assert_eq!(scene._sidecar.stat("http.in.downstream_cx_destroy_remote_active_rq").await?, 1);

    // A head that does not come in time is answered.
    let slow = |listener: &mut Value| terminal(listener)["request_headers_timeout"] = json!("0.3s");
    let (scene, _upstream) = Kind::Http.scene(plane, slow).await?;
    let mut connection = scene.connect().await?;
    connection.send("GET / HTTP/1.1\r\nho").await?;
    let response = connection.response().await?;
    assert_eq!((response.status, &*response.text()), (408, "request header timeout"));
    drop(connection);
    let line = scene.line().await?;
    assert!(line.starts_with("-|0|-|-|18|171|HTTP/1.1|NotSet|"), "{line}");
    let lines = scene.filter.lines(1).await?;
    assert_eq!(lines, ["-|408|request_header_timeout|-|0|22|HTTP/1.1|DownstreamEnd|in|127.0.0.1|-|-"]);
    Ok(())
}

/// A client that resets what is idle has begun nothing.
async fn resets_between_requests(plane: DataPlane) -> Result<()> {
    let http1 = |listener: &mut Value| terminal(listener)["codec_type"] = json!("HTTP1");
    let (scene, _upstream) = Kind::Http.scene(plane, http1).await?;
    for requests in [0, 1] {
        let mut stream = tokio::net::TcpStream::connect(scene.at).await?;
        for _ in 0..requests {
            stream.write_all(GET.as_bytes()).await?;
            let read = stream.read(&mut [0; 4096]).await?;
            assert!(read > 0);
        }
        stream.set_zero_linger()?;
    }
    assert_eq!(scene.listener.lines(2).await?.len(), 2);
    assert_eq!(scene.filter.lines(1).await?.len(), 1);
    assert_eq!(scene._sidecar.stat("http.in.downstream_rq_rx_reset").await?, 0);
    assert_eq!(scene._sidecar.stat("http.in.downstream_rq_total").await?, 1);
    assert_eq!(scene._sidecar.stat("http.in.downstream_cx_destroy_remote_active_rq").await?, 0);
    Ok(())
}

async fn tcp_sessions(plane: DataPlane) -> Result<()> {
    let (scene, _upstream) = Kind::Tcp.scene(plane, |_| ()).await?;
    let mut connection = scene.connect().await?;
    connection.send("hello").await?;
    connection.exact_bytes(5).await?;
    drop(connection);
    let line = scene.line().await?;
    // The host says "bye" at the end.
    assert_eq!(line, "-|0|-|-|5|8|-|NotSet|in|127.0.0.1|-|-");
    assert_eq!(scene.filter.lines(1).await?, [line.replace("NotSet", "TcpConnectionEnd")]);

    let idle = |listener: &mut Value| terminal(listener)["idle_timeout"] = json!("0.3s");
    let (scene, _upstream) = Kind::Tcp.scene(plane, idle).await?;
    scene.wait_for_end().await?;
    assert_eq!(scene.line().await?, "-|0|-|-|0|0|-|NotSet|in|127.0.0.1|tcp_session_idle_timeout|-");
    Ok(())
}

/// A reason instead of details, as in Envoy, and the flags in its order.
async fn sessions_without_a_host(plane: DataPlane) -> Result<()> {
    let nobody = Port::lease()?;
    for (hosts, cluster, told) in [
        (vec![], "a", "UH|0|-|-|0|0|-|NotSet|in|127.0.0.1|tcp_initializion_failure:1|-"),
        (vec![nobody.address()], "a", "UF,URX|0|-|-|0|0|-|NotSet|in|127.0.0.1|tcp_initializion_failure:0|-"),
    ] {
        let port = Port::lease()?;
        let scene = Scene::start(plane, tcp_listener("in", port.address(), cluster), port, &hosts).await?;
        scene.wait_for_end().await?;
        assert_eq!(scene.line().await?, told);
        assert_eq!(scene.filter.lines(1).await?, [told.replace("NotSet", "TcpConnectionEnd")]);
    }
    Ok(())
}

/// No filter sees these, and no filter logs them.
async fn connections_that_no_chain_serves(plane: DataPlane) -> Result<()> {
    for kind in [Kind::Http, Kind::Tcp] {
        let unmatched = |listener: &mut Value| {
            listener["filter_chains"][0]["filter_chain_match"] = json!({"destination_port": 1});
        };
        let (scene, _upstream) = kind.scene(plane, unmatched).await?;
        scene.wait_for_end().await?;
        assert_eq!(scene.line().await?, "NR|0|filter_chain_not_found|-|0|0|-|NotSet|in|127.0.0.1|-|-");

        let inspector = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
        let inspected = |listener: &mut Value| {
            listener["listener_filters_timeout"] = json!("0.2s");
            listener["listener_filters"] = json!([{"name": "i", "typed_config": {"@type": inspector}}]);
        };
        let (scene, _upstream) = kind.scene(plane, inspected).await?;
        scene.wait_for_end().await?;
        assert_eq!(scene.line().await?, "-|0|-|-|0|0|-|NotSet|in|127.0.0.1|-|-");
        assert!(scene.filter.lines_now().is_empty());
    }
    Ok(())
}

fn secured(listener: &mut Value, identity: &Identity, authority: Option<&Authority>) {
    let mut socket = terminate_tls(identity, &["http/1.1"]);
    if let Some(authority) = authority {
        let config = &mut socket["typed_config"];
        config["require_client_certificate"] = json!(true);
        config["common_tls_context"]["validation_context"] =
            json!({"trusted_ca": {"inline_string": authority.certificate()}});
    }
    listener["filter_chains"][0]["transport_socket"] = socket;
}

/// Under a TCP proxy its own log tells of them too.
async fn handshakes_that_fail(plane: DataPlane) -> Result<()> {
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    let (identity, foreign) = (authority.issue(&["localhost"])?, stranger.issue(&["x"])?);
    let failed = "-|0|-|-|0|0|-|NotSet|in|127.0.0.1|-|TLS_error";
    for kind in [Kind::Http, Kind::Tcp] {
        let (scene, _upstream) = kind.scene(plane, |listener| secured(listener, &identity, None)).await?;
        let mut connection = scene.connect().await?;
        connection.send(GET).await?;
        let _ = connection.rest().await;
        assert_eq!(scene.line().await?, failed, "plaintext");
        let logs_itself = matches!(kind, Kind::Tcp);
        if logs_itself {
            let lines = scene.filter.lines(1).await?;
            assert!(lines[0].contains("|TcpConnectionEnd|in|127.0.0.1|-|TLS_error:"), "{lines:?}");
        }

        for identity_shown in [None, Some(&foreign)] {
            let mutual = |listener: &mut Value| secured(listener, &identity, Some(&authority));
            let (scene, _upstream) = kind.scene(plane, mutual).await?;
            let client = authority.client(&["http/1.1"], identity_shown)?;
            if let Ok(stream) = connect(&Place::Host, scene.at, "localhost", client).await {
                let _ = Connection::over(stream).rest().await;
            }
            assert_eq!(scene.line().await?, failed, "{}", identity_shown.is_some());
        }

        // The client says nothing of why it goes.
        let (scene, _upstream) = kind.scene(plane, |listener| secured(listener, &identity, None)).await?;
        drop(scene.connect().await?);
        assert_eq!(scene.line().await?, "-|0|-|-|0|0|-|NotSet|in|127.0.0.1|-|-");

        let slow = |listener: &mut Value| {
            secured(listener, &identity, None);
            listener["filter_chains"][0]["transport_socket_connect_timeout"] = json!("0.3s");
        };
        let (scene, _upstream) = kind.scene(plane, slow).await?;
        scene.wait_for_end().await?;
        let late =
            "-|0|-|transport socket timeout was reached|0|0|-|NotSet|in|127.0.0.1|transport_socket_timeout|-";
        assert_eq!(scene.line().await?, late);
        assert!(
            (200..5_000).contains(&scene.duration()?),
            "from when it was accepted: {}",
            scene.duration()?
        );
    }
    Ok(())
}

/// Puts a filter before the terminal one.
fn guard(listener: &mut Value, kind: &str, mut config: Value) {
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.network.{kind}"));
    let filters = &mut listener["filter_chains"][0]["filters"];
    let terminal = filters[0].take();
    *filters = json!([{"name": "guard", "typed_config": config}, terminal]);
}

async fn connections_that_filters_refuse(plane: DataPlane) -> Result<()> {
    let anyone = json!({"permissions": [{"any": true}], "principals": [{"any": true}]});
    let rules = json!({"stat_prefix": "x", "rules": {"action": "DENY", "policies": {"p": anyone}}});
    let bucket = json!({"stat_prefix": "x", "token_bucket": {"max_tokens": 1, "fill_interval": "3600s"}});
    let limit = json!({"stat_prefix": "x", "max_connections": 1});
    for kind in [Kind::Http, Kind::Tcp] {
        let (scene, _upstream) =
            kind.scene(plane, |listener| guard(listener, "rbac.v3.RBAC", rules.clone())).await?;
        let mut connection = scene.connect().await?;
        // Envoy decides when the first bytes have come, and has read them.
        let _ = connection.send("x").await;
        let _ = connection.rest().await;
        let line = scene.line().await?;
        assert!(line.starts_with("-|0|-|rbac_access_denied_matched_policy[p]|"), "{line}");
        assert!(line.ends_with("|0|-|NotSet|in|127.0.0.1|rbac_deny_close|-"), "{line}");

        for (name, config, told) in [
            (
                "local_ratelimit.v3.LocalRateLimit",
                &bucket,
                "URX|0|-|-|0|0|-|NotSet|in|127.0.0.1|local_ratelimit_close_over_limit|-",
            ),
            (
                "connection_limit.v3.ConnectionLimit",
                &limit,
                "-|0|-|-|0|0|-|NotSet|in|127.0.0.1|over_connection_limit|-",
            ),
        ] {
            let (scene, _upstream) =
                kind.scene(plane, |listener| guard(listener, name, config.clone())).await?;
            let mut first = scene.connect().await?;
            // It is there once it has been answered.
            first.send(GET).await?;
            first.some_bytes().await?;
            scene.wait_for_end().await?;
            assert_eq!(scene.line().await?, told);
            if matches!(kind, Kind::Tcp) {
                assert_eq!(scene.filter.lines(1).await?[0], told.replace("NotSet", "TcpConnectionEnd"));
            }
        }
    }
    Ok(())
}

/// The moment at which listeners log has no name, which is a name to filter by.
async fn lines_by_moment(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(TcpEcho)?);
    let (unnamed, named) = (AccessLog::of(&["ACCESS_LOG_TYPE"])?, AccessLog::of(&["ACCESS_LOG_TYPE"])?);
    let mut listener = tcp_listener("in", port.address(), "a");
    let filtered = |log: &AccessLog, kind: &str| {
        let mut config = log.config()[0].take();
        config["filter"] = json!({"log_type_filter": {"types": [kind]}});
        config
    };
    listener["access_log"] = json!([filtered(&unnamed, "NotSet"), filtered(&named, "TcpConnectionEnd")]);
    terminal(&mut listener)["access_log"] = json!([filtered(&named, "TcpConnectionEnd")]);
    let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;
    for _ in 0..2 {
        let mut connection = Connection::open(port.address()).await?;
        connection.send("x").await?;
        connection.exact_bytes(1).await?;
    }
    assert_eq!(unnamed.lines(2).await?, ["NotSet", "NotSet"]);
    assert_eq!(named.lines(2).await?, ["TcpConnectionEnd", "TcpConnectionEnd"]);
    Ok(())
}

async fn entries_for_a_service(plane: DataPlane) -> Result<()> {
    let (port, service, authority) = (Port::lease()?, LogService::start().await?, Authority::new()?);
    let upstream = Upstream::start(TcpEcho)?;
    let mut listener = Kind::Tcp.listener(port.address());
    secured(&mut listener, &authority.issue(&["localhost"])?, None);
    listener["filter_chains"][0]["transport_socket_connect_timeout"] = json!("0.3s");
    listener["access_log"] = json!([{"name": "service", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig",
        "common_config": {"log_name": "connections", "transport_api_version": "V3", "buffer_flush_interval": "0.1s",
            "grpc_service": {"envoy_grpc": {"cluster_name": "logs"}}},
    }}]);
    let logs = over_http2(cluster("logs", &[service.address()]));
    let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()]), logs]);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;
    let mut plain = Connection::open(port.address()).await?;
    plain.send(GET).await?;
    let _ = plain.rest().await;
    let _ = Connection::open(port.address()).await?.rest().await;
    let entries = service.until_connections(2).await?;
    let common: Vec<_> = entries.iter().filter_map(|entry| entry.common_properties.as_ref()).collect();
    let told = |text: &str| common.iter().any(|common| common.connection_termination_details == text);
    assert!(told("transport socket timeout was reached"), "{common:#?}");
    let failed =
        |common: &AccessLogCommon| common.downstream_transport_failure_reason.starts_with("TLS_error:");
    assert!(common.iter().any(|common| failed(common)), "{common:#?}");
    assert!(common.iter().all(|common| common.access_log_type == 0), "{common:#?}");
    Ok(())
}
