//! The compiled world: one immutable [`Snapshot`] of plain structs, reached by dense ids.
//!
//! `xds/translate` builds the parts, `xds/compile` assembles them, `publish` swaps one pointer,
//! and requests only read. Nothing here does I/O or knows protobuf. The only cells that change
//! after publishing are those in [`live`].

pub mod balance;
pub mod call;
pub mod cluster;
pub mod filter;
pub mod guard;
pub mod health;
pub mod internal_redirect;
pub mod listener;
pub mod live;
pub mod metadata;
pub mod mirror;
pub mod outlier;
pub mod outside;
pub mod overload;
pub mod publish;
pub mod rbac;
pub mod retry;
pub mod route;
pub mod secret;
pub mod service;
pub mod subset;
#[cfg(test)]
pub(crate) mod test_world;
pub mod value_match;

use std::sync::Arc;

use crate::base::ids::{ClusterId, ListenerId, RouteTableId};

pub use cluster::{Cluster, ClusterSlot, Host, HostSet, Locality};
pub use listener::{Listener, ListenerSlot};
pub use route::RouteTable;

/// One consistent world. A request that started under a snapshot finishes under it.
///
/// Tables are indexed by dense ids; `None` is a removed or not yet warm resource.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows by one with every publication.
    pub generation: u64,
    /// By [`ListenerId`].
    pub listeners: Vec<Option<Arc<ListenerSlot>>>,
    /// By [`RouteTableId`].
    pub route_tables: Vec<Option<Arc<RouteTable>>>,
    /// By [`ClusterId`].
    pub clusters: Vec<Option<Arc<ClusterSlot>>>,
    /// Clusters that serve once their hosts were checked; for the checker only.
    pub warming: Vec<Arc<ClusterSlot>>,
    /// Cluster names for routes that name their cluster per request (`cluster_header`).
    pub cluster_names: Arc<foldhash::HashMap<Box<str>, ClusterId>>,
    /// Where this proxy runs.
    pub place: Arc<Place>,
}

/// Where this proxy runs, for zone-aware routing. Source: `node.locality`, `cluster_manager.local_cluster_name`.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Its locality.
    pub locality: Locality,
    /// The cluster that it and its like are the hosts of; `None` switches zone-aware routing off.
    pub cluster: Option<ClusterId>,
}

impl Snapshot {
    /// The cluster, when it is there and warm.
    #[inline]
    pub fn cluster(&self, id: ClusterId) -> Option<&Arc<ClusterSlot>> {
        self.clusters.get(id.index())?.as_ref()
    }

    /// The listener, when it is there and warm.
    #[inline]
    pub fn listener(&self, id: ListenerId) -> Option<&Arc<ListenerSlot>> {
        self.listeners.get(id.index())?.as_ref()
    }

    /// The route table, when it arrived.
    #[inline]
    pub fn route_table(&self, id: RouteTableId) -> Option<&Arc<RouteTable>> {
        self.route_tables.get(id.index())?.as_ref()
    }
}
