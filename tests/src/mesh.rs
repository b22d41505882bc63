//! A shop as a mesh: App Mesh definitions with most of what they can say, our control plane that serves them, and an
//! upstream in the place of every node but the one whose sidecar is tested.
//!
//! Proxies are dialled directly on an address of their own, so that the ports of their listeners and those of the
//! applications are the same, as they are with interception.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use crate::Result;
use crate::client::h1::{Connection, Response};
use crate::control_plane::{ControlPlane, Launch};
use crate::data_plane::{DataPlane, Sidecar};
use crate::ports::Port;
use crate::upstream::{Behaviour, Echo, GrpcEcho, TcpEcho, Upstream};

const DEFINITIONS: &str = include_str!("mesh/shop.yaml");
/// What Cloud Map would answer.
const INSTANCES: &str = "
cloudMapInstances:
  - {namespaceName: shop.local, serviceName: stock, attributes: {AWS_INSTANCE_IPV4: 127.0.0.1}}
  - {namespaceName: shop.local, serviceName: rates, attributes: {AWS_INSTANCE_IPV4: 127.0.0.1}}
";
/// Where proxies listen.
const PROXIES: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// The id of the virtual node with backends.
pub const FRONT: &str = "mesh/shop/virtualNode/front";
/// The id of the virtual gateway.
pub const EDGE: &str = "mesh/shop/virtualGateway/edge";

/// The definitions, served, and the upstreams.
#[derive(Debug)]
pub struct Shop {
    /// Serves the definitions.
    pub control_plane: ControlPlane,
    /// The application of the node `front`.
    pub front: Upstream,
    /// `price-1`, HTTP/1.1.
    pub price_one: Upstream,
    /// `price-2`, HTTP/1.1.
    pub price_two: Upstream,
    /// `stock`, HTTP/2, found by Cloud Map.
    pub stock: Upstream,
    /// `quote`, gRPC.
    pub quote: Upstream,
    /// `rates`, gRPC, found by Cloud Map.
    pub rates: Upstream,
    /// `ledger`, TCP.
    pub ledger: Upstream,
    egress: Port,
    edge: Port,
    ledger_service: Port,
    _ports: Vec<Port>,
}

impl Shop {
    /// Starts with three of four requests to `price-1`.
    pub async fn open() -> Result<Self> {
        Self::open_with_weights(3, 1).await
    }

    /// Starts with these weights of `price-1` and `price-2` for requests that no other route takes.
    pub async fn open_with_weights(one: u32, two: u32) -> Result<Self> {
        let mut ports = Vec::new();
        let front = start(Echo::new("front"), &mut ports)?;
        let price_one = start(Echo::new("price-1"), &mut ports)?;
        let price_two = start(Echo::new("price-2"), &mut ports)?;
        let stock = start(Echo::new("stock"), &mut ports)?;
        let quote = start(GrpcEcho, &mut ports)?;
        let rates = start(GrpcEcho, &mut ports)?;
        let ledger = start(TcpEcho, &mut ports)?;
        let (egress, edge, ledger_service) = (Port::lease()?, Port::lease()?, Port::lease()?);
        let parameters = [
            ("FrontPort", front.address().port()),
            ("PriceOnePort", price_one.address().port()),
            ("PriceTwoPort", price_two.address().port()),
            ("StockPort", stock.address().port()),
            ("QuotePort", quote.address().port()),
            ("RatesPort", rates.address().port()),
            ("LedgerPort", ledger.address().port()),
            ("LedgerServicePort", ledger_service.number()),
            ("EdgePort", edge.number()),
        ];
        let launch = Launch::of(&definitions(one, two))?;
        launch.write("instances.yaml", INSTANCES)?;
        let launch = launch.args(["--no-interception", "--bind", &PROXIES.to_string()]);
        let launch = launch.args(["--egress-port".to_owned(), egress.number().to_string()]);
        let launch = launch.args(parameters.iter().map(|(name, port)| format!("--parameter={name}={port}")));
        let control_plane = launch.start().await?;
        Ok(Self {
            control_plane,
            front,
            price_one,
            price_two,
            stock,
            quote,
            rates,
            ledger,
            egress,
            edge,
            ledger_service,
            _ports: ports,
        })
    }

    /// Changes the weights in the file that is served.
    pub fn reweigh(&self, one: u32, two: u32) -> Result<()> {
        self.control_plane.write("mesh.yaml", &definitions(one, two))
    }

    /// The text of the file that is served.
    pub fn definitions(&self) -> Result<String> {
        self.control_plane.read("mesh.yaml")
    }

    /// Starts a proxy with this id and waits until it has accepted everything that it is sent.
    pub async fn proxy(&self, plane: DataPlane, id: &str, workers: u32) -> Result<Sidecar> {
        let launch = plane.launch()?.concurrency(workers);
        let sidecar = launch.start_in_mesh(id, self.control_plane.xds()).await?;
        let types = self.control_plane.until_accepted(id).await?;
        let asked: Vec<&String> = types.as_object().into_iter().flat_map(|types| types.keys()).collect();
        match asked == ["CDS", "EDS", "LDS", "RDS"] {
            true => Ok(sidecar),
            false => Err(format!("{id} asked for {asked:?}").into()),
        }
    }

    /// Where a proxy takes requests to HTTP services, by Host.
    pub fn egress(&self) -> SocketAddr {
        (PROXIES, self.egress.number()).into()
    }

    /// Where the sidecar of `front` takes requests to its application.
    pub fn ingress(&self) -> SocketAddr {
        (PROXIES, self.front.address().port()).into()
    }

    /// Where the gateway listens.
    pub fn edge(&self) -> SocketAddr {
        (PROXIES, self.edge.number()).into()
    }

    /// Where the sidecar of `front` takes connections to the ledger.
    pub fn ledger_service(&self) -> SocketAddr {
        (PROXIES, self.ledger_service.number()).into()
    }

    /// One request to `price.shop.local` through a sidecar; `fields` are further lines of the head.
    pub async fn price(&self, path: &str, fields: &[&str]) -> Result<Response> {
        request(self.egress(), "price.shop.local", path, fields).await
    }
}

/// One `GET` on a connection of its own.
pub async fn request(at: SocketAddr, host: &str, path: &str, fields: &[&str]) -> Result<Response> {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n");
    Connection::open(at).await?.exchange(head).await
}

/// The name of the upstream that an answer comes from.
pub fn upstream_of(response: &Response) -> Result<String> {
    match (response.status, response.json()) {
        (200, Ok(body)) => Ok(body["upstream"].as_str().unwrap_or_default().to_owned()),
        _ => Err(format!("no answer of an upstream: {response:?}").into()),
    }
}

fn definitions(one: u32, two: u32) -> String {
    let with = |text: String, name: &str, weight: u32| {
        text.replace(&format!("Weight: !Ref {name}"), &format!("Weight: {weight}"))
    };
    with(with(DEFINITIONS.to_owned(), "PriceOneWeight", one), "PriceTwoWeight", two)
}

/// On a port of its own that no outgoing connection can take on the proxies' address.
fn start(behaviour: impl Behaviour, ports: &mut Vec<Port>) -> Result<Upstream> {
    let port = Port::lease()?;
    let upstream = Upstream::start_on(TcpListener::bind(port.address())?, behaviour)?;
    ports.push(port);
    Ok(upstream)
}
