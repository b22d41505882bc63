//! Interception as a task has it: rules made by `outrigger-proxy intercept` redirect an application's traffic, and the
//! sidecar takes it where it was going.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use outrigger_tests::binaries;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, tcp_listener, virtual_host, with_static,
};
use outrigger_tests::client::h1::{self, Connection};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::netns::{Namespace, Place};
use outrigger_tests::ports::Port;
use outrigger_tests::process::Process;
use outrigger_tests::requirement::met;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes, on_data_plane};
use serde_json::{Value, json};

on_both_data_planes!(
    traffic_goes_where_it_was_going,
    rules_come_and_go_under_traffic,
    arriving_traffic_passes_the_sidecar,
    connections_go_to_the_listener_of_their_destination,
    a_header_names_the_destination,
);
// Envoy takes such a connection to itself, again and again.
on_data_plane!(
    outrigger_only,
    Outrigger,
    a_listener_is_no_destination_of_its_own,
    enabling_removes_what_is_not_asked_for,
);

/// The user that rules spare.
const SIDECAR: u32 = 1337;
const INGRESS: u16 = 15000;
const EGRESS: u16 = 15001;
/// The status without rules.
const OFF: &str = "IPv4: off\nIPv6: off\n";
const ENVIRONMENT: [(&str, &str); 6] = [
    ("APPMESH_IGNORE_UID", "1337"),
    ("APPMESH_APP_PORTS", "8080"),
    ("APPMESH_ENVOY_INGRESS_PORT", "15000"),
    ("APPMESH_ENVOY_EGRESS_PORT", "15001"),
    ("APPMESH_EGRESS_IGNORED_PORTS", "81"),
    ("APPMESH_ENABLE_IPV6", "1"),
];

/// A task with its sidecar, and another machine with a server, joined by IPv4 and IPv6.
struct Scene {
    task: Place,
    other: Place,
    own: [IpAddr; 2],
    far: [IpAddr; 2],
    sidecar: Sidecar,
    application: Upstream,
    _servers: Vec<Upstream>,
}

impl Scene {
    /// `None` where there are no namespaces.
    async fn start(plane: DataPlane) -> Result<Option<Self>> {
        let Some(task) = met(Namespace::create()) else { return Ok(None) };
        let other = Namespace::create()?;
        let own: [IpAddr; 2] = ["10.98.0.1".parse()?, "fd98::1".parse()?];
        let far: [IpAddr; 2] = ["10.98.0.2".parse()?, "fd98::2".parse()?];
        for (index, prefix) in [24, 64].into_iter().enumerate() {
            task.connect((own[index], prefix), &other, (far[index], prefix))?;
        }
        let (task, other) = (Place::Inside(task), Place::Inside(other));
        let mut servers = Vec::new();
        for at in far {
            for port in [80, 81] {
                servers.push(Upstream::start_on(other.listen((at, port).into())?, Echo::new("far"))?);
            }
        }
        let at_home: SocketAddr = ([127, 0, 0, 1], 8080).into();
        let application = Upstream::start_on(task.listen(at_home)?, Echo::new("application"))?;
        let launch = plane.launch()?.place(task.clone()).user(SIDECAR);
        let sidecar = launch.start(&bootstrap(at_home)).await?;
        Ok(Some(Self { task, other, own, far, sidecar, application, _servers: servers }))
    }

    /// Runs `outrigger-proxy intercept` in the task's network; what it printed.
    async fn intercept(&self, action: &str) -> Result<String> {
        self.intercept_as(action, &ENVIRONMENT).await
    }

    async fn intercept_as(&self, action: &str, environment: &[(&str, &str)]) -> Result<String> {
        let mut command = Command::new(binaries::path(binaries::PROXY)?);
        command.args(["intercept", action]).envs(environment.iter().copied());
        let mut process = Process::spawn("intercept", command, &self.task)?;
        let status = process.wait(Duration::from_secs(20)).await?;
        if status.success() { Ok(process.stdout()) } else { Err(process.failure("did not succeed")) }
    }

