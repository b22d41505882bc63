//! What balancing did that statistics count.

use crate::stats::registry::Shard;
use crate::stats::scope::ClusterStats;

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A pick among all hosts, because too few are healthy.
    Panic,
    /// Zones were compared anew.
    ZonesRecalculated,
    /// The own cluster has no host, or too few healthy ones.
    LocalClusterNotOk,
    /// Too few healthy hosts to care about zones.
    ZoneClusterTooSmall,
    /// A request stayed in its zone, like all of them.
    ZoneAllDirectly,
    /// A request stayed in its zone, unlike others.
    ZoneSampled,
    /// A request left its zone.
    ZoneCross,
    /// No zone had anything left.
    ZoneNoCapacityLeft,
    /// A subset was selected.
    SubsetSelected,
    /// None was: the fallback was used.
    SubsetFallback,
    /// Not even that had a host: any host was used.
    SubsetFallbackPanic,
}

/// A set of notes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes(u16);

impl Notes {
    /// Adds one.
    #[inline]
    pub fn add(&mut self, note: Note) {
        self.0 |= 1 << note as u16;
    }

    /// Whether it is there.
    pub fn has(self, note: Note) -> bool {
        self.0 & (1 << note as u16) != 0
    }

    /// Counts what there is.
    #[inline]
    pub fn count(self, stats: &ClusterStats, shard: &Shard) {
        if self.0 != 0 {
            self.count_each(stats, shard);
        }
    }

    #[cold]
    fn count_each(self, stats: &ClusterStats, shard: &Shard) {
        let counters = [
            (Note::Panic, stats.lb_healthy_panic),
            (Note::ZonesRecalculated, stats.lb_recalculate_zone_structures),
            (Note::LocalClusterNotOk, stats.lb_local_cluster_not_ok),
            (Note::ZoneClusterTooSmall, stats.lb_zone_cluster_too_small),
            (Note::ZoneAllDirectly, stats.lb_zone_routing_all_directly),
            (Note::ZoneSampled, stats.lb_zone_routing_sampled),
            (Note::ZoneCross, stats.lb_zone_routing_cross_zone),
            (Note::ZoneNoCapacityLeft, stats.lb_zone_no_capacity_left),
            (Note::SubsetSelected, stats.lb_subsets_selected),
            (Note::SubsetFallback, stats.lb_subsets_fallback),
            (Note::SubsetFallbackPanic, stats.lb_subsets_fallback_panic),
        ];
        for (note, counter) in counters {
            if self.has(note) {
                shard.inc(counter);
            }
        }
    }
}
