//! Configured header edits, level by level: removals first, then all values are computed from the headers
//! as they were at the start of the level, overwrites are applied, then appends (Envoy header manipulation).

use super::head::HeaderBlock;
use super::route::Found;
use crate::config::route::{AppendAction, HeaderAdd, HeaderEdits, RouteTable, WeightedCluster};
use crate::observe::record::Record;

/// Headers of requests that Envoy joins with a comma instead of repeating the line: those that it knows by name.
const JOINED_IN_REQUESTS: &[&str] = &[
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "authentication",
    "authorization",
    "cache-control",
    "cdn-loop",
    "content-encoding",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "pragma",
    "proxy-status",
    "referer",
    "te",
    "user-agent",
    "via",
    "x-client-trace-id",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

/// The same for responses.
const JOINED_IN_RESPONSES: &[&str] = &[
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-allow-private-network",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "cache-control",
    "content-encoding",
    "content-type",
    "date",
    "etag",
    "expires",
    "grpc-message",
    "grpc-status",
    "last-modified",
    "location",
    "proxy-status",
    "server",
    "vary",
    "via",
    "x-request-id",
];

/// The levels in the order they apply. That of a weighted cluster always comes first; then route, virtual host and
/// table, or the reverse.
pub fn levels<'a>(
    table: Option<&'a RouteTable>,
    found: Found<'a>,
    entry: Option<&'a WeightedCluster>,
) -> impl Iterator<Item = &'a HeaderEdits> {
    let (route, host) = (Some(&found.route.headers), Some(&found.virtual_host.headers));
    let (entry, whole) = (entry.map(|entry| &entry.headers), table.map(|table| &table.headers));
    let is_reversed = table.is_some_and(|table| table.most_specific_wins);
    let levels = if is_reversed { [entry, whole, host, route] } else { [entry, route, host, whole] };
    levels.into_iter().flatten()
}

/// Values of one level's additions, computed before any of them is applied.
pub type Values = Vec<Vec<u8>>;

/// Renders the additions of one level against `record`.
pub fn render(adds: &[HeaderAdd], record: &Record<'_>) -> Values {
    let render_one = |add: &HeaderAdd| match add.value.as_constant() {
        Some(text) => text.to_vec(),
        None => {
            let mut text = Vec::new();
            add.value.render(record, b"", &mut text);
            text.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
            text
        }
    };
    adds.iter().map(render_one).collect()
}

/// Applies the request side of one level.
pub fn apply_request(edits: &HeaderEdits, values: &Values, block: &mut HeaderBlock) {
    apply(&edits.request_remove, &edits.request_add, values, JOINED_IN_REQUESTS, block);
}

/// Applies the response side of one level.
pub fn apply_response(edits: &HeaderEdits, values: &Values, block: &mut HeaderBlock) {
    apply(&edits.response_remove, &edits.response_add, values, JOINED_IN_RESPONSES, block);
}

fn apply(remove: &[Box<str>], adds: &[HeaderAdd], values: &Values, joined: &[&str], block: &mut HeaderBlock) {
    for name in remove {
        block.remove_named(name.as_bytes());
    }
    add_all(adds, values, joined, block);
}

/// Applies additions to a request whose values were rendered before.
pub fn add_to_request(adds: &[HeaderAdd], values: &Values, block: &mut HeaderBlock) {
    add_all(adds, values, JOINED_IN_REQUESTS, block);
}

/// Applies additions to a response whose values were rendered before.
pub fn add_to_response(adds: &[HeaderAdd], values: &Values, block: &mut HeaderBlock) {
    add_all(adds, values, JOINED_IN_RESPONSES, block);
}

fn add_all(adds: &[HeaderAdd], values: &Values, joined: &[&str], block: &mut HeaderBlock) {
    for overwrite in [true, false] {
        for (add, value) in adds.iter().zip(values) {
            if is_overwrite(add.action) == overwrite && (add.keep_empty || !value.is_empty()) {
                apply_one(add, value, joined, block);
            }
        }
    }
}

fn is_overwrite(action: AppendAction) -> bool {
    matches!(action, AppendAction::OverwriteOrAdd | AppendAction::OverwriteIfExists)
}

fn apply_one(add: &HeaderAdd, value: &[u8], joined: &[&str], block: &mut HeaderBlock) {
    let name = add.name.as_bytes();
    let exists = block.get_by_name(name).is_some();
    match add.action {
        AppendAction::OverwriteOrAdd => block.set(name, value),
        AppendAction::OverwriteIfExists if exists => block.set(name, value),
        AppendAction::AddIfAbsent if !exists => block.append(name, value),
        AppendAction::OverwriteIfExists | AppendAction::AddIfAbsent => {}
        AppendAction::AppendOrAdd if exists && joined.contains(&&*add.name) => {
            block.join(name, b",", Some(value));
        }
        AppendAction::AppendOrAdd => block.append(name, value),
    }
}
