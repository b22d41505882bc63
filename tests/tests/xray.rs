//! Traces to X-Ray: headers, segments, and whose child is whose.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use ::outrigger::demo::service::{self, Backend, Service};
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1::{self, Connection};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::mesh::{FRONT, Shop, request};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::xray::{Daemon, Service as Rules};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

on_both_data_planes!(
    segments_say_what_happened,
    the_callers_header_is_honoured,
    rules_decide_where_nobody_has,
    two_tasks_form_one_trace,
);

const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";
const PARENT: &str = "53995c3f42cd8ad8";
const ALL: &str = r#"{"version": 2, "default": {"fixed_target": 0, "rate": 1}}"#;

/// The provider as the agent of App Mesh's image writes it.
fn provider(daemon: SocketAddr, node: &str, rules: &str) -> Value {
    json!({"name": "envoy.tracers.xray", "typed_config": {
        "@type": "type.googleapis.com/envoy.config.trace.v3.XRayConfig",
        "daemon_endpoint": {"protocol": "UDP", "address": daemon.ip().to_string(), "port_value": daemon.port()},
        "segment_name": format!("mesh/{node}"),
        "segment_fields": {
            "origin": "AWS::AppMesh::Proxy",
            "aws": {"app_mesh": {"mesh_name": "mesh", "virtual_node_name": node}},
        },
        "sampling_rule_manifest": {"inline_string": rules},
    }})
}

/// A traced listener before one cluster; `/refused` is answered here and `/dead` leads nowhere.
fn listener(name: &str, at: SocketAddr, direction: &str, target: &str) -> Value {
    let refused = json!({"match": {"prefix": "/refused"}, "direct_response": {"status": 429}});
    let routes = [refused, prefix_route("/dead", "dead"), prefix_route("/", target)];
    let mut listener =
        http_listener(name, at, inline(route_config("r", &[virtual_host("v", &["*"], &routes)])));
    listener["traffic_direction"] = json!(direction);
    manager_of(&mut listener)["tracing"] = json!({});
    listener
}

/// One sidecar before one application.
struct Scene {
    daemon: Daemon,
    port: Port,
    sidecar: Sidecar,
    _upstream: Upstream,
}

impl Scene {
    async fn start(plane: DataPlane, rules: &str, change: impl FnOnce(&mut Value)) -> Result<Self> {
        let (daemon, port, dead) = (Daemon::start().await?, Port::lease()?, Port::lease()?);
        let upstream = Upstream::start(Echo::new("a"))?;
        let mut listener = listener("in", port.address(), "INBOUND", "a");
        let manager = manager_of(&mut listener);
        manager["tracing"] = json!({"provider": provider(daemon.address(), "node", rules)});
        change(manager);
        let clusters = [cluster("a", &[upstream.address()]), cluster("dead", &[dead.address()])];
        let sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
        Ok(Self { daemon, port, sidecar, _upstream: upstream })
    }

    async fn ask(&self, path: &str, fields: &[&str]) -> Result<h1::Response> {
        request(self.port.address(), "svc", path, fields).await
    }

    /// The trace header that the application got.
    async fn passed_on(&self, fields: &[&str]) -> Result<String> {
        let seen = self.ask("/", fields).await?.json()?;
        header(&seen, "x-amzn-trace-id").ok_or_else(|| format!("no trace header in {seen}").into())
    }
}

fn header(echo: &Value, name: &str) -> Option<String> {
    let mut headers = echo["headers"].as_array()?.iter();
    headers.find(|pair| pair[0] == name).and_then(|pair| Some(pair[1].as_str()?.to_owned()))
}

