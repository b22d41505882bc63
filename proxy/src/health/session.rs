//! One host under check: ask, judge, tell, wait, again.

use std::sync::Arc;
use std::time::Duration;

use super::Group;
use super::event;
use super::probe::{Probe, Target};
use super::state::{self, Event, Failure, OWN, Outcome, State, Thresholds, Transition, Verdict};
use crate::config::Host;
use crate::config::health::HealthCheck;
use crate::config::live::Health;

/// The check of one host.
pub(super) struct Session {
    group: Arc<Group>,
    host: Arc<Host>,
    random: fastrand::Rng,
}

/// Nothing checks this host any more: what checks said of it does not hold.
pub(super) fn forget(host: &Host) {
    host.live.health.clear(OWN);
}

impl Session {
    pub(super) fn new(group: Arc<Group>, host: Arc<Host>) -> Self {
        Self { group, host, random: fastrand::Rng::new() }
    }

    /// Checks until dropped.
    pub(super) async fn run(mut self) {
        let group = self.group.clone();
        let Some(check) = &group.cluster.health_check else { return };
        let thresholds =
            Thresholds { healthy: check.healthy_threshold, unhealthy: check.unhealthy_threshold };
        let mut state = State::new(thresholds);
        let mut probe = Probe::new(check);
        let target = Target::new(&group.cluster, check, &self.host, &group.registry);
        tokio::time::sleep(state::up_to(check.initial_jitter, |below| self.random.u64(..below))).await;
        loop {
            let asking = self.ask(check, &mut probe, &target);
            let outcome = self.unless_it_leaves(check, &mut state, asking).await;
            let verdict = self.judge(check, &mut state, outcome);
            let passed = matches!(outcome, Outcome::Passed { .. });
            if passed {
                self.take_back();
            }
            let pause = self.pause(check, passed, verdict.transition);
            self.unless_it_leaves(check, &mut state, tokio::time::sleep(pause)).await;
        }
    }

    /// Does what has to be done; a host that asks to be left out meanwhile is left out meanwhile.
    async fn unless_it_leaves<T>(
        &self,
        check: &HealthCheck,
        state: &mut State,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.host.live.health.asked_to_leave() => drop(self.judge(check, state, Outcome::LEAVING)),
            }
        }
    }

    fn judge(&self, check: &HealthCheck, state: &mut State, outcome: Outcome) -> Verdict {
        let verdict = state.judge(outcome, self.host.live.health.flags());
        self.count(check, outcome);
        self.tell(check, &verdict.events);
        self.settle(verdict.flags);
        verdict
    }

    async fn ask(&self, check: &HealthCheck, probe: &mut Probe, target: &Target) -> Outcome {
        self.group.registry.shared().inc(check.stats.attempt);
        let answer = tokio::time::timeout(check.timeout, probe.ask(check, target)).await;
        if answer.is_err() || !check.reuse_connection {
            probe.close();
        }
        answer.unwrap_or(Outcome::TIMEOUT)
    }

    fn count(&self, check: &HealthCheck, outcome: Outcome) {
        let shard = self.group.registry.shared();
        match outcome {
            Outcome::Passed { .. } => shard.inc(check.stats.success),
            Outcome::Failed { failure, .. } => {
                shard.inc(check.stats.failure);
                match failure {
                    Failure::Active => {}
                    Failure::Passive => shard.inc(check.stats.passive_failure),
                    Failure::Network | Failure::NetworkTimeout => shard.inc(check.stats.network_failure),
                }
            }
        }
    }

    fn tell(&self, check: &HealthCheck, events: &[Event]) {
        let (cluster, host) = (&self.group.cluster.name, &self.host.display);
        for event in events.iter().filter(|event| !matches!(event, Event::Success)) {
            tracing::debug!("cluster {cluster:?}: health of {host}: {event:?}");
        }
        let Some(log) = &check.log else { return };
        let told = events.iter().filter(|event| match event {
            Event::Failure { first, .. } => *first || log.failures,
            Event::Success => log.successes,
            Event::Eject { .. } | Event::Add { .. } | Event::Degraded | Event::NoLongerDegraded => true,
        });
        for event in told {
            log.lines.write(&event::line(
                &self.group.cluster,
                check,
                &self.host,
                &self.group.hosts(),
                *event,
            ));
        }
    }

    /// Lets the new flags take effect.
    fn settle(&self, next: u32) {
        let before = self.host.live.health.flags();
        if self.host.live.health.change(next & OWN, !next & OWN) {
            self.group.gauges();
        }
        if before & Health::PENDING_ACTIVE_HC != 0 {
            self.group.checked.notify_one();
        }
    }

    /// A check that passed overrules outlier detection, which does the rest at its next sweep.
    fn take_back(&self) {
        let (outlier, health) = (&self.group.cluster.outlier, &self.host.live.health);
        let may = outlier.as_ref().is_some_and(|outlier| outlier.check_takes_back);
        if may && !health.has(Health::FAILED_ACTIVE_HC) && health.clear(Health::FAILED_OUTLIER) {
            self.group.gauges();
        }
    }

    fn pause(&mut self, check: &HealthCheck, passed: bool, transition: Transition) -> Duration {
        let pause = state::pause(&check.intervals, passed, transition, self.group.notice_traffic());
        let (percent, jitter) = (check.interval_jitter_percent, check.interval_jitter);
        state::jittered(percent, jitter, pause, |below| self.random.u64(..below))
    }
}
