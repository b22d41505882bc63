//! A sidecar whose token is reviewed by its API server: becomes its node and no other, and keeps what it has when its
//! account is gone.

use std::time::Duration;

use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::{Result, api_server, wait};

use crate::scene::{A, ACCOUNT, B, Review, Scene};

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_reviewed_account_makes_a_sidecar_its_node_and_no_other() -> Result<()> {
    let mut scene = Scene::start().await?;
    let token = scene.issuer.token(Review::ISSUER, "outrigger", 600)?;
    scene.api.know(&token, ACCOUNT);
    let mut known = sidecar(&scene, A, &token).await?;
    known.until_ready(LIMIT).await?;
    let misdirected = sidecar(&scene, B, &token).await?;
    until_refused(&mut scene, &misdirected, "not a node of this client").await?;
    drop(misdirected);
    scene.api.forget(&token);
    let late = sidecar(&scene, A, &token).await?;
    until_refused(&mut scene, &late, "the API server does not accept the token").await?;
    assert_eq!(known.get("/ready").await?.status, 200, "who is in stays in");
    let said = [
        known.process().stderr(),
        known.get("/config_dump").await?.text(),
        scene.plane.process().stderr(),
        scene.plane.get("/nodes").await?.text(),
    ];
    assert!(said.iter().all(|text| !text.contains(&token) && !text.contains(api_server::OWN)));
    Ok(())
}

async fn sidecar(scene: &Scene, node: &str, token: &str) -> Result<Sidecar> {
    let (file, roots) = (scene.path("sidecar-token"), scene.path("ca/root.pem"));
    std::fs::write(&file, token)?;
    let launch = DataPlane::Outrigger.launch()?.env("OUTRIGGER_XDS_ROOTS", &roots);
    launch.env("OUTRIGGER_XDS_TOKEN_FILE", &file).appear_in_mesh(node, scene.plane.xds()).await
}

async fn until_refused(scene: &mut Scene, sidecar: &Sidecar, audit: &str) -> Result<()> {
    let line = scene.plane.until_says(audit).await?;
    assert!(line.contains("audit") && line.contains("denied"), "{line}");
    let told = || std::future::ready(sidecar.said("not authenticated").then_some(()));
    wait::until("the sidecar to be refused", LIMIT, told).await?;
    assert!(!sidecar.said(audit), "the forger learns nothing");
    assert_ne!(sidecar.get("/ready").await?.status, 200);
    Ok(())
}
