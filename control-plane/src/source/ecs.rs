//! ECS task definitions that run a mesh proxy: what identity it has, and what App Mesh's documents ask of the
//! task that is not there.
//!
//! Owns recognition and these findings; it does not resolve names against meshes (that is [`crate::graph`]).
//! Sources: the App Mesh user guide for ECS, the image's environment (`APPMESH_*`).

mod advice;

use crate::diagnostics::Position;
use crate::source::node::{Node, Origin};
use crate::source::read::Reader;

/// The variables that name the proxy's resource, in the order in which the image's agent tries them.
const IDENTITY: [&str; 3] = ["APPMESH_RESOURCE_ARN", "APPMESH_RESOURCE_NAME", "APPMESH_VIRTUAL_NODE_NAME"];

/// A proxy container of a task definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Container name.
    pub container: String,
    /// Which variable names the resource.
    pub variable: String,
    /// The value as written; `None` when the files do not say all of it.
    pub resource: Option<String>,
    /// Where the value is written.
    pub at: Position,
}

/// A task definition (API or CloudFormation spelling), taken apart.
struct Task<'n> {
    root: &'n Node,
    containers: Vec<&'n Node>,
    proxy: Option<&'n Node>,
    whole: bool,
}

/// Finds the proxies of a task definition, of a list of containers or of one container.
pub fn inspect(document: &Node, cx: &mut Reader<'_>) -> Vec<Sidecar> {
    let document = document.get("taskDefinition").filter(|n| n.as_map().is_some()).unwrap_or(document);
    let whole = document.get_ignore_case("containerDefinitions");
    let containers = match (whole.and_then(Node::as_list), document.as_list()) {
        (Some(list), _) | (None, Some(list)) => list.iter().collect(),
        (None, None) => vec![document],
    };
    let task = Task {
        root: document,
        containers,
        proxy: document.get_ignore_case("proxyConfiguration").filter(|n| !n.is_empty()),
        whole: whole.is_some(),
    };
    let envoys: Vec<&Node> = task.containers.iter().copied().filter(|c| identity(c).is_some()).collect();
    for envoy in &envoys {
        advice::advise(&task, envoy, cx);
    }
    envoys.into_iter().filter_map(sidecar).collect()
}

fn sidecar(container: &Node) -> Option<Sidecar> {
    let (variable, value) = identity(container)?;
    let known = value.as_scalar().filter(|s| !matches!(s.origin, Origin::Missing(_)));
    Some(Sidecar {
        container: text(container, "name").unwrap_or("envoy").to_owned(),
        variable: variable.to_owned(),
        resource: known.map(|s| s.text.trim().to_owned()),
        at: value.at.clone(),
    })
}

/// The variable that names the resource of a proxy container, and its value.
fn identity(container: &Node) -> Option<(&'static str, &Node)> {
    IDENTITY.into_iter().find_map(|name| variable(container, name).map(|value| (name, value)))
}

fn variable<'n>(container: &'n Node, name: &str) -> Option<&'n Node> {
    named_value(container.get_ignore_case("environment")?, name)
}

/// The value of a name in a list of `{name, value}`.
fn named_value<'n>(list: &'n Node, name: &str) -> Option<&'n Node> {
    let pairs = list.as_list()?;
    let pair = pairs.iter().find(|p| text(p, "name") == Some(name))?;
    pair.get_ignore_case("value").filter(|v| !v.is_empty())
}

fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get_ignore_case(key)?.as_text()
}

#[cfg(test)]
mod tests;
