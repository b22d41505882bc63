//! The overload manager: load is shed before the kernel sheds it, and service comes back when the pressure is gone.

use std::time::Duration;

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1::{Connection, get};
use outrigger_tests::client::h2;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};
use tempfile::TempDir;

on_both_data_planes!(
    requests_are_refused_under_pressure,
    keepalive_ends_under_pressure,
    connections_are_refused_under_pressure,
    accepting_pauses_under_pressure,
    connections_have_a_limit_of_the_process,
    memory_is_a_pressure,
    connections_are_shed_when_accepted,
    connections_are_shed_before_their_codec,
    requests_are_shed,
    requests_are_shed_before_the_upstream,
    http1_is_shed_with_its_connection,
    connections_take_no_other_request_when_shed,
    connections_are_cut_when_shed,
    upstream_connections_are_shed,
    idle_connections_end_sooner_under_pressure,
    idle_requests_end_sooner_under_pressure,
    connections_live_shorter_under_pressure,
);

const PRESSURE: &str = "envoy.resource_monitors.injected_resource";

/// A sidecar whose pressure a file says.
struct Scene {
    port: Port,
    log: AccessLog,
    sidecar: Sidecar,
    files: TempDir,
    _upstream: Upstream,
}

fn resource(kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.resource_monitors.{kind}"));
    json!({"typed_config": config})
}

impl Scene {
    /// Takes `action` when the pressure reaches 0.9.
    async fn start(plane: DataPlane, action: &str) -> Result<Self> {
        let trigger = json!({"name": PRESSURE, "threshold": {"value": 0.9}});
        let actions = json!([{"name": action, "triggers": [trigger]}]);
        Self::pressed(plane, json!({ "actions": actions }), |_| {}).await
    }

    /// Sheds load at `point` while the pressure is 0.9 or more.
    async fn shedding(plane: DataPlane, point: &str) -> Result<Self> {
        let name = format!("envoy.load_shed_points.{point}");
        let points = json!([{"name": name, "triggers": [{"name": PRESSURE, "threshold": {"value": 0.9}}]}]);
        Self::pressed(plane, json!({ "loadshed_points": points }), |_| {}).await
    }

    /// Takes `action` with these settings when the pressure reaches 0.9, on a connection manager that `set` changes.
    async fn pressed(plane: DataPlane, fields: Value, set: impl FnOnce(&mut Value)) -> Result<Self> {
        let files = tempfile::tempdir()?;
        std::fs::write(files.path().join("pressure"), "0.0")?;
        let name = files.path().join("pressure");
        let mut monitor = resource("injected_resource.v3.InjectedResourceConfig", json!({"filename": name}));
        monitor["name"] = json!(PRESSURE);
        let mut manager = json!({"refresh_interval": "0.02s", "resource_monitors": [monitor]});
        for (field, value) in fields.as_object().into_iter().flatten() {
            manager[field] = value.clone();
        }
        Self::with_manager(plane, manager, files, set).await
    }

    async fn with(plane: DataPlane, manager: Value, files: TempDir) -> Result<Self> {
        Self::with_manager(plane, manager, files, |_| {}).await
    }

    async fn with_manager(
        plane: DataPlane,
        manager: Value,
        files: TempDir,
        set: impl FnOnce(&mut Value),
    ) -> Result<Self> {
        let (port, log) =
            (Port::lease()?, AccessLog::of(&["RESPONSE_CODE", "RESPONSE_FLAGS", "RESPONSE_CODE_DETAILS"])?);
        let upstream = Upstream::start(Echo::new("a"))?;
        let host = virtual_host("host", &["*"], &[prefix_route("/", "a")]);
        let mut listener = http_listener("ingress", port.address(), inline(route_config("routes", &[host])));
        listener["stat_prefix"] = json!("ingress");
        manager_of(&mut listener)["access_log"] = log.config();
        manager_of(&mut listener)["append_local_overload"] = json!(true);
        set(manager_of(&mut listener));
        let mut bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
        bootstrap["overload_manager"] = manager;
        bootstrap["admin"]["ignore_global_conn_limit"] = json!(true);
        let sidecar = plane.launch()?.start(&bootstrap).await?;
        Ok(Self { port, log, sidecar, files, _upstream: upstream })
    }