async fn segments_say_what_happened(plane: DataPlane) -> Result<()> {
    let tags = json!([
        {"tag": "fixed", "literal": {"value": "x"}},
        {"tag": "agent", "request_header": {"name": "User-Agent", "default_value": "nobody"}},
    ]);
    let scene = Scene::start(plane, ALL, |manager| manager["tracing"]["custom_tags"] = tags).await?;
    scene.ask("/found?x=1", &["User-Agent: test", "X-Forwarded-For: 10.1.2.3"]).await?;
    scene.ask("/", &["x-echo-status: 404"]).await?;
    scene.ask("/refused", &[]).await?;
    scene.ask("/", &["x-echo-status: 500"]).await?;
    scene.ask("/dead", &[]).await?;
    let all = scene.daemon.until(5).await?;
    let first = &all[0];
    assert_eq!((&first["name"], &first["origin"]), (&json!("mesh/node"), &json!("AWS::AppMesh::Proxy")));
    assert_eq!(first["aws"], json!({"app_mesh": {"mesh_name": "mesh", "virtual_node_name": "node"}}));
    assert_eq!(
        first["http"]["request"],
        json!({"method": "GET", "url": "http://svc/found?x=1", "user_agent": "test",
               "client_ip": "10.1.2.3", "x_forwarded_for": true})
    );
    assert_eq!(first["http"]["response"]["status"], 200);
    assert_eq!(all[1]["http"]["request"]["client_ip"], "127.0.0.1");
    for (segment, expected) in all.iter().zip([
        (200, ["direction", "fixed", "agent"], [false, false, false]),
        (404, ["direction", "fixed", "agent"], [true, false, false]),
        (429, ["direction", "fixed", "agent"], [true, false, true]),
        (500, ["direction", "fixed", "agent"], [false, true, false]),
        (503, ["direction", "fixed", "agent"], [false, true, false]),
    ]) {
        let (status, annotations, flags) = expected;
        assert_eq!(segment["http"]["response"]["status"], status, "{segment}");
        assert!(annotations.iter().all(|name| segment["annotations"].get(name).is_some()), "{segment}");
        assert_eq!(["error", "fault", "throttle"].map(|flag| segment[flag] == true), flags, "{segment}");
        assert_eq!(segment["annotations"]["direction"], "ingress");
        assert!(segment.get("parent_id").is_none() && segment.get("subsegments").is_none(), "{segment}");
    }
    assert_eq!(first["annotations"]["agent"], "test");
    assert_eq!(all[1]["annotations"]["agent"], "nobody");
    assert_eq!(all[4]["annotations"]["response_flags"], "UF");
    assert_eq!(all[4]["annotations"]["upstream_cluster"], "dead");
    let ids: HashSet<_> = all.iter().flat_map(|one| [one["id"].as_str(), one["trace_id"].as_str()]).collect();
    assert_eq!(ids.len(), 10, "everything has identifiers of its own");
    scene.sidecar.until_stat("http.in.tracing.random_sampling", |count| count == 5).await?;
    Ok(())
}

async fn the_callers_header_is_honoured(plane: DataPlane) -> Result<()> {
    let nothing = r#"{"version": 2, "default": {"fixed_target": 0, "rate": 0}}"#;
    let scene = Scene::start(plane, nothing, |_| {}).await?;
    let sampled = format!("X-Amzn-Trace-Id: Root={ROOT};Parent={PARENT};Sampled=1");
    let passed = scene.passed_on(&[&sampled]).await?;
    let segment = scene.daemon.until(1).await?.remove(0);
    assert_eq!((&segment["trace_id"], &segment["parent_id"]), (&json!(ROOT), &json!(PARENT)));
    assert_eq!(passed, format!("Root={ROOT};Parent={};Sampled=1", segment["id"].as_str().unwrap_or("")));
    for refused in [format!("Root={ROOT};Parent={PARENT};Sampled=0"), format!("Root={ROOT}")] {
        let passed = scene.passed_on(&[&format!("x-amzn-trace-id: {refused}")]).await?;
        assert!(passed.starts_with(&format!("Root={ROOT};Parent=")), "{passed}");
        assert!(passed.ends_with(";Sampled=0"), "{passed}");
    }
    scene.passed_on(&[&sampled]).await?;
    assert_eq!(scene.daemon.until(2).await?.len(), 2, "what is not sampled is not told");
    Ok(())
}

async fn rules_decide_where_nobody_has(plane: DataPlane) -> Result<()> {
    let rules = r#"{"version": 2, "default": {"fixed_target": 0, "rate": 1}, "rules": [
        {"host": "*", "http_method": "*", "url_path": "/never*", "fixed_target": 0, "rate": 0},
        {"host": "other.*", "http_method": "GET", "url_path": "*", "fixed_target": 0, "rate": 0}]}"#;
    let scene = Scene::start(plane, rules, |_| {}).await?;
    scene.ask("/never/x", &[]).await?;
    request(scene.port.address(), "other.local", "/", &[]).await?;
    scene.ask("/always", &[]).await?;
    let all = scene.daemon.until(1).await?;
    assert_eq!((all.len(), &all[0]["http"]["request"]["url"]), (1, &json!("http://svc/always")));
    Ok(())
}

/// An application and its sidecar.
struct Task {
    ingress: SocketAddr,
    _ports: Vec<Port>,
    _sidecar: Sidecar,
    application: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.application.abort();
    }
}

