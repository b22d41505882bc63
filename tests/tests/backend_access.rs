//! Access by declared backends: one tag on a mesh, and only nodes that declare a service may call the nodes behind it.
//!
//! The callee is served definitions in which `friend` and the gateway `edge` declare its services. The caller
//! `stranger` is served others, in which it declares them too: it has routes, clusters and a certificate of the mesh,
//! as a sidecar that was tampered with would have.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use outrigger_tests::client::h1::{self, Connection};
use outrigger_tests::control_plane::{ControlPlane, Launch};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{self, Authority, Identity};
use outrigger_tests::upstream::{Echo, TcpEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes};

on_both_data_planes!(
    only_who_declares_a_service_may_call_it,
    a_dry_run_counts_and_lets_pass,
    a_dry_run_serves_who_shows_nothing_or_something_foreign,
);

const fn loopback(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

const FRIEND: IpAddr = loopback(2);
const CALLEE: IpAddr = loopback(3);
const STRANGER: IpAddr = loopback(4);
const EDGE: IpAddr = loopback(5);

/// A sidecar and the control plane that binds it to its address.
struct Proxy {
    sidecar: Sidecar,
    _plane: ControlPlane,
}

struct Scene {
    friend: Proxy,
    callee: Proxy,
    stranger: Proxy,
    edge: Proxy,
    ports: Ports,
    _applications: [Upstream; 2],
    authority: tempfile::TempDir,
}

struct Ports {
    http: Port,
    tcp: Port,
    egress: Port,
    entry: Port,
}

impl Scene {
    async fn start(plane: DataPlane, mode: &str) -> Result<Self> {
        let ports = Ports {
            http: Port::lease()?,
            tcp: Port::lease()?,
            egress: Port::lease()?,
            entry: Port::lease()?,
        };
        let authority = tempfile::tempdir()?;
        let on = |port: &Port| std::net::TcpListener::bind(port.address());
        let applications = [
            Upstream::start_on(on(&ports.http)?, Echo::new("callee"))?,
            Upstream::start_on(on(&ports.tcp)?, TcpEcho)?,
        ];
        let start = async |address, node: &str, tampered| -> Result<Proxy> {
            let definitions = definitions(mode, &ports, tampered);
            let control_plane = serve(&definitions, address, &ports, authority.path()).await?;
            let node = format!("mesh/Shop/{node}");
            let sidecar = plane.launch()?.start_in_mesh(&node, control_plane.xds()).await?;
            Ok(Proxy { sidecar, _plane: control_plane })
        };
        let callee = start(CALLEE, "virtualNode/callee", false).await?;
        let friend = start(FRIEND, "virtualNode/friend", false).await?;
        let stranger = start(STRANGER, "virtualNode/stranger", true).await?;
        let edge = start(EDGE, "virtualGateway/edge", false).await?;
        Ok(Self { friend, callee, stranger, edge, ports, _applications: applications, authority })
    }

    /// The status of a request through the sidecar on an address.
    async fn status(&self, address: IpAddr) -> Result<u16> {
        let port = if address == EDGE { &self.ports.entry } else { &self.ports.egress };
        Ok(h1::get((address, port.number()).into(), "callee.shop", "/").await?.status)
    }

    /// Whether a connection through the sidecar on an address is served.
    async fn echoes(&self, address: IpAddr) -> Result<bool> {
        let at: SocketAddr = (address, self.ports.tcp.number()).into();
        let mut connection = Connection::open(at).await?;
        let _ = connection.send("hello").await;
        Ok(connection.some_bytes().await.is_ok_and(|bytes| bytes == b"hello"))
    }

    /// A connection to the callee past every sidecar, over TLS, with this certificate.
    async fn dial(&self, port: &Port, identity: Option<&Identity>) -> Result<Connection> {
        let root = std::fs::read_to_string(self.authority.path().join("ca/root.pem"))?;
        let (at, config) = ((CALLEE, port.number()).into(), tls::client_of(&root, &[], identity)?);
        Ok(Connection::over(tls::connect(&Place::Host, at, &CALLEE.to_string(), config).await?))
    }

    /// Makes a request and a connection past every sidecar, with this certificate.
    async fn is_served(&self, identity: Option<&Identity>) -> Result<()> {
        let mut connection = self.dial(&self.ports.http, identity).await?;
        let response = connection.exchange("GET / HTTP/1.1\r\nHost: callee.shop\r\n\r\n").await?;
        assert_eq!(response.status, 200, "{}", response.text());
        let mut connection = self.dial(&self.ports.tcp, identity).await?;
        connection.send("hello").await?;
        assert_eq!(connection.some_bytes().await?, b"hello");
        Ok(())
    }

    /// A counter of the callee's rules for requests, and that for connections.
    async fn counts(&self, name: &str) -> Result<[u64; 2]> {
        let callee = &self.callee.sidecar;
        let (http, tcp) = (self.ports.http.number(), self.ports.tcp.number());
        let requests = callee.stat(&format!("http.ingress.http.{http}.rbac.{name}")).await?;
        Ok([requests, callee.stat(&format!("ingress.tcp.{tcp}.rbac.{name}")).await?])
    }
}

async fn serve(definitions: &str, address: IpAddr, ports: &Ports, authority: &Path) -> Result<ControlPlane> {
    let arguments = [
        "--no-interception",
        "--bind",
        &address.to_string(),
        "--egress-port",
        &ports.egress.number().to_string(),
        "--mesh-ca",
        &authority.join("ca").display().to_string(),
    ];
    Launch::of(definitions)?.args(arguments.map(str::to_owned)).start().await
}

const BACKENDS: &str = "
        Backends:
          - {VirtualService: {VirtualServiceName: callee.shop}}
          - {VirtualService: {VirtualServiceName: ledger.shop}}";

/// A service by a router, one by a node, and who declares them; the callee has a certificate of the mesh and nothing
/// is said of client certificates.
fn definitions(mode: &str, ports: &Ports, tampered: bool) -> String {
    let text = r"
Resources:
  Mesh:
    Type: AWS::AppMesh::Mesh
    Properties: {MeshName: Shop, Tags: [{Key: 'outrigger:backend-access', Value: $MODE}]}
  Friend:
    Type: AWS::AppMesh::VirtualNode
    Properties:
      MeshName: Shop
      VirtualNodeName: friend
      Spec:$BACKENDS
  Stranger:
    Type: AWS::AppMesh::VirtualNode
    Properties:
      MeshName: Shop
      VirtualNodeName: stranger
      Spec:$STRANGER
  Callee:
    Type: AWS::AppMesh::VirtualNode
    Properties:
      MeshName: Shop
      VirtualNodeName: callee
      Spec:
        Listeners:
          - {PortMapping: {Port: $HTTP, Protocol: http}, TLS: $TLS}
          - {PortMapping: {Port: $TCP, Protocol: tcp}, TLS: $TLS}
        ServiceDiscovery: {DNS: {Hostname: $CALLEE}}
  Router:
    Type: AWS::AppMesh::VirtualRouter
    Properties: {MeshName: Shop, VirtualRouterName: callee, Spec: {Listeners: [{PortMapping: {Port: $HTTP, Protocol: http}}]}}
  Route:
    Type: AWS::AppMesh::Route
    Properties:
      MeshName: Shop
      VirtualRouterName: callee
      RouteName: all
      Spec: {HttpRoute: {Match: {Prefix: /}, Action: {WeightedTargets: [{VirtualNode: callee, Weight: 1, Port: $HTTP}]}}}
  CalleeService:
    Type: AWS::AppMesh::VirtualService
    Properties: {MeshName: Shop, VirtualServiceName: callee.shop, Spec: {Provider: {VirtualRouter: {VirtualRouterName: callee}}}}
  LedgerRouter:
    Type: AWS::AppMesh::VirtualRouter
    Properties: {MeshName: Shop, VirtualRouterName: ledger, Spec: {Listeners: [{PortMapping: {Port: $TCP, Protocol: tcp}}]}}
  LedgerRoute:
    Type: AWS::AppMesh::Route
    Properties:
      MeshName: Shop
      VirtualRouterName: ledger
      RouteName: all
      Spec: {TcpRoute: {Action: {WeightedTargets: [{VirtualNode: callee, Weight: 1, Port: $TCP}]}}}
  LedgerService:
    Type: AWS::AppMesh::VirtualService
    Properties: {MeshName: Shop, VirtualServiceName: ledger.shop, Spec: {Provider: {VirtualRouter: {VirtualRouterName: ledger}}}}
  Edge:
    Type: AWS::AppMesh::VirtualGateway
    Properties:
      MeshName: Shop
      VirtualGatewayName: edge
      Spec: {Listeners: [{PortMapping: {Port: $ENTRY, Protocol: http}}]}
  EdgeRoute:
    Type: AWS::AppMesh::GatewayRoute
    Properties:
      MeshName: Shop
      VirtualGatewayName: edge
      GatewayRouteName: all
      Spec: {HttpRoute: {Match: {Prefix: /}, Action: {Target: {VirtualService: {VirtualServiceName: callee.shop}}}}}
";
    let tls = "{Mode: STRICT, Certificate: {ACM: {CertificateArn: 'arn:aws:acm:eu-west-1:111122223333:certificate/c'}}}";
    text.replace("$TLS", tls)
        .replace("$MODE", mode)
        .replace("$BACKENDS", BACKENDS)
        .replace("$STRANGER", if tampered { BACKENDS } else { " {}" })
        .replace("$HTTP", &ports.http.number().to_string())
        .replace("$TCP", &ports.tcp.number().to_string())
        .replace("$ENTRY", &ports.entry.number().to_string())
        .replace("$CALLEE", &CALLEE.to_string())
}

async fn only_who_declares_a_service_may_call_it(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, "enforce").await?;
    assert_eq!(scene.status(FRIEND).await?, 200);
    assert_eq!(scene.status(EDGE).await?, 200);
    assert_eq!(scene.status(STRANGER).await?, 403);
    assert!(scene.echoes(FRIEND).await?);
    assert!(!scene.echoes(STRANGER).await?);
    assert_eq!(scene.counts("allowed").await?, [2, 1]);
    assert_eq!(scene.counts("denied").await?, [1, 1]);
    // Who shows no certificate is not even heard.
    let plain = h1::get((CALLEE, scene.ports.http.number()).into(), "callee.shop", "/").await;
    assert!(plain.is_err());
    for proxy in [&scene.friend, &scene.stranger, &scene.edge] {
        assert_eq!(proxy.sidecar.get("/ready").await?.status, 200);
    }
    Ok(())
}

