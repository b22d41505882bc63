//! Proofs that end, and rights that are taken away, while a sidecar is connected: its streams end with them, it comes back
//! with a new proof, and its traffic notices nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, SystemTime};

use outrigger_tests::bootstrap::with_ads_as;
use outrigger_tests::control_plane::{ControlPlane, Launch};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::load::Load;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::Identity;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};

use crate::scene::{A, JOIN, Offline, Scene};

on_both_data_planes!(rights_that_are_taken_away_end_streams_and_no_traffic);

const LIMIT: Duration = Duration::from_secs(30);
/// Where the sidecar listens.
const SIDECAR: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// How long a proof lives that is to end within a test, seconds: longer than a sidecar may take to begin.
const LIFE: u64 = 20;
/// Of which so many are given to clocks that differ, where the proof is a token.
const SKEW: u64 = 5;
const EXPIRED: &str = "ended: what this client has shown is over";

/// The application of node `a`, and the definitions that lead to it.
struct Application {
    port: Port,
    _upstream: Upstream,
}

impl Application {
    fn start() -> Result<Self> {
        let port = Port::lease()?;
        let upstream = Upstream::start_on(TcpListener::bind(port.address())?, Echo::new("a"))?;
        Ok(Self { port, _upstream: upstream })
    }

    fn definitions(&self, seconds: u32) -> String {
        let port = self.port.number();
        format!(
            "
- {{meshName: shop, spec: {{}}}}
- meshName: shop
  virtualNodeName: a
  spec:
    listeners:
    - portMapping: {{port: {port}, protocol: http}}
      timeout: {{http: {{perRequest: {{value: {seconds}, unit: s}}}}}}
    serviceDiscovery: {{dns: {{hostname: a.local}}}}
"
        )
    }

    fn ingress(&self) -> SocketAddr {
        (SIDECAR, self.port.number()).into()
    }

    async fn load(&self) -> Result<Load> {
        let load = Load::start(self.ingress(), "a.local", 2);
        load.until_answered(20).await?;
        Ok(load)
    }
}

/// Waits until an edit has arrived at the sidecar: the stream that it has is of use.
async fn until_edited(plane: &ControlPlane, application: &Application, seconds: u32) -> Result<()> {
    let before = routes(plane).await?;
    plane.write("mesh.yaml", &application.definitions(seconds))?;
    let check = || async {
        let now = routes(plane).await.ok()?;
        (now["status"] == "ACK" && now["version"] != before["version"]).then_some(())
    };
    wait::until("an edit to arrive", LIMIT, check).await
}

async fn routes(plane: &ControlPlane) -> Result<Value> {
    plane.until_accepted(A).await.map(|types| types["RDS"].clone())
}

