//! `/ready`, `/server_info`, `/memory`, `/certs`, `/runtime`: facts of the process.

use std::time::SystemTime;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::query::Query;
use super::reply::Reply;
use super::{AdminState, CertificateDetails, CertificatePair, ServerState};
use crate::observe::collect::Memory;
use crate::observe::format::time::Civil;

/// Answers `/ready`.
pub(super) fn ready(state: &AdminState, _: &Query) -> Reply {
    let now = state.process.state();
    let status = if now == ServerState::Live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Reply::error(status, format!("{}\n", now.name()))
}

/// Answers `/configured`: `OK`, or every reason on its line.
pub(super) fn configured(now: ServerState, unconfigured: &[String]) -> Reply {
    let state = (now != ServerState::Live).then(|| format!("the state is {}\n", now.name()));
    let reasons = unconfigured.iter().map(|reason| format!("{reason}\n"));
    let text: String = state.into_iter().chain(reasons).collect();
    if text.is_empty() { Reply::ok() } else { Reply::error(StatusCode::SERVICE_UNAVAILABLE, text) }
}

/// Answers `/server_info`.
pub(super) fn server_info(state: &AdminState, _: &Query) -> Reply {
    let info = &state.info;
    let uptime = format!("{}s", info.started.elapsed().as_secs());
    Reply::json(&json!({
        "version": info.version,
        "state": state.process.state().name(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": HOT_RESTART_VERSION,
        "command_line_options": info.command_line_options,
        "node": info.node,
    }))
}

/// There is no hot restart here; Envoy without it says the same.
const HOT_RESTART_VERSION: &str = "disabled";

/// Answers `/hot_restart_version`.
pub(super) fn hot_restart_version(_: &AdminState, _: &Query) -> Reply {
    Reply::text(HOT_RESTART_VERSION)
}

/// Answers `/memory`. The allocator keeps no books: these are the kernel's.
pub(super) fn memory(_: &AdminState, _: &Query) -> Reply {
    let memory = Memory::read();
    Reply::json(&json!({
        "allocated": memory.allocated.to_string(),
        "heap_size": memory.heap.to_string(),
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": memory.resident.to_string(),
    }))
}

/// Answers `/runtime`: there are no runtime layers here.
pub(super) fn runtime(_: &AdminState, _: &Query) -> Reply {
    Reply::json(&json!({ "entries": {}, "layers": [] }))
}

/// Answers `/certs`.
pub(super) fn certs(state: &AdminState, _: &Query) -> Reply {
    let now = SystemTime::now();
    let pairs: Vec<_> = state.config.certificates().iter().map(|pair| pair_json(pair, now)).collect();
    Reply::json(&json!({ "certificates": pairs }))
}

fn pair_json(pair: &CertificatePair, now: SystemTime) -> Value {
    let list = |details: &[CertificateDetails]| {
        details.iter().map(|details| details_json(details, now)).collect::<Vec<_>>()
    };
    json!({ "ca_cert": list(&pair.ca_cert), "cert_chain": list(&pair.cert_chain) })
}

fn details_json(details: &CertificateDetails, now: SystemTime) -> Value {
    let name = |(kind, name): &(&'static str, String)| Map::from_iter([((*kind).to_owned(), json!(name))]);
    json!({
        "path": details.path,
        "serial_number": details.serial_number,
        "subject_alt_names": details.subject_alt_names.iter().map(name).collect::<Vec<_>>(),
        "days_until_expiration": days_until(details.expiration_time, now).to_string(),
        "valid_from": timestamp(details.valid_from),
        "expiration_time": timestamp(details.expiration_time),
    })
}

fn days_until(expiration: SystemTime, now: SystemTime) -> u64 {
    expiration.duration_since(now).map_or(0, |left| left.as_secs() / 86_400)
}

/// proto3 JSON of a whole-second timestamp.
fn timestamp(time: SystemTime) -> String {
    let millis = Civil::of(time).iso_millis();
    format!("{}Z", String::from_utf8_lossy(&millis[..19]))
}

#[cfg(test)]
mod tests;