    /// Who answers the application's request to this server.
    async fn ask(&self, at: SocketAddr) -> Result<String> {
        let response = h1::get_from(&self.task, at, "far", "/").await?;
        Ok(response.json()?["upstream"].as_str().unwrap_or_default().to_owned())
    }

    /// Connections that the sidecar has taken on.
    async fn passed(&self) -> Result<u64> {
        self.sidecar.stat("cluster.passthrough.upstream_cx_total").await
    }
}

fn bootstrap(application: SocketAddr) -> Value {
    let mut egress = tcp_listener("egress", ([0, 0, 0, 0], EGRESS).into(), "passthrough");
    egress["address"] =
        json!({"socket_address": {"address": "::", "port_value": EGRESS, "ipv4_compat": true}});
    egress["listener_filters"] = json!([{
        "name": "envoy.filters.listener.original_dst",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"},
    }]);
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "application")])]);
    let ingress = http_listener("ingress", ([0, 0, 0, 0], INGRESS).into(), inline(routes));
    let passthrough = json!({"name": "passthrough", "type": "ORIGINAL_DST", "connect_timeout": "5s",
        "lb_policy": "CLUSTER_PROVIDED"});
    with_static(&[egress, ingress], &[passthrough, cluster("application", &[application])])
}

async fn traffic_goes_where_it_was_going(plane: DataPlane) -> Result<()> {
    let Some(scene) = Scene::start(plane).await? else { return Ok(()) };
    scene.intercept("enable").await?;
    for (passed, at) in scene.far.into_iter().enumerate() {
        assert_eq!(scene.ask((at, 80).into()).await?, "far");
        assert_eq!(scene.passed().await?, passed as u64 + 1, "{at}");
        // A port to be left alone.
        assert_eq!(scene.ask((at, 81).into()).await?, "far");
        assert_eq!(scene.passed().await?, passed as u64 + 1, "{at}");
    }
    // What is local never leaves.
    assert_eq!(scene.ask(([127, 0, 0, 1], 8080).into()).await?, "application");
    assert_eq!(scene.passed().await?, 2);
    Ok(())
}

async fn rules_come_and_go_under_traffic(plane: DataPlane) -> Result<()> {
    const GET: &str = "GET / HTTP/1.1\r\nHost: far\r\n\r\n";
    let Some(scene) = Scene::start(plane).await? else { return Ok(()) };
    let far: SocketAddr = (scene.far[0], 80).into();
    assert_eq!(scene.intercept("status").await?, OFF);
    let mut before = Connection::open_from(&scene.task, far).await?;
    assert_eq!(before.exchange(GET).await?.status, 200);

    scene.intercept("enable").await?;
    let rules = scene.intercept("status").await?;
    assert!(rules.starts_with("IPv4: on\n") && rules.contains("\nIPv6: on\n"), "{rules}");
    assert!(rules.contains("-A OUTPUT") && rules.contains("--to-ports 15001"), "{rules}");
    scene.intercept("enable").await?;
    assert_eq!(scene.intercept("status").await?, rules, "enabling again changes nothing");
    let mut between = Connection::open_from(&scene.task, far).await?;
    assert_eq!(between.exchange(GET).await?.status, 200);
    assert_eq!(scene.passed().await?, 1);
    assert_eq!(before.exchange(GET).await?.status, 200);

    scene.intercept("disable").await?;
    assert_eq!(scene.intercept("status").await?, OFF);
    assert_eq!(before.exchange(GET).await?.status, 200);
    assert_eq!(scene.ask(far).await?, "far");
    assert_eq!(scene.passed().await?, 1);
    scene.intercept("disable").await?;
    Ok(())
}

