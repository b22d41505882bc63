//! Keys that stay where they are used: our sidecar asks for certificates, Envoy is given keys; both talk to each other.

use outrigger_tests::Result;
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::DataPlane::{self, Envoy, Outrigger};
use outrigger_tests::load::Load;
use outrigger_tests::requirement::met;

use crate::scene::Scene;

#[tokio::test]
async fn our_client_and_envoys_server() -> Result<()> {
    renewed_and_replaced(Outrigger, Envoy).await
}

#[tokio::test]
async fn envoys_client_and_our_server() -> Result<()> {
    renewed_and_replaced(Envoy, Outrigger).await
}

#[tokio::test]
async fn our_client_and_our_server() -> Result<()> {
    renewed_and_replaced(Outrigger, Outrigger).await
}

/// Certificates of seconds and another root under load: nothing fails, and of the two wires to the control planes only
/// Envoy's carries keys.
async fn renewed_and_replaced(caller: DataPlane, callee: DataPlane) -> Result<()> {
    if met(caller.launch()).is_none() || met(callee.launch()).is_none() {
        return Ok(());
    }
    let scene = Scene::start_of(caller, callee, "3s").await?;
    let response = h1::get(scene.egress, "callee.shop", "/").await?;
    assert_eq!(response.status, 200, "{}", response.text());
    let load = Load::start(scene.egress, "callee.shop", 2);
    scene.until_renewed(2).await?;
    for step in ["prepare", "switch", "retire"] {
        scene.step(step).await?;
        scene.until_renewed(1).await?;
    }
    load.until_answered(20).await?;
    load.end().await?;
    for (plane, wire) in [caller, callee].into_iter().zip(&scene.wires) {
        // Both the key itself and where it would be.
        let keys = wire.count("PRIVATE KEY");
        assert!(wire.count("BEGIN CERTIFICATE") > 0);
        match plane {
            Outrigger => assert_eq!(keys, 0),
            Envoy => assert!(keys > 0, "a key that is sent is seen"),
        }
    }
    Ok(())
}
