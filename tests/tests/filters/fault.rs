//! `envoy.filters.http.fault`.

use std::time::{Duration, Instant};

use outrigger_tests::bootstrap::prefix_route;
use outrigger_tests::client::grpc;
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

use crate::scene::{Script, filter, per_filter, request, typed};

const NAME: &str = "envoy.filters.http.fault";
const KIND: &str = "fault.v3.HTTPFault";

on_both_data_planes!(
    an_abort_answers,
    callers_have_statistics_of_their_own,
    headers_ask_for_aborts,
    grpc_callers_are_told_the_status,
    a_delay_comes_before_an_abort,
    headers_ask_for_delays,
    a_client_that_leaves_ends_its_delay,
    only_what_matches_has_faults,
    no_more_than_max_active_faults,
    routes_have_faults_of_their_own,
    bodies_come_slowly,
    no_request_has_a_fault_of_zero_percent,
);

fn all() -> Value {
    json!({"numerator": 100, "denominator": "HUNDRED"})
}

fn abort(status: u16) -> Value {
    json!({"abort": {"http_status": status, "percentage": all()}})
}

async fn an_abort_answers(plane: DataPlane) -> Result<()> {
    let scene = Script::of(&[filter(NAME, KIND, abort(418))]).start(plane).await?;
    let response = scene.get("/", &[]).await?;
    assert_eq!((response.status, response.text().as_str()), (418, "fault filter abort"));
    assert_eq!(scene.logged(1).await?, "418|FI|fault_filter_abort");
    assert_eq!(scene.upstream.counts().requests(), 0);
    assert_eq!(scene.sidecar.stat("http.ingress.fault.aborts_injected").await?, 1);
    assert_eq!(scene.sidecar.until_stat("http.ingress.fault.active_faults", |now| now == 0).await?, 0);
    Ok(())
}

async fn callers_have_statistics_of_their_own(plane: DataPlane) -> Result<()> {
    let caller = "x-envoy-downstream-service-cluster";
    let mut faults = abort(418);
    faults["delay"] = json!({"fixed_delay": "0.001s", "percentage": all()});
    let mut unnamed = faults.clone();
    unnamed["disable_downstream_cluster_stats"] = json!(true);
    let mut apart = prefix_route("/unnamed", "a");
    apart["typed_per_filter_config"] = per_filter(NAME, typed(KIND, unnamed));
    let script = Script::of(&[filter(NAME, KIND, faults)]).routes(&[apart, prefix_route("/", "a")]);
    let scene = script.start(plane).await?;
    for (path, name) in [("/", "shop"), ("/", "shop"), ("/", "till"), ("/", ""), ("/unnamed", "shop")] {
        assert_eq!(scene.get(path, &[(caller, name)]).await?.status, 418);
    }
    for (stat, count) in [
        ("aborts_injected", 5),
        ("delays_injected", 5),
        ("shop.aborts_injected", 2),
        ("shop.delays_injected", 2),
        ("till.aborts_injected", 1),
    ] {
        assert_eq!(scene.sidecar.stat(&format!("http.ingress.fault.{stat}")).await?, count, "{stat}");
    }
    Ok(())
}

async fn headers_ask_for_aborts(plane: DataPlane) -> Result<()> {
    let config = json!({"abort": {"header_abort": {}, "percentage": all()}});
    let scene = Script::of(&[filter(NAME, KIND, config)]).start(plane).await?;
    assert_eq!(scene.get("/", &[]).await?.status, 200);
    let status = "x-envoy-fault-abort-request";
    assert_eq!(scene.get("/", &[(status, "503")]).await?.status, 503);
    assert_eq!(scene.get("/", &[(status, "999")]).await?.status, 200);
    let never = "x-envoy-fault-abort-request-percentage";
    assert_eq!(scene.get("/", &[(status, "503"), (never, "0")]).await?.status, 200);
    Ok(())
}

async fn grpc_callers_are_told_the_status(plane: DataPlane) -> Result<()> {
    let config = json!({"abort": {"grpc_status": 7, "percentage": all()}});
    let script = Script::of(&[filter(NAME, KIND, config)]).routes(&[prefix_route("/", "grpc")]);
    let scene = script.start(plane).await?;
    let reply = grpc::call(scene.port.address(), "svc", "/s.S/M", &[b"x"]).await?;
    assert_eq!((reply.http_status, reply.status), (200, Some(7)));
    assert_eq!(reply.message, "fault filter abort");
    Ok(())
}

async fn a_delay_comes_before_an_abort(plane: DataPlane) -> Result<()> {
    let mut config = abort(503);
    config["delay"] = json!({"fixed_delay": "0.2s", "percentage": all()});
    let scene = Script::of(&[filter(NAME, KIND, config)]).start(plane).await?;
    let began = Instant::now();
    assert_eq!(scene.get("/", &[]).await?.status, 503);
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(scene.logged(1).await?, "503|DI,FI|fault_filter_abort");
    assert_eq!(scene.sidecar.stat("http.ingress.fault.delays_injected").await?, 1);
    assert_eq!(scene.sidecar.stat("http.ingress.fault.aborts_injected").await?, 1);
    Ok(())
}

