//! Where resources come from: the seam towards translation.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use outrigger_xds_protos::any::Typed;
use zeroize::Zeroize;

use super::TypeUrl;
use crate::picture::topology::Topology;

/// The messages one node is to be served, by type and name, encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeResources {
    types: BTreeMap<TypeUrl, BTreeMap<String, Vec<u8>>>,
}

impl NodeResources {
    /// Adds a message, or replaces the one of that name.
    pub fn insert<M: Typed>(&mut self, name: impl Into<String>, message: &M) {
        self.insert_encoded(TypeUrl::new(M::TYPE_URL), name, message.to_wire());
    }

    /// Adds the wire form of a message of the given type, or replaces the one of that name.
    pub fn insert_encoded(&mut self, type_url: TypeUrl, name: impl Into<String>, message: Vec<u8>) {
        self.types.entry(type_url).or_default().insert(name.into(), message);
    }

    /// Takes a message out again; whether it was there.
    pub fn remove(&mut self, type_url: &TypeUrl, name: &str) -> bool {
        self.types.get_mut(type_url).is_some_and(|names| names.remove(name).is_some())
    }

    /// Whether any message holds this text.
    pub fn mention(&self, text: &str) -> bool {
        let holds = |message: &Vec<u8>| message.windows(text.len()).any(|window| window == text.as_bytes());
        self.types.values().flat_map(BTreeMap::values).any(holds)
    }

    /// Everything, types in push order and names in order.
    pub fn iter(&self) -> impl Iterator<Item = (&TypeUrl, &BTreeMap<String, Vec<u8>>)> {
        self.types.iter()
    }
}

/// Secrets hold private keys.
impl Drop for NodeResources {
    fn drop(&mut self) {
        let secrets = self.types.get_mut(&TypeUrl::SECRET).into_iter().flat_map(BTreeMap::values_mut);
        secrets.for_each(|message| message.zeroize());
    }
}

/// Yields what a node is to be served. One value is one state of the definitions; a changed state is a new value.
///
/// Called off the network tasks, on a thread that may block, once per node id, kind of client and state.
pub trait ResourceSource: Send + Sync + 'static {
    /// The resources of the node with this id, as this kind of client reads them.
    ///
    /// # Errors
    /// When the definitions have no such node, or it cannot be given what they ask for.
    fn resources(&self, node_id: &str, audience: Audience) -> Result<NodeResources, NoResources>;

    /// Whether [`Self::resources`] can answer for this node without waiting for anybody else.
    fn is_prepared(&self, node_id: &str, audience: Audience) -> bool {
        let _ = (node_id, audience);
        true
    }

    /// Waits for what [`Self::resources`] needs from elsewhere, such as a certificate that another authority signs.
    ///
    /// # Errors
    /// When it cannot be had.
    fn prepare(&self, node_id: &str, audience: Audience) -> Result<(), NoResources> {
        let _ = (node_id, audience);
        Ok(())
    }

    /// A certificate for the node with this id, as PEM, in answer to a request (PKCS#10, DER).
    ///
    /// # Errors
    /// When there is no authority, the definitions have no such node, or the request is not one.
    fn certify(&self, node_id: &str, request: &[u8]) -> Result<String, NotCertified> {
        let _ = (node_id, request);
        Err(NotCertified::NoAuthority)
    }

    /// The nodes and who may call whom, as far as the source knows.
    fn topology(&self) -> Option<&Topology> {
        None
    }

    /// The canonical form of a node id, when the source has the node.
    fn canonical_id(&self, node_id: &str) -> Option<String> {
        let _ = node_id;
        None
    }
}

/// What kind of client reads the resources of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audience {
    /// A proxy, which listens for its node.
    Proxy,
    /// A proxy that makes its own key and asks for certificates.
    KeyHolder,
    /// A gRPC library, which dials the services of its node by itself.
    GrpcClient,
}

/// Why a node has no resources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoResources {
    /// The definitions have no such node.
    #[error(transparent)]
    Unknown(#[from] UnknownNode),
    /// The definitions ask for something that this node cannot be given, and nothing earlier is left to serve.
    #[error("{id} cannot be given what its definitions ask for: {reason}")]
    Refused {
        /// The canonical id.
        id: String,
        /// The finding, with its position.
        reason: String,
    },
}

/// Why there is no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCertified {
    /// Nobody here issues any.
    #[error("this control plane issues no certificates")]
    NoAuthority,
    /// The definitions have no such node.
    #[error(transparent)]
    Unknown(#[from] UnknownNode),
    /// The request cannot be used.
    #[error("the certificate request {0}")]
    Request(&'static str),
    /// The authority could not sign.
    #[error("{0}")]
    Failed(String),
}

/// A node id that the definitions do not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownNode {
    id: String,
    reason: String,
    known: Vec<String>,
    total: usize,
}

impl UnknownNode {
    /// How many known ids the message lists.
    const LISTED: usize = 10;
    /// How much of the refused id, and of the reason (which may repeat it), the message shows.
    const SHOWN: usize = 256;

    /// The refusal of `id`, and why, with some of the ids that would have been accepted.
    pub fn new<S: Into<String>>(id: &str, reason: &str, known: impl IntoIterator<Item = S>) -> Self {
        let mut known = known.into_iter();
        let listed: Vec<String> = known.by_ref().take(Self::LISTED).map(Into::into).collect();
        let total = listed.len() + known.count();
        let shown = |text: &str| text.chars().take(Self::SHOWN).collect();
        Self { id: shown(id), reason: shown(reason), known: listed, total }
    }
}

impl fmt::Display for UnknownNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown node id {:?}: {}; ", self.id, self.reason)?;
        if self.known.is_empty() {
            return f.write_str("no nodes are defined");
        }
        write!(f, "the nodes are {}", self.known.join(", "))?;
        match self.total - self.known.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl std::error::Error for UnknownNode {}

/// A source that was written down: node ids and their resources, the same for every kind of client.
#[derive(Debug, Clone, Default)]
pub struct StaticSource {
    nodes: HashMap<String, NodeResources>,
}

impl StaticSource {
    /// Adds a node, or replaces its resources.
    pub fn with(mut self, node_id: impl Into<String>, resources: NodeResources) -> Self {
        self.nodes.insert(node_id.into(), resources);
        self
    }
}

impl ResourceSource for StaticSource {
    fn resources(&self, node_id: &str, _: Audience) -> Result<NodeResources, NoResources> {
        self.nodes.get(node_id).cloned().ok_or_else(|| {
            let mut known: Vec<&str> = self.nodes.keys().map(String::as_str).collect();
            known.sort_unstable();
            UnknownNode::new(node_id, "it is not among those served", known).into()
        })
    }
}
