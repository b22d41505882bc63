//! Outlier detection: who is ejected and for how long, what bounds it, and how it shows.

use std::net::SocketAddr;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, tcp_listener, virtual_host, with_static,
};
use outrigger_tests::client::h1::{self, Connection};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Closing, Echo, Scripted, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

on_both_data_planes!(
    five_server_errors_eject_a_host,
    an_ejected_host_comes_back,
    gateway_failures_eject_when_enforced,
    the_share_of_ejected_hosts_is_bounded,
    one_host_of_three_is_more_than_ten_percent,
    responses_that_are_broken_off_count,
    failed_connections_count_apart_when_split,
    failed_connections_of_a_tcp_proxy_eject,
    a_passed_check_takes_a_host_back,
    statistics_have_envoys_names,
);

const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
/// Long enough that nothing comes back within a test.
const LONG: &str = "600s";

/// A sidecar with one worker that balances over these hosts of cluster `a`.
struct Scene {
    port: Port,
    sidecar: Sidecar,
}

impl Scene {
    async fn start(plane: DataPlane, hosts: &[SocketAddr], detection: Value) -> Result<Self> {
        let port = Port::lease()?;
        let routes = [prefix_route("/", "a")];
        let routes = inline(route_config("r", &[virtual_host("v", &["*"], &routes)]));
        let listener = http_listener("ingress", port.address(), routes);
        Self::with(plane, port, listener, hosts, detection).await
    }

    async fn with(
        plane: DataPlane,
        port: Port,
        listener: Value,
        hosts: &[SocketAddr],
        detection: Value,
    ) -> Result<Self> {
        let mut cluster = cluster("a", hosts);
        if let Some(check) = detection.get("check") {
            cluster["health_checks"] = json!([check]);
        }
        cluster["outlier_detection"] = detection;
        cluster["outlier_detection"].as_object_mut().ok_or("not an object")?.remove("check");
        // Else Envoy waits up to a second before balancers hear of a change.
        cluster["common_lb_config"] = json!({"update_merge_window": "0s"});
        let launch = plane.launch()?.concurrency(1);
        let sidecar = launch.start(&with_static(&[listener], &[cluster])).await?;
        Ok(Self { port, sidecar })
    }

    async fn statuses(&self, requests: usize) -> Result<Vec<u16>> {
        let mut statuses = Vec::with_capacity(requests);
        for _ in 0..requests {
            statuses.push(h1::get(self.port.address(), "a", "/").await?.status);
        }
        Ok(statuses)
    }

    async fn stat(&self, name: &str) -> Result<u64> {
        self.sidecar.stat(&format!("cluster.a.outlier_detection.{name}")).await
    }

    async fn until_stat(&self, name: &str, wanted: u64) -> Result<u64> {
        let name = format!("cluster.a.outlier_detection.{name}");
        self.sidecar.until_stat(&name, |value| value == wanted).await
    }

    /// What `/clusters` says of a host's health.
    async fn flags(&self, host: SocketAddr) -> Result<String> {
        let text = self.sidecar.get("/clusters").await?.text();
        let prefix = format!("a::{host}::health_flags::");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        Ok(line.ok_or_else(|| format!("no {prefix} in {text}"))?.to_owned())
    }
}

/// Two hosts that answer and one that does not want to.
fn one_of_three() -> Result<([Upstream; 3], [SocketAddr; 3])> {
    let hosts = [
        Upstream::start(Echo::new("a"))?,
        Upstream::start(Scripted::answering(UNAVAILABLE))?,
        Upstream::start(Echo::new("c"))?,
    ];
    let addresses = hosts.each_ref().map(Upstream::address);
    Ok((hosts, addresses))
}

async fn five_server_errors_eject_a_host(plane: DataPlane) -> Result<()> {
    let (hosts, addresses) = one_of_three()?;
    let detection =
        json!({"base_ejection_time": LONG, "max_ejection_time": LONG, "max_ejection_percent": 50});
    let scene = Scene::start(plane, &addresses, detection).await?;
    assert_eq!(scene.flags(addresses[1]).await?, "healthy");
    let failed = scene.statuses(15).await?.into_iter().filter(|status| *status == 503).count();
    assert_eq!(failed, 5);
    scene.until_stat("ejections_active", 1).await?;
    scene.sidecar.until_stat("cluster.a.membership_healthy", |hosts| hosts == 2).await?;
    assert_eq!(scene.flags(addresses[1]).await?, "/failed_outlier_check");
    assert_eq!(scene.flags(addresses[0]).await?, "healthy");
    assert_eq!(scene.statuses(30).await?, [200; 30]);
    assert_eq!(hosts[1].counts().requests(), 5);

    for name in [
        "ejections_total",
        "ejections_enforced_total",
        "ejections_consecutive_5xx",
        "ejections_detected_consecutive_5xx",
        "ejections_enforced_consecutive_5xx",
        "ejections_detected_consecutive_gateway_failure",
    ] {
        assert_eq!(scene.stat(name).await?, 1, "{name}");
    }
    assert_eq!(scene.stat("ejections_enforced_consecutive_gateway_failure").await?, 0);
    let status = scene.sidecar.get("/clusters?format=json").await?.json()?;
    let hosts = &status["cluster_statuses"][0]["host_statuses"];
    let flags: Vec<_> = (0..3).map(|n| hosts[n]["health_status"]["failed_outlier_check"].clone()).collect();
    assert_eq!(flags, [Value::Null, json!(true), Value::Null]);
    Ok(())
}