async fn headers_ask_for_delays(plane: DataPlane) -> Result<()> {
    let config = json!({"delay": {"header_delay": {}, "percentage": all()}});
    let scene = Script::of(&[filter(NAME, KIND, config)]).start(plane).await?;
    let began = Instant::now();
    assert_eq!(scene.get("/", &[("x-envoy-fault-delay-request", "150")]).await?.status, 200);
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(scene.logged(1).await?, "200|DI|via_upstream");
    assert_eq!(scene.get("/", &[]).await?.status, 200);
    assert_eq!(scene.logged(2).await?, "200|-|via_upstream");
    Ok(())
}

async fn a_client_that_leaves_ends_its_delay(plane: DataPlane) -> Result<()> {
    let config = json!({"delay": {"fixed_delay": "3600s", "percentage": all()}});
    let scene = Script::of(&[filter(NAME, KIND, config)]).start(plane).await?;
    let mut connection = Connection::open(scene.port.address()).await?;
    connection.send(request("GET", "/", &[], "")).await?;
    scene.sidecar.until_stat("http.ingress.fault.active_faults", |now| now == 1).await?;
    drop(connection);
    scene.sidecar.until_stat("http.ingress.fault.active_faults", |now| now == 0).await?;
    assert_eq!(scene.logged(1).await?, "0|DI,DC|downstream_remote_disconnect");
    Ok(())
}

async fn only_what_matches_has_faults(plane: DataPlane) -> Result<()> {
    let mut config = abort(503);
    config["headers"] = json!([{"name": "x-fault", "string_match": {"exact": "yes"}}]);
    config["downstream_nodes"] = json!(["node-1"]);
    config["upstream_cluster"] = json!("a");
    let routes = [prefix_route("/grpc", "grpc"), prefix_route("/", "a")];
    let scene = Script::of(&[filter(NAME, KIND, config)]).routes(&routes).start(plane).await?;
    let (header, node) = (("x-fault", "yes"), ("x-envoy-downstream-service-node", "node-1"));
    assert_eq!(scene.get("/", &[header, node]).await?.status, 503);
    assert_eq!(scene.get("/grpc", &[header, node]).await?.status, 200);
    assert_eq!(scene.get("/", &[header]).await?.status, 200);
    assert_eq!(scene.get("/", &[node]).await?.status, 200);
    Ok(())
}

async fn no_more_than_max_active_faults(plane: DataPlane) -> Result<()> {
    let config = json!({
        "delay": {"fixed_delay": "3600s", "percentage": all()},
        "max_active_faults": 1,
    });
    let scene = Script::of(&[filter(NAME, KIND, config)]).start(plane).await?;
    let mut delayed = Connection::open(scene.port.address()).await?;
    delayed.send(request("GET", "/", &[], "")).await?;
    scene.sidecar.until_stat("http.ingress.fault.active_faults", |now| now == 1).await?;
    assert_eq!(scene.get("/", &[]).await?.status, 200);
    assert_eq!(scene.sidecar.stat("http.ingress.fault.faults_overflow").await?, 1);
    Ok(())
}

async fn routes_have_faults_of_their_own(plane: DataPlane) -> Result<()> {
    let mut spared = prefix_route("/spared", "a");
    spared["typed_per_filter_config"] = per_filter(NAME, typed(KIND, json!({})));
    let mut other = prefix_route("/other", "a");
    other["typed_per_filter_config"] = per_filter(NAME, typed(KIND, abort(404)));
    let script = Script::of(&[filter(NAME, KIND, abort(503))]);
    let scene = script.routes(&[spared, other, prefix_route("/", "a")]).start(plane).await?;
    for (path, status) in [("/spared", 200), ("/other", 404), ("/", 503)] {
        assert_eq!(scene.get(path, &[]).await?.status, status, "{path}");
    }
    Ok(())
}

async fn bodies_come_slowly(plane: DataPlane) -> Result<()> {
    let config = json!({"response_rate_limit": {"fixed_limit": {"limit_kbps": 64}, "percentage": all()}});
    let scene = Script::of(&[filter(NAME, KIND, config)]).start(plane).await?;
    let began = Instant::now();
    let response = scene.get("/", &[("x-echo-bytes", "32768")]).await?;
    assert_eq!((response.status, response.body.len()), (200, 32768));
    // 32 KiB at 64 KiB a second, less the slices that were due at once.
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    assert_eq!(scene.sidecar.stat("http.ingress.fault.response_rl_injected").await?, 1);
    Ok(())
}

async fn no_request_has_a_fault_of_zero_percent(plane: DataPlane) -> Result<()> {
    let config = json!({
        "abort": {"http_status": 503},
        "delay": {"fixed_delay": "3600s", "percentage": {"numerator": 0}},
    });
    let scene = Script::of(&[filter(NAME, KIND, config)]).start(plane).await?;
    assert_eq!(scene.get("/", &[]).await?.status, 200);
    assert_eq!(scene.logged(1).await?, "200|-|via_upstream");
    Ok(())
}
