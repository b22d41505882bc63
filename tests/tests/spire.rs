//! `sds` certificates of App Mesh definitions, from a SPIRE agent's socket.
//!
//! Two nodes, each dialled on an address of its own and served by a control plane of its own. They have TLS with client
//! certificates, and everything of it comes from a stand-in for the agent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use outrigger_tests::agent::Agent;
use outrigger_tests::bootstrap::{over_http2, with_ads_as};
use outrigger_tests::client::h1;
use outrigger_tests::control_plane::{ControlPlane, Launch};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::load::Load;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{Authority, Identity};
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};

on_both_data_planes!(
    identities_come_from_the_agent_and_rotate,
    one_unknown_identity_costs_only_who_needs_it,
    callers_of_another_trust_domain_are_refused,
    one_domain_does_not_speak_for_another,
);

const LIMIT: Duration = Duration::from_secs(30);
const CALLER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const CALLEE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const CALLER_ID: &str = "spiffe://shop/caller";
const CALLEE_ID: &str = "spiffe://shop/callee";
const DOMAIN: &str = "spiffe://shop";

/// Everything but the sidecars.
struct Scene {
    agent: Agent,
    planes: [ControlPlane; 2],
    ports: [Port; 3],
    _application: Upstream,
}

/// Names of secrets: the caller's certificate and whom it trusts, then the callee's.
struct Names([&'static str; 4]);

const BY_ID: Names = Names([CALLER_ID, DOMAIN, CALLEE_ID, DOMAIN]);

impl Scene {
    async fn start() -> Result<Self> {
        Self::start_with(&BY_ID, CALLER_ID).await
    }

    /// `expected`: the identity that the callee wants of its callers.
    async fn start_with(names: &Names, expected: &str) -> Result<Self> {
        let ports = [Port::lease()?, Port::lease()?, Port::lease()?];
        let [own, served, egress] = &ports;
        let definitions = definitions(own.number(), served.number(), names, expected);
        let listener = std::net::TcpListener::bind(served.address())?;
        let application = Upstream::start_on(listener, Echo::new("callee"))?;
        let egress = egress.number().to_string();
        let serve = async |address: IpAddr| -> Result<ControlPlane> {
            let arguments = ["--no-interception", "--bind", &address.to_string(), "--egress-port", &egress];
            Launch::of(&definitions)?.args(arguments.map(str::to_owned)).start().await
        };
        let planes = [serve(CALLER).await?, serve(CALLEE).await?];
        Ok(Self { agent: Agent::start()?, planes, ports, _application: application })
    }

    /// Our sidecar from the image's environment, Envoy from the bootstrap that the image makes of it.
    async fn sidecar(&self, plane: DataPlane, name: &str) -> Result<Sidecar> {
        let node = format!("mesh/shop/virtualNode/{name}");
        let control_plane = self.planes[usize::from(name == "callee")].xds();
        let socket = self.agent.socket().display().to_string();
        let launch = plane.launch()?;
        if plane == DataPlane::Outrigger {
            return launch.env("APPMESH_SDS_SOCKET_PATH", &socket).start_in_mesh(&node, control_plane).await;
        }
        let mut bootstrap = with_ads_as(&node, control_plane, "DELTA_GRPC");
        let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().ok_or("no clusters")?;
        clusters.push(agent_cluster(&socket));
        launch.start(&bootstrap).await
    }

    fn egress(&self) -> SocketAddr {
        (CALLER, self.ports[2].number()).into()
    }

    async fn status(&self) -> Result<u16> {
        Ok(h1::get(self.egress(), "callee.shop", "/").await?.status)
    }

    fn identify(&self, authority: &Authority, ids: &[&str]) -> Result<()> {
        for id in ids {
            self.agent.identify(id, &svid(authority, id)?);
        }
        Ok(())
    }
}

/// A certificate as SPIRE issues them: the key may sign in handshakes, and nothing else.
fn svid(authority: &Authority, id: &str) -> Result<Identity> {
    authority.issue_with(&[id], |params| params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature])
}

fn agent_cluster(socket: &str) -> Value {
    let name = "static_cluster_sds_unix_socket";
    over_http2(json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": socket}}}}]}],
        },
    }))
}

fn definitions(own: u16, port: u16, names: &Names, expected: &str) -> String {
    let Names([caller, trusted_by_caller, callee, trusted_by_callee]) = names;
    format!(
        "
- {{meshName: shop, spec: {{}}}}
- meshName: shop
  virtualNodeName: caller
  spec:
    listeners: [{{portMapping: {{port: {own}, protocol: http}}}}]
    serviceDiscovery: {{dns: {{hostname: {CALLER}}}}}
    backends: [{{virtualService: {{virtualServiceName: callee.shop}}}}]
    backendDefaults:
      clientPolicy:
        tls:
          certificate: {{sds: {{secretName: '{caller}'}}}}
          validation:
            trust: {{sds: {{secretName: '{trusted_by_caller}'}}}}
            subjectAlternativeNames: {{match: {{exact: ['{CALLEE_ID}']}}}}
- meshName: shop
  virtualNodeName: callee
  spec:
    listeners:
      - portMapping: {{port: {port}, protocol: http}}
        tls:
          mode: STRICT
          certificate: {{sds: {{secretName: '{callee}'}}}}
          validation:
            trust: {{sds: {{secretName: '{trusted_by_callee}'}}}}
            subjectAlternativeNames: {{match: {{exact: ['{expected}']}}}}
    serviceDiscovery: {{dns: {{hostname: {CALLEE}}}}}
- meshName: shop
  virtualServiceName: callee.shop
  spec: {{provider: {{virtualNode: {{virtualNodeName: callee}}}}}}
"
    )
}

