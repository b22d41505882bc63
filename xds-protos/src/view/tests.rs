use super::*;
use crate::schema;
use crate::wire::{put_bytes, put_tag, put_varint};

fn varint(number: u32, value: u64) -> Vec<u8> {
    let mut out = vec![];
    put_tag(&mut out, number, 0);
    put_varint(&mut out, value);
    out
}

fn bytes(number: u32, value: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    put_bytes(&mut out, number, value);
    out
}

#[test]
fn last_scalar_wins_and_messages_merge() {
    let ty = schema::find("envoy.config.core.v3.Node").unwrap();
    let input =
        [bytes(1, b"a"), bytes(4, &bytes(1, b"eu")), bytes(1, b"b"), bytes(4, &bytes(2, b"eu-1"))].concat();
    let view = View::read(ty, &input).unwrap();
    assert_eq!(view.get(1), Some(&[Scalar::Text("b")][..]));
    let locality = view.get(4).unwrap()[0].message().to_vec();
    let inner = View::read(schema::find("envoy.config.core.v3.Locality").unwrap(), &locality).unwrap();
    assert_eq!(
        (inner.get(1), inner.get(2)),
        (Some(&[Scalar::Text("eu")][..]), Some(&[Scalar::Text("eu-1")][..]))
    );
}

#[test]
fn last_member_of_a_oneof_clears_the_others() {
    // DataSource: filename = 1, inline_bytes = 2, inline_string = 3.
    let ty = schema::find("envoy.config.core.v3.DataSource").unwrap();
    let input = [bytes(1, b"f"), bytes(3, b"inline"), bytes(2, b"raw")].concat();
    let view = View::read(ty, &input).unwrap();
    assert_eq!(view.fields.len(), 1);
    assert_eq!(view.get(2), Some(&[Scalar::Bytes(b"raw")][..]));
}

#[test]
fn packed_and_unpacked_numbers_read_alike() {
    // StatusCode lists: RetryPolicy.retriable_status_codes = 7.
    let ty = schema::find("envoy.config.route.v3.RetryPolicy").unwrap();
    let mut packed = vec![];
    put_varint(&mut packed, 503);
    put_varint(&mut packed, 504);
    let input = [varint(7, 502), bytes(7, &packed)].concat();
    let expected = [Scalar::Unsigned(502), Scalar::Unsigned(503), Scalar::Unsigned(504)];
    assert_eq!(View::read(ty, &input).unwrap().get(7), Some(&expected[..]));
}

#[test]
fn unknown_numbers_are_listed_once() {
    let ty = schema::find("envoy.config.core.v3.Locality").unwrap();
    let input = [varint(99, 1), bytes(1, b"eu"), varint(99, 2), varint(50, 0)].concat();
    assert_eq!(View::read(ty, &input).unwrap().unknown, [50, 99]);
}

#[test]
fn wrong_types_are_malformed() {
    let ty = schema::find("envoy.config.core.v3.Locality").unwrap();
    for input in [varint(1, 7), bytes(1, b"\xff\xfe")] {
        assert!(View::read(ty, &input).is_err());
    }
}