impl Task {
    /// `backend` is the ingress of the task that it may call.
    async fn start(plane: DataPlane, node: &str, daemon: &Daemon, backend: SocketAddr) -> Result<Self> {
        let (ingress, egress) = (Port::lease()?, Port::lease()?);
        let application = TcpListener::bind(("127.0.0.1", 0)).await?;
        let local = application.local_addr()?;
        let backend_of = Backend { address: egress.address(), http2: false, authority: "b".to_owned() };
        let backends = BTreeMap::from([("b".to_owned(), backend_of)]);
        let application =
            tokio::spawn(service::serve(application, Arc::new(Service { node: node.to_owned(), backends })));
        let listeners = [
            listener("ingress", ingress.address(), "INBOUND", "application"),
            listener("egress", egress.address(), "OUTBOUND", "backend"),
        ];
        let clusters =
            [cluster("application", &[local]), cluster("backend", &[backend]), cluster("dead", &[])];
        let mut bootstrap = with_static(&listeners, &clusters);
        bootstrap["tracing"] = json!({"http": provider(daemon.address(), node, ALL)});
        let sidecar = plane.launch()?.start(&bootstrap).await?;
        Ok(Self { ingress: ingress.address(), _ports: vec![ingress, egress], _sidecar: sidecar, application })
    }
}

async fn two_tasks_form_one_trace(plane: DataPlane) -> Result<()> {
    let daemon = Daemon::start().await?;
    let b = Task::start(plane, "b", &daemon, ([127, 0, 0, 1], 9).into()).await?;
    let a = Task::start(plane, "a", &daemon, b.ingress).await?;
    let answer = h1::get(a.ingress, "a", "/call/b/hello").await?;
    assert_eq!(answer.status, 200, "{answer:?}");
    let all = daemon.until(3).await?;
    let text = |index: usize, field: &str| all[index][field].as_str().unwrap_or("").to_owned();
    let names: Vec<_> = (0..3).map(|index| text(index, "name")).collect();
    assert_eq!(names, ["mesh/a", "mesh/a", "mesh/b"]);
    let directions: Vec<_> = all.iter().map(|segment| &segment["annotations"]["direction"]).collect();
    assert_eq!(directions, ["ingress", "egress", "ingress"]);
    assert!((1..3).all(|index| text(index, "trace_id") == text(0, "trace_id")), "{all:?}");
    assert_eq!(all[0].get("parent_id"), None, "the client has no segment");
    // The application of A sends on what it got, as applications must.
    assert_eq!((text(1, "parent_id"), text(2, "parent_id")), (text(0, "id"), text(1, "id")));
    Ok(())
}

/// The variables of the image are all that is needed.
#[tokio::test]
async fn the_images_variables_switch_it_on() -> Result<()> {
    let (daemon, shop) = (Daemon::start().await?, Shop::open().await?);
    let launch = DataPlane::Outrigger.launch()?.env("ENABLE_ENVOY_XRAY_TRACING", "1");
    let launch = launch.env("AWS_XRAY_DAEMON_ADDRESS", &format!("tcp:127.0.0.1:1 udp:{}", daemon.address()));
    let launch = launch.env("XRAY_SAMPLING_RATE", "1");
    let mut sidecar = launch.start_in_mesh(FRONT, shop.control_plane.xds()).await?;
    shop.control_plane.until_accepted(FRONT).await?;
    request(shop.ingress(), "front", "/in", &[]).await?;
    shop.price("/out", &[]).await?;
    let all = daemon.until(2).await?;
    for (segment, direction) in all.iter().zip(["ingress", "egress"]) {
        assert_eq!(segment["name"], "shop/front");
        assert_eq!(segment["aws"]["app_mesh"], json!({"mesh_name": "shop", "virtual_node_name": "front"}));
        assert_eq!(segment["annotations"]["direction"], direction);
    }
    let said = sidecar.process().stderr();
    assert!(!said.contains("XRAY"), "{said}");
    Ok(())
}

/// Nobody is told twice: a caller that asks for the decision gets it, and what an application says stands.
#[tokio::test]
async fn a_caller_that_asks_is_told_the_decision() -> Result<()> {
    let scene = Scene::start(DataPlane::Outrigger, ALL, |_| {}).await?;
    let asks = format!("x-amzn-trace-id: Root={ROOT};Parent={PARENT};Sampled=?;Lineage=a:1");
    let answer = scene.ask("/", &[&asks]).await?;
    assert_eq!(answer.header("x-amzn-trace-id"), Some(format!("Root={ROOT};Sampled=1").as_str()));
    assert!(header(&answer.json()?, "x-amzn-trace-id").is_some_and(|sent| sent.ends_with(";Lineage=a:1")));
    let own = scene.ask("/", &[&asks, "x-echo-header: x-amzn-trace-id=own"]).await?;
    assert_eq!(own.header("x-amzn-trace-id"), Some("own"));
    assert_eq!(scene.ask("/", &[]).await?.header("x-amzn-trace-id"), None);
    Ok(())
}

