//! Why a request failed: `/explain` names the cause and the state behind it, `/tap` shows requests as they end.

use std::net::Ipv4Addr;
use std::time::Duration;

use outrigger_tests::bootstrap::{
    address, cluster, http_listener, inline, prefix_route, route_config, virtual_host, with_ads, with_static,
};
use outrigger_tests::client::h1::{self, Connection};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::name_server::NameServer;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::xds::{Resource, Server};
use outrigger_tests::{Result, on_both_data_planes, on_data_plane, wait};
use outrigger_xds_protos::type_url::CLUSTER;
use outrigger_xds_protos::v3::cluster::Cluster;
use serde_json::{Value, json};

on_both_data_planes!(times_are_told_without_an_access_log);
on_data_plane!(
    outrigger_alone,
    Outrigger,
    a_dead_host_is_named_with_its_failures,
    a_control_plane_that_is_gone_is_told,
    a_line_of_the_log_finds_its_cluster,
    a_name_without_addresses_is_told_with_the_reason,
    a_refused_upgrade_is_explained_by_its_details,
    a_watcher_sees_matching_requests_as_they_end,
    header_values_cannot_forge_what_a_watcher_sees,
);

struct Scene {
    port: Port,
    dead: Port,
    sidecar: Sidecar,
    _upstream: Upstream,
}

impl Scene {
    async fn start(plane: DataPlane) -> Result<Self> {
        let (port, dead, upstream) = (Port::lease()?, Port::lease()?, Upstream::start(Echo::new("a"))?);
        let routes =
            [prefix_route("/dead", "dead"), prefix_route("/empty", "empty"), prefix_route("/good", "good")];
        let hosts = [virtual_host("v", &["shop.local"], &routes)];
        let listener = http_listener("ingress", port.address(), inline(route_config("r", &hosts)));
        let clusters = [
            cluster("dead", &[dead.address()]),
            cluster("empty", &[]),
            cluster("good", &[upstream.address()]),
        ];
        let sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
        Ok(Self { port, dead, sidecar, _upstream: upstream })
    }

    async fn get(&self, path: &str) -> Result<u16> {
        Ok(h1::get(self.port.address(), "shop.local", path).await?.status)
    }

