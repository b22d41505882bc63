//! One story over both data planes, and every counter of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outrigger_tests::bootstrap::{cluster, over_http2, prefix_route};
use outrigger_tests::client::{h1, h2 as h2c};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Behaviour, Closing, Counts, Echo, Garbage, Scripted, Slow, Upstream};
use outrigger_tests::{Result, requirement};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::scene::{LIMIT, Scene, UNAVAILABLE, numbers, retried};

/// Statistics of Envoy's that do not exist here: sockets of a cluster are matched in no way, and the HTTP/2 codec counts
/// nothing of its own.
const NOT_HERE: &[&str] =
    &["default.total_match_count", ".http2.nghttp2_upstream_connections", ".http2.rx_reset"];
/// Where a response is cut our connection closes at once, without a delay that could end.
const NO_DELAY: &str = "downstream_cx_delayed_close_timeout";

/// The same story over both: every counter that we have is Envoy's. What counts bytes on the wire is left out, as
/// the two write different `server` dates and HTTP/2 settings, and who fills a buffer when.
fn compare(ours: &BTreeMap<String, u64>, envoys: &BTreeMap<String, u64>) {
    let is_left_out = |name: &str| ["bytes", "flow_control", NO_DELAY].iter().any(|part| name.contains(part));
    let differ: Vec<_> = ours
        .iter()
        .filter(|(name, _)| !is_left_out(name))
        .map(|(name, count)| (name, count, envoys.get(name).copied().unwrap_or(0)))
        .filter(|(_, ours, envoys)| *ours != envoys)
        .collect();
    assert!(differ.is_empty(), "name, ours, Envoy's: {differ:#?}");
    let unknown: Vec<_> = envoys
        .iter()
        .filter(|(name, count)| **count > 0 && !ours.contains_key(*name) && !is_left_out(name))
        .filter(|(name, _)| !NOT_HERE.iter().any(|known| name.ends_with(known)))
        .collect();
    assert!(unknown.is_empty(), "Envoy's alone: {unknown:#?}");
}

#[tokio::test]
async fn every_counter_of_a_mixed_story_is_envoys() -> Result<()> {
    let Some(_) = requirement::met(DataPlane::Envoy.launch()) else { return Ok(()) };
    compare(&mixed(DataPlane::Outrigger).await?, &mixed(DataPlane::Envoy).await?);
    Ok(())
}

#[tokio::test]
async fn every_counter_of_answers_cut_short_is_envoys() -> Result<()> {
    let Some(_) = requirement::met(DataPlane::Envoy.launch()) else { return Ok(()) };
    compare(&cut_short(DataPlane::Outrigger).await?, &cut_short(DataPlane::Envoy).await?);
    Ok(())
}

async fn mixed(plane: DataPlane) -> Result<BTreeMap<String, u64>> {
    let good = Upstream::start(Echo::new("good"))?;
    let failing = Upstream::start(Scripted::answering(UNAVAILABLE))?;
    let gone = Upstream::start(Closing::BeforeResponse)?;
    let garbage = Upstream::start(Garbage)?;
    let dead = Port::lease()?;
    let routes = [
        retried(prefix_route("/failing", "failing"), "5xx", 2),
        retried(prefix_route("/gone", "gone"), "reset,connect-failure", 1),
        retried(prefix_route("/dead", "dead"), "connect-failure", 1),
        prefix_route("/garbage", "garbage"),
        prefix_route("/", "good"),
    ];
    let at = |name: &str, address: SocketAddr| cluster(name, &[address]);
    let clusters = [
        at("good", good.address()),
        at("failing", failing.address()),
        at("gone", gone.address()),
        at("garbage", garbage.address()),
        at("dead", dead.address()),
    ];
    let scene = Scene::start(plane, &routes, &clusters).await?;
    for path in ["/", "/failing", "/gone", "/dead", "/garbage", "/"] {
        h1::get(scene.address(), "a", path).await?;
    }
    let mut connection = h2c::Connection::open(scene.address()).await?;
    for path in ["/", "/failing", "/dead"] {
        connection.exchange(h2c::get("a", path)?).await?;
    }
    drop(connection);
    scene.sidecar.until_stat("http.ingress.downstream_cx_active", |count| count == 0).await?;
    scene.sidecar.until_stat("http.ingress.downstream_cx_destroy", |count| count == 7).await?;
    told(&scene).await
}