/// A daemon that is not there costs its segments and nothing else, and is found when it comes.
#[tokio::test]
async fn a_dead_daemon_delays_nothing() -> Result<()> {
    let scene = Scene::start(DataPlane::Outrigger, ALL, |_| {}).await?;
    let at = scene.daemon.address();
    drop(scene.daemon);
    let mut client = Connection::open(scene.port.address()).await?;
    for _ in 0..500 {
        let answer = client.exchange("GET / HTTP/1.1\r\nHost: svc\r\n\r\n").await?;
        assert_eq!(answer.status, 200);
    }
    scene.sidecar.until_stat("tracing.xray.spans_failed", |count| count > 0).await?;
    assert_eq!(scene.sidecar.stat("tracing.xray.spans_dropped").await?, 0);
    let daemon = Daemon::start_at(at).await?;
    client.exchange("GET /again HTTP/1.1\r\nHost: svc\r\n\r\n").await?;
    daemon.until(1).await?;
    Ok(())
}

/// Each try is a subsegment, and the parent of what the next hop does.
#[tokio::test]
async fn rich_segments_tell_each_try() -> Result<()> {
    let (daemon, ingress, egress) = (Daemon::start().await?, Port::lease()?, Port::lease()?);
    let (upstream, dead) = (Upstream::start(Echo::new("a"))?, Port::lease()?);
    let mut out = listener("out", egress.address(), "OUTBOUND", "both");
    let retries = json!({"retry_on": "connect-failure,5xx", "num_retries": 3});
    manager_of(&mut out)["route_config"]["virtual_hosts"][0]["routes"][2]["route"]["retry_policy"] = retries;
    let clusters = [
        cluster("both", &[dead.address(), upstream.address()]),
        cluster("a", &[upstream.address()]),
        cluster("dead", &[]),
    ];
    let inbound = listener("in", ingress.address(), "INBOUND", "a");
    let mut bootstrap = with_static(&[out, inbound], &clusters);
    bootstrap["tracing"] = json!({"http": provider(daemon.address(), "node", ALL)});
    let launch = DataPlane::Outrigger.launch()?.env("OUTRIGGER_XRAY_SEGMENTS", "rich");
    let _sidecar = launch.start(&bootstrap).await?;

    // One of two consecutive requests begins at the dead host.
    let mut passed = Vec::new();
    for _ in 0..2 {
        let seen = request(egress.address(), "svc", "/x?secret=1", &[]).await?.json()?;
        passed.push(header(&seen, "x-amzn-trace-id").unwrap_or_default());
    }
    let all = daemon.until(2).await?;
    for (segment, passed) in all.iter().zip(&passed) {
        let tries = segment["subsegments"].as_array().ok_or("no subsegments")?;
        let last = tries.last().ok_or("no try")?;
        let id = last["id"].as_str().unwrap_or_default();
        assert!(passed.contains(&format!(";Parent={id};")), "{passed}: {segment}");
        assert_eq!((&last["name"], &last["namespace"]), (&json!("svc"), &json!("remote")));
        assert_eq!(last["http"]["response"]["status"], 200);
        assert_eq!(last["http"]["request"]["url"], "http://svc/x");
        assert_eq!(segment["aws"]["xray"]["sdk"], "outrigger");
        assert!(segment.get("fault").is_none(), "{segment}");
    }
    let retried = all.iter().find(|segment| segment["annotations"]["attempts"] == 2).ok_or("no retry")?;
    let first = &retried["subsegments"][0];
    assert_eq!((&first["fault"], first["http"].get("response")), (&json!(true), None), "{first}");
    let said = first["cause"]["exceptions"][0]["message"].as_str().unwrap_or_default();
    assert!(said.starts_with("upstream_reset_before_response_started"), "{first}");

    // What goes to the own application is told of by that.
    let seen = request(ingress.address(), "svc", "/", &[]).await?.json()?;
    let segment = daemon.until(3).await?.pop().ok_or("no segment")?;
    assert!(segment.get("subsegments").is_none(), "{segment}");
    let id = segment["id"].as_str().unwrap_or_default();
    assert!(header(&seen, "x-amzn-trace-id").is_some_and(|sent| sent.contains(&format!(";Parent={id};"))));
    Ok(())
}

