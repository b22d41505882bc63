//! The map that X-Ray draws: applications with AWS's own SDK on both sides of two sidecars are one trace, and the graph
//! that follows from the segments is the one that was meant.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, route_config, virtual_host, with_static,
};
use outrigger_tests::data_plane::{DataPlane, Launch, Sidecar};
use outrigger_tests::mesh::request;
use outrigger_tests::ports::Port;
use outrigger_tests::xray::{Application, Daemon, Graph};
use outrigger_tests::{Result, aws, on_both_data_planes, requirement};
use serde_json::{Value, json};

on_both_data_planes!(
    applications_and_sidecars_are_one_trace,
    the_graph_of_a_chain,
    the_graph_of_a_fan_out,
    the_graph_of_a_retry,
    the_graph_of_a_timeout,
    the_graph_of_faults,
);

/// Where every request is recorded.
fn provider(daemon: SocketAddr, node: &str) -> Value {
    json!({"name": "envoy.tracers.xray", "typed_config": {
        "@type": "type.googleapis.com/envoy.config.trace.v3.XRayConfig",
        "daemon_endpoint": {"protocol": "UDP", "address": daemon.ip().to_string(), "port_value": daemon.port()},
        "segment_name": format!("mesh/{node}"),
        "segment_fields": {"origin": "AWS::AppMesh::Proxy"},
        "sampling_rule_manifest": {
            "inline_string": r#"{"version": 2, "default": {"fixed_target": 0, "rate": 1}}"#},
    }})
}

fn listener(name: &str, at: SocketAddr, direction: &str, hosts: &[Value]) -> Value {
    let mut listener = http_listener(name, at, inline(route_config(name, hosts)));
    listener["traffic_direction"] = json!(direction);
    manager_of(&mut listener)["tracing"] = json!({});
    listener
}

/// To a backend: tried again once where the path says so, given up after a while where it says so.
fn backend(name: &str) -> Value {
    let route = |suffix: &str, settings: Value| {
        let mut route =
            json!({"match": {"safe_regex": {"regex": format!(".*/{suffix}")}}, "route": settings});
        route["route"]["cluster"] = json!(name);
        route
    };
    let retries = json!({"retry_policy": {"retry_on": "5xx", "num_retries": 1,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"}}});
    let routes =
        [route("flaky", retries), route("slow", json!({"timeout": "0.25s"})), route(".*", json!({}))];
    virtual_host(name, &[name], &routes)
}

/// A sidecar, and the application behind it.
struct Task {
    ingress: SocketAddr,
    _application: Application,
    _sidecar: Sidecar,
    _ports: [Port; 2],
}

/// Where segments go, and what makes them.
struct Scene {
    plane: DataPlane,
    rich: bool,
    python: PathBuf,
    daemon: Daemon,
}

impl Scene {
    /// `None` where there is no Python for it.
    async fn open(plane: DataPlane) -> Result<Option<Self>> {
        let Some(python) = requirement::met(aws::python()) else { return Ok(None) };
        Ok(Some(Self { plane, rich: false, python, daemon: Daemon::start().await? }))
    }

    fn launch(&self) -> Result<Launch> {
        let launch = self.plane.launch()?;
        Ok(if self.rich { launch.env("OUTRIGGER_XRAY_SEGMENTS", "rich") } else { launch })
    }

    /// The task of `node`, which passes requests on to the tasks of these nodes.
    async fn task(&self, node: &str, backends: &[(&str, SocketAddr)]) -> Result<Task> {
        let (ingress, egress) = (Port::lease()?, Port::lease()?);
        let calls: Vec<_> = backends.iter().map(|(name, _)| (*name, egress.address())).collect();
        let application = Application::start(&self.python, node, self.daemon.address(), &calls).await?;
        let own =
            virtual_host("own", &["*"], &[outrigger_tests::bootstrap::prefix_route("/", "application")]);
        let hosts: Vec<_> = backends.iter().map(|(name, _)| backend(name)).collect();
        let listeners = [
            listener("ingress", ingress.address(), "INBOUND", &[own]),
            listener("egress", egress.address(), "OUTBOUND", &hosts),
        ];
        let mut clusters: Vec<_> = backends.iter().map(|(name, at)| cluster(name, &[*at])).collect();
        clusters.push(cluster("application", &[application.address()]));
        let mut bootstrap = with_static(&listeners, &clusters);
        bootstrap["tracing"] = json!({"http": provider(self.daemon.address(), node)});
        let sidecar = self.launch()?.start(&bootstrap).await?;
        Ok(Task {
            ingress: ingress.address(),
            _application: application,
            _sidecar: sidecar,
            _ports: [ingress, egress],
        })
    }

    /// Sends a request to a task; the segments of it all, once there are so many.
    async fn trace(&self, task: &Task, path: &str, status: u16, segments: usize) -> Result<Vec<Value>> {
        let answer = request(task.ingress, "front", path, &[]).await?;
        assert_eq!(answer.status, status, "{answer:?}");
        self.daemon.until(segments).await
    }
}

fn is(segments: &[Value], expected: &str) {
    let traces: std::collections::HashSet<_> =
        segments.iter().map(|segment| segment["trace_id"].as_str()).collect();
    assert_eq!(traces.len(), 1, "one trace: {segments:#?}");
    let graph = Graph::of(segments).to_string().replace(" [AWS::AppMesh::Proxy]", "*");
    let expected: String = expected.lines().map(|line| format!("{}\n", line.trim())).collect();
    assert_eq!(graph, expected.trim_start(), "{segments:#?}");
}

/// Client, sidecar, application, its call, sidecar, sidecar, application: each the child of the one before.
async fn applications_and_sidecars_are_one_trace(plane: DataPlane) -> Result<()> {
    let Some(scene) = Scene::open(plane).await? else { return Ok(()) };
    let b = scene.task("b", &[]).await?;
    let a = scene.task("a", &[("b", b.ingress)]).await?;
    let segments = scene.trace(&a, "/shop/ok", 200, 5).await?;
    let by_id: HashMap<_, _> = segments.iter().map(|segment| (segment["id"].as_str(), segment)).collect();
    let called = |segment: &Value| segments.iter().find(|one| one["parent_id"] == segment["id"]).cloned();
    let front = segments.iter().find(|segment| segment.get("parent_id").is_none()).ok_or("no root")?;
    assert_eq!(front["name"], "mesh/a");
    let application = called(front).ok_or("nothing behind the sidecar")?;
    assert_eq!((&application["name"], application.get("origin")), (&json!("a"), None));
    assert_eq!(application["aws"]["xray"]["sdk"], "X-Ray for Python");
    let call = &application["subsegments"][0];
    assert_eq!(call["namespace"], "remote");
    let egress = called(call).ok_or("nothing behind the application's call")?;
    assert_eq!((&egress["name"], &egress["annotations"]["direction"]), (&json!("mesh/a"), &json!("egress")));
    let ingress = called(&egress).ok_or("nothing behind the sidecar's call")?;
    assert_eq!(
        (&ingress["name"], &ingress["annotations"]["direction"]),
        (&json!("mesh/b"), &json!("ingress"))
    );
    let last = called(&ingress).ok_or("nothing behind the last sidecar")?;
    assert_eq!((&last["name"], called(&last)), (&json!("b"), None));
    assert_eq!(by_id.len(), 5, "{segments:#?}");
    assert!(segments.iter().all(|segment| segment["trace_id"] == front["trace_id"]), "{segments:#?}");
    Ok(())
}

async fn the_graph_of_a_chain(plane: DataPlane) -> Result<()> {
    let Some(scene) = Scene::open(plane).await? else { return Ok(()) };
    let c = scene.task("c", &[]).await?;
    let b = scene.task("b", &[("c", c.ingress)]).await?;
    let a = scene.task("a", &[("b", b.ingress)]).await?;
    is(
        &scene.trace(&a, "/ok", 200, 8).await?,
        "a: 1 ok
         b: 1 ok
         c: 1 ok
         mesh/a*: 2 ok
         mesh/b*: 2 ok
         mesh/c*: 1 ok
         a -> mesh/a*: 1 ok
         b -> mesh/b*: 1 ok
         client -> mesh/a*: 1 ok
         mesh/a* -> a: 1 ok
         mesh/a* -> mesh/b*: 1 ok
         mesh/b* -> b: 1 ok
         mesh/b* -> mesh/c*: 1 ok
         mesh/c* -> c: 1 ok",
    );
    Ok(())
}

async fn the_graph_of_a_fan_out(plane: DataPlane) -> Result<()> {
    let Some(scene) = Scene::open(plane).await? else { return Ok(()) };
    let (b, c) = (scene.task("b", &[]).await?, scene.task("c", &[]).await?);
    let a = scene.task("a", &[("b", b.ingress), ("c", c.ingress)]).await?;
    is(
        &scene.trace(&a, "/busy", 429, 8).await?,
        "a: 1 error, 1 throttle
         b: 1 error, 1 throttle
         c: 1 error, 1 throttle
         mesh/a*: 3 error, 3 throttle
         mesh/b*: 1 error, 1 throttle
         mesh/c*: 1 error, 1 throttle
         a -> mesh/a*: 2 error, 2 throttle
         client -> mesh/a*: 1 error, 1 throttle
         mesh/a* -> a: 1 error, 1 throttle
         mesh/a* -> mesh/b*: 1 error, 1 throttle
         mesh/a* -> mesh/c*: 1 error, 1 throttle
         mesh/b* -> b: 1 error, 1 throttle
         mesh/c* -> c: 1 error, 1 throttle",
    );
    Ok(())
}

/// The caller sees one call that went well, the callee two of which one did.
async fn the_graph_of_a_retry(plane: DataPlane) -> Result<()> {
    let Some(scene) = Scene::open(plane).await? else { return Ok(()) };
    let b = scene.task("b", &[]).await?;
    let a = scene.task("a", &[("b", b.ingress)]).await?;
    is(
        &scene.trace(&a, "/flaky", 200, 7).await?,
        "a: 1 ok
         b: 1 ok, 1 fault
         mesh/a*: 2 ok
         mesh/b*: 1 ok, 1 fault
         a -> mesh/a*: 1 ok
         client -> mesh/a*: 1 ok
         mesh/a* -> a: 1 ok
         mesh/a* -> mesh/b*: 1 ok, 1 fault
         mesh/b* -> b: 1 ok, 1 fault",
    );
    Ok(())
}

/// The application behind it all goes on and is content; everybody before it knows better.
async fn the_graph_of_a_timeout(plane: DataPlane) -> Result<()> {
    let Some(scene) = Scene::open(plane).await? else { return Ok(()) };
    let b = scene.task("b", &[]).await?;
    let a = scene.task("a", &[("b", b.ingress)]).await?;
    is(
        &scene.trace(&a, "/slow", 504, 5).await?,
        "a: 1 fault
         b: 1 ok
         mesh/a*: 2 fault
         mesh/b*: 1 fault
         a -> mesh/a*: 1 fault
         client -> mesh/a*: 1 fault
         mesh/a* -> a: 1 fault
         mesh/a* -> mesh/b*: 1 fault
         mesh/b* -> b: 1 ok",
    );
    Ok(())
}

/// An application that fails, and one that cannot be reached.
async fn the_graph_of_faults(plane: DataPlane) -> Result<()> {
    let Some(scene) = Scene::open(plane).await? else { return Ok(()) };
    let (b, dead) = (scene.task("b", &[]).await?, Port::lease()?);
    let a = scene.task("a", &[("b", b.ingress), ("dead", dead.address())]).await?;
    is(
        &scene.trace(&a, "/fail", 503, 6).await?,
        "a: 1 fault
         b: 1 fault
         mesh/a*: 3 fault
         mesh/b*: 1 fault
         a -> mesh/a*: 2 fault
         client -> mesh/a*: 1 fault
         mesh/a* -> a: 1 fault
         mesh/a* -> mesh/b*: 1 fault
         mesh/b* -> b: 1 fault",
    );
    Ok(())
}

/// With tries as subsegments, an edge says how its caller saw it, and what nobody reports for is inferred.
#[tokio::test]
async fn the_rich_graph_of_retries_and_faults() -> Result<()> {
    let Some(_) = requirement::met(DataPlane::Outrigger.launch()) else { return Ok(()) };
    let Some(mut scene) = Scene::open(DataPlane::Outrigger).await? else { return Ok(()) };
    scene.rich = true;
    let (b, dead) = (scene.task("b", &[]).await?, Port::lease()?);
    let a = scene.task("a", &[("b", b.ingress), ("dead", dead.address())]).await?;
    is(
        &scene.trace(&a, "/flaky", 503, 8).await?,
        "a: 1 fault
         b: 1 ok, 1 fault
         dead (remote): 2 fault
         mesh/a*: 1 ok, 2 fault
         mesh/b*: 1 ok, 1 fault
         a -> mesh/a*: 1 ok, 1 fault
         client -> mesh/a*: 1 fault
         mesh/a* -> a: 1 fault
         mesh/a* -> dead (remote): 2 fault
         mesh/a* -> mesh/b*: 1 ok, 1 fault
         mesh/b* -> b: 1 ok, 1 fault",
    );
    Ok(())
}