/// All that was counted for the listener, its manager and the clusters.
async fn told(scene: &Scene) -> Result<BTreeMap<String, u64>> {
    let page = scene.sidecar.get("/stats?usedonly").await?.text();
    let listener = format!("listener.127.0.0.1_{}.", scene.port.number());
    let mut found = BTreeMap::new();
    for (name, count) in numbers(&page) {
        match name.strip_prefix(&listener) {
            Some(rest) => found.insert(format!("listener.{rest}"), count),
            None if name.starts_with("cluster.") || name.starts_with("http.ingress.") => {
                found.insert(name, count)
            }
            None => None,
        };
    }
    Ok(found)
}

/// Answers a stream's head and a piece of its body, then resets it.
struct Reset;

impl Behaviour for Reset {
    async fn serve(self: Arc<Self>, stream: TcpStream, counts: Arc<Counts>) {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            counts.request();
            let grpc = request.headers().get("content-type").cloned();
            let mut answer = http::Response::new(());
            answer.headers_mut().extend(grpc.map(|kind| (http::header::CONTENT_TYPE, kind)));
            tokio::spawn(async move {
                let mut body = respond.send_response(answer, false)?;
                body.send_data("piece".into(), false)?;
                // The piece goes out before the reset does.
                let _ =
                    tokio::time::timeout(LIMIT / 100, std::future::poll_fn(|cx| body.poll_reset(cx))).await;
                body.send_reset(h2::Reason::INTERNAL_ERROR);
                Ok::<_, h2::Error>(())
            });
        }
    }
}

/// Responses that begin and do not come to their end, in every way there is.
async fn cut_short(plane: DataPlane) -> Result<BTreeMap<String, u64>> {
    let half = Upstream::start(Closing::WithinBody)?;
    let reset = Upstream::start(Reset)?;
    let slow = || Upstream::start(Slow { before_head: Duration::ZERO, between_bytes: LIMIT });
    let hosts = [slow()?, slow()?, slow()?, slow()?, slow()?];
    let route = |name: &str, more: Value| {
        let mut route = prefix_route(&format!("/{name}"), name);
        for (field, value) in more.as_object().into_iter().flatten() {
            route["route"][field] = value.clone();
        }
        route
    };
    let routes = [
        route("half", json!({})),
        route("reset", json!({})),
        route("timed", json!({"timeout": "0.2s"})),
        route("idle", json!({"idle_timeout": "0.2s"})),
        route("tried", json!({"retry_policy": {"retry_on": "5xx", "per_try_idle_timeout": "0.2s"}})),
        route("long", json!({"max_stream_duration": {"max_stream_duration": "0.2s"}})),
        route("longest", json!({})),
    ];
    let names = ["timed", "idle", "tried", "long", "longest"];
    let mut clusters: Vec<_> =
        names.iter().zip(&hosts).map(|(name, host)| cluster(name, &[host.address()])).collect();
    clusters[4]["typed_extension_protocol_options"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "common_http_protocol_options": {"max_stream_duration": "0.2s"},
            "explicit_http_config": {"http_protocol_options": {}}}});
    clusters.push(cluster("half", &[half.address()]));
    clusters.push(over_http2(cluster("reset", &[reset.address()])));
    let scene = Scene::start(plane, &routes, &clusters).await?;
    for path in ["half", "reset", "timed", "idle", "tried", "long", "longest"] {
        let mut client = h1::Connection::open(scene.address()).await?;
        client.send(format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n")).await?;
        let answer = client.rest().await?;
        assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{path}: {}", String::from_utf8_lossy(&answer));
    }
    // Of a call whose host has gone in the midst the status is missing.
    for _ in 0..2 {
        let mut connection = h2c::Connection::open(scene.address()).await?;
        let request = http::Request::post("http://a/reset").header("content-type", "application/grpc");
        let (response, _) = connection.start(request.body(())?, true).await?;
        assert!(h2c::read(response).await.is_err());
    }
    scene.sidecar.until_stat("http.ingress.downstream_cx_active", |count| count == 0).await?;
    scene.sidecar.until_stat("http.ingress.downstream_cx_destroy", |count| count == 9).await?;
    told(&scene).await
}
