//! Filter chains by what a client's hello says: server name, protocols, and whether there is one.

use http::Request;
use outrigger_tests::bootstrap::{
    http_listener, inline, route_config, terminate_tls, virtual_host, with_static,
};
use outrigger_tests::client::{h1, h2};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{self, Authority};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

on_both_data_planes!(hellos_choose_the_chain);

/// A chain that answers with its name.
fn chain(name: &str, matching: Value, socket: Option<Value>) -> Value {
    let answer = json!({
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": name}},
    });
    let routes = route_config(name, &[virtual_host("v", &["*"], &[answer])]);
    let mut listener = http_listener(name, ([127, 0, 0, 1], 1).into(), inline(routes));
    let mut chain = listener["filter_chains"][0].take();
    chain["filter_chain_match"] = matching;
    if let Some(socket) = socket {
        chain["transport_socket"] = socket;
    }
    chain
}

async fn hellos_choose_the_chain(plane: DataPlane) -> Result<()> {
    let (port, authority) = (Port::lease()?, Authority::new()?);
    let identity = authority.issue(&["svc", "named"])?;
    let tls = |protocols: &[&str]| Some(terminate_tls(&identity, protocols));
    let inspector = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
    let mut listener = http_listener("l", port.address(), inline(route_config("r", &[])));
    listener["listener_filters"] = json!([
        {"name": "envoy.filters.listener.tls_inspector", "typed_config": {"@type": inspector}},
    ]);
    listener["filter_chains"] = json!([
        chain("plain", json!({"transport_protocol": "raw_buffer"}), None),
        chain("two", json!({"transport_protocol": "tls", "application_protocols": ["h2"]}), tls(&["h2"])),
        chain(
            "one",
            json!({"transport_protocol": "tls", "application_protocols": ["http/1.1"]}),
            tls(&["http/1.1"])
        ),
        chain(
            "named",
            json!({"transport_protocol": "tls", "server_names": ["named"], "application_protocols": ["http/1.1"]}),
            tls(&["http/1.1"]),
        ),
    ]);
    let _sidecar = plane.launch()?.start(&with_static(&[listener], &[])).await?;
    assert_eq!(h1::get(port.address(), "svc", "/").await?.text(), "plain");
    for (name, protocols, chosen) in [
        ("svc", &["http/1.1"][..], "one"),
        ("svc", &["unknown", "http/1.1"], "one"),
        ("named", &["http/1.1"], "named"),
        ("svc", &["h2"], "two"),
        // What the client wants most decides, not which chain comes first.
        ("svc", &["h2", "http/1.1"], "two"),
        ("svc", &["http/1.1", "h2"], "one"),
        ("svc", &["unknown", "http/1.1", "h2"], "one"),
        // The name is looked at first, and its chain has no such protocol: there is no way back.
        ("named", &["h2"], ""),
        ("svc", &["unknown"], ""),
        ("svc", &[], ""),
    ] {
        // Whole, and in records of a few bytes each.
        for fragments in [None, Some(32)] {
            let said = answer(&port, &authority, name, protocols, fragments).await.unwrap_or_default();
            assert_eq!(said, chosen, "{name} {protocols:?} {fragments:?}");
        }
    }
    Ok(())
}

/// What the chain says that a client with these protocols gets to, in the protocol that was agreed upon.
async fn answer(
    port: &Port,
    authority: &Authority,
    name: &str,
    protocols: &[&str],
    fragments: Option<usize>,
) -> Result<String> {
    let mut config = authority.client(protocols, None)?;
    config.max_fragment_size = fragments;
    let stream = tls::connect(&Place::Host, port.address(), name, config).await?;
    if tls::chosen_protocol(&stream).as_deref() == Some("h2") {
        let request = Request::get(format!("https://{name}/")).body(bytes::Bytes::new())?;
        let response = h2::Connection::over(stream).await?.exchange(request).await?;
        return Ok(String::from_utf8(response.body.to_vec())?);
    }
    let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n");
    Ok(h1::Connection::over(stream).exchange(request).await?.text())
}