    fn set_pressure(&self, pressure: &str) -> Result<()> {
        // Moved into place: what watches the file sees it whole.
        let next = self.files.path().join("next");
        std::fs::write(&next, pressure)?;
        Ok(std::fs::rename(&next, self.files.path().join("pressure"))?)
    }

    /// Sets the pressure, and waits until a point sheds as often as that makes it.
    async fn shed(&self, pressure: &str, point: &str, percent: u64) -> Result<()> {
        self.set_pressure(pressure)?;
        let stat = format!("overload.envoy.load_shed_points.{point}.scale_percent");
        self.sidecar.until_stat(&stat, |now| now == percent).await?;
        Ok(())
    }

    /// How often a point has shed load.
    async fn sheds(&self, point: &str) -> Result<u64> {
        self.sidecar.stat(&format!("overload.envoy.load_shed_points.{point}.shed_load_count")).await
    }

    /// Sets the pressure, and waits until the action is as active as that makes it.
    async fn press(&self, pressure: &str, action: &str, active: u64) -> Result<()> {
        self.set_pressure(pressure)?;
        self.sidecar.until_stat(&format!("overload.{action}.active"), |now| now == active).await?;
        Ok(())
    }

    async fn status(&self) -> Result<u16> {
        Ok(get(self.port.address(), "svc", "/").await?.status)
    }
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: svc\r\n\r\n";

async fn requests_are_refused_under_pressure(plane: DataPlane) -> Result<()> {
    let action = "envoy.overload_actions.stop_accepting_requests";
    let scene = Scene::start(plane, action).await?;
    assert_eq!(scene.status().await?, 200);
    scene.press("0.95", action, 1).await?;
    let mut connection = Connection::open(scene.port.address()).await?;
    let refused = connection.exchange(REQUEST).await?;
    assert_eq!((refused.status, refused.text().as_str()), (503, "envoy overloaded"));
    assert_eq!(refused.header("x-envoy-local-overloaded"), Some("true"));
    assert_eq!(scene.log.lines(2).await?[1], "503|-|overload");
    assert_eq!(scene.sidecar.stat("http.ingress.downstream_rq_overload_close").await?, 1);
    assert_eq!(scene.sidecar.stat(&format!("overload.{PRESSURE}.pressure")).await?, 95);
    assert_eq!(scene.sidecar.stat(&format!("overload.{action}.scale_percent")).await?, 100);
    scene.press("0.5", action, 0).await?;
    assert_eq!(scene.status().await?, 200, "it is over");
    Ok(())
}

async fn keepalive_ends_under_pressure(plane: DataPlane) -> Result<()> {
    let action = "envoy.overload_actions.disable_http_keepalive";
    let scene = Scene::start(plane, action).await?;
    let mut connection = Connection::open(scene.port.address()).await?;
    assert_eq!(connection.exchange(REQUEST).await?.header("connection"), None);
    scene.press("1.0", action, 1).await?;
    let last = connection.exchange(REQUEST).await?;
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert!(connection.rest().await?.is_empty());
    assert_eq!(scene.sidecar.stat("http.ingress.downstream_cx_overload_disable_keepalive").await?, 1);
    Ok(())
}

async fn connections_are_refused_under_pressure(plane: DataPlane) -> Result<()> {
    let action = "envoy.overload_actions.reject_incoming_connections";
    let scene = Scene::start(plane, action).await?;
    let mut open = Connection::open(scene.port.address()).await?;
    assert_eq!(open.exchange(REQUEST).await?.status, 200);
    scene.press("1.0", action, 1).await?;
    assert!(scene.status().await.is_err());
    assert_eq!(open.exchange(REQUEST).await?.status, 200, "those that are open are served");
    scene.sidecar.until_stat("listener.ingress.downstream_cx_overload_reject", |count| count >= 1).await?;
    scene.press("0.0", action, 0).await?;
    assert_eq!(scene.status().await?, 200);
    Ok(())
}

async fn accepting_pauses_under_pressure(plane: DataPlane) -> Result<()> {
    let action = "envoy.overload_actions.stop_accepting_connections";
    let scene = Scene::start(plane, action).await?;
    scene.press("1.0", action, 1).await?;
    // The kernel takes it; nobody answers.
    let mut waiting = Connection::open(scene.port.address()).await?;
    waiting.send(REQUEST).await?;
    let answer = tokio::time::timeout(Duration::from_millis(300), waiting.response()).await;
    assert!(answer.is_err(), "{answer:?}");
    scene.press("0.0", action, 0).await?;
    assert_eq!(waiting.response().await?.status, 200);
    Ok(())
}

async fn connections_have_a_limit_of_the_process(plane: DataPlane) -> Result<()> {
    let config = json!({"max_active_downstream_connections": 2});
    let mut monitor = resource("downstream_connections.v3.DownstreamConnectionsConfig", config);
    monitor["name"] = json!("envoy.resource_monitors.global_downstream_max_connections");
    let scene = Scene::with(plane, json!({"resource_monitors": [monitor]}), tempfile::tempdir()?).await?;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(scene.port.address()).await?;
        assert_eq!(connection.exchange(REQUEST).await?.status, 200);
        open.push(connection);
    }
    assert!(scene.status().await.is_err());
    scene.sidecar.until_stat("listener.ingress.downstream_global_cx_overflow", |count| count == 1).await?;
    open.pop();
    scene.sidecar.until_stat("listener.ingress.downstream_cx_active", |now| now == 1).await?;
    assert_eq!(scene.status().await?, 200);
    Ok(())
}

