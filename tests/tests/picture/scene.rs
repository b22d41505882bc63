//! A mesh that has something of everything to show: calls with and without mutual TLS and errors between our sidecars, and
//! nodes of which a test makes what it likes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use outrigger_tests::Result;
use outrigger_tests::control_plane::{ControlPlane, Launch};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::mesh::request;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use tempfile::TempDir;

const DEFINITIONS: &str = include_str!("mesh.yaml");
/// Where sidecars listen; applications do at the same ports of 127.0.0.1.
const CALLER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Of its own, because each sidecar takes calls to others at the same port.
const CALLEE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
pub const EDGE: &str = "mesh/shop/virtualGateway/edge";
pub const FRONT: &str = "mesh/shop/virtualNode/front";
pub const PRICE: &str = "mesh/shop/virtualNode/price";
pub const STOCK: &str = "mesh/shop/virtualNode/stock";

/// It, served and running.
pub struct Scene {
    pub control_plane: ControlPlane,
    /// Of `front`, which it serves, and of `price`, which a replica serves.
    pub sidecars: Vec<Sidecar>,
    /// The cluster through which `edge` calls `front`.
    pub front: String,
    egress: SocketAddr,
    _replica: ControlPlane,
    _applications: Vec<Upstream>,
    _ports: Vec<Port>,
    _authority: TempDir,
}

impl Scene {
    pub async fn start() -> Result<Self> {
        let authority = tempfile::tempdir()?;
        let egress = Port::lease()?;
        let (mut ports, mut applications) = (Vec::new(), Vec::new());
        for name in ["Edge", "Front", "Price", "Stock", "Ledger"] {
            let port = Port::lease()?;
            if ["Front", "Price", "Stock"].contains(&name) {
                applications.push(Upstream::start_on(TcpListener::bind(port.address())?, Echo::new(name))?);
            }
            ports.push((name, port));
        }
        let serve = async |address: Ipv4Addr| -> Result<ControlPlane> {
            let launch = Launch::of(DEFINITIONS)?.args(["--no-interception", "--bind", &address.to_string()]);
            let launch = launch.args(["--egress-port", &egress.number().to_string()]);
            let launch = launch.args(["--mesh-ca", &authority.path().join("ca").display().to_string()]);
            let parameter = |(name, port): &(&str, Port)| format!("--parameter={name}Port={}", port.number());
            launch.args(ports.iter().map(parameter)).start().await
        };
        let (control_plane, replica) = (serve(CALLER).await?, serve(CALLEE).await?);
        let mut sidecars = Vec::new();
        for (plane, id) in [(&replica, PRICE), (&control_plane, FRONT)] {
            sidecars.push(DataPlane::Outrigger.launch()?.start_in_mesh(id, plane.xds()).await?);
            plane.until_accepted(id).await?;
        }
        let front = format!("cds_egress_shop_front_http_{}", ports[1].1.number());
        Ok(Self {
            control_plane,
            sidecars,
            front,
            egress: (CALLER, egress.number()).into(),
            _replica: replica,
            _applications: applications,
            _ports: ports.into_iter().map(|(_, port)| port).chain([egress]).collect(),
            _authority: authority,
        })
    }

    /// Six requests to `price`, and two to `stock`, of which one fails.
    pub async fn traffic(&self) -> Result<()> {
        for _ in 0..6 {
            assert_eq!(request(self.egress, "price.shop.local", "/", &[]).await?.status, 200, "price");
        }
        for status in [200, 500] {
            let asked = format!("x-echo-status: {status}");
            assert_eq!(request(self.egress, "stock.shop.local", "/", &[&asked]).await?.status, status);
        }
        Ok(())
    }
}
