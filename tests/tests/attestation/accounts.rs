//! Meshes of the same name in several accounts, under one authority: a certificate of one is nobody in the other, whatever
//! its holder calls itself.

use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::{Result, wait};

use crate::scene::{Scene, Shown};
use crate::{Cell, refused, served};

const OURS: &str = "999922223333";
const THEIRS: &str = "111122223333";
/// As a sidecar calls itself that does not know accounts.
const PLAIN: &str = "mesh/shop/virtualNode/a";

fn definitions(owner: &str) -> String {
    let whose = match owner {
        "" => String::new(),
        owner => format!(", meshOwner: '{owner}'"),
    };
    format!(
        "[{{meshName: shop{whose}, spec: {{}}}}, {{meshName: shop{whose}, virtualNodeName: a, spec: {{}}}}]"
    )
}

fn uri(owner: &str) -> String {
    format!("spiffe://shop.{owner}/virtualNode/a")
}

#[tokio::test]
async fn a_certificate_of_another_accounts_mesh_is_nobodys() -> Result<()> {
    let mut scene = Scene::serving(&definitions(OURS), &["--no-interception"]).await?;
    let ours = scene.identity(&uri(OURS), |_| {})?;
    let theirs = scene.identity(&uri(THEIRS), |_| {})?;
    let nobodys = scene.identity("spiffe://shop/virtualNode/a", |_| {})?;
    let (own_id, their_id) =
        (format!("mesh/shop@{OURS}/virtualNode/a"), format!("mesh/shop@{THEIRS}/virtualNode/a"));
    let arn = format!("arn:aws:appmesh:eu-west-1:{THEIRS}:mesh/shop/virtualNode/a");
    for id in [PLAIN, &own_id, &arn] {
        served(&scene, id, Shown::identity(&ours)).await?;
    }
    let mut cells = Vec::new();
    for (what, identity) in [("of another account", &theirs), ("of no account", &nobodys)] {
        for id in [PLAIN, &own_id, &arn] {
            cells.push(Cell::new(what, Shown::identity(identity), id, "not a node of this client"));
        }
    }
    refused(&mut scene, cells).await?;
    // Of its own it may ask, and there is none.
    let reply = scene.discover(&their_id, &Shown::identity(&theirs)).await?;
    assert_eq!(reply.status, Some(5), "{}", reply.message);
    Ok(())
}

#[tokio::test]
async fn a_mesh_that_becomes_another_accounts_is_not_served_on() -> Result<()> {
    let mut scene = Scene::serving(&definitions(OURS), &["--no-interception"]).await?;
    let ours = scene.identity(&uri(OURS), |_| {})?;
    std::fs::write(scene.path("own.pem"), &ours.certificate)?;
    std::fs::write(scene.path("own.key"), &ours.key)?;
    let launch = DataPlane::Outrigger.launch()?.env("OUTRIGGER_XDS_ROOTS", &scene.path("ca/root.pem"));
    let launch = launch.env("OUTRIGGER_XDS_CERTIFICATE", &scene.path("own.pem"));
    let launch = launch.env("OUTRIGGER_XDS_KEY", &scene.path("own.key"));
    let sidecar = launch.start_in_mesh(PLAIN, scene.plane.xds()).await?;
    scene.plane.write("mesh.yaml", &definitions(THEIRS))?;
    scene.plane.until_says("denied resources: not a node of this client").await?;
    let limit = std::time::Duration::from_secs(20);
    let told = || std::future::ready(sidecar.said("not authenticated").then_some(()));
    wait::until("the sidecar to be refused", limit, told).await?;
    assert_eq!(sidecar.get("/ready").await?.status, 200, "it keeps what it has");
    scene.plane.write("mesh.yaml", &definitions(OURS))?;
    let back = || async { (!scene.plane.node(PLAIN).await.ok()?.is_empty()).then_some(()) };
    wait::until("the sidecar to come back", limit, back).await
}
