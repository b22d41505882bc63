//! Who we are: `node` of the bootstrap, and the mesh's names in it.

use serde_json::{Map, Value, json};

use super::{VariableError, Variables};
use crate::observe::mesh::{self, NodeKind};

/// In order of precedence; the first is the documented one.
const ID: [&str; 3] = ["APPMESH_RESOURCE_ARN", "APPMESH_RESOURCE_NAME", "APPMESH_VIRTUAL_NODE_NAME"];
const CLUSTER: [&str; 2] = ["APPMESH_RESOURCE_CLUSTER", "APPMESH_VIRTUAL_NODE_CLUSTER"];

/// The resource this proxy serves.
pub(super) struct Identity {
    /// `node.id`: an ARN, `mesh/<mesh>/virtualNode/<name>`, or a bare name.
    pub(super) id: String,
    cluster: String,
}

impl Identity {
    /// From the environment; deprecated names are warned about.
    pub(super) fn find(variables: &dyn Variables, warnings: &mut Vec<String>) -> Result<Self, VariableError> {
        let Some((name, id)) = ID.iter().find_map(|name| Some((*name, variables.get(name)?))) else {
            let message = "is required: mesh/<mesh>/virtualNode/<node>, mesh/<mesh>/virtualGateway/<gateway> or the \
                           full ARN; or pass a bootstrap with -c";
            return Err(VariableError::new(ID[0], message));
        };
        if name != ID[0] {
            warnings.push(format!("{name} is deprecated; set {} instead", ID[0]));
        }
        match id.split('/').count() {
            1 => warnings
                .push(format!("{name}={id} is a bare name; the control plane looks it up in its meshes")),
            2 | 3 => {
                let message =
                    format!("{id:?} is cut short; use mesh/<mesh>/virtualNode/<node> or the full ARN");
                return Err(VariableError::new(name, message));
            }
            _ if mesh::Identity::parse(&id).is_none() => {
                let message = format!(
                    "{id:?} has no sidecar: only virtual nodes and gateways have; use mesh/<mesh>/virtualNode/<node> \
                     or mesh/<mesh>/virtualGateway/<gateway>, or the full ARN of one"
                );
                return Err(VariableError::new(name, message));
            }
            _ => {}
        }
        let cluster = CLUSTER.iter().find_map(|name| variables.get(name)).unwrap_or_else(|| id.clone());
        Ok(Self { id, cluster })
    }

    /// `node` of the bootstrap, with what is known of the platform without asking the network.
    pub(super) fn node(&self, variables: &dyn Variables) -> Value {
        let mut node = json!({ "id": self.id, "cluster": self.cluster });
        let platform = platform(variables);
        if !platform.is_empty() {
            node["metadata"] = json!({ "aws.appmesh.platformInfo": platform });
        }
        node
    }

    /// Mesh and resource. `None` when the name does not say.
    pub(super) fn names(&self) -> Option<(String, String)> {
        mesh::Identity::parse(&self.id).map(|own| (own.mesh, own.name))
    }

    /// The image's fixed tags: mesh, and node or gateway. `None` when the name does not say.
    pub(super) fn tags(&self) -> Option<[(&'static str, String); 2]> {
        let own = mesh::Identity::parse(&self.id)?;
        let tag = match own.kind {
            NodeKind::VirtualNode => "appmesh.virtual_node",
            NodeKind::VirtualGateway => "appmesh.virtual_gateway",
        };
        Some([("appmesh.mesh", own.mesh), (tag, own.name)])
    }

    /// Those of the metrics extension.
    pub(super) fn extension_tags(&self) -> Option<[(&'static str, String); 2]> {
        let own = mesh::Identity::parse(&self.id)?;
        Some([("Mesh", own.mesh), (own.kind.dimension(), own.name)])
    }
}

fn platform(variables: &dyn Variables) -> Map<String, Value> {
    let kubernetes = [
        ("k8sVersion", "APPMESH_PLATFORM_K8S_VERSION"),
        ("podUid", "APPMESH_PLATFORM_K8S_POD_UID"),
        ("appMeshControllerVersion", "APPMESH_PLATFORM_APP_MESH_CONTROLLER_VERSION"),
    ];
    let ecs = [("ecsLaunchType", "AWS_EXECUTION_ENV")];
    let mut platform = Map::new();
    for (name, keys) in [("k8sPlatformInfo", kubernetes.as_slice()), ("ecsPlatformInfo", ecs.as_slice())] {
        let set = |(key, name): &(&str, &str)| Some(((*key).to_owned(), Value::String(variables.get(name)?)));
        let info: Map<String, Value> = keys.iter().filter_map(set).collect();
        if !info.is_empty() {
            platform.insert(name.to_owned(), Value::Object(info));
        }
    }
    platform
}
