use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::stats::registry::Registry;
use crate::stats::scope::{AccessLogStats, EmfStats};
use crate::stats::view::Value;

struct Scene {
    registry: Registry,
    transport: Transport,
}

fn scene(target: Target) -> Scene {
    let registry = Registry::new();
    let shard = registry.shared().clone();
    let sinks = Sinks::new(AccessLogStats::register(&registry), shard.clone());
    let outcome = Outcome { stats: EmfStats::register(&registry), shard };
    let transport = Transport::new(&target, &sinks, outcome).unwrap();
    Scene { registry, transport }
}

fn count(registry: &Registry, name: &str) -> u64 {
    let view = registry.view();
    match view.value(view.find(name).unwrap()) {
        Value::Counter(count) => count,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_agent_that_is_not_there_yet_or_restarts_gets_every_document() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut scene = scene(Target::Tcp(address.to_string()));
    scene.transport.send(vec!["one".into()]).await;
    assert_eq!(count(&scene.registry, "emf.send_failed"), 1);
    let listener = TcpListener::bind(address).await.unwrap();
    scene.transport.send(vec!["two".into()]).await;
    let (first, _) = listener.accept().await.unwrap();
    let mut lines = BufReader::new(first).lines();
    for expected in ["one", "two"] {
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some(expected));
    }
    drop(lines);
    let Way::Tcp { stream: Some(stream), .. } = &scene.transport.way else { panic!("it is kept") };
    stream.readable().await.unwrap();
    scene.transport.send(vec!["three".into()]).await;
    let (second, _) = listener.accept().await.unwrap();
    assert_eq!(BufReader::new(second).lines().next_line().await.unwrap().as_deref(), Some("three"));
    assert_eq!(count(&scene.registry, "emf.dropped"), 0);
}

#[test]
fn what_waits_for_an_agent_is_bounded_and_the_oldest_goes() {
    let mut waiting = Waiting::default();
    let document = |byte: u8| vec![byte; MAX_WAITING / 4];
    assert_eq!(waiting.push((0..4).map(document)), 0);
    assert_eq!(waiting.push((4..6).map(document)), 2);
    assert_eq!(waiting.documents.front().map(|document| document[0]), Some(2));
    assert!(waiting.bytes <= MAX_WAITING);
}

#[tokio::test]
async fn datagrams_hold_one_document_each() {
    let agent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut scene = scene(Target::Udp(agent.local_addr().unwrap().to_string()));
    scene.transport.send(vec!["one".into(), "two".into()]).await;
    let mut datagram = [0; 16];
    for expected in ["one", "two"] {
        let length = agent.recv(&mut datagram).await.unwrap();
        assert_eq!(&datagram[..length], expected.as_bytes());
    }
    assert_eq!(count(&scene.registry, "emf.dropped"), 0);
}
