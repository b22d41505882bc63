//! Messages that Envoy's services share. Source: `envoy.config.core.v3`, `google.protobuf`.

use std::net::SocketAddr;

use serde_json::{Map, Value};

use super::Message;

/// Text of a peer: Envoy, too, has `!` in the place of what is no UTF-8.
pub fn text(field: u32, value: &[u8], out: &mut Message<'_>) {
    match std::str::from_utf8(value) {
        Ok(_) => out.bytes(field, value),
        Err(_) => out.bytes(field, String::from_utf8_lossy(value).replace('\u{fffd}', "!").as_bytes()),
    }
}

/// `Timestamp` and `Duration` have the same fields.
pub fn time(field: u32, seconds: u64, nanos: u32, out: &mut Message<'_>) {
    out.message(field, |time| {
        time.number(1, seconds);
        time.number(2, nanos.into());
    });
}

/// `Address` with a `SocketAddress`.
pub fn address(field: u32, address: SocketAddr, out: &mut Message<'_>) {
    out.message(field, |out| {
        out.message(1, |socket| {
            socket.bytes(2, address.ip().to_string().as_bytes());
            socket.number(3, address.port().into());
        });
    });
}

/// The fields of a `Struct`.
pub fn structure(fields: &Map<String, Value>, out: &mut Message<'_>) {
    for (name, value) in fields {
        out.message(1, |entry| {
            entry.bytes(1, name.as_bytes());
            entry.message(2, |out| self::value(value, out));
        });
    }
}

/// A `Value`. Depth is bounded where values come from.
fn value(value: &Value, out: &mut Message<'_>) {
    match value {
        // Members of a `oneof` are there also when they are zero.
        Value::Null => out.always(1, 0),
        Value::Number(number) => out.fixed64(2, number.as_f64().unwrap_or_default().to_bits()),
        Value::String(text) if text.is_empty() => out.message(3, |_| {}),
        Value::String(text) => out.bytes(3, text.as_bytes()),
        Value::Bool(flag) => out.always(4, u64::from(*flag)),
        Value::Object(fields) => out.message(5, |out| structure(fields, out)),
        Value::Array(values) => out.message(6, |list| {
            values.iter().for_each(|one| list.message(1, |out| self::value(one, out)));
        }),
    }
}