/// A heap of one byte is always too small.
async fn memory_is_a_pressure(plane: DataPlane) -> Result<()> {
    let action = "envoy.overload_actions.stop_accepting_requests";
    let name = "envoy.resource_monitors.fixed_heap";
    let mut monitor = resource("fixed_heap.v3.FixedHeapConfig", json!({"max_heap_size_bytes": 1}));
    monitor["name"] = json!(name);
    let trigger = json!({"name": name, "threshold": {"value": 0.95}});
    let shrink = json!({"name": "envoy.overload_actions.shrink_heap", "triggers": [trigger]});
    let stop = json!({"name": action, "triggers": [trigger]});
    let manager =
        json!({"refresh_interval": "0.02s", "resource_monitors": [monitor], "actions": [shrink, stop]});
    let scene = Scene::with(plane, manager, tempfile::tempdir()?).await?;
    scene.sidecar.until_stat(&format!("overload.{action}.active"), |now| now == 1).await?;
    assert_eq!(scene.status().await?, 503);
    assert!(scene.sidecar.stat(&format!("overload.{name}.pressure")).await? >= 100);
    Ok(())
}

async fn connections_are_shed_when_accepted(plane: DataPlane) -> Result<()> {
    let point = "tcp_listener_accept";
    let scene = Scene::shedding(plane, point).await?;
    let mut open = Connection::open(scene.port.address()).await?;
    assert_eq!(open.exchange(REQUEST).await?.status, 200);
    scene.shed("1.0", point, 100).await?;
    assert!(scene.status().await.is_err());
    assert_eq!(open.exchange(REQUEST).await?.status, 200, "those that are open are served");
    scene.sidecar.until_stat("listener.ingress.downstream_cx_overload_reject", |count| count == 1).await?;
    assert_eq!(scene.sheds(point).await?, 1);
    scene.shed("0.0", point, 0).await?;
    assert_eq!(scene.status().await?, 200);
    Ok(())
}

async fn connections_are_shed_before_their_codec(plane: DataPlane) -> Result<()> {
    let point = "hcm_ondata_creating_codec";
    let scene = Scene::shedding(plane, point).await?;
    scene.shed("1.0", point, 100).await?;
    assert!(scene.status().await.is_err());
    scene.sidecar.until_stat("http.ingress.downstream_rq_overload_close", |count| count == 1).await?;
    assert_eq!(scene.sheds(point).await?, 1);
    assert_eq!(scene.sidecar.stat("http.ingress.downstream_rq_total").await?, 0);
    Ok(())
}