async fn arriving_traffic_passes_the_sidecar(plane: DataPlane) -> Result<()> {
    let Some(scene) = Scene::start(plane).await? else { return Ok(()) };
    scene.intercept("enable").await?;
    let service = (scene.own[0], 8080).into();
    let response = h1::get_from(&scene.other, service, "svc", "/").await?;
    assert_eq!(response.json()?["upstream"], "application");
    assert_eq!(response.header("server"), Some("envoy"));
    assert_eq!(scene.sidecar.stat("http.ingress.downstream_rq_total").await?, 1);
    assert_eq!(scene.application.counts().requests(), 1);
    Ok(())
}

/// Connections that nothing redirected have no original destination: taken on, they would come back for ever.
async fn a_listener_is_no_destination_of_its_own(plane: DataPlane) -> Result<()> {
    let Some(scene) = Scene::start(plane).await? else { return Ok(()) };
    scene.intercept("enable").await?;
    for (place, at) in [(&scene.task, IpAddr::from([127, 0, 0, 1])), (&scene.other, scene.own[0])] {
        let mut lost = Connection::open_from(place, (at, EGRESS).into()).await?;
        assert!(lost.rest().await.is_ok_and(|bytes| bytes.is_empty()), "{at}");
    }
    let accepted = "listener.[__]_15001.downstream_cx_total";
    assert_eq!(scene.sidecar.until_stat(accepted, |count| count >= 2).await?, 2);
    assert_eq!(scene.passed().await?, 0);
    Ok(())
}