    /// Watches requests that match; returns once the watch is on.
    async fn watch(&self, matches: &str) -> Result<Connection> {
        let mut watcher = Connection::open(self.sidecar.admin()).await?;
        let request = format!("GET /tap?match={matches}&seconds=20 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        watcher.send(request).await?;
        let mut head = String::new();
        while !head.contains("\r\n\r\n") {
            head.push_str(&String::from_utf8_lossy(&watcher.some_bytes().await?));
        }
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/x-ndjson"), "{head}");
        Ok(watcher)
    }
}

/// The JSON object of the next chunk.
async fn next_line(watcher: &mut Connection) -> Result<Value> {
    let mut text = String::new();
    while !text.contains("}\n") {
        text.push_str(&String::from_utf8_lossy(&watcher.some_bytes().await?));
    }
    let (start, end) = (text.find('{').unwrap_or(0), text.rfind("}\n").map_or(text.len(), |at| at + 1));
    let object = &text[start..end];
    assert!(!object.contains('\n'), "one line: {object:?}");
    Ok(serde_json::from_str(object)?)
}

async fn a_dead_host_is_named_with_its_failures(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    assert_eq!((scene.get("/dead").await?, scene.get("/empty").await?), (503, 503));
    let page = scene.sidecar.get("/explain?flag=UF").await?.text();
    assert!(
        page.contains("UF (UpstreamConnectionFailure)") && page.contains("cluster dead: 1 hosts"),
        "{page}"
    );
    assert!(
        page.contains(&format!("host {}: healthy, 1 connections failed", scene.dead.address())),
        "{page}"
    );
    assert!(page.contains("upstream_cx_connect_fail 1") && page.contains("next:"), "{page}");
    // There is none, and none was ever asked.
    assert!(!page.contains("control plane"), "{page}");
    let page = scene.sidecar.get("/explain?flag=UH").await?.text();
    assert!(page.contains("cluster empty: 0 hosts") && !page.contains("cluster good"), "{page}");
    let page = scene.sidecar.get("/explain?flag=NR&authority=other.local").await?.text();
    assert!(page.contains("1 virtual hosts: v; none is for other.local"), "{page}");
    assert_eq!(scene.sidecar.get("/explain?flag=WHAT").await?.status, 400);
    Ok(())
}

async fn a_control_plane_that_is_gone_is_told(plane: DataPlane) -> Result<()> {
    let xds = Server::start()?;
    xds.set(CLUSTER, vec![Resource::of::<Cluster>("a", &cluster("a", &[]))?]);
    let sidecar = plane.launch()?.start(&with_ads(xds.address(), "DELTA_GRPC")).await?;
    xds.until_accepted(CLUSTER).await?;
    let page = sidecar.get("/explain?flag=UH&cluster=a").await?.text();
    assert!(page.contains("cluster a: 0 hosts") && !page.contains("not connected"), "{page}");
    drop(xds);
    sidecar.until_stat("control_plane.connected_state", |connected| connected == 0).await?;
    let page = sidecar.get("/explain?flag=UH&cluster=a").await?.text();
    assert!(page.contains("control plane: not connected; this configuration may be old"), "{page}");
    Ok(())
}

async fn a_line_of_the_log_finds_its_cluster(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    scene.get("/dead").await?;
    let line = format!(
        "[2026-10-03T10:00:00.000Z] \"GET /dead HTTP/1.1\" 503 UF 0 91 1 - \"-\" \"-\" \"id\" \"shop.local\" \"{}\"",
        scene.dead.address()
    );
    let encoded: String = line.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let page = scene.sidecar.get(&format!("/explain?format=json&line={encoded}")).await?.json()?;
    let finding = &page["findings"][0];
    assert_eq!((&finding["flag"], &page["authority"]), (&"UF".into(), &"shop.local".into()));
    let now = finding["now"].to_string();
    assert!(now.contains("cluster dead") && !now.contains("cluster good"), "{now}");
    Ok(())
}

async fn a_name_without_addresses_is_told_with_the_reason(plane: DataPlane) -> Result<()> {
    let (port, names) = (Port::lease()?, NameServer::start(&[])?);
    let mut late = cluster("late", &[]);
    late["type"] = "STRICT_DNS".into();
    late["dns_lookup_family"] = "V4_ONLY".into();
    late["dns_refresh_rate"] = "0.05s".into();
    let name = json!({"socket_address": {"address": "backend.example", "port_value": 80}});
    late["load_assignment"]["endpoints"] = json!([{"lb_endpoints": [{"endpoint": {"address": name}}]}]);
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "late")])]);
    let listener = http_listener("ingress", port.address(), inline(routes));
    let mut bootstrap = with_static(&[listener], &[late]);
    bootstrap["typed_dns_resolver_config"] = json!({
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [address(names.address())],
        },
    });
    let sidecar = plane.launch()?.start(&bootstrap).await?;
    assert_eq!(h1::get(port.address(), "shop.local", "/").await?.status, 503);
    let page = sidecar.get("/explain?flag=UH").await?.text();
    let why = "\"backend.example\": the name has no address of the family that is wanted";
    assert!(page.contains(&format!("last lookup without an address: {why}, ")), "{page}");
    assert!(!page.contains("has resolved since"), "{page}");
    names.set(&[Ipv4Addr::LOCALHOST]);
    sidecar.until_stat("cluster.late.membership_total", |hosts| hosts == 1).await?;
    let page = sidecar.get("/explain?flag=DF&cluster=late").await?.text();
    assert!(page.contains(why) && page.contains("and it has resolved since"), "{page}");
    Ok(())
}