async fn requests_are_shed(plane: DataPlane) -> Result<()> {
    let point = "http_connection_manager_decode_headers";
    let scene = Scene::shedding(plane, point).await?;
    scene.shed("1.0", point, 100).await?;
    let mut connection = Connection::open(scene.port.address()).await?;
    let refused = connection.exchange(REQUEST).await?;
    assert_eq!((refused.status, refused.text().as_str()), (503, "envoy overloaded"));
    assert_eq!(refused.header("x-envoy-local-overloaded"), Some("true"));
    assert_eq!(scene.log.lines(1).await?, ["503|-|overload"]);
    assert_eq!(scene.sidecar.stat("http.ingress.downstream_rq_overload_close").await?, 1);
    assert_eq!(scene.sheds(point).await?, 1);
    scene.shed("0.0", point, 0).await?;
    assert_eq!(connection.exchange(REQUEST).await?.status, 200, "the connection is still good");
    Ok(())
}

async fn requests_are_shed_before_the_upstream(plane: DataPlane) -> Result<()> {
    let point = "http_downstream_filter_check";
    let scene = Scene::shedding(plane, point).await?;
    scene.shed("1.0", point, 100).await?;
    let refused = get(scene.port.address(), "svc", "/").await?;
    assert_eq!((refused.status, refused.text().as_str()), (503, "envoy overloaded"));
    assert_eq!(refused.header("x-envoy-local-overloaded"), None);
    assert_eq!(scene.log.lines(1).await?, ["503|-|overload"]);
    assert_eq!(scene.sidecar.stat("http.ingress.rq_overload_local_reply").await?, 1);
    assert_eq!(scene.sheds(point).await?, 1);
    Ok(())
}

async fn http1_is_shed_with_its_connection(plane: DataPlane) -> Result<()> {
    let point = "http1_server_abort_dispatch";
    let scene = Scene::shedding(plane, point).await?;
    scene.shed("1.0", point, 100).await?;
    let mut connection = Connection::open(scene.port.address()).await?;
    let refused = connection.exchange(REQUEST).await?;
    assert_eq!((refused.status, refused.text().as_str()), (500, "Internal Server Error"));
    assert_eq!(refused.header("connection"), Some("close"));
    assert!(connection.rest().await?.is_empty());
    assert_eq!(scene.log.lines(1).await?, ["500|DPE|overload"]);
    assert_eq!(scene.sidecar.stat("http.ingress.downstream_rq_overload_close").await?, 1);
    let mut other = h2::Connection::open(scene.port.address()).await?;
    assert_eq!(other.exchange(h2::get("svc", "/")?).await?.status.as_u16(), 200, "HTTP/2 goes on");
    Ok(())
}

async fn connections_take_no_other_request_when_shed(plane: DataPlane) -> Result<()> {
    let point = "http2_server_go_away_on_dispatch";
    let scene = Scene::shedding(plane, point).await?;
    scene.shed("1.0", point, 100).await?;
    let mut connection = h2::Connection::open(scene.port.address()).await?;
    assert_eq!(connection.exchange(h2::get("svc", "/")?).await?.status.as_u16(), 200);
    scene.sidecar.until_stat("http.ingress.downstream_cx_active", |now| now == 0).await?;
    let mut connection = Connection::open(scene.port.address()).await?;
    let last = connection.exchange(REQUEST).await?;
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert!(scene.sheds(point).await? >= 2);
    Ok(())
}

async fn connections_are_cut_when_shed(plane: DataPlane) -> Result<()> {
    let point = "http2_server_go_away_and_close_on_dispatch";
    let scene = Scene::shedding(plane, point).await?;
    scene.shed("1.0", point, 100).await?;
    assert!(scene.status().await.is_err());
    let cut = async {
        let mut connection = h2::Connection::open(scene.port.address()).await?;
        connection.exchange(h2::get("svc", "/")?).await
    };
    assert!(cut.await.is_err());
    scene.sidecar.until_stat("http.ingress.downstream_cx_active", |now| now == 0).await?;
    assert!(scene.sheds(point).await? >= 2);
    scene.shed("0.0", point, 0).await?;
    assert_eq!(scene.status().await?, 200);
    Ok(())
}

