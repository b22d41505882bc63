//! `/listeners`: names and addresses as bound.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::AdminState;
use super::query::Query;
use super::reply::{Reply, legible};
use crate::config::ListenerSlot;

/// Answers `/listeners`.
pub(super) fn listeners(state: &AdminState, query: &Query) -> Reply {
    let snapshot = state.snapshots.current();
    let slots = snapshot.listeners.iter().flatten().map(|slot| (&*slot.config.name, address(slot)));
    if query.get("format") == Some("json") {
        let status = |(name, address)| json!({ "name": name, "local_address": socket_address(address) });
        let statuses: Vec<Value> = slots.map(status).collect();
        return Reply::json(&json!({ "listener_statuses": statuses }));
    }
    let line = |(name, address)| format!("{}::{address}\n", legible(name));
    Reply::text(slots.map(line).collect::<String>())
}

/// With the real port when the kernel chose it.
fn address(slot: &ListenerSlot) -> SocketAddr {
    slot.sockets.as_ref().map_or(slot.config.address, |sockets| sockets.address)
}

/// `envoy.config.core.v3.Address` of an IP address.
pub(super) fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}
