//! Discovery over real gRPC streams: what clients of both variants are sent, and when.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests are tests.

mod common;

use common::{CDS, Delta, EDS, LDS, NODE, Names, RDS, Sotw};
use common::{admin, channel, clusters, mesh, source, start, start_with, status};
use outrigger_xds_protos::v3::discovery::{DeltaDiscoveryResponse, DiscoveryResponse};

/// Takes the next response, which must be of this type and hold these resources, and accepts it.
async fn take(client: &mut Sotw, type_url: &str, expected: &[&str], names: &[&str]) -> DiscoveryResponse {
    let response = client.next().await;
    assert_eq!(
        (response.type_url.as_str(), response.names()),
        (type_url, expected.iter().map(ToString::to_string).collect())
    );
    client.ack(&response, names).await;
    response
}

#[tokio::test]
async fn sotw_serves_updates_and_removals_in_order() {
    let plane = start(mesh(&[("a", "1")], "to a")).await;
    let mut client = Sotw::open(channel(&plane).await, NODE).await;
    client.ask(CDS, &[]).await;
    let first = take(&mut client, CDS, &["a"], &[]).await;
    client.ask(EDS, &["a"]).await;
    let endpoints = take(&mut client, EDS, &["a"], &["a"]).await;
    client.ask(LDS, &[]).await;
    take(&mut client, LDS, &["in"], &[]).await;
    client.ask(RDS, &["routes"]).await;
    take(&mut client, RDS, &["routes"], &["routes"]).await;
    let known = status(&plane, "CDS", "ACK").await;
    assert_eq!(known["version"], first.version_info);

    plane.update(source(mesh(&[("b", "1")], "to b")));
    // The old cluster stays until the routes have moved.
    take(&mut client, CDS, &["a", "b"], &[]).await;
    client.ack(&endpoints, &["a", "b"]).await;
    take(&mut client, EDS, &["b"], &["a", "b"]).await;
    take(&mut client, RDS, &["routes"], &["routes"]).await;
    take(&mut client, CDS, &["b"], &[]).await;
    client.ack(&endpoints, &["b"]).await;
    client.silence().await;

    plane.update(source(mesh(&[("b", "1")], "to b")));
    client.silence().await;
}

#[tokio::test]
async fn delta_serves_updates_and_removals() {
    let plane = start(clusters(&[("a", "1"), ("b", "1")])).await;
    let mut client = Delta::open(channel(&plane).await, NODE).await;
    client.ask(CDS, &[], &[]).await;
    let first = client.next().await;
    assert_eq!(first.names(), ["a", "b"]);
    client.answer(&first, None).await;

    plane.update(source(clusters(&[("a", "2"), ("c", "1")])));
    let second = client.next().await;
    assert_eq!(
        (second.names(), &second.removed_resources[..]),
        (vec!["a".into(), "c".into()], &["b".into()][..])
    );
    client.answer(&second, None).await;
    client.silence().await;
    let known = status(&plane, "CDS", "ACK").await;
    assert_eq!(known["version"], second.system_version_info);
    let page = admin(&plane, "/nodes").await;
    assert!(page.contains("\"transport\":\"delta\"") && page.contains(NODE), "{page}");
}

#[tokio::test]
async fn a_rejected_version_is_shown_and_not_sent_again() {
    let plane = start(clusters(&[("a", "bad")])).await;
    let mut client = Sotw::open(channel(&plane).await, NODE).await;
    client.ask(CDS, &[]).await;
    let bad = client.next().await;
    client.answer(&bad, &[], Some("a: alt_stat_name is bad")).await;
    let known = status(&plane, "CDS", "NACK").await;
    assert_eq!(
        (&known["error"], &known["version"]),
        (&"a: alt_stat_name is bad".into(), &bad.version_info.into())
    );
    client.silence().await;
    plane.update(source(clusters(&[("a", "bad")])));
    client.silence().await;

    // Other types go on.
    client.ask(EDS, &["a"]).await;
    let endpoints = client.next().await;
    assert_eq!(endpoints.names(), ["a"]);
    client.ack(&endpoints, &["a"]).await;

    plane.update(source(clusters(&[("a", "good")])));
    let good = client.next().await;
    client.ack(&good, &[]).await;
    status(&plane, "CDS", "ACK").await;
    let metrics = admin(&plane, "/metrics").await;
    assert!(metrics.contains("outrigger_xds_nacks_total{type=\"CDS\"} 1\n"), "{metrics}");
    assert!(metrics.contains("outrigger_xds_connected_streams{variant=\"sotw\"} 1\n"), "{metrics}");
}

fn held(response: &DeltaDiscoveryResponse) -> Vec<(String, String)> {
    response.resources.iter().map(|r| (r.name.clone(), r.version.clone())).collect()
}