async fn start(
    application: &Application,
    shown: impl FnOnce(&Scene) -> Result<Vec<(&'static str, String)>>,
) -> Result<(Scene, Sidecar)> {
    let bind = SIDECAR.to_string();
    let scene = Scene::serving(&application.definitions(10), &["--no-interception", "--bind", &bind]).await?;
    let launch = DataPlane::Outrigger.launch()?.env("OUTRIGGER_XDS_ROOTS", &scene.path("ca/root.pem"));
    let shown = shown(&scene)?;
    let launch = shown.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
    let sidecar = launch.start_in_mesh(A, scene.plane.xds()).await?;
    Ok((scene, sidecar))
}

#[tokio::test]
async fn a_token_that_ends_is_followed_by_the_next() -> Result<()> {
    let application = Application::start()?;
    let (mut scene, mut sidecar) =
        start(&application, |scene| Ok(vec![("OUTRIGGER_XDS_TOKEN_FILE", write_token(scene, LIFE - SKEW)?)]))
            .await?;
    // It is served: what it shows from now on is the next one, however long the rest takes.
    write_token(&scene, 600)?;
    let load = application.load().await?;
    scene.plane.until_says(EXPIRED).await?;
    until_said(&sidecar, "Unauthenticated: the proof of identity has ended; show a new one").await?;
    until_edited(&scene.plane, &application, 11).await?;
    assert_eq!(scene.audited("denied"), 0, "{}", scene.plane.process().stderr());
    load.end().await?;
    assert!(sidecar.process().ended().is_none());
    Ok(())
}

/// Puts a token that lives so many seconds in the place of the one before, at once: nobody reads half of it.
fn write_token(scene: &Scene, seconds: u64) -> Result<String> {
    let (staged, file) = (scene.path("staged"), scene.path("sidecar-token"));
    std::fs::write(&staged, scene.issuer.token(Offline::ISSUER, "outrigger", seconds.cast_signed())?)?;
    std::fs::rename(staged, &file)?;
    Ok(file)
}

#[tokio::test]
async fn a_certificate_that_ends_is_followed_by_the_next() -> Result<()> {
    const URI: &str = "spiffe://shop/virtualNode/a";
    let application = Application::start()?;
    let identity = |scene: &Scene, seconds| {
        let until = SystemTime::now() + Duration::from_secs(seconds);
        scene.identity(URI, |params| params.not_after = until.into())
    };
    let write = |scene: &Scene, Identity { certificate, key }: Identity| -> Result<()> {
        std::fs::write(scene.path("own.pem"), certificate)?;
        Ok(std::fs::write(scene.path("own.key"), key)?)
    };
    let (mut scene, sidecar) = start(&application, |scene| {
        write(scene, identity(scene, LIFE)?)?;
        let paths = [("OUTRIGGER_XDS_CERTIFICATE", "own.pem"), ("OUTRIGGER_XDS_KEY", "own.key")];
        Ok(paths.map(|(name, file)| (name, scene.path(file))).to_vec())
    })
    .await?;
    write(&scene, identity(&scene, 600)?)?;
    let load = application.load().await?;
    scene.plane.until_says(EXPIRED).await?;
    until_said(&sidecar, "Unauthenticated: the proof of identity has ended; show a new one").await?;
    until_edited(&scene.plane, &application, 11).await?;
    load.end().await.map(drop)
}

async fn until_said(sidecar: &Sidecar, text: &str) -> Result<()> {
    let told = || std::future::ready(sidecar.said(text).then_some(()));
    wait::until(&format!("the sidecar to say {text:?}"), LIMIT, told).await
}

/// By an edit of the rules, and given back by another.
async fn rights_that_are_taken_away_end_streams_and_no_traffic(plane: DataPlane) -> Result<()> {
    let application = Application::start()?;
    let files = tempfile::tempdir()?;
    let path = files.path().join("access.yaml");
    let rule =
        |nodes: &str| std::fs::write(&path, format!("tokens: [{{token: {JOIN}, nodes: [{nodes}]}}]\n"));
    rule(A)?;
    let bind = SIDECAR.to_string();
    let arguments = ["--no-interception", "--bind", &bind, "--access", &path.display().to_string()];
    let launch = Launch::of(&application.definitions(10))?.args(arguments.map(str::to_owned));
    let mut control = launch.start().await?;
    let mut bootstrap = with_ads_as(A, control.xds(), "DELTA_GRPC");
    let token = json!([{"key": "authorization", "value": format!("Bearer {JOIN}")}]);
    for stream in ["/dynamic_resources/ads_config", "/cluster_manager/load_stats_config"] {
        if let Some(stream) = bootstrap.pointer_mut(stream) {
            stream["grpc_services"][0]["initial_metadata"] = token.clone();
        }
    }
    let sidecar = plane.launch()?.start(&bootstrap).await?;
    control.until_accepted(A).await?;
    let load = application.load().await?;
    // A slip of the pen puts nobody out.
    std::fs::write(&path, "tokens: [")?;
    control.until_says("those before stay in force").await?;
    until_edited(&control, &application, 11).await?;
    rule("mesh/shop/virtualNode/other")?;
    control.until_says("ended: the rules have changed for this client").await?;
    control.until_says("denied resources: not a node of this client").await?;
    let gone = || async { control.node(A).await.is_ok_and(|streams| streams.is_empty()).then_some(()) };
    wait::until("the stream to be gone", LIMIT, gone).await?;
    load.until_answered(50).await?;
    assert_eq!(sidecar.get("/ready").await?.status, 200);
    rule(A)?;
    until_edited(&control, &application, 12).await?;
    load.end().await.map(drop)
}
