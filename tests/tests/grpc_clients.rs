//! gRPC's own library, without a proxy, against our control plane: `xds:///<virtual service>` of a virtual node.

use std::time::Duration;

use outrigger_tests::grpcio::{self, Calls, Client, call};
use outrigger_tests::mesh::{FRONT, Shop};
use outrigger_tests::requirement::met;
use outrigger_tests::upstream::Upstream;
use outrigger_tests::{Result, data_plane::DataPlane, wait};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);
const GET: Calls<'static> = Calls {
    target: "xds:///quote.shop.local",
    method: "/shop.Quotes/Get",
    metadata: &[],
    count: 1,
    pause_s: 0.0,
    deadline_s: 15.0,
};

fn codes(outcomes: &[Value]) -> Vec<&str> {
    outcomes.iter().map(|outcome| outcome["code"].as_str().unwrap_or_default()).collect()
}

/// By DNS and by Cloud Map (EDS), with the port of the service and without.
#[tokio::test]
async fn services_are_resolved_and_called() -> Result<()> {
    let Some(python) = met(grpcio::python()) else { return Ok(()) };
    let shop = Shop::open().await?;
    let xds = shop.control_plane.xds();
    for target in ["xds:///quote.shop.local", "xds:///quote.shop.local:9000"] {
        let calls = Calls { target, count: 3, ..GET };
        let outcomes = call(&python, FRONT, xds, &calls).await?;
        assert_eq!(codes(&outcomes), ["OK"; 3], "{target}: {outcomes:?}");
        assert_eq!(outcomes[2]["answer"], "call 2");
    }
    assert_eq!(shop.quote.counts().requests(), 6);

    let before = shop.rates.counts().requests();
    let outcomes = call(&python, FRONT, xds, &Calls { target: "xds:///rates.shop.local", ..GET }).await?;
    assert_eq!(codes(&outcomes), ["OK"], "{outcomes:?}");
    assert_eq!(shop.rates.counts().requests() - before, 1);
    Ok(())
}

/// Retries of the route; no route, no service, no HTTP/2: an error that says so.
#[tokio::test]
async fn routes_and_their_absence_are_those_of_the_definitions() -> Result<()> {
    let Some(python) = met(grpcio::python()) else { return Ok(()) };
    let shop = Shop::open().await?;
    let xds = shop.control_plane.xds();
    let failing = Calls { method: "/shop.Quotes/Fail", metadata: &[("x-echo-grpc-status", "14")], ..GET };
    let outcomes = call(&python, FRONT, xds, &failing).await?;
    assert_eq!(codes(&outcomes), ["UNAVAILABLE"]);
    assert_eq!(shop.quote.counts().requests(), 3, "unavailable is retried twice");

    let outcomes = call(&python, FRONT, xds, &Calls { method: "/other.Service/Get", ..GET }).await?;
    assert_eq!(codes(&outcomes), ["UNAVAILABLE"], "no route: {outcomes:?}");
    // That there is no such target, the library believes after fifteen seconds of its own.
    let absent = |target| Calls { target, deadline_s: 30.0, ..GET };
    let (nobody, http) = (absent("xds:///nobody.shop.local"), absent("xds:///price.shop.local"));
    let (nobody, http) = tokio::join!(call(&python, FRONT, xds, &nobody), call(&python, FRONT, xds, &http));
    for outcomes in [nobody?, http?] {
        assert_eq!(codes(&outcomes), ["UNAVAILABLE"], "{outcomes:?}");
    }
    assert_eq!(shop.quote.counts().requests(), 3);
    Ok(())
}

/// The client accepts everything, and a proxy of the same node is not given what is meant for it.
#[tokio::test]
async fn a_client_and_a_proxy_of_the_same_node_see_what_is_theirs() -> Result<()> {
    let Some(python) = met(grpcio::python()) else { return Ok(()) };
    let shop = Shop::open().await?;
    let _sidecar = shop.proxy(DataPlane::Outrigger, FRONT, 1).await?;
    let xds = shop.control_plane.xds();
    // The call lasts until the answer of the echo, so the client is connected while it is looked for.
    let slow = Calls {
        target: "xds:///stock.shop.local",
        metadata: &[("x-echo-delay-ms", "60000")],
        deadline_s: 10.0,
        ..GET
    };
    let calling = call(&python, FRONT, xds, &slow);
    let looking = async {
        let check = || async {
            let streams = shop.control_plane.node(FRONT).await.ok()?;
            let client = streams
                .into_iter()
                .find(|s| s["user_agent"].as_str().is_some_and(|a| a.starts_with("gRPC")))?;
            let types = client["types"].as_object()?;
            let accepted = types.len() == 4 && types.values().all(|kind| kind["status"] == "ACK");
            accepted.then_some(client)
        };
        wait::until("a gRPC client that accepts all", LIMIT, check).await
    };
    let (outcomes, client) = tokio::join!(calling, looking);
    assert_eq!(client?["transport"], "sotw");
    assert_eq!(codes(&outcomes?), ["DEADLINE_EXCEEDED"]);
    Ok(())
}

/// A client goes on without the control plane and follows an edit that was made meanwhile: no call fails.
#[tokio::test]
async fn a_killed_control_plane_harms_no_call() -> Result<()> {
    let Some(python) = met(grpcio::python()) else { return Ok(()) };
    let mut shop = Shop::open().await?;
    let calls = Calls { count: 600, pause_s: 0.01, ..GET };
    let mut client = Client::start(&python, FRONT, shop.control_plane.xds(), &calls)?;
    until_called(&shop.quote, 20).await?;
    shop.control_plane.kill().await?;
    let moved =
        shop.definitions()?.replace("{VirtualNode: quote, Weight: 1}", "{VirtualNode: rates, Weight: 1}");
    shop.control_plane.write("mesh.yaml", &moved)?;
    until_called(&shop.quote, 50).await?;
    assert_eq!(shop.rates.counts().requests(), 0, "nobody can know of the edit yet");
    shop.control_plane.restart().await?;
    until_called(&shop.rates, 20).await?;
    let outcomes = client.outcomes().await?;
    let failed: Vec<_> = outcomes.iter().enumerate().filter(|(_, outcome)| outcome["code"] != "OK").collect();
    assert!(failed.is_empty(), "{failed:?}");
    Ok(())
}

async fn until_called(upstream: &Upstream, times: u64) -> Result<()> {
    let check = || std::future::ready((upstream.counts().requests() >= times).then_some(()));
    wait::until(&format!("{times} calls"), LIMIT, check).await
}
