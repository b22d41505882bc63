//! Configured header edits, level by level: removals first, then all values are computed from the headers
//! as they were at the start of the level, overwrites are applied, then appends (Envoy header manipulation).

use super::head::HeaderBlock;
use super::header_id::HeaderId;
use super::route::Found;
use crate::config::route::{AppendAction, HeaderAdd, HeaderEdits, RouteTable, WeightedCluster};
use crate::observe::record::Record;

/// Headers that Envoy joins with a comma instead of repeating the line.
const JOINED: &[HeaderId] =
    &[HeaderId::ForwardedFor, HeaderId::UserAgent, HeaderId::Via, HeaderId::ContentType, HeaderId::Te];

/// The levels in the order they apply: weighted cluster, route, virtual host, table; or the reverse.
pub fn levels<'a>(
    table: Option<&'a RouteTable>,
    found: Found<'a>,
    entry: Option<&'a WeightedCluster>,
) -> impl Iterator<Item = &'a HeaderEdits> {
    let levels = [
        entry.map(|entry| &entry.headers),
        Some(&found.route.headers),
        Some(&found.virtual_host.headers),
        table.map(|table| &table.headers),
    ];
    let is_reversed = table.is_some_and(|table| table.most_specific_wins);
    (0..levels.len()).filter_map(move |at| levels[if is_reversed { levels.len() - 1 - at } else { at }])
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
    apply(&edits.request_remove, &edits.request_add, values, block);
}

/// Applies the response side of one level.
pub fn apply_response(edits: &HeaderEdits, values: &Values, block: &mut HeaderBlock) {
    apply(&edits.response_remove, &edits.response_add, values, block);
}

fn apply(remove: &[Box<str>], adds: &[HeaderAdd], values: &Values, block: &mut HeaderBlock) {
    for name in remove {
        block.remove_named(name.as_bytes());
    }
    for overwrite in [true, false] {
        for (add, value) in adds.iter().zip(values) {
            if is_overwrite(add.action) == overwrite && (add.keep_empty || !value.is_empty()) {
                apply_one(add, value, block);
            }
        }
    }
}

fn is_overwrite(action: AppendAction) -> bool {
    matches!(action, AppendAction::OverwriteOrAdd | AppendAction::OverwriteIfExists)
}

fn apply_one(add: &HeaderAdd, value: &[u8], block: &mut HeaderBlock) {
    let name = add.name.as_bytes();
    let exists = block.get_by_name(name).is_some();
    match add.action {
        AppendAction::OverwriteOrAdd => block.set(name, value),
        AppendAction::OverwriteIfExists if exists => block.set(name, value),
        AppendAction::AddIfAbsent if !exists => block.append(name, value),
        AppendAction::OverwriteIfExists | AppendAction::AddIfAbsent => {}
        AppendAction::AppendOrAdd if exists && JOINED.contains(&HeaderId::of(name)) => {
            let mut joined = block.get_by_name(name).map(<[u8]>::to_vec).unwrap_or_default();
            joined.push(b',');
            joined.extend_from_slice(value);
            block.set(name, &joined);
        }
        AppendAction::AppendOrAdd => block.append(name, value),
    }
}
