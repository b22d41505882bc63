//! Requests that the codec refuses are logged and counted.

use outrigger_tests::client::frames::{
    CONTINUATION, Connection, END_HEADERS, END_STREAM, GET, HEADERS, RST_STREAM, fields, frame, request,
};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::{Result, on_both_data_planes};

use super::Scene;

on_both_data_planes!(malformed_requests, requests_with_too_many_fields, requests_with_too_large_fields);

const RULE: &str = "http2.violation.of.messaging.rule";
const UNREADABLE: [&str; 2] = ["X-Upper", ":late"];
const FIELD: &str = "http2.invalid.header.field";

type Fields<'a> = Vec<(&'a str, &'a str)>;

fn with<'a>(more: &[(&'a str, &'a str)]) -> Fields<'a> {
    [&GET[..], more].concat()
}

async fn malformed_requests(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    let without = |name: &str| GET.into_iter().filter(|(other, _)| *other != name).collect::<Vec<_>>();
    let replaced = |name, value| {
        GET.into_iter().map(|field| if field.0 == name { (name, value) } else { field }).collect()
    };
    // The details of what the library refuses by itself are one for all.
    let (rule, field) = (vec![RULE], vec![RULE, FIELD]);
    let cases: Vec<(Fields<'_>, &[&str])> = vec![
        (with(&[("X-Upper", "1")]), &field),
        (with(&[("connection", "close")]), &field),
        (with(&[("te", "gzip")]), &field),
        (with(&[(":late", "1")]), &field),
        (without(":method"), &rule),
        (without(":path"), &rule),
        (without(":authority"), &rule),
        (replaced(":path", "relative"), &rule),
        (replaced(":authority", "user@a"), &field),
        (with(&[("content-length", "+5")]), &field),
        (with(&[("content-length", "5")]), &rule),
    ];
    for (count, (of, details)) in cases.iter().enumerate() {
        let mut connection = Connection::open(scene.port.address()).await?;
        connection.send(request(1, of)).await?;
        let refused = loop {
            match connection.next().await? {
                Some(frame) if frame.kind == RST_STREAM => break Some(frame),
                Some(_) => {}
                None => break None,
            }
        };
        let ends_connection = refused.is_none();
        // The library takes names that cannot be for more than one request's fault.
        let is_name = of.last().is_some_and(|(name, _)| UNREADABLE.contains(name));
        assert_eq!(ends_connection, plane == DataPlane::Outrigger && is_name, "{of:?}");
        if let Some(frame) = refused {
            assert_eq!((frame.stream, frame.code()), (1, Some(1)), "{of:?}");
        }
        let line = scene.log.lines(2 * count + 1).await?.swap_remove(2 * count);
        assert!(details.iter().any(|details| line == format!("-|HTTP/2|DPE|{details}")), "{of:?}: {line}");
        // The connection goes on.
        if ends_connection {
            connection = Connection::open(scene.port.address()).await?;
        }
        connection.send(request(3, &GET)).await?;
        while connection.next().await?.ok_or("closed")?.kind != HEADERS {}
        scene.log.lines(2 * count + 2).await?;
    }
    Ok(())
}

async fn requests_with_too_many_fields(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    let names: Vec<String> = (0..120).map(|n| format!("x-{n}")).collect();
    let more: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let mut connection = Connection::open(scene.port.address()).await?;
    connection.send(request(1, &with(&more))).await?;
    while connection.next().await?.ok_or("closed")?.kind != RST_STREAM {}
    assert_eq!(scene.log.lines(1).await?, ["-|HTTP/2|DR|http2.too_many_headers"]);
    scene.sidecar.until_stat("http.ingress.downstream_rq_rx_reset", |count| count == 1).await?;
    assert_eq!(scene.count("downstream_rq_total").await?, 1);
    assert_eq!(scene.count("downstream_rq_active").await?, 0);
    Ok(())
}

async fn requests_with_too_large_fields(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    let long = "v".repeat(8_000);
    let names: Vec<String> = (0..10).map(|n| format!("x-{n}")).collect();
    let more: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), long.as_str())).collect();
    let block = fields(&with(&more));
    let pieces: Vec<&[u8]> = block.chunks(16_000).collect();
    let mut connection = Connection::open(scene.port.address()).await?;
    for (index, piece) in pieces.iter().enumerate() {
        let (kind, flags) = if index == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
        let last = if index + 1 == pieces.len() { END_HEADERS } else { 0 };
        connection.send(frame(kind, flags | last, 1, piece)).await?;
    }
    // The library says 431 where Envoy resets.
    while !matches!(connection.next().await?.ok_or("closed")?.kind, RST_STREAM | HEADERS) {}
    assert_eq!(scene.log.lines(1).await?, ["-|HTTP/2|DR|http2.header_list_size_too_large"]);
    scene.sidecar.until_stat("http.ingress.downstream_rq_rx_reset", |count| count == 1).await?;
    Ok(())
}