#[tokio::test]
async fn a_delta_client_moves_between_replicas_for_free() {
    let list = [("a", "1"), ("b", "1")];
    let (one, two) = (start(clusters(&list)).await, start(clusters(&list)).await);
    let mut client = Delta::open(channel(&one).await, NODE).await;
    client.ask(CDS, &[], &[]).await;
    let first = client.next().await;
    client.answer(&first, None).await;
    client.ask(EDS, &["a", "b"], &[]).await;
    let endpoints = client.next().await;
    client.answer(&endpoints, None).await;
    one.shutdown().await;
    client.end().await.expect("a clean end");

    let mut client = Delta::open(channel(&two).await, NODE).await;
    client.ask(CDS, &[], &held(&first)).await;
    let nothing = client.next().await;
    assert!(nothing.resources.is_empty() && nothing.removed_resources.is_empty(), "{nothing:?}");
    assert_eq!(nothing.system_version_info, first.system_version_info);
    client.answer(&nothing, None).await;
    client.ask(EDS, &["a", "b"], &held(&endpoints)).await;
    client.silence().await;
    let known = status(&two, "EDS", "ACK").await;
    assert_eq!(known["version"], endpoints.system_version_info);

    two.update(source(clusters(&[("a", "2"), ("b", "1")])));
    assert_eq!(client.next().await.names(), ["a"]);
    assert_eq!(client.next().await.names(), ["a"], "the endpoints of the changed cluster");
}

#[tokio::test]
async fn a_delta_client_that_was_away_is_sent_the_difference() {
    let plane = start(clusters(&[("a", "1"), ("b", "2"), ("d", "1")])).await;
    let old = start(clusters(&[("a", "1"), ("b", "1"), ("c", "1")])).await;
    let mut client = Delta::open(channel(&old).await, NODE).await;
    client.ask(CDS, &[], &[]).await;
    let first = client.next().await;

    let mut client = Delta::open(channel(&plane).await, NODE).await;
    client.ask(CDS, &[], &held(&first)).await;
    let difference = client.next().await;
    assert_eq!(difference.names(), ["b", "d"]);
    assert!(difference.removed_resources.is_empty(), "its listeners and routes may still lead to c");
    client.answer(&difference, None).await;
    for (type_url, names) in [(EDS, &["a", "b", "d"][..]), (LDS, &[])] {
        client.ask(type_url, names, &[]).await;
        let response = client.next().await;
        assert_eq!(response.type_url, type_url);
        client.answer(&response, None).await;
    }
    assert_eq!(client.next().await.removed_resources, ["c"]);
}

#[tokio::test]
async fn replicas_serve_sotw_clients_equal_versions() {
    let list: Vec<(String, String)> = (0..50).map(|i| (format!("c{i}"), "1".to_owned())).collect();
    let list: Vec<(&str, &str)> = list.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let mut versions = Vec::new();
    for _ in 0..2 {
        let plane = start(clusters(&list)).await;
        let mut client = Sotw::open(channel(&plane).await, NODE).await;
        client.ask(CDS, &[]).await;
        versions.push(client.next().await.version_info);
    }
    assert_eq!(versions[0], versions[1]);
}

fn first_name(response: &DiscoveryResponse) -> String {
    let cluster: outrigger_xds_protos::v3::cluster::Cluster =
        outrigger_xds_protos::any::unpack(&response.resources[0]).unwrap();
    cluster.alt_stat_name
}

/// A client that does not read is sent the newest state once it does, and nothing piles up for it.
#[tokio::test]
async fn a_slow_client_skips_what_it_missed() {
    // Far more than the windows and buffers on the way hold.
    let large = "x".repeat(20_000);
    let state = |i: usize| -> Vec<(String, String)> {
        (0..100).map(|c| (format!("c{c}"), format!("{i}{large}"))).collect()
    };
    let resources = |i| {
        let list = state(i);
        clusters(&list.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>())
    };
    let plane =
        start_with(resources(0), |config| config.streams.patience = std::time::Duration::from_secs(60)).await;
    let mut client = Sotw::open(channel(&plane).await, NODE).await;
    client.ask(CDS, &[]).await;
    for i in 1..=10 {
        plane.update(source(resources(i)));
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    let newest = &state(10)[0].1;
    // Served to one who reads: from here on there is nothing newer to come.
    let mut reader = Sotw::open(channel(&plane).await, NODE).await;
    reader.ask(CDS, &[]).await;
    loop {
        let response = reader.next().await;
        reader.ack(&response, &[]).await;
        if first_name(&response) == *newest {
            break;
        }
    }
    let first = client.next().await;
    client.ack(&first, &[]).await;
    let second = client.next().await;
    assert_eq!(first_name(&second), *newest, "the second response is the newest state");
    client.ack(&second, &[]).await;
    client.silence().await;
}

#[tokio::test]
async fn many_clients_at_once_are_all_served() {
    let plane = start(clusters(&[("a", "1")])).await;
    let channel = channel(&plane).await;
    let clients = (0..90).map(|_| {
        let channel = channel.clone();
        async move {
            let mut client = Delta::open(channel, NODE).await;
            client.ask(CDS, &[], &[]).await;
            let first = client.next().await;
            client.answer(&first, None).await;
            (client, first)
        }
    });
    let mut clients = futures_util::future::join_all(clients).await;
    plane.update(source(clusters(&[("a", "2")])));
    for (client, first) in &mut clients {
        let second = client.next().await;
        assert_eq!(second.names(), ["a"]);
        assert_ne!(second.system_version_info, first.system_version_info);
    }
}
