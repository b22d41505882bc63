//! Streams and connections that do not go as wished: refusals, limits, silence, ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests are tests.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{
    CDS, Delta, EDS, LDS, NODE, Names, Sotw, channel, channel_to, clusters, source, start, start_with, until,
};
use outrigger::listen::Address;
use outrigger::server::{Config, ControlPlane, StartError};
use outrigger::snapshot::StaticSource;
use outrigger_xds_protos::pb::envoy::service::cluster::v3::cluster_discovery_service_client::ClusterDiscoveryServiceClient;
use outrigger_xds_protos::pb::envoy::service::endpoint::v3::endpoint_discovery_service_client::EndpointDiscoveryServiceClient;
use outrigger_xds_protos::v3::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::StreamExt;
use tonic::Code;

fn request(node_id: Option<&str>, type_url: &str) -> DiscoveryRequest {
    let node = node_id.and_then(common::node);
    DiscoveryRequest { node, type_url: type_url.into(), ..Default::default() }
}

/// Waits for the other side to close.
async fn closed(stream: &mut TcpStream) {
    let end = async { while stream.read(&mut [0; 256]).await.is_ok_and(|n| n > 0) {} };
    tokio::time::timeout(common::LIMIT, end).await.expect("it is closed");
}

#[tokio::test]
async fn strangers_are_told_who_is_known() {
    let plane = start(clusters(&[("a", "1")])).await;
    let mut client = Sotw::open(channel(&plane).await, "mesh/shop/virtualNode/typo").await;
    client.ask(CDS, &[]).await;
    let status = client.end().await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let text = status.message();
    assert!(text.contains("mesh/shop/virtualNode/typo") && text.contains(NODE), "{text}");
    let metrics = common::admin(&plane, "/metrics").await;
    assert!(metrics.contains("refused_streams_total{reason=\"unknown_node\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn requests_that_break_the_protocol_end_the_stream_with_a_reason() {
    let plane = start(clusters(&[])).await;
    let cases = [
        (vec![request(None, CDS)], "must carry a node"),
        (vec![request(Some(""), CDS)], "node.id is empty"),
        (vec![request(Some(&"x".repeat(2000)), CDS)], "node.id is too long"),
        (vec![request(Some(NODE), "")], "type_url is required"),
        (vec![request(Some(NODE), &"x".repeat(300))], "type_url is too long"),
        (vec![request(Some(NODE), CDS), request(Some("another"), CDS)], "node.id changed"),
    ];
    for (requests, reason) in cases {
        let client = Sotw::open(channel(&plane).await, NODE).await;
        for request in requests {
            client.send(request).await;
        }
        let mut client = client;
        let status = loop {
            // Whatever was rightly answered before.
            match tokio::time::timeout(common::LIMIT, client.message()).await.unwrap() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{reason}: ended without an error"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(reason), "{status}");
    }
}

#[tokio::test]
async fn a_request_beyond_the_size_limit_is_refused() {
    let plane = start(clusters(&[])).await;
    let mut client = Sotw::open(channel(&plane).await, NODE).await;
    let names = vec!["x".repeat(1 << 20); 17];
    client.send(DiscoveryRequest { resource_names: names, ..request(Some(NODE), EDS) }).await;
    let status = client.end().await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_sent_away() {
    let plane = start_with(clusters(&[]), |c| c.first_request = Duration::from_millis(100)).await;
    let mut client = Sotw::open(channel(&plane).await, NODE).await;
    assert_eq!(client.end().await.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn streams_are_limited() {
    let plane = start_with(clusters(&[]), |c| c.max_streams = 1).await;
    let mut first = Sotw::open(channel(&plane).await, NODE).await;
    first.ask(CDS, &[]).await;
    first.next().await;
    let mut ads = outrigger_xds_protos::v3::AdsClient::new(channel(&plane).await);
    let refused = ads.stream_aggregated_resources(tokio_stream::pending()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    drop(first);
    until("the stream is gone", || plane.registry().streams().is_empty()).await;
    let mut again = Sotw::open(channel(&plane).await, NODE).await;
    again.ask(CDS, &[]).await;
    again.next().await;
}

#[tokio::test]
async fn each_type_has_its_own_service_too() {
    let plane = start(clusters(&[("a", "1")])).await;
    let channel = channel(&plane).await;
    let first = DiscoveryRequest { node: common::node(NODE), ..Default::default() };
    let requests = tokio_stream::once(first).chain(tokio_stream::pending());
    let mut cds = ClusterDiscoveryServiceClient::new(channel.clone());
    let response =
        cds.stream_clusters(requests).await.unwrap().into_inner().message().await.unwrap().unwrap();
    assert_eq!((response.names(), response.type_url.as_str()), (vec!["a".to_owned()], CDS));

    let subscribe = vec!["a".to_owned(), "missing".to_owned()];
    let first = DeltaDiscoveryRequest {
        node: common::node(NODE),
        resource_names_subscribe: subscribe,
        ..Default::default()
    };
    let requests = tokio_stream::once(first).chain(tokio_stream::pending());
    let mut eds = EndpointDiscoveryServiceClient::new(channel.clone());
    let response =
        eds.delta_endpoints(requests).await.unwrap().into_inner().message().await.unwrap().unwrap();
    assert_eq!(
        (response.names(), response.removed_resources),
        (vec!["a".to_owned()], vec!["missing".to_owned()])
    );

    let wrong = tokio_stream::once(request(Some(NODE), LDS)).chain(tokio_stream::pending());
    let status = cds.stream_clusters(wrong).await.unwrap().into_inner().message().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let unary = cds.fetch_clusters(request(Some(NODE), CDS)).await.unwrap_err();
    assert_eq!(unary.code(), Code::Unimplemented, "{unary}");
}

#[tokio::test]
async fn a_node_that_vanishes_from_the_definitions_is_told_and_others_stay() {
    let both =
        StaticSource::default().with(NODE, clusters(&[("a", "1")])).with("other", clusters(&[("a", "1")]));
    let mut config = Config::ephemeral();
    config.push_interval = Duration::ZERO;
    let plane = ControlPlane::start(config, Arc::new(both)).await.unwrap();
    let mut stays = Sotw::open(channel(&plane).await, NODE).await;
    let mut goes = Sotw::open(channel(&plane).await, "other").await;
    for client in [&mut stays, &mut goes] {
        client.ask(CDS, &[]).await;
        let first = client.next().await;
        client.ack(&first, &[]).await;
    }
    plane.update(source(clusters(&[("a", "2")])));
    assert_eq!(goes.end().await.unwrap_err().code(), Code::NotFound);
    assert_eq!(stays.next().await.names(), ["a"]);
}

#[tokio::test]
async fn a_defect_of_the_source_leaves_the_last_good_state_served() {
    let plane = start(clusters(&[("a", "1")])).await;
    let mut client = Delta::open(channel(&plane).await, NODE).await;
    client.ask(CDS, &[], &[]).await;
    let first = client.next().await;
    client.answer(&first, None).await;
    let mut broken = clusters(&[("a", "2")]);
    broken.insert_encoded(outrigger::snapshot::TypeUrl::CLUSTER, "b", vec![0xff]);
    plane.update(source(broken));
    client.silence().await;
    plane.update(source(clusters(&[("a", "3")])));
    assert_eq!(client.next().await.names(), ["a"]);
}

#[tokio::test]
async fn shutdown_ends_streams_cleanly_and_soon() {
    let plane =
        start_with(clusters(&[("a", "1")]), |c| c.connections.grace = Duration::from_millis(500)).await;
    let address = plane.addresses().xds[0].to_string();
    let mut client = Sotw::open(channel(&plane).await, NODE).await;
    client.ask(CDS, &[]).await;
    client.next().await;
    let mut silent = TcpStream::connect(&address).await.unwrap();
    let both = async { tokio::join!(plane.shutdown(), client.end()) };
    let (_, end) = tokio::time::timeout(common::LIMIT, both).await.expect("in time");
    end.expect("status OK");
    closed(&mut silent).await;
    assert!(TcpStream::connect(&address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn old_connections_end_cleanly() {
    let plane =
        start_with(clusters(&[("a", "1")]), |c| c.connections.max_age = Duration::from_millis(300)).await;
    let mut client = Sotw::open(channel(&plane).await, NODE).await;
    client.ask(CDS, &[]).await;
    client.next().await;
    client.end().await.expect("status OK");
}

#[tokio::test]
async fn idle_connections_end_and_busy_ones_do_not() {
    let plane = start_with(clusters(&[("a", "1")]), |c| {
        c.connections.idle = Duration::from_millis(200);
        c.connections.stranger = Duration::from_secs(2);
    })
    .await;
    let mut client = Sotw::open(channel(&plane).await, NODE).await;
    client.ask(CDS, &[]).await;
    let first = client.next().await;
    client.ack(&first, &[]).await;
    // Not even the preface of HTTP/2.
    let mut silent = TcpStream::connect(plane.addresses().xds[0].to_string()).await.unwrap();
    closed(&mut silent).await;
    client.silence().await;
    plane.update(source(clusters(&[("a", "2")])));
    client.next().await;
}

#[tokio::test]
async fn a_client_that_vanished_without_a_word_is_noticed() {
    let plane = start_with(clusters(&[("a", "1")]), |c| {
        c.connections.keepalive_interval = Duration::from_millis(100);
        c.connections.keepalive_timeout = Duration::from_millis(200);
    })
    .await;
    // A relay that stops relaying and keeps both connections open, as a dead link does.
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = Address::from(relay.local_addr().unwrap());
    let target = plane.addresses().xds[0].to_string();
    let (cut, cutting) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut client, _) = relay.accept().await.unwrap();
        let mut server = TcpStream::connect(target).await.unwrap();
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => {}
            _ = cutting => std::future::pending().await,
        }
    });
    let mut client = Sotw::open(channel_to(&through).await, NODE).await;
    client.ask(CDS, &[]).await;
    client.next().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(plane.registry().streams().len(), 1, "a living client answers pings");
    cut.send(()).unwrap();
    until("the dead client is gone", || plane.registry().streams().is_empty()).await;
}

#[tokio::test]
async fn garbage_on_the_port_hurts_nobody() {
    let plane = start(clusters(&[("a", "1")])).await;
    let mut garbage = TcpStream::connect(plane.addresses().xds[0].to_string()).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    closed(&mut garbage).await;
    let mut client = Sotw::open(channel(&plane).await, NODE).await;
    client.ask(CDS, &[]).await;
    client.next().await;
}

#[tokio::test]
async fn clients_connect_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let address = Address::Unix(directory.path().join("xds.sock"));
    let own = address.clone();
    let plane = start_with(clusters(&[("a", "1")]), |c| c.xds.push(own)).await;
    assert_eq!(plane.addresses().xds[1], address);
    let mut client = Sotw::open(channel_to(&address).await, NODE).await;
    client.ask(CDS, &[]).await;
    assert_eq!(client.next().await.names(), ["a"]);
    assert!(plane.registry().streams()[0].peer.starts_with("unix:pid="));
    plane.shutdown().await;
    assert!(std::fs::read_dir(directory.path()).unwrap().next().is_none(), "the socket's file is gone");
}

#[tokio::test]
async fn plaintext_for_other_hosts_needs_consent() {
    let exposed = || Config::new(vec!["0.0.0.0:0".parse().unwrap()], None);
    let start = |config| ControlPlane::start(config, source(clusters(&[])));
    let Err(refused @ StartError::Exposed(_)) = start(exposed()).await else { panic!("must not start") };
    assert!(refused.to_string().contains("--insecure-plaintext-xds"), "{refused}");
    let consented = Config { insecure_plaintext: true, ..exposed() };
    start(consented).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::from(taken.local_addr().unwrap());
    let config = Config::new(vec![address.clone()], None);
    let error = ControlPlane::start(config, source(clusters(&[]))).await.err().unwrap().to_string();
    assert!(error.contains(&format!("cannot listen on {address}: ")), "{error}");
}
