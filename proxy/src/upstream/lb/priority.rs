//! How load splits over priorities and health tiers. Integer percentages with an overprovisioning factor
//! of 1.4, as Envoy computes them.

/// Overprovisioning factor, percent.
const OVERPROVISIONING: usize = 140;

/// Host counts of one priority.
#[derive(Clone, Copy, Debug, Default)]
pub struct Availability {
    /// Healthy hosts.
    pub healthy: usize,
    /// Degraded hosts.
    pub degraded: usize,
    /// Hosts that availability is a share of.
    pub total: usize,
    /// Those and the excluded ones.
    pub all: usize,
}

/// Which list of a priority is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Healthy hosts.
    Healthy,
    /// Degraded hosts.
    Degraded,
    /// Every host: panic.
    All,
}

/// A part of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Priority level.
    pub priority: usize,
    /// List within it.
    pub tier: Tier,
    /// Percent of all requests.
    pub percent: u32,
}

/// The split for these levels; empty when there is no host, or none is well and panic (threshold 0) is off. `panic_threshold` in percent.
pub fn shares(levels: &[Availability], panic_threshold: u32) -> Vec<Share> {
    let health: Vec<u32> = levels.iter().map(|level| availability(level.healthy, level.total)).collect();
    let degraded: Vec<u32> = levels.iter().map(|level| availability(level.degraded, level.total)).collect();
    let normalized: u32 = health.iter().chain(&degraded).sum::<u32>().min(100);
    if normalized == 0 {
        // Without panic nobody is used who is not well.
        return if panic_threshold == 0 { Vec::new() } else { by_host_count(levels) };
    }
    let mut left = 100;
    let mut out = Vec::new();
    for (tier, available) in [(Tier::Healthy, &health), (Tier::Degraded, &degraded)] {
        for (priority, percent) in available.iter().enumerate() {
            let percent = (percent * 100 / normalized).min(left);
            left -= percent;
            if percent > 0 {
                out.push(Share { priority, tier, percent });
            }
        }
    }
    if let Some(first) = out.first_mut() {
        first.percent += left;
    }
    if normalized < 100 {
        apply_panic(&mut out, levels, panic_threshold);
    }
    out
}

fn availability(usable: usize, total: usize) -> u32 {
    (OVERPROVISIONING * usable).checked_div(total).unwrap_or(0).min(100) as u32
}

/// Priorities whose usable share is below the threshold use all their hosts.
fn apply_panic(shares: &mut [Share], levels: &[Availability], threshold: u32) {
    for share in shares {
        let Some(level) = levels.get(share.priority) else { continue };
        let usable = 100 * (level.healthy + level.degraded);
        if usable < threshold as usize * level.total {
            share.tier = Tier::All;
        }
    }
}

/// Nothing is healthy anywhere: every priority panics and takes load by its host count.
fn by_host_count(levels: &[Availability]) -> Vec<Share> {
    let total: usize = levels.iter().map(|level| level.all).sum();
    let mut out: Vec<Share> = Vec::new();
    let mut left = 100;
    for (priority, level) in levels.iter().enumerate().filter(|(_, level)| level.all > 0) {
        let percent = ((level.all * 100 / total) as u32).min(left);
        left -= percent;
        out.push(Share { priority, tier: Tier::All, percent });
    }
    if let Some(first) = out.first_mut() {
        first.percent += left;
    }
    out
}
