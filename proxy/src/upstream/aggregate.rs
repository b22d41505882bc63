//! Clusters made of clusters: the priorities of the members, one after the other, share the load like those of one
//! cluster. The chosen member then serves the request with its own balancing, breakers and statistics.
//! Source: Envoy's `AggregateClusterLoadBalancer`.

use std::cell::RefCell;
use std::rc::Rc;

use super::lb::{Part, Split, split};
use super::local::Local;
use super::view::{ClusterState, View};
use crate::base::ids::ClusterId;
use crate::config::cluster::Discovery;

/// How the load of an aggregate splits over its members, as of the last request.
#[derive(Debug, Default)]
pub struct Aggregate {
    members: RefCell<Members>,
}

#[derive(Debug, Default)]
struct Members {
    /// Of the snapshot they are from; 0 before the first request.
    generation: u64,
    /// Members with the health changes they had seen.
    list: Vec<(Rc<ClusterState>, u64)>,
    shares: Vec<MemberShare>,
}

/// A part of the load.
#[derive(Debug)]
struct MemberShare {
    /// Where it ends in 0..=100.
    end: u32,
    member: usize,
    part: Part,
}

impl View {
    /// The cluster that takes a request to `cluster`, and which of its hosts: for an aggregate one of its members, for
    /// any other itself. An aggregate without hosts has none of its own either.
    pub fn resolve(&self, cluster: &Rc<ClusterState>, local: &Local) -> (Rc<ClusterState>, Option<Part>) {
        let Some(aggregate) = &cluster.aggregate else { return (cluster.clone(), None) };
        let mut members = aggregate.members.borrow_mut();
        if !members.are_current(self.snapshot.generation, local) {
            *members = self.members(cluster, local);
        }
        let point = local.random(|rng| rng.u32(0..100));
        let share = members.shares.iter().find(|share| point < share.end);
        let chosen = share.and_then(|share| Some((members.list.get(share.member)?.0.clone(), share.part)));
        match chosen {
            Some((member, part)) => (member, Some(part)),
            None => (cluster.clone(), None),
        }
    }

    #[cold]
    fn members(&self, cluster: &ClusterState, local: &Local) -> Members {
        let mut leaves = Vec::new();
        self.gather(cluster, &mut Vec::new(), &mut leaves);
        let mut levels = Vec::new();
        let mut owners = Vec::new();
        let mut list = Vec::with_capacity(leaves.len());
        for (member, leaf) in leaves.into_iter().enumerate() {
            let (epoch, of_member) = leaf.levels(local);
            owners.extend((0..of_member.len()).map(|priority| (member, priority)));
            levels.extend(of_member);
            list.push((leaf, epoch));
        }
        let mut end = 0;
        let share = |Split { level, tier, percent }| {
            end += percent;
            let (member, priority) = *owners.get(level)?;
            Some(MemberShare { end, member, part: Part { priority, tier } })
        };
        let threshold = cluster.config().balancing.panic_threshold;
        let shares = split(&levels, threshold).into_iter().filter_map(share).collect();
        Members { generation: self.snapshot.generation, list, shares }
    }

    /// The members that have hosts of their own, in order, also those of members that are aggregates. Each counts where
    /// it is named first; what is not there is left out.
    fn gather(&self, cluster: &ClusterState, seen: &mut Vec<ClusterId>, leaves: &mut Vec<Rc<ClusterState>>) {
        let Discovery::Aggregate(ids) = &cluster.config().discovery else { return };
        for id in ids {
            if seen.contains(id) {
                continue;
            }
            seen.push(*id);
            match self.cluster(*id) {
                Some(member) if member.aggregate.is_some() => self.gather(member, seen, leaves),
                Some(member) => leaves.push(member.clone()),
                None => {}
            }
        }
    }
}

impl Members {
    fn are_current(&self, generation: u64, local: &Local) -> bool {
        self.generation == generation && self.list.iter().all(|(member, seen)| member.epoch(local) == *seen)
    }
}
