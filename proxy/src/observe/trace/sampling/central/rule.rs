//! One rule at work. Workers count into stripes of their own, so that no number is bounced between cores.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use fastrand::Rng;

use super::Now;
use super::wire::{BoostCounts, Counts, SamplingRule, Statistics, Target};
use crate::observe::trace::sampling::reservoir::Reservoir;
use crate::observe::trace::sampling::{Memory, Request, glob};

/// More workers than this share stripes.
const STRIPES: usize = 16;
/// Seconds between two reports of a rule unless the service says otherwise.
const INTERVAL: u32 = 10;
/// No quota was ever given.
const NO_QUOTA: u64 = u64::MAX;

/// A rule, and what stays when it is changed.
#[derive(Debug)]
pub(super) struct RuleState {
    rule: SamplingRule,
    live: Arc<Live>,
}

/// What belongs to a rule's name.
#[derive(Debug)]
pub(super) struct Live {
    /// Of workers' memories.
    slot: usize,
    stripes: [Stripe; STRIPES],
    /// What was taken of the quota.
    reservoir: Reservoir,
    /// What was borrowed: one in a second.
    credit: Reservoir,
    /// `quota << 32 | expires`, or [`NO_QUOTA`].
    quota: AtomicU64,
    /// Bits of the share that the service has told; NaN before.
    rate: AtomicU64,
    /// Bits of the raised share, and the second of its end.
    boost: AtomicU64,
    boost_ends: AtomicU32,
    /// Second of the next report.
    due: AtomicU32,
    interval: AtomicU32,
}

/// Counts of some workers, on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe {
    requests: AtomicU64,
    sampled: AtomicU64,
    borrowed: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    failed_sampled: AtomicU64,
}

impl Live {
    fn new(slot: usize) -> Self {
        Self {
            slot,
            stripes: Default::default(),
            reservoir: Reservoir::default(),
            credit: Reservoir::default(),
            quota: AtomicU64::new(NO_QUOTA),
            rate: AtomicU64::new(f64::NAN.to_bits()),
            boost: AtomicU64::new(0),
            boost_ends: AtomicU32::new(0),
            due: AtomicU32::new(0),
            interval: AtomicU32::new(INTERVAL),
        }
    }

