//! Latency-aware balancing: of two random hosts the one whose mean latency times its active requests is less.
//! Source: Envoy's contrib extension `peak_ewma`; the mean is Finagle's, which follows peaks at once.

use std::time::{Duration, Instant};

use super::Draw;
use super::picker::active;
use crate::config::balance::{LbPolicy, PeakEwma};
use crate::config::{Cluster, Host, HostSet};

/// Takes the time between a request and the head of its response into account, where the cluster's policy does.
#[inline]
pub fn observe(cluster: &Cluster, host: &Host, latency: Duration, now: Instant) {
    if let LbPolicy::PeakEwma(PeakEwma { decay, .. }) = cluster.balancing.policy {
        host.live.latency.observe(latency, host.live.health.time(now), decay);
    }
}

/// One of the list.
pub(super) fn pick(list: &[u32], settings: &PeakEwma, draw: &mut Draw<'_>) -> Option<usize> {
    let [_, _, ..] = list else { return list.first().map(|index| *index as usize) };
    let one = draw.rng.usize(0..list.len());
    let other = draw.rng.usize(0..list.len() - 1);
    let (one, other) = (*list.get(one)?, *list.get(other + usize::from(other >= one))?);
    let now = (draw.now)();
    let [of_one, of_other] = [one, other].map(|index| cost(draw.hosts, index, settings, now));
    Some(if of_other < of_one { other } else { one } as usize)
}

/// Milliseconds that a request may take there, for a host of weight 1.
fn cost(hosts: &HostSet, index: u32, settings: &PeakEwma, now: Instant) -> f64 {
    let Some(host) = hosts.hosts.get(index as usize) else { return f64::MAX };
    let active = active(hosts, index) as f64;
    let cost = match host.live.latency.mean(host.live.health.time(now), settings.decay) {
        Some(mean) => mean * (active + 1.0),
        None if active > 0.0 => settings.penalty + active,
        None => settings.default_latency.as_secs_f64() * 1000.0,
    };
    cost / f64::from(host.weight)
}
