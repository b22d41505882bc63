//! What is wrong with the resources of a bootstrap, and where in its text.

use outrigger_xds_protos::v3::bootstrap::bootstrap::StaticResources;

use super::bootstrap::Source;
use crate::xds::resource::{Fault, ResourceType};

/// One message for all faults, a line each: `file:line:column: Kind "name": field: cause`.
pub fn describe(faults: &[(ResourceType, Fault)], resources: &StaticResources, source: &Source) -> String {
    let line = |(kind, fault): &(ResourceType, Fault)| {
        let place = place(*kind, fault, resources).and_then(|path| source.resource_place(&path));
        let place = place.map(|place| format!("{place}: ")).unwrap_or_default();
        format!("{place}{kind:?} {fault}")
    };
    format!("bad configuration:\n  {}", faults.iter().map(line).collect::<Vec<_>>().join("\n  "))
}

/// The path of the faulty field from the root of the bootstrap; a reason without a path leads to its resource.
fn place(kind: ResourceType, fault: &Fault, resources: &StaticResources) -> Option<String> {
    let StaticResources { listeners, clusters, secrets } = resources;
    let is_it = |name: &String| **name == *fault.name;
    let (list, index) = match kind {
        ResourceType::Listener => ("listeners", listeners.iter().position(|one| is_it(&one.name))),
        ResourceType::Cluster => ("clusters", clusters.iter().position(|one| is_it(&one.name))),
        ResourceType::Secret => ("secrets", secrets.iter().position(|one| is_it(&one.name))),
        ResourceType::Endpoints | ResourceType::Routes => return None,
    };
    let resource = format!("static_resources.{list}[{}]", index?);
    let field = fault.reason.split_once(": ").map_or("", |(path, _)| path);
    match field.is_empty() || field.contains(' ') {
        true => Some(resource),
        false => Some(format!("{resource}.{field}")),
    }
}