async fn a_dry_run_counts_and_lets_pass(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, "dry-run").await?;
    for address in [FRIEND, EDGE, STRANGER] {
        assert_eq!(scene.status(address).await?, 200, "{address}");
    }
    assert!(scene.echoes(FRIEND).await? && scene.echoes(STRANGER).await?);
    assert_eq!(scene.counts("shadow_allowed").await?, [2, 1]);
    assert_eq!(scene.counts("shadow_denied").await?, [1, 1]);
    assert_eq!(scene.counts("denied").await?, [0, 0]);
    if plane == DataPlane::Outrigger {
        // Envoy only counts.
        assert!(scene.callee.sidecar.said("shadow rules would deny this caller"));
        assert!(scene.callee.sidecar.said("spiffe://shop/virtualNode/stranger"));
        assert!(!scene.callee.sidecar.said("virtualNode/friend"));
    }
    Ok(())
}

/// Callers that came in before the rule was tried come in while it is tried: without a certificate, or with one of an
/// authority that nobody knows. Each is counted, and ours says who it was.
async fn a_dry_run_serves_who_shows_nothing_or_something_foreign(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane, "dry-run").await?;
    let elsewhere = Authority::new()?;
    let foreign = elsewhere.issue(&["spiffe://elsewhere/somebody"])?;
    for identity in [None, Some(&foreign)] {
        scene.is_served(identity).await?;
    }
    assert_eq!(scene.counts("shadow_denied").await?, [2, 2]);
    assert_eq!(scene.counts("shadow_allowed").await?, [0, 0]);
    assert_eq!(scene.counts("denied").await?, [0, 0]);
    // Names are taken at their word while everybody comes in; the rule in force refuses this handshake.
    scene.is_served(Some(&elsewhere.issue(&["spiffe://shop/virtualNode/friend"])?)).await?;
    assert_eq!(scene.counts("shadow_allowed").await?, [1, 1]);
    // Who shows a certificate of the mesh is known as before.
    assert_eq!(scene.status(FRIEND).await?, 200);
    assert_eq!(scene.counts("shadow_allowed").await?, [2, 1]);
    if plane == DataPlane::Outrigger {
        let said = scene.callee.sidecar.process().stderr();
        assert!(said.contains("shadow rules would deny this caller"), "{said}");
    }
    Ok(())
}
