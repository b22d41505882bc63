//! AWS Private CA, as moto has it, signs for a mesh of our sidecar, which keeps its key, and Envoy, which is given one.

use outrigger_tests::Result;
use outrigger_tests::aws::{self, Services};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::DataPlane::{self, Envoy, Outrigger};
use outrigger_tests::requirement::met;

use crate::scene::Scene;

#[tokio::test]
async fn our_client_and_envoys_server() -> Result<()> {
    signed_by_aws(Outrigger, Envoy).await
}

#[tokio::test]
async fn envoys_client_and_our_server() -> Result<()> {
    signed_by_aws(Envoy, Outrigger).await
}

async fn signed_by_aws(caller: DataPlane, callee: DataPlane) -> Result<()> {
    let Some(python) = met(aws::python()) else { return Ok(()) };
    if met(caller.launch()).is_none() || met(callee.launch()).is_none() {
        return Ok(());
    }
    let services = Services::start(&python).await?;
    let (arn, endpoint, key) = (services.authority(), services.endpoint(), services.role("front"));
    let variables = [
        ("AWS_ENDPOINT_URL_ACM_PCA", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", &key.id),
        ("AWS_SECRET_ACCESS_KEY", &key.secret),
        ("AWS_SESSION_TOKEN", &key.token),
    ];
    let files = tempfile::tempdir()?;
    let arguments = ["--mesh-ca-pca", arn.as_str()];
    let mut scene = Scene::start_with(caller, callee, files, &arguments, &variables).await?;
    let response = h1::get(scene.egress, "callee.shop", "/").await?;
    assert_eq!(response.status, 200, "{}", response.text());
    let certs = scene.callee.get("/certs").await?.text();
    assert!(certs.contains("spiffe://shop/virtualNode/callee"), "{certs}");
    for (plane, wire) in [caller, callee].into_iter().zip(&scene.wires) {
        assert_eq!(wire.count("PRIVATE KEY") > 0, plane == Envoy);
    }
    for plane in &mut scene.planes {
        let said = plane.process().stderr();
        assert!(
            said.contains("AWS Private CA issues the certificate in place of AWS Certificate Manager"),
            "{said}"
        );
        assert!(!said.contains(&key.secret) && !said.contains(&key.token), "{said}");
    }
    Ok(())
}
