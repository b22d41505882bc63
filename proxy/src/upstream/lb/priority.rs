//! How load splits over priorities and health tiers. Integer percentages with an overprovisioning factor, as Envoy
//! computes them (`LoadBalancerBase::recalculatePerPriorityState` and `recalculatePerPriorityPanic`).

/// How many, or how heavy, the hosts of one priority are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Healthy hosts.
    pub healthy: u64,
    /// Degraded hosts.
    pub degraded: u64,
    /// Hosts that availability is a share of: all but the excluded ones.
    pub total: u64,
}

/// The hosts of one priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Availability {
    /// Number of hosts: decides on panic.
    pub hosts: Amount,
    /// What load follows: the same, or the hosts' weight (`weighted_priority_health`).
    pub measure: Amount,
    /// Number of hosts with the excluded ones.
    pub all: u64,
    /// How much more than its share of healthy hosts it can bear, percent.
    pub overprovisioning: u32,
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
pub struct Split {
    /// Index of the level.
    pub level: usize,
    /// List within it.
    pub tier: Tier,
    /// Percent of all requests.
    pub percent: u32,
}

/// The split for these levels; empty when there is no host, or none is well and panic is off. `panic_threshold` is the
/// share of usable hosts, percent, below which all are used; 0 never.
pub fn split(levels: &[Availability], panic_threshold: u32) -> Vec<Split> {
    let available = |usable: fn(&Amount) -> u64| -> Vec<u32> {
        let percent = |level: &Availability| {
            let scaled = u64::from(level.overprovisioning).saturating_mul(usable(&level.measure));
            scaled.checked_div(level.measure.total).unwrap_or(0).min(100) as u32
        };
        levels.iter().map(percent).collect()
    };
    let (healthy, degraded) = (available(|amount| amount.healthy), available(|amount| amount.degraded));
    let normalized = healthy.iter().chain(&degraded).sum::<u32>().min(100);
    let panics = |level: &Availability| normalized < 100 && is_in_panic(&level.hosts, panic_threshold);
    if levels.iter().all(panics) {
        return by_host_count(levels);
    }
    let mut left = 100;
    let mut out = Vec::new();
    for (tier, available) in [(Tier::Healthy, &healthy), (Tier::Degraded, &degraded)] {
        for (level, percent) in available.iter().enumerate() {
            let percent = (percent * 100).checked_div(normalized).unwrap_or(0).min(left);
            left -= percent;
            if percent > 0 {
                let tier = if panics(&levels[level]) { Tier::All } else { tier };
                out.push(Split { level, tier, percent });
            }
        }
    }
    if let Some(first) = out.first_mut() {
        first.percent += left;
    }
    out
}

/// Whether less than `threshold` percent of these hosts are usable.
pub fn is_in_panic(hosts: &Amount, threshold: u32) -> bool {
    let usable = 100 * (hosts.healthy + hosts.degraded);
    if hosts.total == 0 { threshold > 0 } else { usable < u64::from(threshold) * hosts.total }
}

/// Every priority is in panic: load follows the number of hosts.
fn by_host_count(levels: &[Availability]) -> Vec<Split> {
    let total: u64 = levels.iter().map(|level| level.all).sum();
    let mut out: Vec<Split> = Vec::new();
    let mut left = 100;
    for (index, level) in levels.iter().enumerate().filter(|(_, level)| level.all > 0) {
        let percent = (level.all * 100 / total) as u32;
        left -= percent.min(left);
        out.push(Split { level: index, tier: Tier::All, percent });
    }
    if let Some(first) = out.first_mut() {
        first.percent += left;
    }
    out
}