/// The status came first and was a good one.
async fn responses_that_are_broken_off_count(plane: DataPlane) -> Result<()> {
    let hosts = [Upstream::start(Closing::WithinBody)?, Upstream::start(Closing::WithinBody)?];
    let detection = json!({"consecutive_5xx": 1, "base_ejection_time": LONG, "max_ejection_time": LONG,
        "max_ejection_percent": 100});
    let scene = Scene::start(plane, &hosts.each_ref().map(Upstream::address), detection).await?;
    for ejected in 1..=2 {
        let mut client = Connection::open(scene.port.address()).await?;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        assert!(client.rest().await?.starts_with(b"HTTP/1.1 200"));
        scene.until_stat("ejections_enforced_consecutive_5xx", ejected).await?;
    }
    Ok(())
}

async fn an_ejected_host_comes_back(plane: DataPlane) -> Result<()> {
    let (hosts, addresses) = one_of_three()?;
    let detection = json!({"interval": "0.1s", "base_ejection_time": "0.3s", "max_ejection_percent": 50});
    let scene = Scene::start(plane, &addresses, detection).await?;
    scene.statuses(15).await?;
    scene.until_stat("ejections_enforced_total", 1).await?;
    scene.until_stat("ejections_active", 0).await?;
    assert_eq!(scene.flags(addresses[1]).await?, "healthy");
    // It fails as before, so the next row ejects it again.
    let mut sent = 0;
    while scene.stat("ejections_enforced_total").await? < 2 {
        scene.statuses(3).await?;
        sent += 3;
        assert!(sent < 600, "never ejected again; it had {} requests", hosts[1].counts().requests());
    }
    assert!(hosts[1].counts().requests() >= 10);
    Ok(())
}

async fn gateway_failures_eject_when_enforced(plane: DataPlane) -> Result<()> {
    let (_hosts, addresses) = one_of_three()?;
    let detection = json!({
        "consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100,
        "base_ejection_time": LONG, "max_ejection_time": LONG, "max_ejection_percent": 50,
    });
    let scene = Scene::start(plane, &addresses, detection).await?;
    let failed = scene.statuses(6).await?.into_iter().filter(|status| *status == 503).count();
    assert_eq!(failed, 2);
    scene.until_stat("ejections_active", 1).await?;
    assert_eq!(scene.stat("ejections_enforced_consecutive_gateway_failure").await?, 1);
    assert_eq!(scene.stat("ejections_detected_consecutive_5xx").await?, 0);
    Ok(())
}

async fn the_share_of_ejected_hosts_is_bounded(plane: DataPlane) -> Result<()> {
    let failing = [(); 3].map(|()| Upstream::start(Scripted::answering(UNAVAILABLE)));
    let [one, two, three] = failing;
    let (one, two, three) = (one?, two?, three?);
    let detection = json!({
        "base_ejection_time": LONG, "max_ejection_time": LONG, "max_ejection_percent": 40,
        "enforcing_consecutive_gateway_failure": 0, "consecutive_gateway_failure": 100,
    });
    let scene = Scene::start(plane, &[one.address(), two.address(), three.address()], detection).await?;
    // Balancers start anew with every ejection, so how many requests it takes is open.
    for round in 0.. {
        scene.statuses(15).await?;
        if scene.stat("ejections_overflow").await? >= 2 {
            break;
        }
        assert!(round < 20, "nobody exceeded the share");
    }
    assert_eq!(scene.stat("ejections_active").await?, 1);
    assert_eq!(scene.stat("ejections_enforced_total").await?, 1);
    Ok(())
}

async fn one_host_of_three_is_more_than_ten_percent(plane: DataPlane) -> Result<()> {
    for (always, active) in [(false, 0), (true, 1)] {
        let (_hosts, addresses) = one_of_three()?;
        let detection = json!({
            "base_ejection_time": LONG, "max_ejection_time": LONG, "always_eject_one_host": always,
            "consecutive_gateway_failure": 100,
        });
        let scene = Scene::start(plane, &addresses, detection).await?;
        scene.statuses(15).await?;
        scene.until_stat("ejections_detected_consecutive_5xx", 1).await?;
        scene.until_stat("ejections_overflow", 1 - active).await?;
        assert_eq!(scene.stat("ejections_active").await?, active, "always_eject_one_host: {always}");
    }
    Ok(())
}

