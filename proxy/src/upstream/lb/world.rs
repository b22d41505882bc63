//! What lists are built from: hosts with their health, settings, and where requests start.

use std::cell::Cell;
use std::time::Instant;

use super::lists::Level;
use super::notes::{Note, Notes};
use super::zone::Origin;
use crate::config::HostSet;
use crate::config::balance::{Balancing, SlowStart};
use crate::config::cluster::CoarseHealth;
use crate::config::subset::Subsets;

/// A view for one build.
pub(super) struct World<'a> {
    pub(super) hosts: &'a HostSet,
    /// By host index.
    pub(super) health: &'a [CoarseHealth],
    pub(super) settings: &'a Balancing,
    pub(super) origin: Option<&'a Origin>,
    pub(super) now: Instant,
    /// Localities' weights hold here: not in every subset.
    pub(super) uses_locality_weights: bool,
    scales_locality_weights: bool,
    notes: Cell<Notes>,
}

impl<'a> World<'a> {
    /// Of a whole cluster.
    pub(super) fn new(
        settings: &'a Balancing,
        hosts: &'a HostSet,
        health: &'a [CoarseHealth],
        origin: Option<&'a Origin>,
        now: Instant,
    ) -> Self {
        Self {
            hosts,
            health,
            settings,
            origin,
            now,
            uses_locality_weights: true,
            scales_locality_weights: false,
            notes: Cell::default(),
        }
    }

    /// Of its subsets, at another time.
    pub(super) fn of_subsets(&self, subsets: &Subsets, now: Instant) -> Self {
        Self {
            uses_locality_weights: subsets.locality_weight_aware,
            scales_locality_weights: subsets.scale_locality_weight,
            ..Self::new(self.settings, self.hosts, self.health, self.origin, now)
        }
    }

    /// The weight of a host.
    pub(super) fn weight(&self, index: u32) -> u32 {
        self.hosts.hosts.get(index as usize).map_or(1, |host| host.weight)
    }

    /// The locality of a host.
    pub(super) fn locality(&self, index: u32) -> u32 {
        self.hosts.hosts.get(index as usize).map_or(0, |host| host.locality)
    }

    /// How much of the weight of a locality counts: in subsets that scale it, the share of its hosts that are here.
    pub(super) fn part_of_locality(&self, priority: u32, locality: u32, level: &Level) -> f64 {
        if !self.scales_locality_weights {
            return 1.0;
        }
        let all = self.hosts.hosts.iter();
        let all = all.filter(|host| (host.priority, host.locality) == (priority, locality)).count();
        let here = level.all.iter().filter(|index| self.locality(**index) == locality).count();
        here as f64 / all.max(1) as f64
    }

    /// Slow start, while one of these hosts is in it.
    pub(super) fn slow_start(&self, list: &[u32]) -> Option<SlowStart> {
        let slow = self.settings.slow_start?;
        list.iter().any(|index| self.settles(*index, &slow).is_some()).then_some(slow)
    }

    /// When the last healthy host leaves its slow start.
    pub(super) fn settled(&self) -> Option<Instant> {
        let slow = self.settings.slow_start?;
        (0..self.hosts.hosts.len() as u32).filter_map(|index| self.settles(index, &slow)).max()
    }

    /// When a host leaves its slow start; `None` unless it is in it.
    fn settles(&self, index: u32, slow: &SlowStart) -> Option<Instant> {
        let host = self.hosts.hosts.get(index as usize)?;
        let is_healthy = self.health.get(index as usize) == Some(&CoarseHealth::Healthy);
        let settled = host.live.health.healthy_since().checked_add(slow.window)?;
        (is_healthy && settled > self.now).then_some(settled)
    }

    /// Notes what statistics count.
    pub(super) fn note(&self, note: Note) {
        let mut notes = self.notes.get();
        notes.add(note);
        self.notes.set(notes);
    }

    /// What was noted.
    pub(super) fn notes(&self) -> Notes {
        self.notes.get()
    }
}
