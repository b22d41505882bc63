use outrigger_xds_protos::any::pack;
use outrigger_xds_protos::v3::{cluster::Cluster, core::Address, listener::Listener};

use super::*;

fn cluster(name: &str) -> Cluster {
    Cluster { name: name.into(), alt_stat_name: "alt".into(), ..Cluster::default() }
}

fn fault(name: &str, reason: &str) -> Fault {
    Fault { name: name.into(), reason: reason.into() }
}

#[test]
fn type_urls_go_both_ways() {
    for kind in ResourceType::ALL {
        assert_eq!(ResourceType::from_type_url(kind.type_url()), Some(kind));
    }
    assert_eq!(ResourceType::from_type_url("type.googleapis.com/envoy.service.runtime.v3.Runtime"), None);
    assert_eq!(ResourceType::from_type_url("envoy.config.cluster.v3.Cluster"), None);
}

#[test]
fn names_are_read_without_decoding() {
    let listener =
        Listener { name: "ingress".into(), address: Some(Address::default()), ..Default::default() };
    assert_eq!(wire::first_field(&pack(&listener).value), Ok("ingress"));
    assert_eq!(wire::first_field(&pack(&cluster("a.b")).value), Ok("a.b"));
    assert_eq!(wire::first_field(&[]), Ok(""));
}

#[test]
fn the_last_name_counts_as_in_a_decoder() {
    assert_eq!(wire::first_field(b"\x0a\x01a\x0a\x01b"), Ok("b"));
}

#[test]
fn malformed_bytes_are_no_name_and_no_panic() {
    let garbage: [&[u8]; 7] = [
        b"\x0a\x05ab",
        b"\x0a",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x08\x01",
        b"\x0b",
        b"\x01",
        b"\x0a\x01\xff",
    ];
    for bytes in garbage {
        assert!(wire::first_field(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_name_that_occurs_twice_is_refused_altogether() {
    let mut sorter = Sorter::new(ResourceType::Cluster);
    for name in ["a", "b", "a"] {
        sorter.bare(0, pack(&cluster(name)), &"1".into());
    }
    let (resources, faults) = sorter.finish();
    assert_eq!(resources.iter().map(|r| &*r.name).collect::<Vec<_>>(), ["b"]);
    assert_eq!(faults, [fault("a", "occurs twice in one response")]);
}

#[test]
fn a_foreign_type_is_refused_by_position() {
    let mut sorter = Sorter::new(ResourceType::Cluster);
    sorter.bare(7, pack(&Listener::default()), &"1".into());
    assert!(sorter.has_nameless());
    let (_, faults) = sorter.finish();
    assert!(faults[0].reason.starts_with("resource 7: expected type"), "{faults:?}");
}

#[test]
fn a_nameless_resource_is_refused() {
    let mut sorter = Sorter::new(ResourceType::Cluster);
    sorter.bare(0, pack(&cluster("")), &"1".into());
    let (resources, faults) = sorter.finish();
    assert!(resources.is_empty());
    assert_eq!(faults, [fault("", "resource 0: the resource has no name")]);
}

#[test]
fn wrapped_resources_are_unwrapped_with_their_version() {
    let mut sorter = Sorter::new(ResourceType::Cluster);
    let wrapped = |name: &str, version: &str| v3::discovery::Resource {
        name: name.into(),
        version: version.into(),
        resource: Some(pack(&cluster("a"))),
        ..Default::default()
    };
    sorter.bare(0, pack(&wrapped("a", "9")), &"1".into());
    let (resources, faults) = sorter.finish();
    assert_eq!((&*resources[0].name, &*resources[0].version, faults), ("a", "9", vec![]));
}

#[test]
fn a_wrapper_of_another_name_is_refused() {
    let mut sorter = Sorter::new(ResourceType::Cluster);
    sorter.named("a".into(), Some(pack(&cluster("b"))), "1".into());
    let (resources, faults) = sorter.finish();
    assert!(resources.is_empty());
    assert_eq!(faults, [fault("a", "the resource inside is named \"b\"")]);
}

#[test]
fn the_nack_names_every_refused_resource() {
    let status = error_detail(ResourceType::Cluster, &[fault("a", "lb_policy: no"), fault("b", "type: no")]);
    assert_eq!(status.message, "Cluster \"a\": lb_policy: no\nCluster \"b\": type: no");
    assert_eq!(status.code, 13);
}

#[test]
fn the_nack_stays_within_four_kib() {
    let long = "é".repeat(3000);
    for count in [1, 2, 500] {
        let faults: Vec<Fault> = (0..count).map(|n| fault(&format!("{n}-{long}"), &long)).collect();
        let message = error_detail(ResourceType::Listener, &faults).message;
        assert!(message.len() <= NACK_BYTES, "{}", message.len());
        assert!(message.contains("Listener \"0-"), "{message}");
        assert!(message.contains(&format!("{count} refused")), "{message}");
    }
    let short: Vec<Fault> = (0..500).map(|n| fault(&n.to_string(), "field: reason")).collect();
    let message = error_detail(ResourceType::Listener, &short).message;
    assert!(message.len() <= NACK_BYTES && message.contains("refused resources not fully listed"));
}
