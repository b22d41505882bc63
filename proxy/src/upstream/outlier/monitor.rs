//! The state machine of one cluster. The clock, chance and statistics are arguments.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;

use super::event::{self, Action, Rates};
use super::rates::{Sample, by_failures, by_success_rate};
use crate::config::live::{Health, Requests};
use crate::config::outlier::{Cause, Consecutive, Outlier};
use crate::config::{Host, HostSet};
use crate::observe::access_log::sink::Lines;
use crate::stats::registry::{Counter, SharedShard};

/// What a step works with.
pub(super) struct Scene<'a> {
    pub(super) now: Instant,
    /// Where events are told.
    pub(super) log: Option<&'a Lines>,
    pub(super) shard: &'a SharedShard,
    pub(super) rng: &'a mut Rng,
}

/// One cluster with outlier detection.
#[derive(Debug)]
pub(super) struct Monitor {
    cluster: Box<str>,
    outlier: Arc<Outlier>,
    /// By uid.
    hosts: HashMap<u64, Watched>,
    due: Instant,
}

#[derive(Debug)]
struct Watched {
    host: Arc<Host>,
    /// Since when, and the jitter of its end.
    ejected: Option<(Instant, Duration)>,
    /// Ejections in a row; falls by one with every interval that it is not ejected.
    backoff: u32,
    /// Since when it is degraded by its own word, and how often that was of late.
    degraded: Option<Instant>,
    degradations: u32,
    /// Ejections ever.
    ejections: u32,
    /// When the last ejection began, and when the last one ended.
    last: [Option<Instant>; 2],
}

impl Monitor {
    /// Watches the hosts of a cluster.
    pub(super) fn new(cluster: &str, hosts: &HostSet, outlier: &Arc<Outlier>, scene: &Scene<'_>) -> Self {
        let mut monitor = Self {
            cluster: cluster.into(),
            outlier: outlier.clone(),
            hosts: HashMap::new(),
            due: scene.now + outlier.interval,
        };
        monitor.adopt(hosts, outlier, scene);
        monitor
    }

    /// When [`Monitor::sweep`] is to be called.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// The cluster was updated: hosts that stay keep their state.
    pub(super) fn adopt(&mut self, hosts: &HostSet, outlier: &Arc<Outlier>, scene: &Scene<'_>) {
        self.outlier = outlier.clone();
        self.due = self.due.min(scene.now + outlier.interval);
        let mut before = std::mem::take(&mut self.hosts);
        for host in &hosts.hosts {
            let known = before.remove(&host.uid).map(|known| Watched { host: host.clone(), ..known });
            let fresh = || Watched::of(host.clone());
            self.hosts.insert(host.uid, known.unwrap_or_else(fresh));
        }
        self.tell_active(scene);
    }

    /// Ejects hosts that had enough failures in a row, and degrades those that ask for it.
    pub(super) fn reached(&mut self, scene: &mut Scene<'_>) {
        for watched in self.hosts.values_mut() {
            if watched.host.live.outlier.take_degraded() && watched.degraded.is_none() {
                scene.shard.inc(self.outlier.stats.ejections_detected_degradation);
                watched.degrade(&self.cluster, &self.outlier, scene.now);
            }
        }
        let reached: Vec<(u64, Consecutive)> = self
            .hosts
            .iter()
            .flat_map(|(uid, watched)| watched.host.live.outlier.take_reached().map(|kind| (*uid, kind)))
            .collect();
        for (uid, kind) in reached {
            let Some(watched) = self.hosts.get(&uid) else { continue };
            // Failures of requests that were under way when the host was ejected say nothing new.
            if watched.host.live.health.has(Health::FAILED_OUTLIER) {
                continue;
            }
            // The next row starts here, whether this one ejects or not.
            watched.host.live.outlier.reset(kind);
            if kind == Consecutive::ServerErrors {
                scene.shard.inc(self.outlier.stats.ejections_consecutive_5xx);
            }
            self.detected(uid, kind.cause(), scene);
        }
    }

    /// The end of an interval: takes hosts back whose time is over, then looks for outliers among the others.
    pub(super) fn sweep(&mut self, scene: &mut Scene<'_>) {
        self.due = scene.now + self.outlier.interval;
        for watched in self.hosts.values_mut() {
            watched.take_back(&self.cluster, &self.outlier, scene);
            watched.restore(&self.outlier, scene.now);
        }
        self.tell_active(scene);
        let external = self.samples(|host| &host.live.outlier.external);
        self.judge(&external, 0, [Cause::SuccessRate, Cause::FailurePercentage], scene);
        let local = self.samples(|host| &host.live.outlier.local);
        let causes = [Cause::SuccessRateLocalOrigin, Cause::FailurePercentageLocalOrigin];
        self.judge(&local, 1, causes, scene);
    }

