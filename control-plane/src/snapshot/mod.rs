//! What one node is served: resources by type, each with the hash of its content as its version.
//!
//! Owns the seam between *what* to send and *how*: a [`ResourceSource`] yields [`NodeResources`] for a node id, and a
//! [`Builder`] turns them into an immutable [`NodeSnapshot`]. Knows nothing of streams.
//! Invariant: versions are functions of content alone. Maps are put in key order before hashing (protobuf leaves
//! their order open, and prost's differs between two runs), so two replicas that read the same definitions serve
//! byte-identical resources under identical versions, and a client may move from one to the other for free.

mod build;
mod references;
mod source;
mod type_url;
mod version;

pub use build::{BuildError, Builder};
pub use references::Reference;
pub use source::{
    Audience, NoResources, NodeResources, NotCertified, ResourceSource, StaticSource, UnknownNode,
};
pub use type_url::TypeUrl;
pub use version::{Version, VersionHasher};

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

/// One xDS resource, encoded once and shared by every stream and every node that is served it.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// Name within its type.
    pub name: Arc<str>,
    /// Hash of [`Resource::any`].
    pub version: Version,
    /// The wire form of the `google.protobuf.Any` that holds the message.
    pub any: Bytes,
    /// Resources of other types that a client will ask for by name, over the same stream, because of this one.
    pub children: Box<[Reference]>,
}

/// All resources of one type for one node, in name order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TypeSnapshot {
    version: Version,
    resources: BTreeMap<Arc<str>, Arc<Resource>>,
}

impl TypeSnapshot {
    /// Gathers resources and computes the version of the whole.
    pub fn new(resources: impl IntoIterator<Item = Arc<Resource>>) -> Self {
        let resources: BTreeMap<_, _> = resources.into_iter().map(|r| (Arc::clone(&r.name), r)).collect();
        Self { version: Version::of_set(resources.values().map(Arc::as_ref)), resources }
    }

    /// Hash over all names and versions; the version of the empty set is a version like any other.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The resource of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.resources.get(name)
    }

    /// All resources in name order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}

/// Everything one node is served at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NodeSnapshot {
    types: BTreeMap<TypeUrl, TypeSnapshot>,
    empty: TypeSnapshot,
    dangling: Vec<Reference>,
}

impl NodeSnapshot {
    /// Gathers the types and looks for references to resources that are not there.
    pub fn new(types: BTreeMap<TypeUrl, TypeSnapshot>) -> Self {
        let dangling = references::dangling(&types);
        Self { types, empty: TypeSnapshot::new([]), dangling }
    }

    /// The resources of a type; the empty set for a type that this node has nothing of.
    pub fn get(&self, type_url: &TypeUrl) -> &TypeSnapshot {
        self.types.get(type_url).unwrap_or(&self.empty)
    }

    /// The types that have an entry, in push order.
    pub fn types(&self) -> impl Iterator<Item = (&TypeUrl, &TypeSnapshot)> {
        self.types.iter()
    }

    /// References from one resource to another that does not exist. A client asks for those names and waits for
    /// nothing: always a mistake of the source.
    pub fn dangling(&self) -> &[Reference] {
        &self.dangling
    }

    /// Whether both would look the same to every client.
    pub fn same_content(&self, other: &Self) -> bool {
        self.types.len() == other.types.len()
            && self
                .types
                .iter()
                .zip(&other.types)
                .all(|((ta, a), (tb, b))| ta == tb && a.version == b.version)
    }
}

#[cfg(test)]
pub(crate) mod tests;