async fn upstream_connections_are_shed(plane: DataPlane) -> Result<()> {
    let point = "connection_pool_new_connection";
    let scene = Scene::shedding(plane, point).await?;
    scene.shed("1.0", point, 100).await?;
    let refused = get(scene.port.address(), "svc", "/").await?;
    assert_eq!((refused.status, refused.header("x-envoy-overloaded")), (503, Some("true")));
    assert_eq!(scene.log.lines(1).await?, ["503|UO|upstream_reset_before_response_started{overflow}"]);
    assert_eq!(scene.sheds(point).await?, 1);
    scene.shed("0.0", point, 0).await?;
    assert_eq!(scene.status().await?, 200, "and leaves a connection");
    scene.shed("1.0", point, 100).await?;
    assert_eq!(scene.status().await?, 200, "which can be used again");
    Ok(())
}

const REDUCE: &str = "envoy.overload_actions.reduce_timeouts";

/// Shrinks a timer to almost nothing under pressure.
fn reduces(timer: &str) -> Value {
    let kind = "type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig";
    let factors = json!([{"timer": timer, "min_timeout": "0.1s"}]);
    json!({"actions": [{
        "name": REDUCE,
        "triggers": [{"name": PRESSURE, "threshold": {"value": 0.9}}],
        "typed_config": {"@type": kind, "timer_scale_factors": factors},
    }]})
}

async fn idle_connections_end_sooner_under_pressure(plane: DataPlane) -> Result<()> {
    let set =
        |manager: &mut Value| manager["common_http_protocol_options"] = json!({"idle_timeout": "3600s"});
    let scene = Scene::pressed(plane, reduces("HTTP_DOWNSTREAM_CONNECTION_IDLE"), set).await?;
    let mut used = Connection::open(scene.port.address()).await?;
    assert_eq!(used.exchange(REQUEST).await?.status, 200);
    let mut streams = h2::Connection::open(scene.port.address()).await?;
    assert_eq!(streams.exchange(h2::get("svc", "/")?).await?.status.as_u16(), 200);
    scene.press("1.0", REDUCE, 1).await?;
    assert!(used.rest().await?.is_empty(), "closed although it was idle before");
    scene.sidecar.until_stat("http.ingress.downstream_cx_idle_timeout", |count| count == 2).await?;
    scene.press("0.0", REDUCE, 0).await?;
    let mut later = Connection::open(scene.port.address()).await?;
    assert_eq!(later.exchange(REQUEST).await?.status, 200);
    assert_eq!(scene.sidecar.stat("http.ingress.downstream_cx_idle_timeout").await?, 2);
    Ok(())
}

async fn idle_requests_end_sooner_under_pressure(plane: DataPlane) -> Result<()> {
    let set = |manager: &mut Value| {
        manager["stream_idle_timeout"] = json!("3600s");
        manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["timeout"] = json!("0s");
    };
    let scene = Scene::pressed(plane, reduces("HTTP_DOWNSTREAM_STREAM_IDLE"), set).await?;
    let mut connection = Connection::open(scene.port.address()).await?;
    connection.send("GET / HTTP/1.1\r\nHost: svc\r\nx-echo-delay-ms: 60000\r\n\r\n").await?;
    scene.sidecar.until_stat("cluster.a.upstream_rq_active", |now| now == 1).await?;
    scene.press("1.0", REDUCE, 1).await?;
    assert_eq!(connection.response().await?.status, 504);
    assert_eq!(scene.log.lines(1).await?, ["504|SI|stream_idle_timeout"]);
    Ok(())
}

async fn connections_live_shorter_under_pressure(plane: DataPlane) -> Result<()> {
    let options = json!({"max_connection_duration": "3600s", "idle_timeout": "3600s"});
    let set = |manager: &mut Value| manager["common_http_protocol_options"] = options;
    let scene = Scene::pressed(plane, reduces("HTTP_DOWNSTREAM_CONNECTION_MAX"), set).await?;
    let mut connection = h2::Connection::open(scene.port.address()).await?;
    assert_eq!(connection.exchange(h2::get("svc", "/")?).await?.status.as_u16(), 200);
    scene.press("1.0", REDUCE, 1).await?;
    scene.sidecar.until_stat("http.ingress.downstream_cx_max_duration_reached", |count| count == 1).await?;
    Ok(())
}