async fn failed_connections_count_apart_when_split(plane: DataPlane) -> Result<()> {
    let (dead, alive) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let detection = json!({
        "split_external_local_origin_errors": true, "consecutive_local_origin_failure": 3,
        "base_ejection_time": LONG, "max_ejection_time": LONG, "max_ejection_percent": 50,
    });
    let scene = Scene::start(plane, &[dead.address(), alive.address()], detection).await?;
    let failed = scene.statuses(6).await?.into_iter().filter(|status| *status == 503).count();
    assert_eq!(failed, 3);
    scene.until_stat("ejections_active", 1).await?;
    assert_eq!(scene.stat("ejections_enforced_consecutive_local_origin_failure").await?, 1);
    assert_eq!(scene.stat("ejections_detected_consecutive_5xx").await?, 0);
    assert_eq!(scene.flags(dead.address()).await?, "/failed_outlier_check");
    assert_eq!(scene.statuses(10).await?, [200; 10]);
    Ok(())
}

async fn failed_connections_of_a_tcp_proxy_eject(plane: DataPlane) -> Result<()> {
    let (port, dead) = (Port::lease()?, Port::lease()?);
    let alive = Upstream::start(Echo::new("a"))?;
    let listener = tcp_listener("tcp", port.address(), "a");
    let detection = json!({
        "consecutive_5xx": 2, "consecutive_gateway_failure": 100,
        "base_ejection_time": LONG, "max_ejection_time": LONG, "max_ejection_percent": 50,
    });
    let hosts = [dead.address(), alive.address()];
    let scene = Scene::with(plane, port, listener, &hosts, detection).await?;
    for _ in 0..4 {
        let mut connection = Connection::open(scene.port.address()).await?;
        // A refused upstream closes without an answer.
        let _ = connection.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    }
    scene.until_stat("ejections_active", 1).await?;
    assert_eq!(scene.stat("ejections_enforced_consecutive_5xx").await?, 1);
    assert_eq!(scene.flags(dead.address()).await?, "/failed_outlier_check");
    assert_eq!(scene.statuses(6).await?, [200; 6]);
    Ok(())
}

async fn a_passed_check_takes_a_host_back(plane: DataPlane) -> Result<()> {
    let (_hosts, addresses) = one_of_three()?;
    let check = json!({
        "timeout": "5s", "interval": "0.2s", "healthy_threshold": 1, "unhealthy_threshold": 100,
        "tcp_health_check": {}, "no_traffic_interval": "0.2s",
    });
    let detection = json!({
        "interval": "0.1s", "base_ejection_time": LONG, "max_ejection_time": LONG,
        "max_ejection_percent": 50, "check": check,
    });
    let scene = Scene::start(plane, &addresses, detection).await?;
    scene.sidecar.until_stat("cluster.a.membership_healthy", |hosts| hosts == 3).await?;
    // Five failures of one host in a row.
    for _ in 0..100 {
        scene.statuses(3).await?;
        if scene.stat("ejections_enforced_total").await? > 0 {
            break;
        }
    }
    scene.until_stat("ejections_active", 0).await?;
    assert_eq!(scene.flags(addresses[1]).await?, "healthy");
    Ok(())
}

async fn statistics_have_envoys_names(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene = Scene::start(plane, &[upstream.address()], json!({})).await?;
    let text = scene.sidecar.get("/stats?filter=outlier_detection").await?.text();
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("cluster.a.outlier_detection.")?.strip_suffix(": 0"))
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "ejections_active",
            "ejections_consecutive_5xx",
            "ejections_detected_consecutive_5xx",
            "ejections_detected_consecutive_gateway_failure",
            "ejections_detected_consecutive_local_origin_failure",
            "ejections_detected_degradation",
            "ejections_detected_failure_percentage",
            "ejections_detected_local_origin_failure_percentage",
            "ejections_detected_local_origin_success_rate",
            "ejections_detected_success_rate",
            "ejections_enforced_consecutive_5xx",
            "ejections_enforced_consecutive_gateway_failure",
            "ejections_enforced_consecutive_local_origin_failure",
            "ejections_enforced_failure_percentage",
            "ejections_enforced_local_origin_failure_percentage",
            "ejections_enforced_local_origin_success_rate",
            "ejections_enforced_success_rate",
            "ejections_enforced_total",
            "ejections_overflow",
            "ejections_success_rate",
            "ejections_total",
        ]
    );
    let clusters = scene.sidecar.get("/clusters").await?.text();
    let outlier: Vec<&str> = clusters.lines().filter(|line| line.contains("success_rate")).collect();
    let host = format!("a::{}", upstream.address());
    assert_eq!(
        outlier,
        [
            "a::outlier::success_rate_average::-1".to_owned(),
            "a::outlier::success_rate_ejection_threshold::-1".to_owned(),
            "a::outlier::local_origin_success_rate_average::-1".to_owned(),
            "a::outlier::local_origin_success_rate_ejection_threshold::-1".to_owned(),
            format!("{host}::success_rate::-1"),
            format!("{host}::local_origin_success_rate::-1"),
        ]
    );
    Ok(())
}
