//! `envoy.filters.http.buffer`.

use outrigger_tests::bootstrap::prefix_route;
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::json;

use crate::scene::{Script, filter, per_filter, received, typed};

const NAME: &str = "envoy.filters.http.buffer";

on_both_data_planes!(
    a_request_waits_for_its_body,
    a_body_over_the_limit_is_413,
    routes_choose_their_limit,
    a_waiting_client_is_told_to_go_on,
);

fn buffer(bytes: u32) -> serde_json::Value {
    filter(NAME, "buffer.v3.Buffer", json!({"max_request_bytes": bytes}))
}

async fn a_request_waits_for_its_body(plane: DataPlane) -> Result<()> {
    let scene = Script::of(&[buffer(1000)]).start(plane).await?;
    let mut connection = Connection::open(scene.port.address()).await?;
    let head = "POST / HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    connection.send(head).await?;
    scene.sidecar.until_stat("http.ingress.downstream_rq_active", |now| now == 1).await?;
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_rq_total").await?, 0);
    connection.send("6\r\n world\r\n0\r\n\r\n").await?;
    let response = connection.response().await?;
    assert_eq!((response.status, response.json()?["body"].as_str()), (200, Some("hello world")));
    assert_eq!(received(&response, "content-length")?, ["11"], "the length is known by then");
    Ok(())
}

async fn a_body_over_the_limit_is_413(plane: DataPlane) -> Result<()> {
    let scene = Script::of(&[buffer(10)]).start(plane).await?;
    let response = scene.send("POST", "/", &[], "0123456789").await?;
    assert_eq!(response.status, 200, "exactly the limit");
    let response = scene.send("POST", "/", &[], "0123456789a").await?;
    assert_eq!((response.status, response.text().as_str()), (413, "Payload Too Large"));
    assert_eq!(scene.logged(2).await?, "413|-|request_payload_too_large");
    assert_eq!(scene.sidecar.stat("http.ingress.downstream_rq_too_large").await?, 1);
    assert_eq!(scene.upstream.counts().requests(), 1);
    Ok(())
}

async fn routes_choose_their_limit(plane: DataPlane) -> Result<()> {
    let mut wide = prefix_route("/wide", "a");
    let own = typed("buffer.v3.BufferPerRoute", json!({"buffer": {"max_request_bytes": 100}}));
    wide["typed_per_filter_config"] = per_filter(NAME, own);
    let mut off = prefix_route("/off", "a");
    let own = typed("buffer.v3.BufferPerRoute", json!({"disabled": true}));
    off["typed_per_filter_config"] = per_filter(NAME, own);
    let script = Script::of(&[buffer(5)]).routes(&[wide, off, prefix_route("/", "a")]);
    let scene = script.start(plane).await?;
    for (path, status) in [("/wide", 200), ("/off", 200), ("/", 413)] {
        assert_eq!(scene.send("POST", path, &[], "twenty bytes of body").await?.status, status, "{path}");
    }
    Ok(())
}

async fn a_waiting_client_is_told_to_go_on(plane: DataPlane) -> Result<()> {
    let scene = Script::of(&[buffer(100)]).start(plane).await?;
    let mut connection = Connection::open(scene.port.address()).await?;
    let head = "POST / HTTP/1.1\r\nHost: svc\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    connection.send(head).await?;
    assert_eq!(connection.response_to("POST").await?.status, 100);
    connection.send("ok").await?;
    let response = connection.response().await?;
    assert_eq!((response.status, response.json()?["body"].as_str()), (200, Some("ok")));
    Ok(())
}
