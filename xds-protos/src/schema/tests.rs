use std::collections::HashSet;

use super::*;
use crate::any::checks;

#[test]
fn messages_are_sorted_and_found() {
    assert!(tables::MESSAGES.is_sorted_by(|a, b| a.name() < b.name()));
    for message in &tables::MESSAGES {
        assert!(std::ptr::eq(find(message.name()).unwrap(), message));
        assert!(message.fields().is_sorted_by(|a, b| a.number < b.number), "{}", message.name());
    }
    assert!(find("envoy.config.listener.v3.Nothing").is_none());
    assert!(find("").is_none());
}

#[test]
fn every_index_stays_inside_its_table() {
    for message in &tables::MESSAGES {
        for field in message.fields() {
            let _ = (field.rules(), field.element_rules(), field.key_rules(), field.message());
            let _ = field.kind.enumeration().map(|ty| (ty.name(), ty.values()));
            assert!(usize::from(field.oneof) <= message.oneofs().len());
        }
    }
}

#[test]
fn every_type_with_a_codec_is_in_the_schema_and_in_the_roots() {
    let roots: HashSet<&str> = include_str!("../../roots.txt").lines().collect();
    for (name, _) in checks::names() {
        assert!(find(name).is_some() && roots.contains(name), "{name} is missing in roots.txt");
    }
}

#[test]
fn both_spellings_of_a_field() {
    let cluster = find("envoy.config.cluster.v3.Cluster").unwrap();
    for spelling in ["connect_timeout", "connectTimeout"] {
        assert_eq!(cluster.field_named(spelling).unwrap().name(), "connect_timeout");
    }
    for other in ["ConnectTimeout", "connect_Timeout", "connecttimeout", "", "connectTimeoutX"] {
        assert!(cluster.field_named(other).is_none(), "{other}");
    }
}

#[test]
fn tables_stay_small() {
    let bytes = tables::TEXTS.len() + size_of_val(&tables::MESSAGES) + size_of_val(&tables::FIELDS);
    assert!(bytes < 256 * 1024, "{bytes} bytes of schema in every program");
}