/// One who accepts for others, and those others: bound or not, at an address or at all of them.
async fn connections_go_to_the_listener_of_their_destination(plane: DataPlane) -> Result<()> {
    let Some(task) = met(Namespace::create()) else { return Ok(()) };
    let other = Namespace::create()?;
    let (own, far): ([IpAddr; 2], [IpAddr; 2]) =
        (["10.98.0.1".parse()?, "fd98::1".parse()?], ["10.98.0.2".parse()?, "fd98::2".parse()?]);
    for (index, prefix) in [24, 64].into_iter().enumerate() {
        task.connect((own[index], prefix), &other, (far[index], prefix))?;
    }
    for program in ["iptables", "ip6tables"] {
        task.redirect_outgoing(program, SIDECAR, EGRESS)?;
    }
    let task = Place::Inside(task);
    let any: SocketAddr = ([0, 0, 0, 0], EGRESS).into();
    let mut accepting = answering("accepting", any);
    accepting["address"]["socket_address"] =
        json!({"address": "::", "port_value": EGRESS, "ipv4_compat": true});
    accepting["use_original_dst"] = json!(true);
    let mut unbound = answering("unbound", (far[0], 80).into());
    unbound["bind_to_port"] = json!(false);
    let mut elsewhere = answering("elsewhere", ([0, 0, 0, 0], 82).into());
    elsewhere["bind_to_port"] = json!(false);
    let bound = answering("bound", ([0, 0, 0, 0], 80).into());
    let dual = {
        let mut dual = answering("dual", ([0, 0, 0, 0], 81).into());
        dual["address"]["socket_address"] = json!({"address": "::", "port_value": 81, "ipv4_compat": true});
        dual
    };
    let listeners = [accepting, unbound, elsewhere, bound, dual];
    let launch = plane.launch()?.place(task.clone()).user(SIDECAR);
    // The low ports are for everybody here.
    task.enter(|| std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"))??;
    let sidecar = launch.start(&with_static(&listeners, &[])).await?;
    let another: IpAddr = "10.98.0.3".parse()?;
    for (to, by) in [
        ((far[0], 80), "unbound"),
        ((another, 80), "bound"),
        ((far[0], 81), "dual"),
        ((far[1], 81), "dual"),
        ((far[0], 82), "elsewhere"),
        ((far[1], 82), "accepting"),
        ((far[0], 83), "accepting"),
    ] {
        let response = h1::get_from(&task, to.into(), "far", "/").await?;
        assert_eq!(response.text(), by, "{to:?}");
        let counted = sidecar.stat(&format!("http.{by}.downstream_cx_total")).await?;
        assert!(counted > 0, "{to:?}");
    }
    // Who serves a connection counts it, and who only accepted it does not.
    assert_eq!(sidecar.stat("listener.[__]_15001.downstream_cx_total").await?, 2);
    assert_eq!(sidecar.stat("listener.[__]_81.downstream_cx_total").await?, 2);
    Ok(())
}

/// A listener that says its name.
fn answering(name: &str, at: SocketAddr) -> Value {
    let answer = json!({"status": 200, "body": {"inline_string": name}});
    let route = json!({"match": {"prefix": "/"}, "direct_response": answer});
    http_listener(name, at, inline(route_config("r", &[virtual_host("v", &["*"], &[route])])))
}

/// `x-envoy-original-dst-host`, or what else the cluster looks at; without an address in it the connection decides, and
/// this one was redirected by nobody.
async fn a_header_names_the_destination(plane: DataPlane) -> Result<()> {
    let (port, one, other) =
        (Port::lease()?, Upstream::start(Echo::new("one"))?, Upstream::start(Echo::new("other"))?);
    let by_header = |name: &str, config: Value| {
        json!({"name": name, "type": "ORIGINAL_DST", "connect_timeout": "5s", "lb_policy": "CLUSTER_PROVIDED",
            "original_dst_lb_config": config})
    };
    let routes = [prefix_route("/own", "own"), prefix_route("/port", "port"), prefix_route("/", "default")];
    let routes = route_config("r", &[virtual_host("v", &["*"], &routes)]);
    let clusters = [
        by_header("default", json!({"use_http_header": true})),
        by_header("own", json!({"use_http_header": true, "http_header_name": "X-To"})),
        by_header("port", json!({"use_http_header": true, "upstream_port_override": other.address().port()})),
    ];
    let listener = http_listener("ingress", port.address(), inline(routes));
    let sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
    let (to_one, to_other) = (one.address().to_string(), other.address().to_string());
    for (path, header, value, by) in [
        ("/", "x-envoy-original-dst-host", &*to_one, Some("one")),
        ("/", "x-envoy-original-dst-host", &*to_other, Some("other")),
        ("/own", "x-to", &*to_one, Some("one")),
        ("/own", "x-envoy-original-dst-host", &*to_one, None),
        ("/port", "x-envoy-original-dst-host", "127.0.0.1:1", Some("other")),
        ("/", "x-envoy-original-dst-host", "one", None),
        ("/", "x-envoy-original-dst-host", "127.0.0.1", None),
        ("/", "x-other", "1", None),
    ] {
        let mut client = Connection::open(port.address()).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{header}: {value}\r\n\r\n");
        let response = client.exchange(request).await?;
        match by {
            Some(by) => assert_eq!(response.json()?["upstream"], by, "{path} {header} {value}"),
            None => assert_eq!(response.status, 503, "{path} {header} {value}"),
        }
    }
    assert_eq!(sidecar.stat("cluster.default.original_dst_host_invalid").await?, 2);
    assert_eq!(sidecar.stat("cluster.own.original_dst_host_invalid").await?, 0);
    Ok(())
}

async fn enabling_removes_what_is_not_asked_for(_: DataPlane) -> Result<()> {
    let Some(scene) = Scene::start(DataPlane::Outrigger).await? else { return Ok(()) };
    scene.intercept("enable").await?;
    let ipv4_only = &ENVIRONMENT[..5];
    scene.intercept_as("enable", ipv4_only).await?;
    // What is on does not depend on who asks.
    for environment in [ipv4_only, &ENVIRONMENT] {
        let status = scene.intercept_as("status", environment).await?;
        assert!(status.starts_with("IPv4: on\n") && status.ends_with("\nIPv6: off\n"), "{status}");
    }
    assert_eq!(scene.ask((scene.far[1], 80).into()).await?, "far");
    assert_eq!(scene.passed().await?, 0);
    Ok(())
}
