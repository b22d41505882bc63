//! A host that says in an ordinary answer that it leaves (`x-envoy-immediate-health-check-fail`), and the sidecar that
//! says so of its own application when it is told to fail health checks.

use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};

on_both_data_planes!(a_host_that_asks_for_it_is_out_at_once, a_sidecar_told_to_fail_checks_says_so);

const LIMIT: Duration = Duration::from_secs(10);
const HEADER: &str = "x-envoy-immediate-health-check-fail";

/// A listener for everything, with these filters before the router.
fn listener(port: &Port, filters: Vec<Value>) -> Value {
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
    let mut listener = http_listener("ingress", port.address(), inline(routes));
    let chain = &mut manager_of(&mut listener)["http_filters"];
    let router = chain[0].take();
    *chain = filters.into_iter().chain([router]).collect();
    listener
}

async fn get(port: &Port, path: &str, header: Option<&str>) -> Result<h1::Response> {
    let more = header.map(|text| format!("x-echo-header: {text}\r\n")).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nHost: svc\r\n{more}\r\n");
    h1::Connection::open(port.address()).await?.exchange(request).await
}

/// The command takes effect after its answer in Envoy.
async fn until_checks_answer(port: &Port, status: u16) -> Result<()> {
    let told = || async { get(port, "/health", None).await.ok().filter(|it| it.status == status).map(drop) };
    wait::until("checks to be answered otherwise", LIMIT, told).await
}

async fn a_host_that_asks_for_it_is_out_at_once(plane: DataPlane) -> Result<()> {
    let port = Port::lease()?;
    let hosts = [Upstream::start(Echo::new("one"))?, Upstream::start(Echo::new("two"))?];
    let mut checked = cluster("a", &[hosts[0].address(), hosts[1].address()]);
    // One check at the start, and no other that could take the host back within the test.
    checked["health_checks"] = json!([{
        "timeout": "5s",
        "interval": "3600s",
        "no_traffic_interval": "3600s",
        "unhealthy_threshold": 3,
        "healthy_threshold": 3,
        "http_health_check": {"path": "/ping"},
    }]);
    let sidecar = plane.launch()?.start(&with_static(&[listener(&port, Vec::new())], &[checked])).await?;
    sidecar.until_stat("cluster.a.membership_healthy", |now| now == 2).await?;
    let leaving = get(&port, "/", Some(&format!("{HEADER}=true"))).await?;
    let name = leaving.json()?["upstream"].as_str().unwrap_or_default().to_owned();
    sidecar.until_stat("cluster.a.membership_healthy", |now| now == 1).await?;
    for _ in 0..10 {
        let response = get(&port, "/", None).await?;
        assert_ne!(response.json()?["upstream"], json!(name));
    }
    assert_eq!(sidecar.stat("cluster.a.health_check.passive_failure").await?, 1);
    assert_eq!(sidecar.stat("cluster.a.health_check.failure").await?, 1);
    assert_eq!(sidecar.stat("cluster.a.membership_excluded").await?, 1);
    Ok(())
}

async fn a_sidecar_told_to_fail_checks_says_so(plane: DataPlane) -> Result<()> {
    let port = Port::lease()?;
    let upstream = Upstream::start(Echo::new("one"))?;
    let filter = json!({
        "name": "envoy.filters.http.health_check",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck",
            "pass_through_mode": true,
            "headers": [{"name": ":path", "string_match": {"exact": "/health"}}],
        },
    });
    let clusters = [cluster("a", &[upstream.address()])];
    let sidecar = plane.launch()?.start(&with_static(&[listener(&port, vec![filter])], &clusters)).await?;
    let checked = get(&port, "/health", None).await?;
    assert_eq!(
        (checked.status, checked.header("x-envoy-upstream-healthchecked-cluster")),
        (200, Some("test-cluster"))
    );
    assert_eq!(get(&port, "/", None).await?.header(HEADER), None);

    sidecar.post("/healthcheck/fail").await?;
    until_checks_answer(&port, 503).await?;
    let answered = get(&port, "/", None).await?;
    assert_eq!((answered.status, answered.header(HEADER)), (200, Some("true")));

    sidecar.post("/healthcheck/ok").await?;
    until_checks_answer(&port, 200).await?;
    assert_eq!(get(&port, "/", None).await?.header(HEADER), None);
    // No check is counted as a response: three ordinary requests were.
    assert_eq!(sidecar.until_stat("http.ingress.downstream_rq_2xx", |now| now >= 3).await?, 3);
    Ok(())
}
