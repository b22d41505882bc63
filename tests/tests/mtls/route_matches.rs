//! Routes by what the client has shown in its handshake (`tls_context`).

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, route_config, terminate_tls, virtual_host, with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{self, Authority, Identity};
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

on_both_data_planes!(routes_ask_for_certificates);

/// A client: where it calls, whether over TLS, what it shows, and whether that counts as shown and as verified.
type Client<'c> = (&'c Port, bool, Option<&'c Identity>, (bool, bool));

/// By path: what a route asks, and else another cluster.
const ASKED: [(&str, Option<bool>, Option<bool>); 8] = [
    ("/shown", Some(true), None),
    ("/not-shown", Some(false), None),
    ("/verified", None, Some(true)),
    ("/not-verified", None, Some(false)),
    ("/both", Some(true), Some(true)),
    ("/shown-only", Some(true), Some(false)),
    ("/neither", Some(false), Some(false)),
    ("/anything", None, None),
];

async fn routes_ask_for_certificates(plane: DataPlane) -> Result<()> {
    let authority = Authority::new()?;
    let upstreams = [Upstream::start(Echo::new("yes"))?, Upstream::start(Echo::new("no"))?];
    let (server, friend) = (authority.issue(&["svc"])?, authority.issue(&["friend"])?);
    let stranger = Authority::new()?.issue(&["friend"])?;
    let trusted = json!({"trusted_ca": {"inline_string": authority.certificate()}});
    let asking = |rules: Value| {
        let mut socket = terminate_tls(&server, &["http/1.1"]);
        socket["typed_config"]["common_tls_context"]["validation_context"] = rules;
        socket
    };
    let mut anyone = trusted.clone();
    anyone["trust_chain_verification"] = json!("ACCEPT_UNTRUSTED");
    let ports = [Port::lease()?, Port::lease()?, Port::lease()?];
    let listeners = [
        listener("verifying", &ports[0], asking(trusted)),
        listener("asking", &ports[1], asking(anyone)),
        listener("plain", &ports[2], Value::Null),
    ];
    let clusters = [cluster("yes", &[upstreams[0].address()]), cluster("no", &[upstreams[1].address()])];
    let _sidecar = plane.launch()?.start(&with_static(&listeners, &clusters)).await?;
    let clients: [Client<'_>; 5] = [
        (&ports[0], true, Some(&friend), (true, true)),
        (&ports[0], true, None, (false, false)),
        (&ports[1], true, Some(&friend), (true, true)),
        (&ports[1], true, Some(&stranger), (true, false)),
        (&ports[2], false, None, (false, false)),
    ];
    for (number, (port, over_tls, identity, (shown, verified))) in clients.into_iter().enumerate() {
        for (path, presented, validated) in ASKED {
            let fits = presented.is_none_or(|wanted| wanted == shown)
                && validated.is_none_or(|wanted| wanted == verified);
            let chosen = match over_tls {
                true => {
                    let config = authority.client(&["http/1.1"], identity)?;
                    let stream = tls::connect(&Place::Host, port.address(), "svc", config).await?;
                    chosen(Connection::over(stream), path).await?
                }
                false => chosen(Connection::open(port.address()).await?, path).await?,
            };
            assert_eq!(chosen, if fits { "yes" } else { "no" }, "client {number} {path}");
        }
    }
    Ok(())
}

fn listener(name: &str, port: &Port, socket: Value) -> Value {
    let mut routes = Vec::new();
    for (path, presented, validated) in ASKED {
        let mut asked = json!({});
        if let Some(presented) = presented {
            asked["presented"] = json!(presented);
        }
        if let Some(validated) = validated {
            asked["validated"] = json!(validated);
        }
        routes.push(json!({"match": {"path": path, "tls_context": asked}, "route": {"cluster": "yes"}}));
    }
    routes.push(json!({"match": {"prefix": "/"}, "route": {"cluster": "no"}}));
    let table = route_config("r", &[virtual_host("v", &["*"], &routes)]);
    let mut listener = http_listener(name, port.address(), inline(table));
    if !socket.is_null() {
        listener["filter_chains"][0]["transport_socket"] = socket;
    }
    listener
}

async fn chosen(mut connection: Connection, path: &str) -> Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: svc\r\n\r\n");
    let response = connection.exchange(request).await?;
    Ok(response.json()?["upstream"].as_str().unwrap_or_default().to_owned())
}
