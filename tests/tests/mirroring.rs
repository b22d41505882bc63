//! Request mirroring: who gets a copy, what it says, and that the original never notices.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::{h1, h2};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Scripted, Slow, Upstream};
use outrigger_tests::{Result, on_both_data_planes, on_data_plane, wait};
use serde_json::{Value, json};

on_both_data_planes!(
    a_copy_says_what_the_original_says,
    copies_by_level_and_share,
    a_named_cluster_that_does_not_exist_gets_nothing,
    bodies_are_copied,
    a_silent_shadow_delays_nothing,
);
on_data_plane!(ours, Outrigger, a_shadow_that_reads_nothing_is_given_up);

/// A sidecar whose route goes to `a`; copies may go to `shadow`.
struct Scene {
    port: Port,
    sidecar: Sidecar,
    original: Upstream,
}

impl Scene {
    async fn start(plane: DataPlane, shadow: &Upstream, change: impl FnOnce(&mut Value)) -> Result<Self> {
        let (port, original) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
        let mut routes =
            route_config("r", &[virtual_host("v", &["svc", "svc:80"], &[prefix_route("/", "a")])]);
        change(&mut routes);
        let mut listener = http_listener("ingress", port.address(), inline(routes));
        manager_of(&mut listener)["stream_idle_timeout"] = json!("20s");
        let clusters = [cluster("a", &[original.address()]), cluster("shadow", &[shadow.address()])];
        let sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
        Ok(Self { port, sidecar, original })
    }

    async fn get(&self, host: &str) -> Result<h1::Response> {
        h1::get(self.port.address(), host, "/path?q=1").await
    }
}

fn route_of(routes: &mut Value) -> &mut Value {
    &mut routes["virtual_hosts"][0]["routes"][0]["route"]
}

async fn until_requests(upstream: &Upstream, count: u64) -> Result<()> {
    let check = || std::future::ready((upstream.counts().requests() >= count).then_some(()));
    wait::until(&format!("{count} requests of the shadow"), Duration::from_secs(10), check).await
}

async fn a_copy_says_what_the_original_says(plane: DataPlane) -> Result<()> {
    let scripted = Scripted::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let seen = scripted.transcripts();
    let shadow = Upstream::start(scripted)?;
    let scene = Scene::start(plane, &shadow, |routes| {
        let route = &mut routes["virtual_hosts"][0]["routes"][0];
        route["request_headers_to_add"] = json!([{"header": {"key": "x-added", "value": "1"}}]);
        route["route"]["prefix_rewrite"] = json!("/new/");
        route["route"]["request_mirror_policies"] = json!([
            {"cluster": "shadow"},
            {"cluster": "shadow", "disable_shadow_host_suffix_append": true},
        ]);
    })
    .await?;
    let response = scene.get("svc:80").await?;
    assert_eq!(response.status, 200);
    until_requests(&shadow, 2).await?;
    let all = seen.all().concat();
    let heads: Vec<&str> = all.split_inclusive("\r\n\r\n").collect();
    let field = |head: &str, name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let mut hosts: Vec<_> = heads.iter().filter_map(|head| field(head, "host")).collect();
    hosts.sort();
    assert_eq!(hosts, ["svc-shadow:80", "svc:80"], "{heads:?}");
    for head in &heads {
        assert!(head.starts_with("GET /new/path?q=1 HTTP/1.1\r\n"), "{head}");
        assert_eq!(field(head, "x-added").as_deref(), Some("1"), "{head}");
        assert_eq!(field(head, "x-envoy-internal").as_deref(), Some("true"), "{head}");
        assert!(field(head, "x-forwarded-for").is_some(), "{head}");
        assert_eq!(field(head, "x-envoy-original-path").as_deref(), Some("/path?q=1"), "{head}");
    }
    scene.sidecar.until_stat("cluster.shadow.upstream_rq_204", |count| count == 2).await?;
    assert_eq!(scene.sidecar.stat("cluster.shadow.upstream_rq_total").await?, 2);
    assert_eq!(scene.sidecar.stat("cluster.shadow.internal.upstream_rq_204").await?, 2);
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_rq_total").await?, 1);
    assert_eq!(scene.original.counts().requests(), 1);
    Ok(())
}

/// The most specific level counts alone; shares of nothing and of everything leave nothing to chance.
async fn copies_by_level_and_share(plane: DataPlane) -> Result<()> {
    let shadow = Upstream::start(Echo::new("shadow"))?;
    let share = |numerator: u32| json!({"default_value": {"numerator": numerator, "denominator": "HUNDRED"}});
    let scene = Scene::start(plane, &shadow, |routes| {
        let to_shadow = json!([{"cluster": "shadow"}]);
        routes["request_mirror_policies"] = to_shadow.clone();
        let mut none = virtual_host("none", &["none"], &[prefix_route("/", "a")]);
        none["routes"][0]["route"]["request_mirror_policies"] =
            json!([{"cluster": "shadow", "runtime_fraction": share(0)}]);
        let mut twice = virtual_host("twice", &["twice"], &[prefix_route("/", "a")]);
        twice["request_mirror_policies"] =
            json!([{"cluster": "shadow", "runtime_fraction": share(100)}, {"cluster": "shadow"}]);
        if let Some(hosts) = routes["virtual_hosts"].as_array_mut() {
            hosts.extend([none, twice]);
        }
    })
    .await?;
    assert_eq!(scene.get("none").await?.status, 200);
    assert_eq!(scene.get("twice").await?.status, 200);
    scene.sidecar.until_stat("cluster.shadow.upstream_rq_200", |count| count == 2).await?;
    assert_eq!(scene.get("svc").await?.status, 200);
    scene.sidecar.until_stat("cluster.shadow.upstream_rq_200", |count| count == 3).await?;
    assert_eq!(shadow.counts().requests(), 3);
    Ok(())
}

