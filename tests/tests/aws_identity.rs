//! AWS roles as identities: sidecars prove theirs with a signed question to STS, which the control plane asks. STS is
//! moto's, behind a check of signatures with AWS's own library.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use outrigger_aws_auth::caller::Caller;
use outrigger_aws_auth::client::Client;
use outrigger_aws_auth::credentials::Provider;
use outrigger_tests::aws::{self, Services};
use outrigger_tests::control_plane::{ControlPlane, Launch};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::requirement::met;
use outrigger_tests::{Result, wait};

const LIMIT: Duration = Duration::from_secs(20);
const A: &str = "mesh/shop/virtualNode/a";
const B: &str = "mesh/shop/virtualNode/b";

const DEFINITIONS: &str = "
- {meshName: shop, spec: {}}
- {meshName: shop, virtualNodeName: a, spec: {}}
- {meshName: shop, virtualNodeName: b, spec: {}}
";

struct Scene {
    services: Services,
    files: tempfile::TempDir,
    plane: ControlPlane,
}

impl Scene {
    async fn start() -> Result<Option<Self>> {
        let Some(python) = met(aws::python()) else { return Ok(None) };
        let services = Services::start(&python).await?;
        let files = tempfile::tempdir()?;
        let (rules, ca) = (files.path().join("access.yaml"), files.path().join("ca"));
        let role = "arn:aws:iam::123456789012:role/front";
        let text = format!(
            "aws: {{audience: shop, regions: [{}], endpoint: '{}', roles: [{{role: '{role}', nodes: [{A}]}}]}}\n",
            Services::REGION,
            services.sts()
        );
        std::fs::write(&rules, text)?;
        let (rules, ca) = (rules.display().to_string(), ca.display().to_string());
        let arguments =
            ["--no-interception", "--mesh-ca", &ca, "--xds-name", "127.0.0.1", "--access", &rules];
        let plane = Launch::of(DEFINITIONS)?.args(arguments.map(str::to_owned)).start().await?;
        Ok(Some(Self { services, files, plane }))
    }

    fn roots(&self) -> PathBuf {
        self.files.path().join("ca/root.pem")
    }

    async fn sidecar(&self, node: &str, variables: &[(&str, &str)]) -> Result<Sidecar> {
        let launch = DataPlane::Outrigger.launch()?;
        let launch = launch.env("OUTRIGGER_XDS_ROOTS", &self.roots().display().to_string());
        let launch = variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        launch.appear_in_mesh(node, self.plane.xds()).await
    }

    /// A sidecar with the keys of a role, for an audience.
    async fn as_role(&self, node: &str, role: &str, audience: &str, secret: Option<&str>) -> Result<Sidecar> {
        let (key, sts) = (self.services.role(role), self.services.sts());
        let variables = [
            ("OUTRIGGER_XDS_AWS_AUDIENCE", audience),
            ("AWS_REGION", Services::REGION),
            ("AWS_ENDPOINT_URL_STS", &sts),
            ("AWS_ACCESS_KEY_ID", &key.id),
            ("AWS_SECRET_ACCESS_KEY", secret.unwrap_or(&key.secret)),
            ("AWS_SESSION_TOKEN", &key.token),
        ];
        self.sidecar(node, &variables).await
    }

    async fn until_refused(&mut self, sidecar: &Sidecar, audit: &str) -> Result<()> {
        let line = self.plane.until_says(audit).await?;
        assert!(line.contains("audit") && line.contains("denied"), "{line}");
        let told = || std::future::ready(sidecar.said("not authenticated").then_some(()));
        wait::until("the sidecar to be refused", LIMIT, told).await?;
        assert!(!sidecar.said(audit), "the forger learns nothing");
        assert_ne!(sidecar.get("/ready").await?.status, 200);
        Ok(())
    }
}

