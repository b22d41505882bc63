//! Certificates that the mesh issues by itself: for what definitions have in AWS Certificate Manager, short-lived, renewed
//! under load, with the root replaced in between.
//!
//! Two nodes on one machine, each dialled on an address of its own by a control plane of its own; both control planes
//! have the same authority's directory, as replicas do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use outrigger_tests::client::h1::{self, Connection};
use outrigger_tests::control_plane::{ControlPlane, Launch};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::load::Load;
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{self, Authority};
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, binaries, on_both_data_planes, wait};

on_both_data_planes!(
    acm_certificates_come_from_the_mesh,
    certificates_and_roots_are_renewed_under_load,
    traffic_goes_on_without_a_control_plane,
);

const LIMIT: Duration = Duration::from_secs(60);
const CALLER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const CALLEE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// The services, served and running.
struct Scene {
    authority: tempfile::TempDir,
    planes: [ControlPlane; 2],
    caller: Sidecar,
    callee: Sidecar,
    egress: SocketAddr,
    ingress: SocketAddr,
    _application: Upstream,
    _ports: [Port; 3],
}

impl Scene {
    async fn start(plane: DataPlane, life: &str) -> Result<Self> {
        let (own, port, egress) = (Port::lease()?, Port::lease()?, Port::lease()?);
        let authority = tempfile::tempdir()?;
        let definitions = definitions(own.number(), port.number());
        let application =
            Upstream::start_on(std::net::TcpListener::bind(port.address())?, Echo::new("callee"))?;
        let directory = authority.path().join("ca");
        let serve = async |address: IpAddr| -> Result<ControlPlane> {
            let arguments = [
                "--no-interception",
                "--bind",
                &address.to_string(),
                "--egress-port",
                &egress.number().to_string(),
                "--mesh-ca",
                &directory.display().to_string(),
                "--certificate-life",
                life,
            ];
            Launch::of(&definitions)?.args(arguments.map(str::to_owned)).start().await
        };
        let planes = [serve(CALLER).await?, serve(CALLEE).await?];
        let [near, far] = &planes;
        let callee = plane.launch()?.start_in_mesh("mesh/Shop/virtualNode/callee", far.xds()).await?;
        let caller = plane.launch()?.start_in_mesh("mesh/Shop/virtualNode/caller", near.xds()).await?;
        let (out, into) = ((CALLER, egress.number()).into(), (CALLEE, port.number()).into());
        Ok(Self {
            authority,
            planes,
            caller,
            callee,
            egress: out,
            ingress: into,
            _application: application,
            _ports: [own, port, egress],
        })
    }

    fn directory(&self) -> std::path::PathBuf {
        self.authority.path().join("ca")
    }

    /// Runs a step of replacing the root, and waits until both sidecars have its roots.
    async fn step(&self, step: &str) -> Result<()> {
        let mut seen = Vec::new();
        for sidecar in [&self.caller, &self.callee] {
            seen.push(sidecar.stat(TRUST_UPDATES).await?);
        }
        let program = binaries::path(binaries::CONTROL_PLANE)?;
        let done = std::process::Command::new(program).args(["ca", step]).arg(self.directory()).output()?;
        assert!(done.status.success(), "{step}: {}", String::from_utf8_lossy(&done.stderr));
        for (sidecar, seen) in [&self.caller, &self.callee].into_iter().zip(seen) {
            sidecar.until_stat(TRUST_UPDATES, |updates| updates > seen).await?;
        }
        Ok(())
    }

    async fn until_renewed(&self, times: u64) -> Result<()> {
        let updates = async |sidecar: &Sidecar| sidecar.stat(IDENTITY_UPDATES).await;
        let start = [updates(&self.caller).await?, updates(&self.callee).await?];
        let renewed = || async {
            let now = [updates(&self.caller).await.ok()?, updates(&self.callee).await.ok()?];
            now.iter().zip(&start).all(|(now, start)| *now >= start + times).then_some(())
        };
        wait::until("certificates to be renewed", LIMIT, renewed).await
    }
}

const IDENTITY_UPDATES: &str = "sds.outrigger_identity.update_success";
const TRUST_UPDATES: &str = "sds.outrigger_trust.update_success";

