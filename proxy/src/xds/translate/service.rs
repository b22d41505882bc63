//! Which virtual service a route is of: what its metadata says, else the name of its virtual host.
//! Source: App Mesh's control plane, `filter_metadata["aws.appmesh.aggregate_stats"].config`, JSON as text:
//! `{"tags":[{"key":"TargetVirtualService","value":"<service>"}]}`.

use crate::config::metadata::{Found, Namespaces};
use crate::config::route::{Route, RouteAction};
use crate::config::service::Service;
use crate::config::subset::MetadataValue;

const NAMESPACE: &str = "aws.appmesh.aggregate_stats";
const FIELD: &str = "config";
const TAG: &str = "TargetVirtualService";
/// Virtual hosts that are named after no service: of routes without host, and a gateway's, whose routes take their
/// service from a header.
const OF_NONE: [&str; 3] = ["", "*", "default_backend"];

/// Tells each of a virtual host's routes its service.
pub(super) fn tell(routes: &mut [Route], host: &str) {
    for Route { action, metadata, .. } in routes {
        if let RouteAction::Forward(forward) = action {
            forward.service = of_route(metadata.as_deref(), host);
        }
    }
}

fn of_route(metadata: Option<&Namespaces>, host: &str) -> Service {
    let tagged = metadata.and_then(|spaces| spaces.get(NAMESPACE)?.at(&[FIELD.into()])).and_then(tag);
    let named = || if OF_NONE.contains(&host) { String::new() } else { host.to_owned() };
    let name = tagged.unwrap_or_else(named);
    Service { name: name.replace(char::is_control, "_").into() }
}

/// The service in the tags; `None` when they name none, or are no JSON: they are for statistics only.
fn tag(found: Found<'_>) -> Option<String> {
    let Found::Value(MetadataValue::Text(text)) = found else { return None };
    let config: serde_json::Value = serde_json::from_str(text).ok()?;
    let mut tags = config.get("tags")?.as_array()?.iter();
    let value = tags.find(|tag| tag.get("key").is_some_and(|key| key == TAG))?.get("value")?.as_str()?;
    (!value.is_empty()).then(|| value.to_owned())
}
