//! `outrigger demo` as a newcomer runs it: the real programs, real requests, and nothing left behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use outrigger_tests::netns::Place;
use outrigger_tests::process::{self, Process};
use outrigger_tests::{Result, binaries, wait};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(60);

fn demo(arguments: &[&str]) -> Result<Process> {
    binaries::path(binaries::PROXY)?;
    let mut command = Command::new(binaries::path(binaries::CONTROL_PLANE)?);
    command.arg("demo").args(arguments);
    Process::spawn("outrigger demo", command, &Place::default())
}

async fn checked(arguments: &[&str]) -> Result<String> {
    let mut demo = demo(arguments)?;
    let status = demo.wait(LIMIT).await?;
    if status.success() { Ok(demo.stdout()) } else { Err(demo.failure(&format!("ended with {status}"))) }
}

#[tokio::test]
async fn the_example_is_checked_and_the_demo_ends() -> Result<()> {
    let text = checked(&["--exit-after-check"]).await?;
    assert!(text.contains("/call/microservice-b.default.svc.cluster.local/hello in "), "{text}");
    assert!(text.contains("cds_egress_cloud-native-mesh_microservice-b_http_8080 +1"), "{text}");
    assert!(text.contains("mesh/cloud-native-mesh/virtualNode/microservice-b from 127.0.0.1:"), "{text}");
    assert!(text.ends_with("All checks passed.\n"), "{text}");
    let hops: Vec<_> = text.lines().filter_map(|line| line.trim_start().strip_prefix("trace ")).collect();
    // Of a call through three sidecars' listeners: one trace, each hop below another.
    let (a, b) = ("cloud-native-mesh/microservice-a", "cloud-native-mesh/microservice-b");
    let place = |name: &str, direction: &str| {
        hops.iter()
            .rev()
            .position(|hop| hop.contains(&format!(": {name} {direction} in ")) && hop.ends_with("ms, ok"))
    };
    let places = [place(b, "ingress"), place(a, "egress"), place(a, "ingress")];
    assert!(places.is_sorted() && places[0] == Some(0), "{hops:#?}");
    let words = |back: usize| hops[hops.len() - 1 - back].split(' ').collect::<Vec<_>>();
    let (last, middle, first) = (words(0), words(1), words(2));
    assert!(last[0] == middle[0] && middle[0] == first[0], "one trace: {hops:#?}");
    assert_eq!((last[3], middle[3]), (&*format!("{}:", middle[1]), &*format!("{}:", first[1])), "{hops:#?}");
    Ok(())
}

#[tokio::test]
async fn somebodys_definitions_run_the_same_way() -> Result<()> {
    let mesh = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/demo/mesh.yaml");
    let text = checked(&["--exit-after-check", "--mesh", mesh.to_str().unwrap()]).await?;
    assert!(text.contains("route preview, with x-preview: yes"), "{text}");
    assert!(text.contains("40 requests, answered by price-1 "), "{text}");
    assert!(text.contains("client as front -> sidecar front (egress)"), "{text}");
    assert!(text.contains("/call/stock.shop.local:7000/hello in "), "{text}");
    Ok(())
}

#[tokio::test]
async fn it_stays_until_it_is_stopped_and_leaves_nothing_behind() -> Result<()> {
    for (signal, code) in [(Signal::TERM, Some(0)), (Signal::INT, Some(0)), (Signal::KILL, None)] {
        let mut demo = demo(&[])?;
        wait::until("the demo to run", LIMIT, || {
            std::future::ready(demo.stdout().contains("Running; Ctrl-C").then_some(()))
        })
        .await?;
        let sidecars: Vec<u32> = process::family(demo.id()).into_iter().skip(1).collect();
        assert_eq!(sidecars.len(), 2);
        demo.signal(signal)?;
        assert_eq!(demo.wait(LIMIT).await?.code(), code);
        let gone = || sidecars.iter().all(|pid| !is_running(*pid)).then_some(());
        wait::until("the sidecars to end", LIMIT, || std::future::ready(gone())).await?;
    }
    Ok(())
}

/// Whether a process exists and is no zombie, which a killed demo's may be until they are collected.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}