/// No flag is raised: the access log has `-`, as Envoy's.
async fn a_refused_upgrade_is_explained_by_its_details(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    let mut client = Connection::open(scene.port.address()).await?;
    let head = "GET /good HTTP/1.1\r\nHost: shop.local\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer = client.exchange(head).await?;
    assert_eq!(answer.status, 403);
    let line =
        json!({"response_code": 403, "response_code_details": "upgrade_failed", "response_flags": "-"});
    let encoded: String = line.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
    let page = scene.sidecar.get(&format!("/explain?line={encoded}")).await?;
    assert!(page.status == 200 && page.text().contains("upgrade_failed\n  cause: "), "{}", page.text());
    Ok(())
}

async fn a_watcher_sees_matching_requests_as_they_end(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    let mut watcher = scene.watch("status:5xx").await?;
    assert_eq!((scene.get("/good").await?, scene.get("/dead/1").await?), (200, 503));
    let seen = next_line(&mut watcher).await?;
    assert_eq!(
        (&seen["path"], &seen["flags"], &seen["status"]),
        (&"/dead/1".into(), &"UF".into(), &503.into())
    );
    assert_eq!((&seen["cluster"], &seen["authority"]), (&"dead".into(), &"shop.local".into()));
    let year = seen["time"].as_str().and_then(|time| time.get(..4)?.parse::<u32>().ok());
    assert!(year.is_some_and(|year| year >= 2024), "the log is off: {seen}");
    drop(watcher);
    // The watch ends with its connection; a new one sees what it asks for.
    let mut watcher = scene.watch("path:/good").await?;
    wait::within("a request", Duration::from_secs(10), scene.get("/good/2")).await??;
    assert_eq!(next_line(&mut watcher).await?["path"], "/good/2");
    assert_eq!(scene.sidecar.get("/tap?match=colour:red").await?.status, 400);
    Ok(())
}

async fn header_values_cannot_forge_what_a_watcher_sees(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    let mut watcher = scene.watch("").await?;
    let mut client = Connection::open(scene.port.address()).await?;
    let request =
        b"GET /good HTTP/1.1\r\nHost: shop.local\r\nx-request-id: \",\"status\":7}\x1b[31m\xff\r\n\r\n";
    client.send(request).await?;
    client.response().await?;
    let seen = next_line(&mut watcher).await?;
    assert_eq!(seen["status"], if seen["details"] == "via_upstream" { 200 } else { 400 });
    assert!(!seen.to_string().contains('\u{1b}'), "{seen}");
    Ok(())
}

fn now() -> Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())
}

/// In headers either way, which tell the same moment.
async fn times_are_told_without_an_access_log(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let start = |name: &str| json!([{"header": {"key": name, "value": "%START_TIME(%s.%9f)%"}}]);
    let mut hosts = virtual_host("v", &["*"], &[prefix_route("/", "a")]);
    hosts["request_headers_to_add"] = start("x-begun");
    hosts["response_headers_to_add"] = start("x-begun");
    let listener = http_listener("ingress", port.address(), inline(route_config("r", &[hosts])));
    let clusters = [cluster("a", &[upstream.address()])];
    let _sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
    let before = now()?;
    let response = h1::get(port.address(), "a", "/").await?;
    let told = response.header("x-begun").ok_or("no time")?.to_owned();
    let (seconds, _) = told.split_once('.').ok_or("no fraction")?;
    assert!((before - 1..=now()? + 1).contains(&seconds.parse::<u64>()?), "{told}");
    let echoed = response.json()?;
    let headers = echoed["headers"].as_array().ok_or("no headers")?;
    let upstream_told = headers.iter().find(|pair| pair[0] == "x-begun").ok_or("not told upstream")?;
    assert_eq!(upstream_told[1], told.as_str(), "one moment");
    Ok(())
}
