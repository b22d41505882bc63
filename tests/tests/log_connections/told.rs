//! Which lines are written, and entries in place of lines.

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{cluster, over_http2, tcp_listener, with_static};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::log_service::LogService;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::Authority;
use outrigger_tests::upstream::{TcpEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use outrigger_xds_protos::v3::accesslog_data::AccessLogCommon;
use serde_json::json;

use crate::scene::{GET, Kind, secured, terminal};

on_both_data_planes!(lines_by_moment, entries_for_a_service);

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