async fn identities_come_from_the_agent_and_rotate(plane: DataPlane) -> Result<()> {
    let (scene, authority) = (Scene::start().await?, Authority::new()?);
    scene.agent.trust(DOMAIN, &authority.certificate());
    scene.identify(&authority, &[CALLER_ID, CALLEE_ID])?;
    let callee = scene.sidecar(plane, "callee").await?;
    let caller = scene.sidecar(plane, "caller").await?;
    assert_eq!(scene.status().await?, 200);
    let load = Load::start(scene.egress(), "callee.shop", 2);
    let serial = async || -> Result<Value> {
        let certs = callee.get("/certs").await?.json()?;
        let chains = certs["certificates"].as_array().cloned().unwrap_or_default();
        let own = chains.iter().map(|one| &one["cert_chain"][0]["serial_number"]).find(|one| one.is_string());
        own.cloned().ok_or_else(|| format!("no serial number in {certs}").into())
    };
    for _ in 0..5 {
        let before = serial().await?;
        scene.identify(&authority, &[CALLER_ID, CALLEE_ID])?;
        let changed = || async { serial().await.ok().filter(|now| *now != before).map(drop) };
        wait::until("another certificate", LIMIT, changed).await?;
        load.until_answered(20).await?;
    }
    // Without its agent a sidecar goes on with what it has.
    let Scene { agent, ports, .. } = scene;
    assert!(agent.refusals().is_empty(), "{:?}", agent.refusals());
    drop(agent);
    load.until_answered(20).await?;
    let response = h1::get((CALLER, ports[2].number()).into(), "callee.shop", "/").await?;
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(caller.get("/ready").await?.status, 200);
    load.end().await.map(drop)
}

async fn one_unknown_identity_costs_only_who_needs_it(plane: DataPlane) -> Result<()> {
    let (scene, authority) = (Scene::start().await?, Authority::new()?);
    scene.agent.trust(DOMAIN, &authority.certificate());
    scene.identify(&authority, &[CALLER_ID])?;
    // The callee comes up as soon as the agent knows it; until then its listener is not there.
    let later = async {
        scene.agent.until_asked_in_vain(CALLEE_ID).await?;
        let at: SocketAddr = (CALLEE, scene.ports[1].number()).into();
        assert!(h1::get(at, "callee.shop", "/").await.is_err());
        scene.identify(&authority, &[CALLEE_ID])
    };
    let (callee, known) = tokio::join!(scene.sidecar(plane, "callee"), later);
    let (_callee, ()) = (callee?, known?);
    let _caller = scene.sidecar(plane, "caller").await?;
    assert_eq!(scene.status().await?, 200);
    Ok(())
}

async fn callers_of_another_trust_domain_are_refused(plane: DataPlane) -> Result<()> {
    let (scene, authority, foreign) = (Scene::start().await?, Authority::new()?, Authority::new()?);
    scene.agent.trust(DOMAIN, &authority.certificate());
    scene.identify(&authority, &[CALLEE_ID])?;
    scene.identify(&foreign, &[CALLER_ID])?;
    let _callee = scene.sidecar(plane, "callee").await?;
    let _caller = scene.sidecar(plane, "caller").await?;
    assert_eq!(scene.status().await?, 503);
    Ok(())
}

/// Federation: the callee trusts two domains (`ALL`), the caller its own (`ROOTCA`), and certificates are asked for by the
/// names that need no id. Each domain's authority vouches for its own identities only.
async fn one_domain_does_not_speak_for_another(plane: DataPlane) -> Result<()> {
    const PARTNER: &str = "spiffe://partner/caller";
    let names = Names(["default", "ROOTCA", CALLEE_ID, "ALL"]);
    for (issuer_is_partner, status) in [(true, 200), (false, 503)] {
        let (ours, partner) = (Authority::new()?, Authority::new()?);
        let scene = Scene::start_with(&names, PARTNER).await?;
        scene.agent.trust(DOMAIN, &ours.certificate());
        scene.agent.trust("spiffe://partner", &partner.certificate());
        scene.identify(if issuer_is_partner { &partner } else { &ours }, &[PARTNER])?;
        scene.identify(&ours, &[CALLEE_ID])?;
        let _callee = scene.sidecar(plane, "callee").await?;
        let _caller = scene.sidecar(plane, "caller").await?;
        assert_eq!(scene.status().await?, status, "signed by the partner: {issuer_is_partner}");
        assert!(scene.agent.refusals().is_empty(), "{:?}", scene.agent.refusals());
    }
    Ok(())
}
