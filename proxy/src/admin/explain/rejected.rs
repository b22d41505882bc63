//! What the control plane sent and was refused, with the reason that it was told.

use serde_json::Value;

use super::printable;

/// Refusals that one answer tells.
const MAX_TOLD: usize = 20;

/// One line for each resource in the sections of `/config_dump` whose latest version was refused.
pub(super) fn lines(sections: &[Value]) -> Vec<String> {
    let lists = sections.iter().filter_map(Value::as_object).flat_map(|section| section.values());
    let refused = lists.filter_map(Value::as_array).flatten().filter_map(line);
    let mut lines: Vec<_> = refused.collect();
    let more = lines.len().saturating_sub(MAX_TOLD);
    lines.truncate(MAX_TOLD);
    if more > 0 {
        lines.push(format!("and {more} more were rejected; see the error_state in /config_dump"));
    }
    lines
}

fn line(element: &Value) -> Option<String> {
    let details = element.get("error_state")?.get("details")?.as_str()?;
    let parts = ["cluster", "route_config", "endpoint_config"];
    let inner = parts.iter().filter_map(|part| element.get(*part));
    let refused = element["error_state"].get("failed_configuration");
    let named = |one: &Value| {
        let name = ["name", "cluster_name"].iter().find_map(|key| one.get(*key)?.as_str());
        name.map(str::to_owned)
    };
    let name = std::iter::once(element).chain(inner).chain(refused).find_map(named);
    Some(format!("rejected: {}: {}", printable(&name.unwrap_or_default()), printable(details)))
}