    /// Detection is over: nothing stays ejected.
    pub(super) fn end(mut self, scene: &Scene<'_>) {
        self.hosts.values_mut().filter(|watched| watched.ejected.is_some()).for_each(Watched::release);
        for watched in self.hosts.values() {
            watched.host.live.health.clear(Health::DEGRADED_OUTLIER);
        }
        self.tell_active(scene);
    }

    /// The interval of every host that is not ejected. Starts the next one for all of them.
    fn samples(&self, of: impl Fn(&Host) -> &Requests) -> Vec<Sample> {
        let volume = self.outlier.success_rate.requests.min(self.outlier.failure_percentage.requests);
        let mut samples = Vec::new();
        for (uid, watched) in &self.hosts {
            let requests = of(&watched.host);
            let taken = requests.take().filter(|_| watched.ejected.is_none());
            let told = taken.filter(|(count, _)| *count >= u64::from(volume));
            requests.set_rate(told.map(|(_, rate)| rate));
            samples.extend(taken.map(|(requests, rate)| Sample { host: *uid, requests, rate }));
        }
        samples
    }

    fn judge(
        &mut self,
        samples: &[Sample],
        origin: usize,
        [rate, percentage]: [Cause; 2],
        scene: &mut Scene<'_>,
    ) {
        let outlier = self.outlier.clone();
        let verdict = by_success_rate(samples, outlier.success_rate, outlier.success_rate_stdev_factor);
        let (mean, threshold) = verdict.as_ref().map_or((-1.0, -1.0), |found| (found.mean, found.threshold));
        outlier.found[origin].set(mean, threshold);
        for uid in verdict.into_iter().flat_map(|verdict| verdict.hosts) {
            scene.shard.inc(outlier.stats.ejections_success_rate);
            self.detected(uid, rate, scene);
        }
        let threshold = outlier.failure_percentage_threshold;
        for uid in by_failures(samples, outlier.failure_percentage, threshold) {
            if self.hosts.get(&uid).is_some_and(|watched| watched.ejected.is_none()) {
                self.detected(uid, percentage, scene);
            }
        }
    }

    /// A detector fired: the host is ejected if the share of ejected hosts and chance allow it.
    fn detected(&mut self, uid: u64, cause: Cause, scene: &mut Scene<'_>) {
        let (active, total, outlier) = (self.active(), self.hosts.len(), self.outlier.clone());
        let stats = &outlier.stats;
        scene.shard.inc(outlier.detections(cause)[0]);
        let share = 100.0 * (active + 1) as f64 / total as f64;
        let first = outlier.always_eject_one_host && active == 0;
        if share > f64::from(outlier.max_ejection_percent) && !first {
            return scene.shard.inc(stats.ejections_overflow);
        }
        if matches!(cause, Cause::Consecutive5xx | Cause::SuccessRate) {
            scene.shard.inc(stats.ejections_total);
        }
        let enforced = scene.rng.u32(0..100) < outlier.enforcing[cause as usize];
        let Some(watched) = self.hosts.get_mut(&uid) else { return };
        let (cluster, host) = (&self.cluster, &watched.host.display);
        let cause_name = cause.name();
        tracing::info!("cluster {cluster:?}: host {host} is an outlier: {cause_name}, ejected: {enforced}");
        if enforced {
            watched.eject(&outlier, scene);
            scene.shard.inc(outlier.detections(cause)[1]);
            scene.shard.inc(stats.ejections_enforced_total);
        }
        let action = Action::Eject { cause, enforced, rates: outlier.rates(cause, &watched.host) };
        watched.log(&self.cluster, action, scene);
        if enforced {
            self.tell_active(scene);
        }
    }

    fn active(&self) -> usize {
        self.hosts.values().filter(|watched| watched.ejected.is_some()).count()
    }

    fn tell_active(&self, scene: &Scene<'_>) {
        scene.shard.gauge_set(self.outlier.stats.ejections_active, self.active() as i64);
    }
}

impl Watched {
    fn of(host: Arc<Host>) -> Self {
        Self {
            host,
            ejected: None,
            backoff: 0,
            degraded: None,
            degradations: 0,
            ejections: 0,
            last: [None; 2],
        }
    }

    /// Tells an event in the event log.
    fn log(&self, cluster: &str, action: Action, scene: &Scene<'_>) {
        let Some(log) = scene.log else { return };
        let [ejected, returned] = self.last;
        let last = if action == Action::Uneject { ejected } else { returned };
        let since = last.map(|last| scene.now.saturating_duration_since(last));
        log.write(&event::line(cluster, &self.host, action, self.ejections, since, SystemTime::now()));
    }

