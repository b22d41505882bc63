//! Text of strangers over the real streams: discovery and load reports of clients that mean harm. The page, its JSON, the
//! log and the memory of the control plane stay as they were.

use outrigger_tests::client::grpc;
use outrigger_tests::control_plane::ControlPlane;
use outrigger_tests::hostile::NAMES;
use outrigger_tests::mesh::{FRONT, Shop};
use outrigger_tests::requirement::met;
use outrigger_tests::{Result, browser, wait};
use outrigger_xds_protos::v3::core::{Locality, Node};
use outrigger_xds_protos::v3::endpoint::{ClusterStats, UpstreamLocalityStats};
use outrigger_xds_protos::v3::load_service::LoadStatsRequest;
use serde_json::{Value, json};

use crate::raw::{Discovery, Reports, node, stats};
use crate::{DRAWN, LIMIT, PRICE_ONE, call};

/// Some six megabytes from all streams in each round: more than the allowance.
const ROUNDS: usize = 12;
/// What the allocator may keep of messages that were read and thrown away.
const ALLOWANCE: u64 = 48 * 1024 * 1024;
/// The picture of the shop with fifty refusals of four kilobytes, each twice: of the refusal and of the sidecar.
const LONGEST_PICTURE: usize = 1024 * 1024;

#[tokio::test]
async fn whatever_clients_say_is_text() -> Result<()> {
    let Some(browser) = met(browser::find()) else { return Ok(()) };
    let mut shop = Shop::open().await?;
    let xds = shop.control_plane.xds();
    let (mut streams, mut reports) = (Vec::new(), Vec::new());
    for name in NAMES {
        let mut who = node(FRONT);
        who.user_agent_name = (*name).to_owned();
        who.cluster = (*name).to_owned();
        who.locality = Some(Locality { region: (*name).to_owned(), ..Default::default() });
        let (stream, clusters) = Discovery::open(xds, who).await?;
        stream.refuse(&clusters, name)?;
        streams.push(stream);
        // A node that nobody knows, which reports of clusters that nobody knows.
        assert!(Discovery::open(xds, node(name)).await.is_err(), "{name:?} is no node");
        let told =
            LoadStatsRequest { node: Some(node(name)), cluster_stats: vec![stats(name, 9, 9, &[(name, 9)])] };
        reports.push(Reports::open(xds, told).await?);
    }
    // The newest refusal, megabytes long, and a name as long.
    let long = "<script>forged()</script>\u{1b}[2J\n".repeat(40_000);
    let mut who = node(FRONT);
    who.user_agent_name = long.clone();
    let (stream, clusters) = Discovery::open(xds, who).await?;
    stream.refuse(&clusters, &long)?;
    until_refusals(&shop.control_plane, NAMES.len() + 1).await?;

    let picture = shop.control_plane.get("/mesh").await?;
    assert!(picture.body.len() < LONGEST_PICTURE, "{} bytes", picture.body.len());
    let picture = picture.json()?;
    assert_eq!(picture["reporting"], NAMES.len());
    assert!(!picture["edges"].to_string().contains("forged"), "{:#}", picture["edges"]);
    assert!(
        !picture["nodes"]
            .as_array()
            .is_some_and(|nodes| nodes.iter().any(|node| node["id"] != FRONT && node["sidecars"] != 0))
    );

    let mut page = browser.open().await?;
    page.load(&format!("http://{}/", shop.control_plane.admin()), DRAWN).await?;
    let alive = "[document.scripts.length, document.images.length, typeof forged, document.getElementById('trouble').textContent]";
    assert_eq!(page.evaluate(alive).await?, json!([1, 0, "undefined", ""]));
    let said = page.evaluate("document.querySelector('#nacks').textContent").await?;
    let said = said.as_str().ok_or("no refusals")?;
    assert!(said.contains("</script><script>forged()") && said.contains("<img src=x"), "{said}");
    assert!(!said.chars().any(|char| char.is_control() && char != '\n'), "{said:?}");

    drop((streams, stream, reports));
    shop.control_plane.process().signal(rustix::process::Signal::TERM)?;
    shop.control_plane.process().wait(LIMIT).await?;
    check_log(&shop.control_plane.process().stderr(), NAMES.len());
    Ok(())
}