/// One line per node turns mutual TLS on.
fn definitions(own: u16, port: u16) -> String {
    format!(
        r"
Resources:
  Mesh: {{Type: AWS::AppMesh::Mesh, Properties: {{MeshName: Shop}}}}
  Caller:
    Type: AWS::AppMesh::VirtualNode
    Properties:
      MeshName: Shop
      VirtualNodeName: caller
      Spec:
        Listeners: [{{PortMapping: {{Port: {own}, Protocol: http}}}}]
        ServiceDiscovery: {{DNS: {{Hostname: {CALLER}}}}}
        Backends: [{{VirtualService: {{VirtualServiceName: callee.shop}}}}]
        BackendDefaults:
          ClientPolicy: {{TLS: {{Validation: {{Trust: {{ACM: {{CertificateAuthorityArns: ['arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/c']}}}}}}}}}}
  Callee:
    Type: AWS::AppMesh::VirtualNode
    Properties:
      MeshName: Shop
      VirtualNodeName: callee
      Spec:
        Listeners:
          - PortMapping: {{Port: {port}, Protocol: http}}
            TLS:
              Mode: STRICT
              Certificate: {{ACM: {{CertificateArn: 'arn:aws:acm:eu-west-1:111122223333:certificate/c'}}}}
              Validation:
                Trust: {{SDS: {{SecretName: 'outrigger:trust'}}}}
                SubjectAlternativeNames: {{Match: {{Exact: ['spiffe://shop/virtualNode/caller']}}}}
        ServiceDiscovery: {{DNS: {{Hostname: {CALLEE}}}}}
  Service:
    Type: AWS::AppMesh::VirtualService
    Properties:
      MeshName: Shop
      VirtualServiceName: callee.shop
      Spec: {{Provider: {{VirtualNode: {{VirtualNodeName: callee}}}}}}
"
    )
}

async fn acm_certificates_come_from_the_mesh(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane, "1h").await?;
    let response = h1::get(scene.egress, "callee.shop", "/").await?;
    assert_eq!(response.status, 200, "{}", response.text());
    let certs = scene.callee.get("/certs").await?.text();
    assert!(certs.contains("spiffe://shop/virtualNode/callee"), "{certs}");

    // Nobody else gets in: not without a certificate, not with one of another authority, not in plain text.
    let foreign = Authority::new()?;
    let identity = foreign.issue(&["spiffe://shop/virtualNode/caller"])?;
    let root = std::fs::read_to_string(scene.directory().join("root.pem"))?;
    for identity in [None, Some(&identity)] {
        let config = tls::client_of(&root, &[], identity)?;
        let stream = tls::connect(&Place::Host, scene.ingress, &CALLEE.to_string(), config).await;
        let answer = match stream {
            Ok(stream) => {
                Connection::over(stream).exchange("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.map(drop)
            }
            Err(error) => Err(error),
        };
        assert!(answer.is_err());
    }
    assert!(h1::get(scene.ingress, "callee.shop", "/").await.is_err());

    // Keys are where they are needed, and nowhere else.
    let mut said = vec![scene.planes[0].process().stderr(), scene.planes[1].process().stderr()];
    for sidecar in [&mut scene.caller, &mut scene.callee] {
        said.push(sidecar.get("/config_dump").await?.text());
        said.push(sidecar.get("/certs").await?.text());
        said.push(sidecar.process().stderr());
    }
    for plane in &scene.planes {
        said.push(plane.get("/nodes").await?.text());
    }
    let key = std::fs::read_to_string(scene.directory().join("root.key"))?;
    let key: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
    for text in said {
        assert!(!text.contains("PRIVATE KEY"), "{text}");
        assert!(key.iter().all(|line| !text.contains(line)), "{text}");
    }
    assert!(mode(&scene.directory().join("root.key"))? == 0o600);
    Ok(())
}

fn mode(path: &Path) -> Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}

async fn certificates_and_roots_are_renewed_under_load(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane, "2s").await?;
    let load = Load::start(scene.egress, "callee.shop", 4);
    load.until_answered(20).await?;
    scene.until_renewed(2).await?;
    let before = [descriptors(&mut scene.caller)?, descriptors(&mut scene.callee)?];
    let (first, second) = if plane == DataPlane::Outrigger { (8, 2) } else { (3, 1) };
    scene.until_renewed(first).await?;
    for step in ["prepare", "switch", "retire"] {
        scene.step(step).await?;
        scene.until_renewed(second).await?;
        load.until_answered(50).await?;
    }
    let after = [descriptors(&mut scene.caller)?, descriptors(&mut scene.callee)?];
    assert!(load.end().await? > 200);
    // Connections of the generation before may still be closing.
    for (before, after) in before.into_iter().zip(after) {
        assert!(after <= before + 16, "{before} descriptors, then {after}");
    }
    Ok(())
}

fn descriptors(sidecar: &mut Sidecar) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{}/fd", sidecar.process().id()))?.count())
}

async fn traffic_goes_on_without_a_control_plane(plane: DataPlane) -> Result<()> {
    let life = Duration::from_secs(12);
    let mut scene = Scene::start(plane, "12s").await?;
    let load = Load::start(scene.egress, "callee.shop", 2);
    load.until_answered(20).await?;
    for plane in &mut scene.planes {
        plane.kill().await?;
    }
    // As long as the certificates of the start are valid, with some room: more than half of their life.
    tokio::time::sleep(life * 6 / 10).await;
    load.until_answered(20).await?;
    // New connections too.
    let response = h1::get(scene.egress, "callee.shop", "/").await?;
    assert_eq!(response.status, 200, "{}", response.text());
    load.end().await.map(drop)
}
