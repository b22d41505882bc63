//! Access logs to a gRPC service: the same entries as Envoy sends, over a stream that comes back, and never in the way.

use std::net::SocketAddr;
use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, over_http2, prefix_route, route_config, tcp_listener,
    virtual_host, with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::{DataPlane, Launch, Sidecar};
use outrigger_tests::log_service::LogService;
use outrigger_tests::mesh::request;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, TcpEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes, on_data_plane, wait};
use outrigger_xds_protos::v3::accesslog_data::{AccessLogType, HttpAccessLogEntry, ResponseFlags};
use outrigger_xds_protos::v3::core::address::Address as Kind;
use outrigger_xds_protos::v3::core::socket_address::PortSpecifier;
use outrigger_xds_protos::v3::core::{Address, RequestMethod};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

on_both_data_planes!(entries_of_requests, entries_of_connections, the_stream_comes_back);
on_data_plane!(
    outrigger_alone,
    Outrigger,
    a_service_that_stalls_delays_nothing,
    what_is_left_is_sent_at_the_end
);

fn logger(kind: &str, more: Value) -> Value {
    let mut config = more;
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.{kind}"));
    config["common_config"] = json!({
        "log_name": "of-the-test",
        "transport_api_version": "V3",
        "buffer_flush_interval": "0.05s",
        "grpc_service": {"envoy_grpc": {"cluster_name": "logs"}},
        "custom_tags": [
            {"tag": "fixed", "literal": {"value": "same"}},
            {"tag": "wanted", "request_header": {"name": "X-Wanted", "default_value": "none"}},
            {"tag": "unset", "environment": {"name": "NO_SUCH_VARIABLE", "default_value": "fallback"}},
            {"tag": "of-route", "metadata": {"kind": {"route": {}},
                "metadata_key": {"key": "com.test", "path": [{"key": "name"}]}, "default_value": "no route"}},
        ],
    });
    json!([{"name": "service", "typed_config": config}])
}

fn headers() -> Value {
    json!({
        "additional_request_headers_to_log": ["X-Wanted", "x-absent"],
        "additional_response_headers_to_log": ["content-type"],
    })
}

struct Scene {
    port: Port,
    sidecar: Sidecar,
    upstream: Upstream,
}

impl Scene {
    async fn start(launch: Launch, logs: SocketAddr) -> Result<Self> {
        let (port, upstream, dead) = (Port::lease()?, Upstream::start(Echo::new("a"))?, Port::lease()?);
        let mut named = prefix_route("/", "a");
        named["name"] = json!("the-route");
        named["metadata"] = json!({"filter_metadata": {"com.test": {"name": "marked"}}});
        let routes = [prefix_route("/dead", "dead"), named];
        let hosts = [virtual_host("v", &["svc"], &routes)];
        let mut listener = http_listener("in", port.address(), inline(route_config("r", &hosts)));
        manager_of(&mut listener)["access_log"] = logger("HttpGrpcAccessLogConfig", headers());
        let clusters = [
            cluster("a", &[upstream.address()]),
            cluster("dead", &[dead.address()]),
            over_http2(cluster("logs", &[logs])),
        ];
        let sidecar = launch.start(&with_static(&[listener], &clusters)).await?;
        Ok(Self { port, sidecar, upstream })
    }

    async fn ask(&self, host: &str, path: &str, fields: &[&str]) -> Result<u16> {
        Ok(request(self.port.address(), host, path, fields).await?.status)
    }
}

fn port_of(address: &Option<Address>) -> Option<u32> {
    match &address.as_ref()?.address {
        Some(Kind::SocketAddress(socket)) => match socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) => Some(port),
            _ => None,
        },
        _ => None,
    }
}

fn flags(set: impl FnOnce(&mut ResponseFlags)) -> Option<ResponseFlags> {
    let mut flags = ResponseFlags::default();
    set(&mut flags);
    Some(flags)
}

