//! The task on the main runtime: follows snapshots, the workers' calls and the clusters' intervals.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::monitor::{Monitor, Scene};
use crate::config::publish::Subscriber;
use crate::config::{ClusterSlot, Snapshot};
use crate::observe::access_log::sink::Lines;
use crate::stats::registry::SharedShard;

/// How long to sleep when no cluster has a sweep coming.
const IDLE: Duration = Duration::from_secs(3600);

/// Ejects and takes back hosts until the publisher is gone, and tells it in `log`.
pub async fn run(mut snapshots: Subscriber, shard: SharedShard, log: Option<Lines>) {
    let attention = snapshots.attention().clone();
    let mut watch = Watch { shard, log, rng: Rng::new(), clusters: HashMap::new() };
    watch.follow(&snapshots.current(), Instant::now());
    loop {
        let due = watch.clusters.values().map(|(_, monitor)| monitor.due()).min();
        let wake = due.unwrap_or_else(|| Instant::now() + IDLE);
        tokio::select! {
            next = snapshots.changed() => match next {
                Some(snapshot) => watch.follow(&snapshot, Instant::now()),
                None => return,
            },
            () = attention.notified() => watch.step(Instant::now(), Monitor::reached),
            () = tokio::time::sleep_until(wake.into()) => watch.sweep(Instant::now()),
        }
    }
}

struct Watch {
    shard: SharedShard,
    log: Option<Lines>,
    rng: Rng,
    /// By index in the snapshot: the slot as seen last.
    clusters: HashMap<usize, (Arc<ClusterSlot>, Monitor)>,
}

impl Watch {
    fn follow(&mut self, snapshot: &Snapshot, now: Instant) {
        let mut before = std::mem::take(&mut self.clusters);
        let scene = Scene { now, log: self.log.as_ref(), shard: &self.shard, rng: &mut self.rng };
        for (index, slot) in snapshot.clusters.iter().enumerate() {
            let Some((slot, outlier)) = slot.as_ref().and_then(|s| Some((s, s.config.outlier.as_ref()?)))
            else {
                continue;
            };
            let monitor = match before.remove(&index) {
                Some((seen, monitor)) if Arc::ptr_eq(&seen, slot) => monitor,
                Some((_, mut monitor)) => {
                    monitor.adopt(&slot.hosts, outlier, &scene);
                    monitor
                }
                None => Monitor::new(&slot.config.name, &slot.hosts, outlier, &scene),
            };
            self.clusters.insert(index, (slot.clone(), monitor));
        }
        before.into_values().for_each(|(_, monitor)| monitor.end(&scene));
    }

    fn step(&mut self, now: Instant, step: impl Fn(&mut Monitor, &mut Scene<'_>)) {
        let mut scene = Scene { now, log: self.log.as_ref(), shard: &self.shard, rng: &mut self.rng };
        self.clusters.values_mut().for_each(|(_, monitor)| step(monitor, &mut scene));
    }

    fn sweep(&mut self, now: Instant) {
        self.step(now, |monitor, scene| {
            if monitor.due() <= scene.now {
                monitor.sweep(scene);
            }
        });
    }
}
