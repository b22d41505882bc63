use std::collections::HashMap;

use super::*;
use crate::any::{self, Typed};
use crate::v3::{self, wkt};
use crate::{type_url, unknown};

fn text(value: &str) -> wkt::Value {
    wkt::Value { kind: Some(wkt::value::Kind::StringValue(value.into())) }
}

/// A cluster full of maps, made anew each time so that every hash map has its own seed.
fn cluster() -> v3::cluster::Cluster {
    let fields: HashMap<_, _> = (0..20).map(|i| (format!("key{i}"), text("x"))).collect();
    let nested =
        wkt::Value { kind: Some(wkt::value::Kind::StructValue(wkt::Struct { fields: fields.clone() })) };
    let metadata = wkt::Struct { fields: fields.into_iter().chain([("nested".into(), nested)]).collect() };
    let filters = (0..10).map(|i| (format!("filter{i}"), metadata.clone())).collect();
    let packed = any::pack(&metadata);
    v3::cluster::Cluster {
        name: "a".into(),
        alt_stat_name: "z".into(),
        metadata: Some(v3::core::Metadata { filter_metadata: filters, ..Default::default() }),
        typed_extension_protocol_options: (0..10).map(|i| (format!("o{i}"), packed.clone())).collect(),
        connect_timeout: Some(wkt::Duration { seconds: 1, nanos: 5 }),
        ..Default::default()
    }
}

#[test]
fn equal_messages_have_one_encoding() {
    let canonical = || encode(type_url::CLUSTER, &cluster().to_wire()).unwrap();
    let first = canonical();
    assert!((0..20).all(|_| canonical() == first));
    assert!(
        (0..20).any(|_| cluster().to_wire() != cluster().to_wire()),
        "prost's own differs, or this is in vain"
    );
}

#[test]
fn it_decodes_to_the_same_message_and_is_its_own_canonical_form() {
    let bytes = encode(type_url::CLUSTER, &cluster().to_wire()).unwrap();
    let decoded = v3::cluster::Cluster::from_wire(&bytes).unwrap();
    // The packed structs inside are compared by content: their bytes may be in another order.
    assert_eq!(
        v3::cluster::Cluster { typed_extension_protocol_options: HashMap::new(), ..decoded.clone() },
        { v3::cluster::Cluster { typed_extension_protocol_options: HashMap::new(), ..cluster() } }
    );
    let options = &decoded.typed_extension_protocol_options;
    let expected: wkt::Struct = any::unpack(&cluster().typed_extension_protocol_options["o1"]).unwrap();
    assert_eq!(any::unpack::<wkt::Struct>(&options["o1"]).unwrap(), expected);
    assert_eq!(encode(type_url::CLUSTER, &bytes).unwrap(), bytes);
}

#[test]
fn lists_keep_their_order() {
    let host = |name: &str| v3::route::VirtualHost { name: name.into(), ..Default::default() };
    let routes = v3::route::RouteConfiguration {
        name: "r".into(),
        virtual_hosts: vec![host("z"), host("a"), host("m")],
        ..Default::default()
    };
    let bytes = encode(type_url::ROUTE_CONFIGURATION, &routes.to_wire()).unwrap();
    assert_eq!(v3::route::RouteConfiguration::from_wire(&bytes).unwrap(), routes);
}

#[test]
fn numbers_and_unknown_fields_stay() {
    let endpoint = v3::cluster::Cluster { lb_policy: 3, ..Default::default() };
    let mut bytes = endpoint.to_wire();
    bytes.extend([0xf8, 0x3f, 1]); // field 1023, a varint
    let canonical = encode(type_url::CLUSTER, &bytes).unwrap();
    let any = wkt::Any { type_url: type_url::CLUSTER.into(), value: canonical.clone() };
    assert_eq!(unknown::fields(&any).len(), 1);
    assert_eq!(v3::cluster::Cluster::from_wire(&canonical).unwrap(), endpoint);
    let health = v3::types::Percent { value: 12.5 };
    let panic =
        v3::cluster::cluster::CommonLbConfig { healthy_panic_threshold: Some(health), ..Default::default() };
    let cluster = v3::cluster::Cluster { common_lb_config: Some(panic), ..Default::default() };
    assert_eq!(encode(type_url::CLUSTER, &cluster.to_wire()).unwrap(), cluster.to_wire());
}

#[test]
fn the_order_of_fields_does_not_matter() {
    let name = v3::cluster::Cluster { name: "a".into(), ..Default::default() }.to_wire();
    let stat = v3::cluster::Cluster { alt_stat_name: "b".into(), ..Default::default() }.to_wire();
    let one = encode(type_url::CLUSTER, &[name.clone(), stat.clone()].concat());
    assert_eq!(one, encode(type_url::CLUSTER, &[stat, name].concat()));
}

#[test]
fn unknown_types_are_opaque_and_garbage_is_an_error() {
    assert_eq!(encode("type.googleapis.com/no.such.Type", b"\xff\xff"), Ok(b"\xff\xff".to_vec()));
    assert!(encode(type_url::CLUSTER, b"\x0a\xff").is_err());
    // 200 `Struct`s, one inside the other.
    let deep = (0..200).fold(wkt::Struct::default(), |inner, _| {
        let value = wkt::Value { kind: Some(wkt::value::Kind::StructValue(inner)) };
        wkt::Struct { fields: [("k".to_owned(), value)].into() }
    });
    assert!(encode(type_url::STRUCT, &deep.to_wire()).is_err());
}
