//! What outlier detection tells: its event log, and hosts that call themselves degraded.

use std::path::Path;
use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Scripted, Upstream};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};

on_both_data_planes!(ejections_and_returns_are_told, hosts_that_call_themselves_degraded_come_second);

struct Scene {
    port: Port,
    sidecar: Sidecar,
}

impl Scene {
    async fn start(plane: DataPlane, hosts: &[Upstream], detection: Value, log: &Path) -> Result<Self> {
        let port = Port::lease()?;
        let routing = inline(route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]));
        let listener = http_listener("ingress", port.address(), routing);
        let mut cluster = cluster("a", &hosts.iter().map(Upstream::address).collect::<Vec<_>>());
        cluster["outlier_detection"] = detection;
        // Else Envoy waits up to a second before balancers hear of a change.
        cluster["common_lb_config"] = json!({"update_merge_window": "0s"});
        let mut bootstrap = with_static(&[listener], &[cluster]);
        bootstrap["cluster_manager"] = json!({"outlier_detection": {"event_log_path": log}});
        let sidecar = plane.launch()?.concurrency(1).start(&bootstrap).await?;
        Ok(Self { port, sidecar })
    }

    async fn get(&self) -> Result<u16> {
        Ok(h1::get(self.port.address(), "a", "/").await?.status)
    }
}

/// Waits for this many lines: each an object.
async fn events(log: &Path, count: usize) -> Result<Vec<Value>> {
    let read = || {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        std::future::ready((events.len() >= count).then_some(events))
    };
    wait::until("events", Duration::from_secs(20), read).await
}

async fn ejections_and_returns_are_told(plane: DataPlane) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("events");
    let hosts = [Upstream::start(Scripted::answering("HTTP/1.1 503 -\r\nContent-Length: 0\r\n\r\n"))?];
    let detection = json!({
        "consecutive_5xx": 2,
        "interval": "0.2s",
        "base_ejection_time": "0.1s",
        "max_ejection_percent": 100,
        "consecutive_gateway_failure": 2,
        "enforcing_consecutive_gateway_failure": 0,
    });
    let scene = Scene::start(plane, &hosts, detection, &log).await?;
    for _ in 0..2 {
        scene.get().await?;
    }
    let mut told = events(&log, 3).await?;
    for event in &mut told {
        let fields = event.as_object_mut().ok_or("not an object")?;
        let timestamp = fields.remove("timestamp").ok_or("no timestamp")?;
        assert!(
            timestamp.as_str().is_some_and(|text| text.ends_with('Z') && text.len() == 24),
            "{timestamp}"
        );
        assert_eq!(fields.remove("upstream_url"), Some(json!(hosts[0].address().to_string())));
        assert_eq!(fields.remove("cluster_name"), Some(json!("a")));
    }
    told.sort_by_key(|event| event["num_ejections"].as_u64());
    // One detector is on probation, the other one ejects; when the host comes back that is told too.
    let eject = |kind: &str, ejections: u32, enforced: bool| {
        json!({"type": kind, "action": "EJECT", "num_ejections": ejections, "enforced": enforced,
               "eject_consecutive_event": {}})
    };
    assert!(told.contains(&eject("CONSECUTIVE_GATEWAY_FAILURE", 0, false)), "{told:#?}");
    assert!(told.contains(&eject("CONSECUTIVE_5XX", 1, true)), "{told:#?}");
    let uneject = json!({"type": "CONSECUTIVE_5XX", "action": "UNEJECT", "num_ejections": 1, "enforced": false,
                         "secs_since_last_action": "0"});
    assert!(told.contains(&uneject), "{told:#?}");
    Ok(())
}

async fn hosts_that_call_themselves_degraded_come_second(plane: DataPlane) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let degraded = "HTTP/1.1 200 -\r\nx-envoy-degraded: 1\r\nContent-Length: 0\r\n\r\n";
    let hosts = [Upstream::start(Scripted::answering(degraded))?, Upstream::start(Echo::new("b"))?];
    let detection =
        json!({"detect_degraded_hosts": true, "base_ejection_time": "300s", "max_ejection_percent": 100});
    let scene = Scene::start(plane, &hosts, detection, &directory.path().join("events")).await?;
    let name = "cluster.a.outlier_detection.ejections_detected_degradation";
    while scene.sidecar.stat(name).await? == 0 {
        assert_eq!(scene.get().await?, 200);
    }
    scene.sidecar.until_stat("cluster.a.membership_degraded", |hosts| hosts == 1).await?;
    let flags = scene.sidecar.get("/clusters").await?.text();
    let told = format!("a::{}::health_flags::/degraded_outlier_detection", hosts[0].address());
    assert!(flags.contains(&told), "{flags}");
    let before = hosts.each_ref().map(|host| host.counts().requests());
    for _ in 0..200 {
        assert_eq!(scene.get().await?, 200);
    }
    // One healthy host of two is worth 70 per cent (140 per cent of half): the rest goes to the degraded one.
    let after = hosts.each_ref().map(|host| host.counts().requests());
    assert!(after[1] - before[1] > 100 && after[0] > before[0], "{before:?} {after:?}");
    Ok(())
}