    fn eject(&mut self, outlier: &Outlier, scene: &mut Scene<'_>) {
        let jitter = scene.rng.u128(0..=outlier.max_ejection_time_jitter.as_millis()) as u64;
        self.ejected = Some((scene.now, Duration::from_millis(jitter)));
        self.ejections = self.ejections.saturating_add(1);
        self.last[0] = Some(scene.now);
        let (base, max) = (outlier.base_ejection_time, outlier.max_ejection_time);
        // Bounded, so that a host that recovers is forgiven in bounded time.
        if base.saturating_mul(self.backoff) < max.saturating_add(base) {
            self.backoff += 1;
        }
        self.host.live.health.set(Health::FAILED_OUTLIER);
    }

    /// One interval passed.
    fn take_back(&mut self, cluster: &str, outlier: &Outlier, scene: &Scene<'_>) {
        let Some((since, jitter)) = self.ejected else {
            self.backoff = self.backoff.saturating_sub(1);
            return;
        };
        let time = outlier.base_ejection_time.saturating_mul(self.backoff).min(outlier.max_ejection_time);
        let over = scene.now.saturating_duration_since(since) >= time.saturating_add(jitter);
        // A check that passed may have cleared the flag already.
        if over || !self.host.live.health.has(Health::FAILED_OUTLIER) {
            tracing::info!("cluster {cluster:?}: host {} is taken back", self.host.display);
            self.release();
            self.last[1] = Some(scene.now);
            self.log(cluster, Action::Uneject, scene);
        }
    }

    /// It says that it is degraded: other hosts come first for a while.
    fn degrade(&mut self, cluster: &str, outlier: &Outlier, now: Instant) {
        tracing::info!("cluster {cluster:?}: host {} says it is degraded", self.host.display);
        self.degraded = Some(now);
        let (base, max) = (outlier.base_ejection_time, outlier.max_ejection_time);
        if base.saturating_mul(self.degradations) < max.saturating_add(base) {
            self.degradations += 1;
        }
        self.host.live.health.set(Health::DEGRADED_OUTLIER);
    }

    /// One interval passed: it may be as good as the others again.
    fn restore(&mut self, outlier: &Outlier, now: Instant) {
        let Some(since) = self.degraded else {
            self.degradations = self.degradations.saturating_sub(1);
            return;
        };
        let time =
            outlier.base_ejection_time.saturating_mul(self.degradations).min(outlier.max_ejection_time);
        if now.saturating_duration_since(since) >= time {
            self.degraded = None;
            self.host.live.health.clear(Health::DEGRADED_OUTLIER);
        }
    }

    fn release(&mut self) {
        self.ejected = None;
        // Or few new failures would eject it again.
        Consecutive::ALL.into_iter().for_each(|kind| self.host.live.outlier.reset(kind));
        self.host.live.health.clear(Health::FAILED_OUTLIER);
    }
}

impl Outlier {
    /// The success rates that a detector went by.
    fn rates(&self, cause: Cause, host: &Host) -> Rates {
        let local = matches!(cause, Cause::SuccessRateLocalOrigin | Cause::FailurePercentageLocalOrigin);
        let cells = &host.live.outlier;
        let requests = if local { &cells.local } else { &cells.external };
        let [mean, threshold] = self.found[usize::from(local)].rates();
        Rates { host: requests.rate().unwrap_or_default(), mean, threshold }
    }

    /// Counters of detections and ejections for this cause.
    fn detections(&self, cause: Cause) -> [Counter; 2] {
        let stats = &self.stats;
        match cause {
            Cause::Consecutive5xx => {
                [stats.ejections_detected_consecutive_5xx, stats.ejections_enforced_consecutive_5xx]
            }
            Cause::ConsecutiveGatewayFailure => [
                stats.ejections_detected_consecutive_gateway_failure,
                stats.ejections_enforced_consecutive_gateway_failure,
            ],
            Cause::SuccessRate => {
                [stats.ejections_detected_success_rate, stats.ejections_enforced_success_rate]
            }
            Cause::ConsecutiveLocalOriginFailure => [
                stats.ejections_detected_consecutive_local_origin_failure,
                stats.ejections_enforced_consecutive_local_origin_failure,
            ],
            Cause::SuccessRateLocalOrigin => [
                stats.ejections_detected_local_origin_success_rate,
                stats.ejections_enforced_local_origin_success_rate,
            ],
            Cause::FailurePercentage => {
                [stats.ejections_detected_failure_percentage, stats.ejections_enforced_failure_percentage]
            }
            Cause::FailurePercentageLocalOrigin => [
                stats.ejections_detected_local_origin_failure_percentage,
                stats.ejections_enforced_local_origin_failure_percentage,
            ],
        }
    }
}