#[tokio::test]
async fn a_role_makes_a_sidecar_its_node_and_no_other() -> Result<()> {
    let Some(mut scene) = Scene::start().await? else { return Ok(()) };
    // As a task of ECS or a pod of EKS: keys from the endpoint inside.
    let (sts, credentials) = (scene.services.sts(), format!("{}/credentials/front", scene.services.sts()));
    let variables = [
        ("OUTRIGGER_XDS_AWS_AUDIENCE", "shop"),
        ("AWS_REGION", Services::REGION),
        ("AWS_ENDPOINT_URL_STS", &sts),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &credentials),
    ];
    let mut known = scene.sidecar(A, &variables).await?;
    known.until_ready(LIMIT).await?;
    let misdirected = scene.as_role(B, "front", "shop", None).await?;
    scene.until_refused(&misdirected, "not a node of this client").await?;
    let stranger = scene.as_role(A, "back", "shop", None).await?;
    scene.until_refused(&stranger, "has no nodes").await?;
    let key = scene.services.role("front");
    let said =
        [known.process().stderr(), known.get("/config_dump").await?.text(), scene.plane.process().stderr()];
    for text in said {
        assert!(!text.contains(&key.secret) && !text.contains(&key.token), "{text}");
        assert!(!text.contains("X-Amz-Signature") && !text.contains("outrigger-aws-v2"), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn forged_replayed_and_expired_proofs_are_refused() -> Result<()> {
    let Some(mut scene) = Scene::start().await? else { return Ok(()) };
    let forged = scene.as_role(A, "front", "shop", Some("another-secret")).await?;
    scene.until_refused(&forged, "STS does not accept it").await?;
    drop(forged);
    // One that is shown again and again: STS is not asked about it each time.
    let (file, asked) = (scene.files.path().join("forged"), scene.services.questions().await?);
    std::fs::write(&file, proof(&scene, Some("another-secret"), SystemTime::now()).await?)?;
    let insisting = scene.sidecar(A, &[("OUTRIGGER_XDS_TOKEN_FILE", &file.display().to_string())]).await?;
    scene.until_refused(&insisting, "was refused a moment ago").await?;
    // Two calls of a sidecar that start at the same time may both have asked.
    assert!(scene.services.questions().await? <= asked + 2);
    drop(insisting);
    // One that was made for somebody else, who shows it here.
    let misused = scene.as_role(A, "front", "another-control-plane", None).await?;
    let told = || std::future::ready(misused.said("not authenticated").then_some(()));
    wait::until("the sidecar to be refused", LIMIT, told).await?;
    drop(misused);
    // One of an hour ago; STS is not even asked.
    let expired = proof(&scene, None, SystemTime::now() - Duration::from_secs(3600)).await?;
    let file = scene.files.path().join("proof");
    std::fs::write(&file, &expired)?;
    let asked = scene.services.questions().await?;
    let late = scene.sidecar(A, &[("OUTRIGGER_XDS_TOKEN_FILE", &file.display().to_string())]).await?;
    scene.until_refused(&late, "an expired proof").await?;
    assert_eq!(scene.services.questions().await?, asked);
    drop(late);
    // A good one works, and STS is asked once for each connection.
    // Of a clock that is ahead, so that it lasts as long as the test.
    let soon = SystemTime::now() + Duration::from_secs(50);
    std::fs::write(&file, proof(&scene, None, soon).await?)?;
    let file = file.display().to_string();
    let shown = [("OUTRIGGER_XDS_TOKEN_FILE", file.as_str())];
    scene.sidecar(A, &shown).await?.until_ready(LIMIT).await?;
    let once = scene.services.questions().await?;
    // Two calls of a sidecar that start at the same time may both have asked.
    assert!((asked + 1..=asked + 2).contains(&once), "{asked}, then {once}: {}", scene.services.log());
    // Whoever has seen it may not show it, while it lasts and afterwards.
    let thief = scene.sidecar(A, &shown).await?;
    scene.until_refused(&thief, "a proof that another connection has shown").await?;
    assert_eq!(scene.services.questions().await?, once);
    Ok(())
}

/// A proof of the role `front`, made at this moment, with another secret than its own if one is given.
async fn proof(scene: &Scene, secret: Option<&str>, now: SystemTime) -> Result<String> {
    let key = scene.services.role("front");
    let variable = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(key.id.clone()),
        "AWS_SECRET_ACCESS_KEY" => Some(secret.unwrap_or(&key.secret).to_owned()),
        "AWS_SESSION_TOKEN" => Some(key.token.clone()),
        _ => None,
    };
    let provider = Provider::of_environment(variable, Services::REGION, Client::new(LIMIT)?)?;
    let (audience, region, endpoint) = ("shop".to_owned(), Services::REGION.to_owned(), scene.services.sts());
    Ok(Caller { provider, audience, region, endpoint }.proof(now).await?.to_string())
}