async fn a_named_cluster_that_does_not_exist_gets_nothing(plane: DataPlane) -> Result<()> {
    let shadow = Upstream::start(Echo::new("shadow"))?;
    let scene = Scene::start(plane, &shadow, |routes| {
        route_of(routes)["request_mirror_policies"] = json!([{"cluster_header": "x-shadow"}]);
    })
    .await?;
    let mut client = h1::Connection::open(scene.port.address()).await?;
    for named in ["", "x-shadow: nobody\r\n", "x-shadow: shadow\r\n"] {
        let response = client.exchange(format!("GET / HTTP/1.1\r\nHost: svc\r\n{named}\r\n")).await?;
        assert_eq!(response.status, 200, "{named}");
    }
    scene.sidecar.until_stat("cluster.shadow.upstream_rq_200", |count| count == 1).await?;
    assert_eq!(shadow.counts().requests(), 1);
    Ok(())
}

/// Bodies of both framings, with what follows them.
async fn bodies_are_copied(plane: DataPlane) -> Result<()> {
    let scripted = Scripted::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let seen = scripted.transcripts();
    let shadow = Upstream::start(scripted)?;
    let scene = Scene::start(plane, &shadow, |routes| {
        route_of(routes)["request_mirror_policies"] = json!([{"cluster": "shadow"}]);
    })
    .await?;
    let mut client = h1::Connection::open(scene.port.address()).await?;
    let fixed = "POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 10\r\n\r\nfirst body";
    assert_eq!(client.exchange(fixed).await?.json()?["body"], "first body");
    let chunked = "POST / HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecond\r\n5\r\n body\r\n0\r\n\r\n";
    assert_eq!(client.exchange(chunked).await?.json()?["body"], "second body");
    let mut client = h2::Connection::open(scene.port.address()).await?;
    let request = Request::post("http://svc/").body(Bytes::from("third body"))?;
    assert_eq!(client.exchange(request).await?.json()?["body"], "third body");
    let all_there = || {
        let text = seen.all().concat();
        let there = ["first body", "second", " body", "third body"].iter().all(|body| text.contains(body));
        std::future::ready(there.then_some(()))
    };
    wait::until("the copied bodies", Duration::from_secs(10), all_there).await?;
    scene.sidecar.until_stat("cluster.shadow.upstream_rq_204", |count| count == 3).await?;
    Ok(())
}

/// The shadow takes a minute to answer; the route gives it as long as the original.
async fn a_silent_shadow_delays_nothing(plane: DataPlane) -> Result<()> {
    let slow = Slow { before_head: Duration::from_secs(60), between_bytes: Duration::ZERO };
    let shadow = Upstream::start(slow)?;
    let scene = Scene::start(plane, &shadow, |routes| {
        let route = route_of(routes);
        route["timeout"] = json!("1s");
        route["request_mirror_policies"] = json!([{"cluster": "shadow"}]);
    })
    .await?;
    let response = wait::within("the original", Duration::from_secs(30), scene.get("svc")).await??;
    assert_eq!(response.status, 200);
    scene.sidecar.until_stat("cluster.shadow.upstream_rq_timeout", |count| count == 1).await?;
    Ok(())
}

/// A shadow that never reads: what it is behind is bounded, and the original is not held up.
async fn a_shadow_that_reads_nothing_is_given_up(plane: DataPlane) -> Result<()> {
    let deaf = std::net::TcpListener::bind("127.0.0.1:0")?;
    let (port, original) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let mut routes = route_config("r", &[virtual_host("v", &["svc"], &[prefix_route("/", "a")])]);
    route_of(&mut routes)["request_mirror_policies"] = json!([{"cluster": "shadow"}]);
    let listener = http_listener("ingress", port.address(), inline(routes));
    let clusters = [cluster("a", &[original.address()]), cluster("shadow", &[deaf.local_addr()?])];
    let sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
    let body = vec![b'x'; 32 << 20];
    let mut client = h1::Connection::open(port.address()).await?;
    let length = body.len();
    client
        .send(format!("POST / HTTP/1.1\r\nHost: svc\r\nx-echo-bytes: 1\r\nContent-Length: {length}\r\n\r\n"))
        .await?;
    client.send(body).await?;
    assert_eq!(client.response().await?.status, 200);
    sidecar.until_stat("cluster.a.retry_or_shadow_abandoned", |count| count == 1).await?;
    Ok(())
}
