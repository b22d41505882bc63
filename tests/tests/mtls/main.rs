//! Who may talk to whom over TLS: the same verdict in every cell, whichever data plane is on which side.
//!
//! A scene is two sidecars: a server with a listener per cell, a client with a cluster per cell. The verdict of a cell
//! is whether a request gets through. Envoy talking to Envoy must give the verdicts of the table too, so the table is
//! what Envoy does, not what we believe.

mod cells;
mod chains;
mod files;
mod forwarded;
mod handshakes;
mod late_files;
mod route_matches;
mod sessions;
mod strict;
mod unix;

use cells::{Cell, table};
use outrigger_tests::Result;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::requirement::met;
use serde_json::{Value, json};

#[tokio::test]
async fn envoy_to_envoy() -> Result<()> {
    scene(DataPlane::Envoy, DataPlane::Envoy).await
}

#[tokio::test]
async fn envoy_to_ours() -> Result<()> {
    scene(DataPlane::Envoy, DataPlane::Outrigger).await
}

#[tokio::test]
async fn ours_to_envoy() -> Result<()> {
    scene(DataPlane::Outrigger, DataPlane::Envoy).await
}

#[tokio::test]
async fn ours_to_ours() -> Result<()> {
    scene(DataPlane::Outrigger, DataPlane::Outrigger).await
}

async fn scene(near: DataPlane, far: DataPlane) -> Result<()> {
    if met(near.launch()).is_none() || met(far.launch()).is_none() {
        return Ok(());
    }
    let all = table()?;
    assert!(all.len() >= 40, "{} cells", all.len());
    let cells: Vec<&Cell> = all.iter().filter(|cell| cell.planes.include(near, far)).collect();
    let ports = cells.iter().map(|_| Port::lease()).collect::<Result<Vec<_>, _>>()?;
    let servers: Vec<Value> = cells.iter().zip(&ports).map(|(cell, port)| server(cell, port)).collect();
    let _server = far.launch()?.start(&with_static(&servers, &[])).await?;
    let entry = Port::lease()?;
    let clusters: Vec<Value> = cells.iter().zip(&ports).map(|(cell, port)| client(cell, port)).collect();
    let routes: Vec<Value> = cells.iter().map(|cell| prefix_route(&path(cell), cell.name)).collect();
    let routes = route_config("r", &[virtual_host("v", &["*"], &routes)]);
    let listener = http_listener("entry", entry.address(), inline(routes));
    let _client = near.launch()?.start(&with_static(&[listener], &clusters)).await?;
    let mut wrong = Vec::new();
    for cell in cells {
        let response = h1::get(entry.address(), "svc", &path(cell)).await?;
        let passed = response.status == 200;
        if passed != cell.passes || !passed && !matches!(response.status, 502 | 503) {
            wrong.push(format!("{}: {} {}", cell.name, response.status, response.text()));
        }
    }
    assert!(wrong.is_empty(), "{near:?} to {far:?}:\n{}", wrong.join("\n"));
    Ok(())
}

fn path(cell: &Cell) -> String {
    format!("/{}/", cell.name.replace(' ', "-"))
}

/// A listener that answers by itself.
fn server(cell: &Cell, port: &Port) -> Value {
    let answer = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}});
    let routes = route_config("r", &[virtual_host("v", &["*"], &[answer])]);
    let mut listener = http_listener(cell.name, port.address(), inline(routes));
    let plain = listener["filter_chains"][0].clone();
    let mut chains = Vec::new();
    if let Some(context) = &cell.server.tls {
        let mut chain = plain.clone();
        chain["transport_socket"] = socket("Downstream", context);
        let mut wants = json!({});
        if cell.server.plain {
            wants["transport_protocol"] = json!("tls");
        }
        if let Some(name) = cell.server.only_for {
            wants["server_names"] = json!([name]);
        }
        chain["filter_chain_match"] = wants;
        chains.push(chain);
    }
    if cell.server.plain {
        let mut chain = plain;
        chain["filter_chain_match"] = json!({"transport_protocol": "raw_buffer"});
        chains.push(chain);
    }
    if cell.server.plain || cell.server.only_for.is_some() {
        let config = json!({"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"});
        listener["listener_filters"] =
            json!([{"name": "envoy.filters.listener.tls_inspector", "typed_config": config}]);
    }
    listener["filter_chains"] = json!(chains);
    listener
}

fn client(cell: &Cell, port: &Port) -> Value {
    let mut cluster = cluster(cell.name, &[port.address()]);
    if let Some(context) = &cell.client {
        cluster["transport_socket"] = socket("Upstream", context);
    }
    cluster
}

fn socket(side: &str, context: &Value) -> Value {
    let mut config = context.clone();
    config["@type"] =
        json!(format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext"));
    json!({"name": "envoy.transport_sockets.tls", "typed_config": config})
}