async fn entries_of_requests(plane: DataPlane) -> Result<()> {
    let logs = LogService::start().await?;
    let scene = Scene::start(plane.launch()?, logs.address()).await?;
    let fields =
        ["User-Agent: agent", "Referer: page", "X-Wanted: one", "X-Request-Id: 7", "X-Absent-Not: x"];
    assert_eq!(scene.ask("svc", "/path?x=1", &fields).await?, 200);
    assert_eq!(scene.ask("svc", "/dead", &["User-Agent: \u{fc}\u{1F6A3}"]).await?, 503);
    assert_eq!(scene.ask("nobody", "/", &[]).await?, 404);
    let entries = logs.until_requests(3).await?;
    assert_eq!(entries.len(), 3, "{entries:#?}");
    one_that_went_well(&entries[0], &scene)?;

    let (common, answer) = parts(&entries[1])?;
    assert_eq!(common.response_flags, flags(|flags| flags.upstream_connection_failure = true));
    assert_eq!((common.upstream_cluster.as_str(), common.upstream_request_attempt_count), ("dead", 1));
    assert_eq!(answer.response_code, Some(outrigger_xds_protos::v3::wkt::UInt32Value { value: 503 }));
    assert!(answer.response_code_details.starts_with("upstream_reset_before_response_started{"));
    assert!(common.upstream_local_address.is_none(), "{common:?}");

    let (common, answer) = parts(&entries[2])?;
    assert_eq!(common.response_flags, flags(|flags| flags.no_route_found = true));
    assert_eq!(
        (answer.response_code_details.as_str(), common.upstream_cluster.as_str()),
        ("route_not_found", "")
    );

    let messages = logs.messages();
    let identifier = messages[0].identifier.as_ref().ok_or("the stream does not say whose it is")?;
    assert_eq!(identifier.log_name, "of-the-test");
    let node = identifier.node.as_ref().ok_or("no node")?;
    assert_eq!((node.id.as_str(), node.cluster.as_str()), ("test-node", "test-cluster"));
    let again = messages[1..].iter().filter(|message| message.identifier.is_some()).count();
    assert_eq!(again, 0, "a stream says once whose it is");
    scene.sidecar.until_stat("access_logs.grpc_access_log.logs_written", |count| count == 3).await?;
    assert_eq!(scene.sidecar.stat("access_logs.grpc_access_log.logs_dropped").await?, 0);
    Ok(())
}

type Common = outrigger_xds_protos::v3::accesslog_data::AccessLogCommon;
type Answered = outrigger_xds_protos::v3::accesslog_data::HttpResponseProperties;

fn parts(entry: &HttpAccessLogEntry) -> Result<(&Common, &Answered)> {
    let common = entry.common_properties.as_ref().ok_or("no common properties")?;
    Ok((common, entry.response.as_ref().ok_or("no response")?))
}

fn one_that_went_well(entry: &HttpAccessLogEntry, scene: &Scene) -> Result<()> {
    let (common, answer) = parts(entry)?;
    let mut tags: Vec<_> =
        common.custom_tags.iter().map(|(tag, value)| (tag.as_str(), value.as_str())).collect();
    tags.sort_unstable();
    assert_eq!(tags, [("fixed", "same"), ("of-route", "marked"), ("unset", "fallback"), ("wanted", "one")]);
    assert!(common.time_to_first_downstream_tx_byte.is_some(), "{common:?}");
    assert!(common.time_to_first_upstream_tx_byte.is_some(), "{common:?}");
    assert!(common.time_to_last_upstream_rx_byte.is_some(), "{common:?}");
    let asked = entry.request.as_ref().ok_or("no request")?;
    assert_eq!(entry.protocol_version, 2, "HTTP/1.1");
    assert_eq!(asked.request_method, RequestMethod::Get as i32);
    assert_eq!((asked.scheme.as_str(), asked.authority.as_str()), ("http", "svc"));
    assert_eq!((asked.path.as_str(), asked.original_path.as_str()), ("/path?x=1", ""));
    assert_eq!((asked.user_agent.as_str(), asked.referer.as_str()), ("agent", "page"));
    assert_eq!(asked.request_headers.get("x-wanted").map(String::as_str), Some("one"));
    assert_eq!(asked.request_headers.len(), 1, "{asked:?}");
    assert!(!asked.request_id.is_empty() && asked.request_headers_bytes > 50, "{asked:?}");
    assert_eq!(asked.request_body_bytes, 0);
    assert_eq!(answer.response_code.as_ref().map(|code| code.value), Some(200));
    assert_eq!(answer.response_code_details, "via_upstream");
    assert!(answer.response_body_bytes > 0 && answer.response_headers_bytes > 0, "{answer:?}");
    assert_eq!(answer.response_headers.keys().collect::<Vec<_>>(), ["content-type"]);
    assert_eq!((common.upstream_cluster.as_str(), common.route_name.as_str()), ("a", "the-route"));
    assert_eq!(port_of(&common.downstream_local_address), Some(scene.port.number().into()));
    assert_eq!(port_of(&common.upstream_remote_address), Some(scene.upstream.address().port().into()));
    assert!(port_of(&common.downstream_remote_address).is_some(), "{common:?}");
    assert!(port_of(&common.upstream_local_address).is_some(), "{common:?}");
    assert_eq!(common.downstream_direct_remote_address, common.downstream_remote_address);
    assert!(common.response_flags.is_none_or(|flags| flags == ResponseFlags::default()), "{common:?}");
    assert_eq!(common.access_log_type, AccessLogType::DownstreamEnd as i32);
    assert_eq!(common.upstream_request_attempt_count, 1);
    let began = common.start_time.as_ref().ok_or("no start")?.seconds;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    assert!(now.abs_diff(began as u64) < 60, "{common:?}");
    let micros = |took: &Option<outrigger_xds_protos::v3::wkt::Duration>| {
        took.as_ref().map(|took| took.seconds * 1_000_000 + i64::from(took.nanos) / 1000)
    };
    let order = [
        micros(&common.time_to_last_rx_byte),
        micros(&common.time_to_last_upstream_tx_byte),
        micros(&common.time_to_first_upstream_rx_byte),
        micros(&common.time_to_last_downstream_tx_byte),
    ];
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{common:?}");
    assert!(common.duration.is_some(), "{common:?}");
    Ok(())
}