/// The service's rules hold, page after page, and it hears what they matched.
#[tokio::test]
async fn central_rules_come_through_the_daemon() -> Result<()> {
    let rule = |name: &str, priority: u32, path: &str, rate: f64| {
        json!([{"SamplingRule": {"RuleName": name, "RuleARN": "arn", "ResourceARN": "*", "Priority": priority,
            "FixedRate": rate, "ReservoirSize": 0, "ServiceName": "mesh/*", "ServiceType": "AWS::AppMesh::Proxy",
            "Host": "*", "HTTPMethod": "*", "URLPath": path, "Version": 1, "Attributes": {}}}])
    };
    let pages = vec![rule("never", 5, "/never*", 0.0), rule("Default", 10_000, "*", 1.0)];
    let targets = json!({"SamplingTargetDocuments": [{"RuleName": "never", "FixedRate": 1.0, "Interval": 10}],
        "LastRuleModification": 1.0, "UnprocessedStatistics": []});
    let (daemon, service) = (Daemon::start().await?, Rules::start(pages, targets).await?);
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let mut traced = listener("in", port.address(), "INBOUND", "a");
    let nothing = r#"{"version": 2, "default": {"fixed_target": 0, "rate": 0}}"#;
    manager_of(&mut traced)["tracing"] = json!({"provider": provider(daemon.address(), "node", nothing)});
    let clusters = [cluster("a", &[upstream.address()]), cluster("dead", &[])];
    let launch = DataPlane::Outrigger.launch()?.env("OUTRIGGER_XRAY_SAMPLING", "central");
    let address = format!("tcp:{} udp:{}", service.address(), daemon.address());
    let launch = launch.env("AWS_XRAY_DAEMON_ADDRESS", &address);
    let sidecar = launch.start(&with_static(&[traced], &clusters)).await?;
    sidecar.until_stat("tracing.xray.sampling.rules", |count| count == 2).await?;

    let pages = service.until_asked("/GetSamplingRules", 2).await?;
    assert_eq!((&pages[0]["NextToken"], &pages[1]["NextToken"]), (&Value::Null, &json!("1")));
    request(port.address(), "svc", "/never/this", &[]).await?;
    request(port.address(), "svc", "/always", &[]).await?;
    let first = daemon.until(1).await?.remove(0);
    assert_eq!(first["http"]["request"]["url"], "http://svc/always");

    let report = service.until_asked("/SamplingTargets", 1).await?.remove(0);
    let documents = report["SamplingStatisticsDocuments"].as_array().ok_or("no documents")?;
    let counts: Vec<_> = documents
        .iter()
        .map(|one| (one["RuleName"].as_str(), one["RequestCount"].as_u64(), one["SampledCount"].as_u64()))
        .collect();
    assert_eq!(counts, [(Some("never"), Some(1), Some(0)), (Some("Default"), Some(1), Some(1))]);
    assert!(documents.iter().all(|one| one["ClientID"].as_str().map(str::len) == Some(24)), "{report}");

    // What it answers holds for the next request.
    let (daemon, port) = (&daemon, &port);
    let recorded = || async move {
        request(port.address(), "svc", "/never/that", &[]).await.ok()?;
        (daemon.segments().ok()?.len() > 1).then_some(())
    };
    wait::until("the share that the service told", std::time::Duration::from_secs(10), recorded).await
}

/// X-Ray takes letters, digits, blanks and some signs, 200 of them: what else is in a name is left out.
#[tokio::test]
async fn names_keep_to_what_x_ray_takes() -> Result<()> {
    let cases = [
        ("shop/cart-vn".to_owned(), "shop/cart-vn".to_owned()),
        ("a\"b\n(c)*d!\u{e9} _.:/%&#=+\\-@".to_owned(), "abcd\u{e9} _.:/%&#=+\\-@".to_owned()),
        ("x".repeat(300), "x".repeat(200)),
        ("\u{540d}".repeat(300), "\u{540d}".repeat(200)),
    ];
    for (given, told) in cases {
        let scene = Scene::start(DataPlane::Outrigger, ALL, |manager| {
            manager["tracing"]["provider"]["typed_config"]["segment_name"] = json!(given);
        })
        .await?;
        scene.ask("/", &[]).await?;
        assert_eq!(scene.daemon.until(1).await?[0]["name"], told, "{given:?}");
    }
    Ok(())
}
