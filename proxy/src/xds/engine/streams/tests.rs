use std::time::Duration;

use outrigger_xds_protos::any::pack;
use outrigger_xds_protos::type_url;
use outrigger_xds_protos::v3::discovery::{DiscoveryRequest, DiscoveryResponse};
use outrigger_xds_protos::v3::tls::Secret;

use super::*;
use crate::config::cluster::HostAddress;
use crate::xds::protocol::Variant;
use crate::xds::settings::{Metadata, Target};

fn settings(socket: &str) -> Arc<AdsSettings> {
    Arc::new(AdsSettings {
        variant: Variant::StateOfTheWorld,
        target: Target::Address(HostAddress::Pipe(socket.into())),
        authority: "agent".into(),
        metadata: Metadata::default(),
        backoff: (Duration::from_millis(1), Duration::from_millis(1)),
        max_response: 1 << 20,
    })
}

fn wanted(of: &[(&str, &Arc<AdsSettings>)]) -> Streams {
    of.iter().map(|(name, settings)| ((*name).into(), (*settings).clone())).collect()
}

fn response(names: &[&str]) -> Response {
    let secret = |name: &&str| pack(&Secret { name: (*name).to_owned(), r#type: None });
    Response::Sotw(DiscoveryResponse {
        type_url: type_url::SECRET.to_owned(),
        version_info: "1".to_owned(),
        nonce: "n".to_owned(),
        resources: names.iter().map(secret).collect(),
        ..Default::default()
    })
}

/// What was ordered, in short.
fn take(outbox: &mut Outbox) -> Vec<String> {
    let one = |command| match command {
        StreamCommand::Open(StreamId(id), _) => format!("open {id}"),
        StreamCommand::Close(StreamId(id)) => format!("close {id}"),
        StreamCommand::Send(StreamId(id), request) => {
            let Request::Sotw(DiscoveryRequest { resource_names, response_nonce, node, .. }) = *request
            else {
                return "another variant".to_owned();
            };
            let node = node.map(|node| node.id).unwrap_or_default();
            format!("send {id} {resource_names:?} {response_nonce:?} {node:?}")
        }
    };
    std::mem::take(&mut outbox.streams).into_iter().map(one).collect()
}

#[test]
fn each_secret_has_its_own_stream_and_takes_nothing_else_from_it() {
    let (mut streams, mut outbox) = (SecretStreams::default(), Outbox::default());
    streams.identify(Node { id: "me".into(), ..Default::default() });
    let agent = settings("/a.sock");
    streams.follow(&wanted(&[("a", &agent), ("b", &agent)]), &mut outbox);
    assert_eq!(take(&mut outbox), ["open 1", "open 2"]);
    // As often as it is followed.
    streams.follow(&wanted(&[("a", &agent), ("b", &agent)]), &mut outbox);
    assert!(take(&mut outbox).is_empty());
    let first = StreamId(1);
    streams.opened(first, &mut outbox);
    assert_eq!(take(&mut outbox), [r#"send 1 ["a"] "" "me""#]);
    let update = streams.received(first, response(&["a", "b"])).unwrap();
    let names: Vec<&str> = update.resources.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["a"], "b has a stream of its own");
    streams.answer(first, &update, &[], &mut outbox);
    assert_eq!(take(&mut outbox), [r#"send 1 ["a"] "n" """#]);
    // After it ended it asks again, and says again who it is.
    streams.closed(first);
    streams.opened(first, &mut outbox);
    assert_eq!(take(&mut outbox), [r#"send 1 ["a"] "" "me""#]);
}

#[test]
fn streams_end_with_their_secrets_and_follow_their_settings() {
    let (mut streams, mut outbox) = (SecretStreams::default(), Outbox::default());
    let (old, new) = (settings("/a.sock"), settings("/b.sock"));
    streams.follow(&wanted(&[("a", &old)]), &mut outbox);
    assert_eq!(take(&mut outbox), ["open 1"]);
    streams.follow(&wanted(&[("a", &new)]), &mut outbox);
    assert_eq!(take(&mut outbox), ["close 1", "open 2"]);
    streams.follow(&wanted(&[]), &mut outbox);
    assert_eq!(take(&mut outbox), ["close 2"]);
    // Whatever still comes from them is nobody's.
    streams.opened(StreamId(2), &mut outbox);
    assert!(streams.received(StreamId(2), response(&["a"])).is_none());
    assert!(take(&mut outbox).is_empty());
}

#[test]
fn a_stream_of_secrets_brings_nothing_but_secrets() {
    let (mut streams, mut outbox) = (SecretStreams::default(), Outbox::default());
    streams.follow(&wanted(&[("a", &settings("/a.sock"))]), &mut outbox);
    streams.opened(StreamId(1), &mut outbox);
    let Response::Sotw(mut hostile) = response(&["a"]) else { return };
    hostile.type_url = type_url::CLUSTER.to_owned();
    assert!(streams.received(StreamId(1), Response::Sotw(hostile)).is_none());
}