/// Every line is one of ours: a finding about the definitions, or begins with its time.
fn check_log(log: &str, refusals: usize) {
    for line in log.split('\n').filter(|line| !line.is_empty()) {
        let ours = line.contains("mesh.yaml:")
            || line.contains("instances.yaml:")
            || line.as_bytes().get(..5).is_some_and(|start| start.starts_with(b"20") && start[4] == b'-');
        assert!(ours && !line.chars().any(char::is_control), "{line:.300?}");
        assert!(line.len() < 16 * 1024, "a line of {} bytes", line.len());
    }
    let told = log.lines().filter(|line| line.contains("client rejected")).count();
    assert_eq!(told, refusals + 1, "{log:.3000}");
}

async fn until_refusals(plane: &ControlPlane, count: usize) -> Result<()> {
    let all = || async {
        let picture: Value = plane.get("/mesh").await.ok()?.json().ok()?;
        (picture["nacks"].as_array()?.len() == count).then_some(())
    };
    wait::until("all refusals", LIMIT, all).await
}

#[tokio::test]
async fn reports_of_anything_take_no_memory() -> Result<()> {
    let mut shop = Shop::open().await?;
    let xds = shop.control_plane.xds();
    let report =
        |cluster_stats: Vec<ClusterStats>| LoadStatsRequest { node: Some(node(FRONT)), cluster_stats };
    let many: Vec<_> =
        (0..30_000).map(|at| stats(&format!("cluster-{at}-{}", "x".repeat(30)), 1, 0, &[])).collect();
    let bounds: Vec<_> = (0..30_000).map(|at| at.to_string()).collect();
    let times: Vec<_> = bounds.iter().map(|bound| (bound.as_str(), 1)).collect();
    let empty = ClusterStats {
        upstream_locality_stats: vec![UpstreamLocalityStats::default(); 300_000],
        ..Default::default()
    };
    let hostile = [
        report(many),
        report(vec![stats("x", 1, 1, &times)]),
        report(vec![empty]),
        report(vec![stats(&"n".repeat(2_000_000), 1, 1, &[])]),
    ];
    let mut streams = Vec::new();
    for one in &hostile {
        streams.push(Reports::open(xds, one.clone()).await?);
    }
    // What is kept for the next message of that size is there from the first on.
    let before = shop.control_plane.process().resident()?;
    let short = shop.control_plane.get("/mesh").await?.body.len();
    let edge = call(&shop, PRICE_ONE).await?;
    let cluster = edge["clusters"][0].as_str().ok_or("no cluster")?;
    assert_eq!(edge["traffic"]["requests_per_second"], 0.0, "{edge}");
    for _ in 0..ROUNDS {
        for (stream, one) in streams.iter().zip(&hostile) {
            stream.send(one.clone())?;
        }
    }
    // Each ends with a report that makes sense, so that all before it were read.
    for stream in &streams {
        stream.send(report(vec![stats(cluster, 5, 0, &[])]))?;
    }
    let read = || async {
        let rate = call(&shop, PRICE_ONE).await.ok()?["traffic"]["requests_per_second"].as_f64();
        (rate == Some(streams.len() as f64)).then_some(())
    };
    wait::until("all reports to be read", LIMIT, read).await?;
    let after = shop.control_plane.process().resident()?;
    assert!(after < before + ALLOWANCE, "memory grew from {before} to {after} bytes");
    let length = shop.control_plane.get("/mesh").await?.body.len();
    assert!(length < short + 1024, "{short} bytes, then {length}");

    // What is longer than a report may be, and what is no text, ends the stream.
    let long = report(vec![stats(&"n".repeat(3 << 20), 1, 1, &[])]);
    let refused = Reports::open(xds, long).await.err().ok_or("it was taken")?;
    assert!(refused.to_string().contains("too large"), "{refused}");
    let service = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats";
    let refused = grpc::call(xds, "reports", service, &[b"\x0a\x06\x0a\x04\xff\xfe\xc3\x28"]).await?;
    assert_eq!(refused.status, Some(tonic::Code::Internal as u32), "{refused:?}");
    // It serves on.
    Discovery::open(xds, Node { id: FRONT.to_owned(), ..Default::default() }).await?;
    Ok(())
}
