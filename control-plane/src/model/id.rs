//! How resources are named from outside: ARNs and the node ids that proxies present.
//!
//! Sources: the ARN shapes of the service model; the image's `APPMESH_RESOURCE_ARN`
//! (`mesh/<mesh>[@<owner>]/virtualNode/<name>` or a full ARN).

use std::fmt;

use super::{Kind, MeshId, Meta};

/// A proxy's identity: a virtual node or virtual gateway of a mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// The mesh, with its owner where the id says it.
    pub mesh: MeshId,
    /// [`Kind::VirtualNode`] or [`Kind::VirtualGateway`].
    pub kind: Kind,
    /// Resource name.
    pub name: String,
}

impl NodeId {
    /// Parses `mesh/<mesh>[@<owner>]/virtualNode/<name>`, the gateway form, or a full ARN of either.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = match text.strip_prefix("arn:") {
            Some(rest) => arn_path(rest).ok_or_else(|| bad_id(text))?,
            None => text,
        };
        let segments: Vec<&str> = path.split('/').collect();
        let ["mesh", mesh, kind, name] = segments.as_slice() else { return Err(bad_id(text)) };
        let kind = match *kind {
            "virtualNode" => Kind::VirtualNode,
            "virtualGateway" => Kind::VirtualGateway,
            _ => return Err(bad_id(text)),
        };
        let (mesh, owner) = match mesh.split_once('@') {
            Some((mesh, owner)) => (mesh, Some(owner)),
            None => (*mesh, None),
        };
        if mesh.is_empty() || name.is_empty() || owner == Some("") {
            return Err(bad_id(text));
        }
        let mesh = MeshId { name: mesh.to_owned(), owner: owner.map(str::to_owned) };
        Ok(Self { mesh, kind, name: (*name).to_owned() })
    }
}

impl NodeId {
    /// The SPIFFE id: `spiffe://<mesh>/virtualNode/<name>`, `spiffe://<mesh>.<owner>/...` in a shared mesh, and the
    /// same with `virtualGateway`.
    pub fn spiffe_id(&self) -> String {
        format!("spiffe://{}/{}/{}", self.mesh.trust_domain(), self.kind.arn_segment(), self.name)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mesh/{}/{}/{}", self.mesh, self.kind.arn_segment(), self.name)
    }
}

fn bad_id(text: &str) -> String {
    format!(
        "\"{text}\" is not a node id; write mesh/<mesh>/virtualNode/<name>, mesh/<mesh>/virtualGateway/<name> \
         or the full ARN of one"
    )
}

/// Path of `<partition>:appmesh:<region>:<account>:<path>`. The account owns the resource, not the mesh; region
/// and account may be placeholders with colons of their own.
fn arn_path(rest: &str) -> Option<&str> {
    let (_partition, rest) = rest.split_once(':')?;
    let rest = rest.strip_prefix("appmesh:")?;
    rest.find(":mesh/").map(|start| &rest[start + 1..])
}

/// The name that an App Mesh ARN of the given kind (or of anything inside it) holds.
pub fn arn_name(text: &str, kind: Kind) -> Option<String> {
    let path = arn_path(text.strip_prefix("arn:")?)?;
    let segments: Vec<&str> = path.split('/').collect();
    segments.chunks_exact(2).find(|pair| pair[0] == kind.arn_segment()).map(|pair| pair[1].to_owned())
}

/// The path part of a resource's ARN.
pub fn resource_path(kind: Kind, meta: &Meta) -> String {
    let mesh = format!("mesh/{}", meta.mesh.name);
    match (kind, kind.parent(), &meta.parent) {
        (Kind::Mesh, ..) => mesh,
        (_, Some(parent), Some(r)) => {
            format!("{mesh}/{}/{}/{}/{}", parent.arn_segment(), r.name, kind.arn_segment(), meta.name)
        }
        _ => format!("{mesh}/{}/{}", kind.arn_segment(), meta.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> String {
        NodeId::parse(text).map_or_else(|_| "refused".into(), |id| format!("{:?} {id}", id.kind))
    }

    #[test]
    fn node_ids_in_all_forms() {
        assert_eq!(parse("mesh/m/virtualNode/a"), "VirtualNode mesh/m/virtualNode/a");
        assert_eq!(
            parse("mesh/m@111122223333/virtualGateway/g"),
            "VirtualGateway mesh/m@111122223333/virtualGateway/g"
        );
        assert_eq!(
            parse("arn:aws:appmesh:us-west-2:111122223333:mesh/m/virtualNode/a"),
            "VirtualNode mesh/m/virtualNode/a"
        );
        assert_eq!(
            parse("arn:aws:appmesh:us-west-2:1:mesh/m@2/virtualNode/a"),
            "VirtualNode mesh/m@2/virtualNode/a"
        );
        for bad in [
            "a",
            "mesh/m/virtualNode",
            "mesh/m/virtualService/s",
            "mesh//virtualNode/a",
            "mesh/m@/virtualNode/a",
            "mesh/m/virtualNode/a/b",
            "arn:aws:ecs:r:1:mesh/m/virtualNode/a",
            "arn:",
            "",
        ] {
            assert_eq!(parse(bad), "refused", "{bad}");
        }
    }

    #[test]
    fn spiffe_ids_name_mesh_and_resource() {
        let spiffe = |text| NodeId::parse(text).unwrap().spiffe_id();
        assert_eq!(spiffe("mesh/Shop/virtualNode/Cart"), "spiffe://shop/virtualNode/Cart");
        assert_eq!(spiffe("mesh/shop@1/virtualGateway/edge"), "spiffe://shop.1/virtualGateway/edge");
    }

    #[test]
    fn names_inside_arns() {
        let arn = "arn:aws:appmesh:us-west-2:1:mesh/m/virtualRouter/r/route/x";
        assert_eq!(arn_name(arn, Kind::Mesh).as_deref(), Some("m"));
        assert_eq!(arn_name(arn, Kind::VirtualRouter).as_deref(), Some("r"));
        assert_eq!(arn_name(arn, Kind::Route).as_deref(), Some("x"));
        assert_eq!(arn_name(arn, Kind::VirtualNode), None);
        assert_eq!(arn_name("m", Kind::Mesh), None);
    }
}
