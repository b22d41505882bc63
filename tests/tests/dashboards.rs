//! The dashboards that are shipped: every metric they name is one that a sidecar has.

use std::collections::BTreeSet;
use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, terminate_tls, virtual_host, with_ads,
    with_static,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::requirement;
use outrigger_tests::tls::Authority;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, wait, workspace};
use serde_json::{Value, json};

fn shipped(name: &str) -> Result<String> {
    Ok(std::fs::read_to_string(workspace::root().join("docker/dashboards").join(name))?)
}

/// Names that begin with `envoy_` in the queries of a Grafana dashboard; labels do so, too.
fn metrics_of(dashboard: &Value, found: &mut BTreeSet<String>) {
    match dashboard {
        Value::Object(members) => {
            for (key, value) in members {
                match value.as_str().filter(|_| ["expr", "query"].contains(&key.as_str())) {
                    Some(query) => found.extend(names_in(query)),
                    None => metrics_of(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| metrics_of(item, found)),
        _ => {}
    }
}

/// A metric stands before `{`; what stands elsewhere is a label.
fn names_in(query: &str) -> Vec<String> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let ends = query.match_indices('{').map(|(at, _)| at);
    let name = |end: usize| query[..end].rsplit(|char| !is_part(char)).next().unwrap_or_default();
    ends.map(name).filter(|name| name.starts_with("envoy_")).map(str::to_owned).collect()
}

/// Metric names of an exposition; a histogram stands for its three series.
fn exposed(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.filter_map(|line| line.split_once(' '));
    names
        .flat_map(|(name, kind)| match kind {
            "histogram" => ["_bucket", "_count", "_sum"].map(|part| format!("{name}{part}")).to_vec(),
            _ => vec![name.to_owned()],
        })
        .collect()
}

#[tokio::test]
async fn every_metric_of_the_grafana_dashboard_exists() -> Result<()> {
    let Some(launch) = requirement::met(DataPlane::Outrigger.launch()) else { return Ok(()) };
    let (port, secure, upstream) = (Port::lease()?, Port::lease()?, Upstream::start(Echo::new("a"))?);
    let authority = Authority::new()?;
    let routes = || inline(route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]));
    let plain = http_listener("ingress", port.address(), routes());
    let mut tls = http_listener("tls", secure.address(), routes());
    tls["filter_chains"][0]["transport_socket"] = terminate_tls(&authority.issue(&["a"])?, &["http/1.1"]);
    let mut target = cluster("a", &[upstream.address()]);
    target["outlier_detection"] = json!({});
    let mut secured = cluster("s", &[upstream.address()]);
    secured["transport_socket"] = json!({"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}});
    let emf = launch.env("OUTRIGGER_EMF", "stdout");
    let sidecar = emf.start(&with_static(&[plain, tls], &[target, secured])).await?;
    assert_eq!(h1::get(port.address(), "a", "/").await?.status, 200);
    let mut known = exposed(&sidecar.get("/stats/prometheus").await?.text());
    let Some(launch) = requirement::met(DataPlane::Outrigger.launch()) else { return Ok(()) };
    let dead = Port::lease()?;
    let served = launch.start_without_waiting(&with_ads(dead.address(), "DELTA_GRPC")).await?;
    let page = || async { served.get("/stats/prometheus").await.ok() };
    known.extend(exposed(&wait::until("statistics", Duration::from_secs(10), page).await?.text()));
    let mut wanted = BTreeSet::new();
    metrics_of(&serde_json::from_str(&shipped("grafana.json")?)?, &mut wanted);
    assert!(wanted.len() > 40, "{wanted:?}");
    let missing: Vec<_> = wanted.difference(&known).collect();
    assert!(missing.is_empty(), "the dashboard names what no sidecar has: {missing:?}");
    Ok(())
}