    fn take(&self, counter: impl Fn(&Stripe) -> &AtomicU64) -> u64 {
        self.stripes.iter().map(|stripe| counter(stripe).swap(0, Ordering::Relaxed)).sum()
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl RuleState {
    /// A rule; `live` is what its name had before.
    pub(super) fn new(rule: SamplingRule, live: Option<Arc<Live>>, slot: impl FnOnce() -> usize) -> Self {
        Self { rule, live: live.unwrap_or_else(|| Arc::new(Live::new(slot()))) }
    }

    pub(super) fn name(&self) -> &str {
        &self.rule.rule_name
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// What the rule's name has for as long as the process lives.
    pub(super) fn slot(&self) -> usize {
        self.live.slot
    }

    pub(super) fn has_boost(&self) -> bool {
        self.rule.sampling_rate_boost.is_some()
    }

    /// What is empty matches everything.
    pub(super) fn matches(&self, request: &Request<'_>) -> bool {
        let holds = |pattern: &str, text: &[u8]| text.is_empty() || glob::matches(pattern.as_bytes(), text);
        holds(&self.rule.host, request.host)
            && holds(&self.rule.http_method, request.method)
            && holds(&self.rule.url_path, request.path())
    }

    /// A quota comes first, else credit, then the share.
    pub(super) fn decide(&self, second: u32, memory: &mut Memory, random: &mut Rng) -> bool {
        let live = &*self.live;
        let stripe = &live.stripes[memory.worker % STRIPES];
        add(&stripe.requests, 1);
        let quota = live.quota.load(Ordering::Relaxed);
        let expires = quota as u32;
        if quota != NO_QUOTA && second <= expires {
            if live.reservoir.take((quota >> 32) as u32, second, memory.of(2 * live.slot)) {
                add(&stripe.sampled, 1);
                return true;
            }
        } else if self.rule.reservoir_size > 0 && live.credit.take(1, second, memory.of(2 * live.slot + 1)) {
            add(&stripe.borrowed, 1);
            return true;
        }
        let hit = random.f64() < self.share(second);
        if hit {
            add(&stripe.sampled, 1);
        }
        hit
    }

    fn share(&self, second: u32) -> f64 {
        let told = f64::from_bits(self.live.rate.load(Ordering::Relaxed));
        let share = if told.is_nan() { self.rule.fixed_rate } else { told };
        match &self.rule.sampling_rate_boost {
            Some(limit) if second < self.live.boost_ends.load(Ordering::Relaxed) => {
                let boost = f64::from_bits(self.live.boost.load(Ordering::Relaxed));
                share.max(boost.min(limit.max_rate))
            }
            _ => share,
        }
    }

    pub(super) fn ended(&self, failed: bool, sampled: bool, memory: &Memory) {
        if self.has_boost() {
            let stripe = &self.live.stripes[memory.worker % STRIPES];
            add(&stripe.ended, 1);
            add(&stripe.failed, failed.into());
            add(&stripe.failed_sampled, (failed && sampled).into());
        }
    }

    /// Counts since the last report, when there are any and it is time.
    pub(super) fn report(&self, client: &str, service: &str, now: Now) -> Option<Statistics> {
        let live = &self.live;
        let seen: u64 = live.stripes.iter().map(|stripe| stripe.requests.load(Ordering::Relaxed)).sum();
        if seen == 0 || now.second < live.due.load(Ordering::Relaxed) {
            return None;
        }
        let timestamp = now.wall as u64;
        let counts = Counts {
            rule_name: self.rule.rule_name.clone(),
            client_id: client.to_owned(),
            timestamp,
            request_count: live.take(|stripe| &stripe.requests),
            sampled_count: live.take(|stripe| &stripe.sampled),
            borrow_count: live.take(|stripe| &stripe.borrowed),
        };
        let boost = self.has_boost().then(|| BoostCounts {
            rule_name: self.rule.rule_name.clone(),
            service_name: service.to_owned(),
            timestamp,
            anomaly_count: live.take(|stripe| &stripe.failed),
            total_count: live.take(|stripe| &stripe.ended),
            sampled_anomaly_count: live.take(|stripe| &stripe.failed_sampled),
        });
        let next = now.second.saturating_add(live.interval.load(Ordering::Relaxed));
        live.due.store(next, Ordering::Relaxed);
        Some(Statistics { counts, boost })
    }

    /// A report did not arrive: its counts come with the next.
    pub(super) fn take_back(&self, statistics: &Statistics) {
        let stripe = &self.live.stripes[0];
        add(&stripe.requests, statistics.counts.request_count);
        add(&stripe.sampled, statistics.counts.sampled_count);
        add(&stripe.borrowed, statistics.counts.borrow_count);
        if let Some(boost) = &statistics.boost {
            add(&stripe.failed, boost.anomaly_count);
            add(&stripe.ended, boost.total_count);
            add(&stripe.failed_sampled, boost.sampled_anomaly_count);
        }
        self.live.due.store(0, Ordering::Relaxed);
    }

    /// What is missing stays as it was.
    pub(super) fn apply(&self, target: &Target, now: Now) {
        let live = &self.live;
        if let Some(rate) = target.fixed_rate.filter(|rate| (0.0..=1.0).contains(rate)) {
            live.rate.store(rate.to_bits(), Ordering::Relaxed);
        }
        if let (Some(quota), Some(until)) = (target.reservoir_quota, target.reservoir_quota_ttl) {
            let expires = now.second_of(until);
            live.quota.store(u64::from(quota) << 32 | u64::from(expires), Ordering::Relaxed);
        }
        if let Some(interval) = target.interval.filter(|interval| *interval > 0) {
            live.interval.store(interval, Ordering::Relaxed);
        }
        if let Some(boost) = &target.sampling_boost {
            live.boost.store(boost.boost_rate.to_bits(), Ordering::Relaxed);
            live.boost_ends.store(now.second_of(boost.boost_rate_ttl), Ordering::Relaxed);
        }
    }
}
