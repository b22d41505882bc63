//! Handshakes that do not go on.

use std::time::Duration;

use outrigger_tests::bootstrap::{
    http_listener, inline, route_config, terminate_tls, virtual_host, with_ads,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::Authority;
use outrigger_tests::xds::{Resource, Server};
use outrigger_tests::{Result, wait};
use outrigger_xds_protos::type_url;
use outrigger_xds_protos::v3::listener::Listener;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(20);

/// One that began under settings that were replaced does not outlive them, although nothing else limits it here.
#[tokio::test]
async fn a_parked_handshake_ends_with_its_settings() -> Result<()> {
    let (authority, port, server) = (Authority::new()?, Port::lease()?, Server::start()?);
    let listener = || -> Result<Vec<Resource>> {
        let answer = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}});
        let routes = route_config("r", &[virtual_host("v", &["*"], &[answer])]);
        let mut listener = http_listener("l", port.address(), inline(routes));
        let chain = &mut listener["filter_chains"][0];
        chain["transport_socket"] = terminate_tls(&authority.issue(&["svc"])?, &[]);
        chain["transport_socket_connect_timeout"] = json!("0s");
        Ok(vec![Resource::of::<Listener>("l", &listener)?])
    };
    server.set_all([(type_url::CLUSTER, vec![]), (type_url::LISTENER, listener()?)]);
    let launch = DataPlane::Outrigger.launch()?.args(&["--drain-time-s", "1"]);
    let sidecar = launch.start(&with_ads(server.address(), "GRPC")).await?;
    let mut parked = Connection::open(port.address()).await?;
    parked.send([0x16, 3, 1]).await?;
    let stat = format!("listener.127.0.0.1_{}.downstream_cx_active", port.number());
    sidecar.until_stat(&stat, |active| active == 1).await?;
    server.set(type_url::LISTENER, listener()?);
    server.until_accepted(type_url::LISTENER).await?;
    wait::within("the end of the connection", LIMIT, parked.rest()).await?.map(drop)
}
