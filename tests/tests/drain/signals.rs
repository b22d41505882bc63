//! What signals ask of a sidecar, one after the other.

use std::time::Duration;

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Endless, Upstream};
use outrigger_tests::{Result, on_both_data_planes, on_data_plane, wait};
use rustix::process::Signal;

on_data_plane!(
    outrigger_only,
    Outrigger,
    an_interrupt_stops_at_once,
    a_drain_ends_when_told_again,
    quitting_ends_a_drain,
);
on_both_data_planes!(logs_are_opened_anew);

/// Far longer than a test waits for anything.
const DRAIN: &str = "600";
const SOON: Duration = Duration::from_secs(30);

/// A sidecar in the middle of a response that never ends.
struct Scene {
    sidecar: Sidecar,
    client: Connection,
    port: Port,
    _upstream: Upstream,
}

impl Scene {
    async fn start(plane: DataPlane) -> Result<Self> {
        let (port, upstream) = (Port::lease()?, Upstream::start(Endless)?);
        let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
        let listener = http_listener("ingress", port.address(), inline(routes));
        let launch = plane.launch()?.args(&["--drain-time-s", DRAIN]);
        let sidecar = launch.start(&with_static(&[listener], &[cluster("a", &[upstream.address()])])).await?;
        let mut client = Connection::open(port.address()).await?;
        client.send(super::REQUEST).await?;
        client.some_bytes().await?;
        Ok(Self { sidecar, client, port, _upstream: upstream })
    }

    /// Asks it to drain, which the client makes last.
    async fn draining(plane: DataPlane) -> Result<Self> {
        let mut scene = Self::start(plane).await?;
        scene.sidecar.process().signal(Signal::TERM)?;
        let closed = || async { Connection::open(scene.port.address()).await.is_err().then_some(()) };
        wait::until("the closed port", SOON, closed).await?;
        assert!(scene.sidecar.process().ended().is_none());
        scene.client.some_bytes().await?;
        Ok(scene)
    }

    async fn ends(mut self) -> Result<()> {
        assert_eq!(self.sidecar.process().wait(SOON).await?.code(), Some(0));
        Ok(())
    }
}

async fn an_interrupt_stops_at_once(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane).await?;
    scene.sidecar.process().signal(Signal::INT)?;
    scene.ends().await
}

async fn a_drain_ends_when_told_again(plane: DataPlane) -> Result<()> {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let mut scene = Scene::draining(plane).await?;
        scene.sidecar.process().signal(signal)?;
        scene.ends().await.map_err(|error| format!("{signal:?}: {error}"))?;
    }
    Ok(())
}

async fn quitting_ends_a_drain(plane: DataPlane) -> Result<()> {
    let scene = Scene::draining(plane).await?;
    assert_eq!(scene.sidecar.post("/quitquitquit").await?.status, 200);
    scene.ends().await
}

async fn logs_are_opened_anew(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let log = AccessLog::of(&["REQ(:PATH)"])?;
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
    let mut listener = http_listener("ingress", port.address(), inline(routes));
    manager_of(&mut listener)["access_log"] = log.config();
    let clusters = [cluster("a", &[upstream.address()])];
    let mut sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
    let mut client = Connection::open(port.address()).await?;
    client.exchange("GET /before HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    assert_eq!(log.lines(1).await?, ["/before"]);
    log.move_away()?;
    sidecar.process().signal(Signal::USR1)?;
    // What is written before the signal is noticed goes to the old file.
    let asking = async {
        while log.lines_now().is_empty() {
            client.exchange("GET /after HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    wait::within("a new file", SOON, asking).await??;
    assert_eq!(log.lines(1).await?[0], "/after");
    assert!(sidecar.process().ended().is_none());
    Ok(())
}
