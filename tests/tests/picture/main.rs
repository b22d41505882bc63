//! The mesh as the control plane shows it: what sidecars of both kinds report, as JSON, and as a page in a browser.

mod hostile;
mod live;
mod looks;
mod raw;
mod scene;
mod strangers;
mod stub;

use std::time::Duration;

use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::mesh::{FRONT, Shop};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);
const PRICE_ONE: &str = "mesh/shop/virtualNode/price-1";
/// Holds once the page has drawn what it fetched.
const DRAWN: &str = "latest !== null && document.querySelector('#nacks tbody') !== null";

on_both_data_planes!(traffic_is_reported_by_caller_and_target);

async fn traffic_is_reported_by_caller_and_target(plane: DataPlane) -> Result<()> {
    let shop = Shop::open_with_weights(1, 0).await?;
    let _sidecar = shop.proxy(plane, FRONT, 1).await?;
    // A report covers one interval: requests go on until one shows them all.
    let edge = wait::until("traffic and errors to price-1", LIMIT, || async {
        for status in [200, 200, 404, 500] {
            shop.price("/", &[&format!("x-echo-status: {status}")]).await.ok()?;
        }
        let edge = call(&shop, PRICE_ONE).await.ok()?;
        let shares = edge["traffic"]["error_share"].as_f64()?;
        (shares > 0.1 && shares < 0.4 && edge["traffic"]["requests_per_second"].as_f64()? > 1.0)
            .then_some(edge)
    })
    .await?;
    assert_eq!(edge["encryption"], "plain");
    // Times are an addition of ours: Envoy's reports have none.
    assert_eq!(edge["traffic"]["p99_ms"].is_number(), plane == DataPlane::Outrigger, "{edge}");
    let idle = call(&shop, "mesh/shop/virtualNode/price-2").await?;
    assert_eq!(idle["traffic"]["requests_per_second"], 0.0, "{idle}");
    Ok(())
}

/// The call from `front` to a node.
async fn call(shop: &Shop, to: &str) -> Result<Value> {
    let picture = shop.control_plane.get("/mesh").await?.json()?;
    let edges = picture["edges"].as_array().cloned().unwrap_or_default();
    let found = edges.into_iter().find(|edge| edge["from"] == FRONT && edge["to"] == to);
    found.ok_or_else(|| format!("no call from {FRONT} to {to}: {picture:#}").into())
}
