//! Two nodes on one machine, each dialled on an address of its own by a control plane of its own; both control planes
//! have the same authority's directory, as replicas do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use outrigger_tests::control_plane::{ControlPlane, Launch};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::relay::Relay;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, binaries, wait};

const LIMIT: Duration = Duration::from_secs(60);
const CALLER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
pub const CALLEE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// The services, served and running.
pub struct Scene {
    authority: tempfile::TempDir,
    pub planes: [ControlPlane; 2],
    /// Between the control planes and the sidecars, in the order caller, callee.
    pub wires: [Relay; 2],
    pub caller: Sidecar,
    pub callee: Sidecar,
    pub egress: SocketAddr,
    pub ingress: SocketAddr,
    _application: Upstream,
    _ports: [Port; 3],
}

impl Scene {
    /// Both nodes on one kind of data plane.
    pub async fn start(plane: DataPlane, life: &str) -> Result<Self> {
        Self::start_of(plane, plane, life).await
    }

    /// Caller and callee, with a root on disk.
    pub async fn start_of(caller: DataPlane, callee: DataPlane, life: &str) -> Result<Self> {
        let authority = tempfile::tempdir()?;
        let directory = authority.path().join("ca").display().to_string();
        let arguments = ["--mesh-ca", &directory, "--certificate-life", life];
        Self::start_with(caller, callee, authority, &arguments, &[]).await
    }

    /// Caller and callee, with control planes that get these further arguments and variables.
    pub async fn start_with(
        caller: DataPlane,
        callee: DataPlane,
        authority: tempfile::TempDir,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let (own, port, egress) = (Port::lease()?, Port::lease()?, Port::lease()?);
        let definitions = definitions(own.number(), port.number());
        let application =
            Upstream::start_on(std::net::TcpListener::bind(port.address())?, Echo::new("callee"))?;
        let serve = async |address: IpAddr| -> Result<ControlPlane> {
            let arguments = [
                "--no-interception",
                "--bind",
                &address.to_string(),
                "--egress-port",
                &egress.number().to_string(),
            ];
            let launch = Launch::of(&definitions)?.args(arguments.map(str::to_owned));
            let launch = launch.args(more.iter().copied());
            let set = |launch: Launch, (name, value): &(&str, &str)| launch.env(name, value);
            variables.iter().fold(launch, set).start().await
        };
        let planes = [serve(CALLER).await?, serve(CALLEE).await?];
        let [near, far] = &planes;
        let wires = [Relay::start(near.xds()).await?, Relay::start(far.xds()).await?];
        let callee =
            callee.launch()?.start_in_mesh("mesh/Shop/virtualNode/callee", wires[1].address()).await?;
        let caller =
            caller.launch()?.start_in_mesh("mesh/Shop/virtualNode/caller", wires[0].address()).await?;
        let (out, into) = ((CALLER, egress.number()).into(), (CALLEE, port.number()).into());
        Ok(Self {
            authority,
            planes,
            wires,
            caller,
            callee,
            egress: out,
            ingress: into,
            _application: application,
            _ports: [own, port, egress],
        })
    }

    /// The authority's.
    pub fn directory(&self) -> std::path::PathBuf {
        self.authority.path().join("ca")
    }

    /// Runs a step of replacing the root, and waits until both sidecars have its roots.
    pub async fn step(&self, step: &str) -> Result<()> {
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

    /// How many certificates caller and callee have had so far.
    pub async fn renewals(&self) -> Result<[u64; 2]> {
        Ok([self.caller.stat(IDENTITY_UPDATES).await?, self.callee.stat(IDENTITY_UPDATES).await?])
    }

    /// Waits until both have that many further certificates.
    pub async fn until_renewed(&self, times: u64) -> Result<()> {
        self.until_renewed_since(self.renewals().await?, times).await
    }

    /// Waits until both have that many further certificates than they had then.
    pub async fn until_renewed_since(&self, start: [u64; 2], times: u64) -> Result<()> {
        let renewed = || async {
            let now = self.renewals().await.ok()?;
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
