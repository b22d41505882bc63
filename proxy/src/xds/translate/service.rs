//! Which virtual service a route is of: what its metadata says, else the name of its virtual host.
//! Source: App Mesh's control plane, `filter_metadata["aws.appmesh.aggregate_stats"].config`, JSON as text:
//! `{"tags":[{"key":"TargetVirtualService","value":"<service>"}]}`.

use super::TranslateContext;
use super::scope::Scope;
use crate::base::ids::ClusterId;
use crate::config::metadata::{Found, Namespaces};
use crate::config::route::{ClusterChoice, Route, RouteAction};
use crate::config::service::{Service, is_own_cluster};
use crate::config::subset::MetadataValue;
use crate::stats::scope::ServiceStats;

const NAMESPACE: &str = "aws.appmesh.aggregate_stats";
const FIELD: &str = "config";
const TAG: &str = "TargetVirtualService";
/// Virtual hosts that are named after no service: of routes without host, and a gateway's, whose routes take their
/// service from a header.
const OF_NONE: [&str; 3] = ["", "*", "default_backend"];

/// Tells each of a virtual host's routes its service, and what it counts in when somebody asks for that.
pub(super) fn tell(routes: &mut [Route], host: &str, scope: &Scope<'_>) {
    for Route { action, metadata, .. } in routes {
        if let RouteAction::Forward(forward) = action {
            let name = of_route(metadata.as_deref(), host);
            let counts = if scope.context.counts_services {
                counts(&name, &forward.clusters, scope)
            } else {
                [].into()
            };
            forward.service = Service { name, counts };
        }
    }
}

/// What a cluster's requests of no service count in, when somebody asks for that.
pub(super) fn of_none(cluster: &str, context: &TranslateContext) -> Option<ServiceStats> {
    let counts = context.counts_services && !is_own_cluster(cluster);
    counts.then(|| ServiceStats::for_service(&context.stats, cluster, ""))
}

fn counts(service: &str, clusters: &ClusterChoice, scope: &Scope<'_>) -> Box<[(ClusterId, ServiceStats)]> {
    let context = &*scope.context;
    let stats = |id: ClusterId| {
        let name = context.clusters.name(id).filter(|name| !is_own_cluster(name))?;
        Some((id, ServiceStats::for_service(&context.stats, name, service)))
    };
    clusters.named().into_iter().filter_map(stats).collect()
}

fn of_route(metadata: Option<&Namespaces>, host: &str) -> Box<str> {
    let tagged = metadata.and_then(|spaces| spaces.get(NAMESPACE)?.at(&[FIELD.into()])).and_then(tag);
    let named = || if OF_NONE.contains(&host) { String::new() } else { host.to_owned() };
    let name = tagged.unwrap_or_else(named);
    name.replace(char::is_control, "_").into()
}

/// The service in the tags; `None` when they name none, or are no JSON: they are for statistics only.
fn tag(found: Found<'_>) -> Option<String> {
    let Found::Value(MetadataValue::Text(text)) = found else { return None };
    let config: serde_json::Value = serde_json::from_str(text).ok()?;
    let mut tags = config.get("tags")?.as_array()?.iter();
    let value = tags.find(|tag| tag.get("key").is_some_and(|key| key == TAG))?.get("value")?.as_str()?;
    (!value.is_empty()).then(|| value.to_owned())
}
