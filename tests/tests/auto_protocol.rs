//! `auto_config`: the TLS handshake with a host decides between HTTP/1.1 and HTTP/2.

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, terminate_tls, virtual_host, with_static,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::tls::Authority;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

on_both_data_planes!(a_host_chooses_its_protocol);

/// A host that takes nothing but TLS and offers `protocols` over it.
async fn host(port: &Port, behind: &Upstream, protocols: &[&str]) -> Result<Sidecar> {
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
    let mut listener = http_listener("host", port.address(), inline(routes));
    listener["filter_chains"][0]["transport_socket"] =
        terminate_tls(&Authority::new()?.issue(&["host"])?, protocols);
    let bootstrap = with_static(&[listener], &[cluster("a", &[behind.address()])]);
    DataPlane::Outrigger.launch()?.start(&bootstrap).await
}

fn by_handshake(mut cluster: Value) -> Value {
    cluster["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "auto_config": {},
        },
    });
    cluster["transport_socket"] = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        },
    });
    cluster
}

async fn a_host_chooses_its_protocol(plane: DataPlane) -> Result<()> {
    let behind = Upstream::start(Echo::new("application"))?;
    for (protocols, one, two) in [(&["http/1.1"][..], 1, 0), (&["h2", "http/1.1"], 0, 1)] {
        let (at, port) = (Port::lease()?, Port::lease()?);
        let _host = host(&at, &behind, protocols).await?;
        let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "host")])]);
        let listener = http_listener("in", port.address(), inline(routes));
        let bootstrap = with_static(&[listener], &[by_handshake(cluster("host", &[at.address()]))]);
        let sidecar = plane.launch()?.concurrency(1).start(&bootstrap).await?;
        for _ in 0..3 {
            let response = h1::get(port.address(), "host", "/").await?;
            assert_eq!(response.status, 200, "{protocols:?}: {}", response.text());
        }
        for (version, count) in [("http1", one), ("http2", two)] {
            let made = sidecar.stat(&format!("cluster.host.upstream_cx_{version}_total")).await?;
            assert_eq!(made, count, "{protocols:?}: one connection serves all, {version}");
        }
    }
    Ok(())
}
