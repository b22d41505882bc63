//! The App Mesh resource model in its API semantics (service model 2019-01-25).
//!
//! Owns plain data only: every resource kind, every field, "absent" kept apart from zero. It neither reads
//! input (that is [`crate::source`]) nor checks references between resources (that is [`crate::graph`]).
//! Invariant: a value of these types is within the bounds of the service model.

mod common;
mod gateway;
mod gateway_route;
mod id;
mod mesh;
mod node;
mod route;
mod service;
mod tls;

pub use common::*;
pub use gateway::*;
pub use gateway_route::*;
pub use id::*;
pub use mesh::*;
pub use node::*;
pub use route::*;
pub use service::*;
pub use tls::*;

use std::collections::BTreeMap;
use std::fmt;

use crate::diagnostics::{Place, Position};

/// The seven resource kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A mesh.
    Mesh,
    /// A workload and how it is found.
    VirtualNode,
    /// A name that callers use.
    VirtualService,
    /// A set of routes behind a service.
    VirtualRouter,
    /// One route of a router.
    Route,
    /// A proxy at the edge of the mesh.
    VirtualGateway,
    /// One route of a gateway.
    GatewayRoute,
}

impl Kind {
    /// Every kind, parents before children.
    pub const ALL: [Kind; 7] = [
        Kind::Mesh,
        Kind::VirtualNode,
        Kind::VirtualService,
        Kind::VirtualRouter,
        Kind::Route,
        Kind::VirtualGateway,
        Kind::GatewayRoute,
    ];

    /// The API name, as in `AWS::AppMesh::<name>`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Mesh => "Mesh",
            Kind::VirtualNode => "VirtualNode",
            Kind::VirtualService => "VirtualService",
            Kind::VirtualRouter => "VirtualRouter",
            Kind::Route => "Route",
            Kind::VirtualGateway => "VirtualGateway",
            Kind::GatewayRoute => "GatewayRoute",
        }
    }

    /// The key that holds the resource's own name (`virtualNodeName`).
    pub fn name_key(self) -> &'static str {
        match self {
            Kind::Mesh => "meshName",
            Kind::VirtualNode => "virtualNodeName",
            Kind::VirtualService => "virtualServiceName",
            Kind::VirtualRouter => "virtualRouterName",
            Kind::Route => "routeName",
            Kind::VirtualGateway => "virtualGatewayName",
            Kind::GatewayRoute => "gatewayRouteName",
        }
    }

    /// The kind that a resource of this kind lives in, besides its mesh.
    pub fn parent(self) -> Option<Kind> {
        match self {
            Kind::Route => Some(Kind::VirtualRouter),
            Kind::GatewayRoute => Some(Kind::VirtualGateway),
            _ => None,
        }
    }

    /// How messages name it ("virtual node").
    pub fn words(self) -> &'static str {
        match self {
            Kind::Mesh => "mesh",
            Kind::VirtualNode => "virtual node",
            Kind::VirtualService => "virtual service",
            Kind::VirtualRouter => "virtual router",
            Kind::Route => "route",
            Kind::VirtualGateway => "virtual gateway",
            Kind::GatewayRoute => "gateway route",
        }
    }

    /// The segment of an ARN that names it (`virtualNode`).
    pub fn arn_segment(self) -> &'static str {
        match self {
            Kind::Mesh => "mesh",
            Kind::VirtualNode => "virtualNode",
            Kind::VirtualService => "virtualService",
            Kind::VirtualRouter => "virtualRouter",
            Kind::Route => "route",
            Kind::VirtualGateway => "virtualGateway",
            Kind::GatewayRoute => "gatewayRoute",
        }
    }
}

/// A mesh as others refer to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MeshId {
    /// Mesh name.
    pub name: String,
    /// Account that owns the mesh, when the definitions say it.
    pub owner: Option<String>,
}

impl MeshId {
    /// The trust domain of its identities: the name, with the owner of a shared mesh, in lower case (SPIFFE ID, section
    /// 2.1).
    pub fn trust_domain(&self) -> String {
        let owner = self.owner.as_ref().map(|owner| format!(".{owner}")).unwrap_or_default();
        format!("{}{owner}", self.name.to_ascii_lowercase())
    }
}

impl fmt::Display for MeshId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Some(owner) => write!(f, "{}@{owner}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A name by which one resource refers to another, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The name.
    pub name: String,
    /// Where it is written.
    pub at: Place,
}

/// What our tags begin with.
pub const OURS: &str = "outrigger:";

/// What every resource has.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    /// Resource name. Within its parent it is unique per kind.
    pub name: String,
    /// The mesh; for a mesh itself its own id.
    pub mesh: MeshId,
    /// The definition names the mesh's owner: the mesh is shared between accounts.
    pub shared: bool,
    /// The router of a route, the gateway of a gateway route.
    pub parent: Option<Reference>,
    /// Tags, at most 50.
    pub tags: BTreeMap<String, String>,
    /// Where the resource is written.
    pub at: Position,
}

/// One resource: what all have, and its specification.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource<S> {
    /// Name, mesh, parent, tags.
    pub meta: Meta,
    /// The `spec`.
    pub spec: S,
}

/// Everything that was read, in source order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definitions {
    /// Meshes.
    pub meshes: Vec<Resource<MeshSpec>>,
    /// Virtual nodes.
    pub virtual_nodes: Vec<Resource<VirtualNodeSpec>>,
    /// Virtual services.
    pub virtual_services: Vec<Resource<VirtualServiceSpec>>,
    /// Virtual routers.
    pub virtual_routers: Vec<Resource<VirtualRouterSpec>>,
    /// Routes.
    pub routes: Vec<Resource<RouteSpec>>,
    /// Virtual gateways.
    pub virtual_gateways: Vec<Resource<VirtualGatewaySpec>>,
    /// Gateway routes.
    pub gateway_routes: Vec<Resource<GatewayRouteSpec>>,
    /// Instances that definitions name for Cloud Map services.
    pub instances: Vec<ServiceInstance>,
    /// Resources that exist but whose specification could not be read; references to them are not dangling.
    pub unread: Vec<(Kind, Meta)>,
}

impl Definitions {
    /// The meta data of every resource, read or not.
    pub fn all(&self) -> impl Iterator<Item = (Kind, &Meta)> {
        let meshes = self.meshes.iter().map(|r| (Kind::Mesh, &r.meta));
        let nodes = self.virtual_nodes.iter().map(|r| (Kind::VirtualNode, &r.meta));
        let services = self.virtual_services.iter().map(|r| (Kind::VirtualService, &r.meta));
        let routers = self.virtual_routers.iter().map(|r| (Kind::VirtualRouter, &r.meta));
        let routes = self.routes.iter().map(|r| (Kind::Route, &r.meta));
        let gateways = self.virtual_gateways.iter().map(|r| (Kind::VirtualGateway, &r.meta));
        let gateway_routes = self.gateway_routes.iter().map(|r| (Kind::GatewayRoute, &r.meta));
        let unread = self.unread.iter().map(|(kind, meta)| (*kind, meta));
        meshes
            .chain(nodes)
            .chain(services)
            .chain(routers)
            .chain(routes)
            .chain(gateways)
            .chain(gateway_routes)
            .chain(unread)
    }

    /// How many resources of each kind were found.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts: BTreeMap<_, _> = Kind::ALL.iter().map(|k| (k.name(), 0)).collect();
        for (kind, _) in self.all() {
            *counts.entry(kind.name()).or_default() += 1;
        }
        counts
    }
}
