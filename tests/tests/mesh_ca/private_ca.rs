//! AWS Private CA, as moto has it, signs for a mesh of our sidecar, which keeps its key, and Envoy, which is given one.

use std::time::Duration;

use outrigger_tests::aws::{self, RoleKey, Services};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::DataPlane::{self, Envoy, Outrigger};
use outrigger_tests::load::Load;
use outrigger_tests::netns::Place;
use outrigger_tests::process::Process;
use outrigger_tests::relay::Relay;
use outrigger_tests::requirement::met;
use outrigger_tests::{Result, binaries, wait};
use rustix::process::Signal;

use crate::scene::Scene;

const LIMIT: Duration = Duration::from_secs(20);
const CALLEE: &str = "mesh/Shop/virtualNode/callee";

#[tokio::test]
async fn our_client_and_envoys_server() -> Result<()> {
    signed_by_aws(Outrigger, Envoy).await
}

#[tokio::test]
async fn envoys_client_and_our_server() -> Result<()> {
    signed_by_aws(Envoy, Outrigger).await
}

#[tokio::test]
async fn renewals_of_our_client_and_envoys_server_under_load() -> Result<()> {
    renewed_by_aws(Outrigger, Envoy).await
}

#[tokio::test]
async fn renewals_of_envoys_client_and_our_server_under_load() -> Result<()> {
    renewed_by_aws(Envoy, Outrigger).await
}

/// AWS signs again and again under load, and no request fails.
async fn renewed_by_aws(caller: DataPlane, callee: DataPlane) -> Result<()> {
    let Some((_services, _, scene)) = started(caller, callee, "10s").await? else { return Ok(()) };
    let load = Load::start(scene.egress, "callee.shop", 2);
    load.until_answered(20).await?;
    scene.until_renewed(2).await?;
    load.until_answered(20).await?;
    load.end().await.map(drop)
}

/// While AWS dawdles over a renewal, an edit of the definitions arrives and a signal ends the control plane; the one that
/// comes after it has its certificates, and no request fails.
#[tokio::test]
async fn a_slow_renewal_is_in_nobodys_way() -> Result<()> {
    // At least 20 seconds of it are left when a renewal begins: enough for all that follows on a slow machine.
    const LIFE: &str = "75s";
    let Some((services, key)) = aws(Outrigger, Envoy).await? else { return Ok(()) };
    let wire = Relay::start(services.endpoint().trim_start_matches("http://").parse()?).await?;
    let endpoint = format!("http://{}", wire.address());
    let mut scene = scene(Outrigger, Envoy, LIFE, &services.authority(), &endpoint, &key).await?;
    let load = Load::start(scene.egress, "callee.shop", 2);
    load.until_answered(20).await?;
    let asked = wire.count("IssueCertificate");
    wire.hold_answers();
    let asks = || std::future::ready((wire.count("IssueCertificate") > asked).then_some(()));
    wait::until("a renewal to begin", Duration::from_secs(60), asks).await?;
    let held = scene.renewals().await?;
    let plane = &mut scene.planes[1];
    let before = plane.until_accepted(CALLEE).await?["RDS"]["version"].clone();
    let listener = "            TLS:\n";
    let edited = format!("            Timeout: {{HTTP: {{PerRequest: {{Value: 20, Unit: s}}}}}}\n{listener}");
    let text = plane.read("mesh.yaml")?;
    assert_eq!(text.matches(listener).count(), 1);
    plane.write("mesh.yaml", &text.replace(listener, &edited))?;
    let arrived = || async {
        let now = plane.until_accepted(CALLEE).await.ok()?["RDS"]["version"].clone();
        (now != before).then_some(())
    };
    wait::until("the edit to arrive", LIMIT, arrived).await?;
    plane.process().signal(Signal::TERM)?;
    assert_eq!(plane.process().wait(LIMIT).await?.code(), Some(0), "{}", plane.process().stderr());
    wire.release_answers();
    plane.restart().await?;
    scene.until_renewed_since(held, 1).await?;
    load.until_answered(20).await?;
    load.end().await.map(drop)
}

/// A scene whose certificates live that long; with the services behind it, and the key that it is known by there.
async fn started(
    caller: DataPlane,
    callee: DataPlane,
    life: &str,
) -> Result<Option<(Services, RoleKey, Scene)>> {
    let Some((services, key)) = aws(caller, callee).await? else { return Ok(None) };
    let scene = scene(caller, callee, life, &services.authority(), &services.endpoint(), &key).await?;
    Ok(Some((services, key, scene)))
}

/// AWS's services and a key for them, where there are also these data planes.
async fn aws(caller: DataPlane, callee: DataPlane) -> Result<Option<(Services, RoleKey)>> {
    let Some(python) = met(aws::python()) else { return Ok(None) };
    if met(caller.launch()).is_none() || met(callee.launch()).is_none() {
        return Ok(None);
    }
    let services = Services::start(&python).await?;
    let key = services.role("front");
    Ok(Some((services, key)))
}

async fn scene(
    caller: DataPlane,
    callee: DataPlane,
    life: &str,
    arn: &str,
    endpoint: &str,
    key: &RoleKey,
) -> Result<Scene> {
    let variables = [
        ("AWS_ENDPOINT_URL_ACM_PCA", endpoint),
        ("AWS_ACCESS_KEY_ID", &key.id),
        ("AWS_SECRET_ACCESS_KEY", &key.secret),
        ("AWS_SESSION_TOKEN", &key.token),
    ];
    let files = tempfile::tempdir()?;
    let arguments = ["--mesh-ca-pca", arn, "--certificate-life", life];
    Scene::start_with(caller, callee, files, &arguments, &variables).await
}

async fn signed_by_aws(caller: DataPlane, callee: DataPlane) -> Result<()> {
    let Some((_services, key, mut scene)) = started(caller, callee, "24h").await? else { return Ok(()) };
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

/// An authority that is reached and says nothing is in nobody's way: a signal ends the control plane while it is asked.
#[tokio::test]
async fn an_authority_that_is_silent_keeps_nobody_from_ending() -> Result<()> {
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    silent.set_nonblocking(true)?;
    let files = tempfile::tempdir()?;
    std::fs::write(files.path().join("mesh.yaml"), "- {meshName: shop, spec: {}}\n")?;
    let mut command = std::process::Command::new(binaries::path(binaries::CONTROL_PLANE)?);
    command.arg("serve").arg(files.path()).args(["--xds", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.args(["--mesh-ca-pca", "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/c"]);
    command.env("AWS_ENDPOINT_URL_ACM_PCA", format!("http://{}", silent.local_addr()?));
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    let mut process = Process::spawn("outrigger serve", command, &Place::Host)?;
    let mut held = None;
    let asked = || {
        held = held.take().or_else(|| silent.accept().ok());
        std::future::ready(held.is_some().then_some(()))
    };
    wait::until("the authority to be asked", LIMIT, asked).await?;
    process.signal(Signal::TERM)?;
    // Left alone it would give up, and say so with another code.
    assert_eq!(process.wait(LIMIT).await?.code(), Some(0), "{}", process.stderr());
    Ok(())
}
