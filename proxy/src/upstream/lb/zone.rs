//! Zone-aware routing: as many requests as the own zone has capacity for stay in it, so that zones share the load
//! fairly. Source: Envoy's `ZoneAwareLoadBalancerBase`.

use std::sync::Arc;

use fastrand::Rng;

use super::Draw;
use super::lists::{Level, by_locality};
use super::notes::Note;
use super::picker::Picker;
use super::priority::{Amount, is_in_panic};
use super::world::World;
use crate::config::balance::{LocalityRouting, ZoneAware};
use crate::config::cluster::CoarseHealth;
use crate::config::{HostSet, Locality};

/// Where requests start: the own locality, and the hosts of the cluster this proxy belongs to.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Locality of this proxy.
    pub locality: Locality,
    /// This proxy and its like.
    pub hosts: Arc<HostSet>,
}

/// Parts of ten thousand.
const WHOLE: u64 = 10_000;

/// The zones of a priority.
#[derive(Debug)]
pub(super) struct Zones {
    settings: ZoneAware,
    routing: Routing,
    /// Whatever the zone.
    all: Picker,
    zones: Vec<Picker>,
}

#[derive(Debug, PartialEq, Eq)]
enum Routing {
    /// Everything stays in this zone.
    Direct(usize),
    /// This zone takes some parts of [`WHOLE`]; of the rest every zone what it has left, as running sums.
    Residual { own: Option<(usize, u64)>, capacity: Vec<u64> },
    /// The hosts of the own cluster are in panic: nothing is known about how load spreads.
    Panic,
}

impl Zones {
    /// Of the healthy hosts of priority 0. `None`: zones do not count.
    pub(super) fn new(world: &World<'_>, level: &Level, rng: &mut Rng) -> Option<Self> {
        let LocalityRouting::ZoneAware(settings) = world.settings.locality else { return None };
        let origin = world.origin?;
        world.note(Note::ZonesRecalculated);
        if by_locality(world, &level.all).len() < 2 {
            return None;
        }
        if origin.hosts.hosts.is_empty() {
            world.note(Note::LocalClusterNotOk);
            return None;
        }
        if (level.healthy.len() as u64) < settings.min_cluster_size {
            world.note(Note::ZoneClusterTooSmall);
            return None;
        }
        let upstream = by_locality(world, &level.healthy);
        let routing = routing(world, origin, &settings, &upstream);
        let zones = upstream.into_iter().map(|(_, list)| Picker::new(world, list, rng)).collect();
        Some(Self { settings, routing, all: Picker::new(world, level.healthy.clone(), rng), zones })
    }

    pub(super) fn pick(&mut self, draw: &mut Draw<'_>) -> Option<usize> {
        if self.settings.routing_enabled < 100 && draw.rng.u32(0..100) >= self.settings.routing_enabled {
            return self.all.pick(draw);
        }
        let zone = match &self.routing {
            Routing::Panic => {
                draw.notes.add(Note::LocalClusterNotOk);
                return if self.settings.fail_on_panic { None } else { self.all.pick(draw) };
            }
            Routing::Direct(zone) => {
                draw.notes.add(Note::ZoneAllDirectly);
                *zone
            }
            Routing::Residual { own: Some((zone, part)), .. } if draw.rng.u64(0..WHOLE) < *part => {
                draw.notes.add(Note::ZoneSampled);
                *zone
            }
            Routing::Residual { capacity, .. } => across(capacity, self.zones.len(), draw),
        };
        self.zones.get_mut(zone)?.pick(draw)
    }
}

/// A zone by what it has left.
fn across(capacity: &[u64], zones: usize, draw: &mut Draw<'_>) -> usize {
    draw.notes.add(Note::ZoneCross);
    match capacity.last() {
        Some(total @ 1..) => {
            let point = draw.rng.u64(0..*total);
            capacity.partition_point(|end| *end <= point)
        }
        // Rounding can leave nothing.
        _ => {
            draw.notes.add(Note::ZoneNoCapacityLeft);
            draw.rng.usize(0..zones.max(1))
        }
    }
}

/// Compares the zones' shares of the upstream's hosts with those of the own cluster's.
fn routing(
    world: &World<'_>,
    origin: &Origin,
    settings: &ZoneAware,
    upstream: &[(u32, Vec<u32>)],
) -> Routing {
    let healthy = |set: &HostSet, index: usize| {
        set.hosts.get(index).is_some_and(|host| host.coarse_health() == CoarseHealth::Healthy)
    };
    let local: Vec<usize> =
        (0..origin.hosts.hosts.len()).filter(|index| origin.hosts.hosts[*index].priority == 0).collect();
    if is_in_panic(&amount(&origin.hosts, &local), world.settings.panic_threshold) {
        return Routing::Panic;
    }
    let measure = |weight: u32| if settings.by_weight { u64::from(weight) } else { 1 };
    let local_size = |locality: Option<&Locality>| -> u64 {
        let hosts = local.iter().filter(|index| healthy(&origin.hosts, **index));
        let hosts = hosts.map(|index| &origin.hosts.hosts[*index]);
        let here = hosts.filter(|host| {
            locality.is_none() || origin.hosts.localities.get(host.locality as usize) == locality
        });
        here.map(|host| measure(host.weight)).sum()
    };
    let upstream_size =
        |list: &[u32]| -> u64 { list.iter().map(|index| measure(world.weight(*index))).sum() };
    let (local_total, upstream_total) =
        (local_size(None), upstream.iter().map(|(_, list)| upstream_size(list)).sum::<u64>());
    let part = |size: u64, total: u64| (WHOLE * size).checked_div(total).unwrap_or(0);
    let shares: Vec<(u64, u64)> = upstream
        .iter()
        .map(|(locality, list)| {
            let here = world.hosts.localities.get(*locality as usize);
            let local = here.map_or(0, |here| local_size(Some(here)));
            (part(local, local_total), part(upstream_size(list), upstream_total))
        })
        .collect();
    let own = upstream
        .iter()
        .position(|(locality, _)| world.hosts.localities.get(*locality as usize) == Some(&origin.locality));
    if let Some(zone) = own {
        let (local, upstream_share) = shares[zone];
        let forced = settings.force_local.is_some_and(|least| upstream[zone].1.len() as u64 >= least.into());
        if forced || (upstream_share > 0 && upstream_share >= local) {
            return Routing::Direct(zone);
        }
    }
    let mut sum = 0;
    let capacity = shares.iter().enumerate().map(|(zone, (local, upstream))| {
        // The own zone has taken what it can.
        sum += if Some(zone) == own { 0 } else { upstream.saturating_sub(*local) };
        sum
    });
    let capacity = capacity.collect();
    let own = own.map(|zone| (zone, part(shares[zone].1, shares[zone].0)));
    Routing::Residual { own, capacity }
}

fn amount(hosts: &HostSet, indexes: &[usize]) -> Amount {
    let mut amount = Amount::default();
    for host in indexes.iter().filter_map(|index| hosts.hosts.get(*index)) {
        match host.coarse_health() {
            CoarseHealth::Healthy => amount.healthy += 1,
            CoarseHealth::Degraded => amount.degraded += 1,
            CoarseHealth::Unhealthy => {}
        }
        amount.total += u64::from(!host.is_excluded());
    }
    amount
}