async fn entries_of_connections(plane: DataPlane) -> Result<()> {
    let (logs, port, upstream) = (LogService::start().await?, Port::lease()?, Upstream::start(TcpEcho)?);
    let mut listener = tcp_listener("tcp", port.address(), "a");
    manager_of(&mut listener)["access_log"] = logger("TcpGrpcAccessLogConfig", json!({}));
    let clusters = [cluster("a", &[upstream.address()]), over_http2(cluster("logs", &[logs.address()]))];
    let _sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
    let mut client = TcpStream::connect(port.address()).await?;
    client.write_all(b"hello").await?;
    client.shutdown().await?;
    // The upstream says goodbye once it has seen the end.
    let mut back = Vec::new();
    client.read_to_end(&mut back).await?;
    assert_eq!(back, b"hellobye");
    let entry = logs.until_connections(1).await?.remove(0);
    let common = entry.common_properties.as_ref().ok_or("no common properties")?;
    let bytes = entry.connection_properties.as_ref().ok_or("no connection properties")?;
    assert_eq!((bytes.received_bytes, bytes.sent_bytes), (5, 8));
    assert_eq!(common.upstream_cluster, "a");
    assert_eq!(port_of(&common.upstream_remote_address), Some(upstream.address().port().into()));
    assert_eq!(common.access_log_type, AccessLogType::TcpConnectionEnd as i32);
    assert!(common.duration.is_some(), "{common:?}");
    Ok(())
}

/// A service that goes and comes back hears of what happens then.
async fn the_stream_comes_back(plane: DataPlane) -> Result<()> {
    let at = Port::lease()?;
    let logs = LogService::start_at(at.address(), false).await?;
    let scene = Scene::start(plane.launch()?, at.address()).await?;
    scene.ask("svc", "/before", &[]).await?;
    logs.until_requests(1).await?;
    drop(logs);
    let logs = LogService::start_at(at.address(), false).await?;
    let told = || async {
        scene.ask("svc", "/after", &[]).await.ok()?;
        let paths = logs.requests().into_iter().filter_map(|entry| Some(entry.request?.path));
        paths.into_iter().any(|path| path == "/after").then_some(())
    };
    wait::until("the new stream", Duration::from_secs(20), told).await?;
    assert!(logs.messages()[0].identifier.is_some(), "every stream says whose it is");
    Ok(())
}

/// Bounded, counted, and the sidecar ends in time.
async fn a_service_that_stalls_delays_nothing(plane: DataPlane) -> Result<()> {
    let logs = LogService::stalled().await?;
    let mut scene = Scene::start(plane.launch()?, logs.address()).await?;
    let head = format!("GET / HTTP/1.1\r\nHost: svc\r\nX-Wanted: {}\r\n\r\n", "a".repeat(8000));
    let mut client = Connection::open(scene.port.address()).await?;
    for _ in 0..1000 {
        let answer =
            wait::within("a request", Duration::from_secs(5), client.exchange(head.as_str())).await??;
        assert_eq!(answer.status, 200);
    }
    scene.sidecar.until_stat("access_logs.grpc_access_log.logs_dropped", |count| count > 0).await?;
    let before = scene.sidecar.process().resident()?;
    for _ in 0..2000 {
        let answer =
            wait::within("a request", Duration::from_secs(5), client.exchange(head.as_str())).await??;
        assert_eq!(answer.status, 200);
    }
    let after = scene.sidecar.process().resident()?;
    assert!(after < before + 4 * 1024 * 1024, "memory grew from {before} to {after} bytes");
    scene.sidecar.terminate(Duration::from_secs(20)).await?;
    Ok(())
}

async fn what_is_left_is_sent_at_the_end(plane: DataPlane) -> Result<()> {
    let logs = LogService::start().await?;
    let mut scene = Scene::start(plane.launch()?.concurrency(2), logs.address()).await?;
    for _ in 0..50 {
        assert_eq!(scene.ask("svc", "/", &[]).await?, 200);
    }
    scene.sidecar.terminate(Duration::from_secs(20)).await?;
    assert_eq!(logs.requests().len(), 50);
    Ok(())
}
