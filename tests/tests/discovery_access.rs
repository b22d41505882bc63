//! TLS to the control plane, and who may have whose configuration: join tokens, certificates of the mesh, tokens of a
//! Kubernetes API server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use outrigger_tests::control_plane::{ControlPlane, Launch};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::{Result, wait};
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};

const LIMIT: Duration = Duration::from_secs(20);
const A: &str = "mesh/shop/virtualNode/a";
const B: &str = "mesh/shop/virtualNode/b";
const TOKEN: &str = "a-join-token-of-node-a";

const DEFINITIONS: &str = "
- {meshName: shop, spec: {}}
- {meshName: shop, virtualNodeName: a, spec: {}}
- {meshName: shop, virtualNodeName: b, spec: {}}
";

struct Scene {
    files: tempfile::TempDir,
    plane: ControlPlane,
}

impl Scene {
    async fn start() -> Result<Self> {
        let files = tempfile::tempdir()?;
        let rules = files.path().join("access.yaml");
        std::fs::write(&rules, format!("certificates: true\ntokens: [{{token: {TOKEN}, nodes: [{A}]}}]\n"))?;
        std::fs::write(files.path().join("token"), format!("{TOKEN}\n"))?;
        std::fs::write(files.path().join("other-token"), "a-token-that-nobody-knows")?;
        let ca = files.path().join("ca").display().to_string();
        let rules = rules.display().to_string();
        let arguments =
            ["--no-interception", "--mesh-ca", &ca, "--xds-name", "127.0.0.1", "--access", &rules];
        let plane = Launch::of(DEFINITIONS)?.args(arguments.map(str::to_owned)).start().await?;
        Ok(Self { files, plane })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A sidecar that trusts the control plane and shows what these variables say.
    async fn sidecar(&self, node: &str, shown: &[(&str, &Path)]) -> Result<Sidecar> {
        let mut launch = DataPlane::Outrigger.launch()?;
        for (name, file) in shown {
            launch = launch.env(name, &file.display().to_string());
        }
        launch.appear_in_mesh(node, self.plane.xds()).await
    }

    /// A certificate of the mesh for a node, as one that it got before.
    fn identity(&self, uri: &str) -> Result<(PathBuf, PathBuf)> {
        let root = std::fs::read_to_string(self.file("ca/root.pem"))?;
        let key = KeyPair::from_pem(&std::fs::read_to_string(self.file("ca/root.key"))?)?;
        let issuer = Issuer::from_ca_cert_pem(&root, key)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        let key = KeyPair::generate()?;
        let (certificate_file, key_file) = (self.file("own.pem"), self.file("own.key"));
        std::fs::write(&certificate_file, params.signed_by(&key, &issuer)?.pem())?;
        std::fs::write(&key_file, key.serialize_pem())?;
        Ok((certificate_file, key_file))
    }
}

async fn until_refused(scene: &mut Scene, sidecar: &Sidecar, audit: &str) -> Result<()> {
    scene.plane.until_says(audit).await?;
    // The client learns nothing but the fact.
    let told = || std::future::ready(sidecar.said("not authenticated").then_some(()));
    wait::until("the sidecar to be refused", LIMIT, told).await?;
    assert!(!sidecar.said(audit));
    assert_ne!(sidecar.get("/ready").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_join_token_makes_a_sidecar_its_node_and_no_other() -> Result<()> {
    let mut scene = Scene::start().await?;
    let (roots, token, other) = (scene.file("ca/root.pem"), scene.file("token"), scene.file("other-token"));
    let trust = ("OUTRIGGER_XDS_ROOTS", roots.as_path());
    let mut known = scene.sidecar(A, &[trust, ("OUTRIGGER_XDS_TOKEN_FILE", &token)]).await?;
    known.until_ready(LIMIT).await?;
    let misdirected = scene.sidecar(B, &[trust, ("OUTRIGGER_XDS_TOKEN_FILE", &token)]).await?;
    until_refused(&mut scene, &misdirected, "not a node of this client").await?;
    let unknown = scene.sidecar(A, &[trust, ("OUTRIGGER_XDS_TOKEN_FILE", &other)]).await?;
    until_refused(&mut scene, &unknown, "an unknown token").await?;
    let silent = scene.sidecar(A, &[trust]).await?;
    until_refused(&mut scene, &silent, "shows nothing").await?;
    let page = scene.plane.get("/metrics").await?.text();
    assert!(page.contains("unauthenticated"), "{page}");
    // Nobody's log has the token.
    let mut texts = vec![scene.plane.process().stderr()];
    for sidecar in [&mut known] {
        texts.push(sidecar.process().stderr());
        texts.push(sidecar.get("/config_dump").await?.text());
    }
    assert!(texts.iter().all(|text| !text.contains(TOKEN)), "{texts:?}");
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_the_mesh_speaks_for_its_node() -> Result<()> {
    let mut scene = Scene::start().await?;
    let (certificate, key) = scene.identity("spiffe://shop/virtualNode/b")?;
    let roots = scene.file("ca/root.pem");
    let shown = [
        ("OUTRIGGER_XDS_ROOTS", roots.as_path()),
        ("OUTRIGGER_XDS_CERTIFICATE", &certificate),
        ("OUTRIGGER_XDS_KEY", &key),
    ];
    scene.sidecar(B, &shown).await?.until_ready(LIMIT).await?;
    let other = scene.sidecar(A, &shown).await?;
    until_refused(&mut scene, &other, "not a node of this client").await
}

#[tokio::test]
async fn an_impostor_of_the_control_plane_is_told_nothing() -> Result<()> {
    let scene = Scene::start().await?;
    let token = scene.file("token");
    let foreign = scene.file("foreign.pem");
    std::fs::write(&foreign, outrigger_tests::tls::Authority::new()?.certificate())?;
    let shown = [("OUTRIGGER_XDS_ROOTS", foreign.as_path()), ("OUTRIGGER_XDS_TOKEN_FILE", &token)];
    let sidecar = scene.sidecar(A, &shown).await?;
    let told = || std::future::ready(sidecar.said("invalid peer certificate").then_some(()));
    wait::until("the certificate to be refused", LIMIT, told).await?;
    assert_ne!(sidecar.get("/ready").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn keys_are_never_offered_to_anyone_who_asks() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let definitions = directory.path().join("mesh.yaml");
    std::fs::write(&definitions, DEFINITIONS)?;
    let ca = directory.path().join("ca");
    for more in [&[][..], &["--insecure-plaintext-xds"], &["--xds-name", "localhost"]] {
        let program = outrigger_tests::binaries::path(outrigger_tests::binaries::CONTROL_PLANE)?;
        let mut command = tokio::process::Command::new(program);
        command.arg("serve").arg(&definitions).args(["--xds", "0.0.0.0:0", "--admin", "127.0.0.1:0"]);
        command.arg("--mesh-ca").arg(&ca).args(more).kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, command.output()).await??;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{more:?}: {said}");
        assert!(said.contains("--access"), "{said}");
    }
    Ok(())
}
