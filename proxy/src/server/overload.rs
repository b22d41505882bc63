//! The overload manager at work: looks at resources and says how far each action is to be taken.

use std::sync::Arc;
use std::time::Duration;

use crate::config::live::{ActionState, Overload};
use crate::config::overload::{ActionKind, OverloadSettings, Resource, Trigger};
use crate::observe::collect::Memory;
use crate::stats::registry::Registry;
use crate::stats::scope::{OverloadActionStats, ResourceMonitorStats};

/// Where version 2 of control groups is mounted, as a container sees its own.
const CGROUP: &str = "/sys/fs/cgroup";

/// See the module.
pub struct Manager {
    settings: OverloadSettings,
    overload: Arc<Overload>,
    registry: Registry,
    monitors: Vec<ResourceMonitorStats>,
    actions: Vec<OverloadActionStats>,
    /// Last pressure of every resource.
    pressures: Vec<f64>,
}

impl Manager {
    /// A manager that has looked at nothing yet.
    pub fn new(settings: OverloadSettings, overload: Arc<Overload>, registry: &Registry) -> Self {
        let monitor = |name: &str| ResourceMonitorStats::new(registry, &format!("overload.{name}."));
        let action =
            |kind: ActionKind| OverloadActionStats::new(registry, &format!("overload.{}.", kind.name()));
        Self {
            monitors: settings.monitors.iter().map(|one| monitor(&one.name)).collect(),
            actions: settings.actions.iter().map(|one| action(one.kind)).collect(),
            pressures: vec![0.0; settings.monitors.len()],
            settings,
            overload,
            registry: registry.clone(),
        }
    }

    /// Looks at all resources again and again.
    pub async fn run(mut self) {
        let mut ticks = tokio::time::interval(self.settings.refresh.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.refresh(pressure);
        }
    }

    /// One look. A resource that cannot be read keeps its last pressure.
    fn refresh(&mut self, read: impl Fn(&Resource) -> Option<f64>) {
        let shard = self.registry.shared();
        for (at, monitor) in self.settings.monitors.iter().enumerate() {
            let (Some(stats), Some(last)) = (self.monitors.get(at), self.pressures.get_mut(at)) else {
                continue;
            };
            match read(&monitor.resource).filter(|pressure| pressure.is_finite()) {
                Some(pressure) => *last = pressure.max(0.0),
                None => shard.inc(stats.failed_updates),
            }
            shard.gauge_set(stats.pressure, (*last * 100.0) as i64);
        }
        for (action, stats) in self.settings.actions.iter().zip(&self.actions) {
            let state = self.furthest(&action.triggers);
            self.state_of(action.kind).set(state);
            shard.gauge_set(stats.active, i64::from(state >= 1.0));
            shard.gauge_set(stats.scale_percent, (state * 100.0) as i64);
        }
        for shedding in &self.settings.sheds {
            let state = self.furthest(&shedding.triggers);
            self.overload.shed.set(shedding.point, state);
            if let Some(stats) = self.overload.shed.stats(shedding.point) {
                shard.gauge_set(stats.scale_percent, (state * 100.0) as i64);
            }
        }
    }

    /// The furthest that one of these goes at the last pressures.
    fn furthest(&self, triggers: &[Trigger]) -> f64 {
        let pressure = |trigger: &Trigger| self.pressures.get(trigger.monitor).copied().unwrap_or(0.0);
        triggers.iter().map(|trigger| trigger.state(pressure(trigger))).fold(0.0, f64::max)
    }

    fn state_of(&self, kind: ActionKind) -> &ActionState {
        match kind {
            ActionKind::StopAcceptingRequests => &self.overload.refuse_requests,
            ActionKind::DisableHttpKeepalive => &self.overload.end_keepalive,
            ActionKind::StopAcceptingConnections => &self.overload.pause_accepting,
            ActionKind::RejectIncomingConnections => &self.overload.refuse_connections,
            ActionKind::ShrinkHeap => &self.overload.shrink_heap,
            ActionKind::ReduceTimeouts => &self.overload.timers.state,
        }
    }
}

/// The pressure of a resource now; `None` when it cannot be known.
fn pressure(resource: &Resource) -> Option<f64> {
    match resource {
        Resource::Heap(max) => Some(Memory::read().allocated as f64 / *max as f64),
        Resource::Cgroup(max) => {
            let read = |name: &str| std::fs::read_to_string(format!("{CGROUP}/{name}")).ok();
            cgroup_pressure(&read("memory.current")?, &read("memory.max")?, *max)
        }
        Resource::File(path) => parse_share(&std::fs::read_to_string(path).ok()?),
    }
}

/// `memory.current` against `memory.max`, which may be `max`, and the configured bytes.
fn cgroup_pressure(current: &str, limit: &str, configured: Option<u64>) -> Option<f64> {
    let current: u64 = current.trim().parse().ok()?;
    let limit: u64 = limit.trim().parse().unwrap_or(u64::MAX);
    let limit = limit.min(configured.unwrap_or(u64::MAX));
    Some(if limit == u64::MAX { 0.0 } else { current as f64 / limit.max(1) as f64 })
}

fn parse_share(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::overload::{Action, Monitor};
    use crate::stats::view::Value;

    #[test]
    fn actions_follow_the_highest_pressure_and_unreadable_resources_keep_theirs() {
        let heap = |name: &str, max| Monitor { name: name.into(), resource: Resource::Heap(max) };
        let trigger = |monitor, start, full| Trigger { monitor, start, full };
        let settings = OverloadSettings {
            monitors: vec![heap("a", 1), heap("b", 2)],
            actions: vec![
                Action {
                    kind: ActionKind::StopAcceptingRequests,
                    triggers: vec![trigger(0, 0.9, 0.9), trigger(1, 0.0, 1.0)],
                },
                Action { kind: ActionKind::ShrinkHeap, triggers: vec![trigger(0, 0.5, 0.5)] },
            ],
            ..OverloadSettings::default()
        };
        let (registry, overload) = (Registry::new(), Arc::new(Overload::new(None)));
        let mut manager = Manager::new(settings, overload.clone(), &registry);
        let at = |a: Option<f64>, b: Option<f64>| {
            move |resource: &Resource| if *resource == Resource::Heap(1) { a } else { b }
        };
        let value = |name: &str| {
            let view = registry.view();
            match view.find(&format!("overload.{name}")).map(|stat| view.value(stat)) {
                Some(Value::Counter(value) | Value::Gauge(value)) => value,
                other => panic!("{name}: {other:?}"),
            }
        };
        manager.refresh(at(Some(0.6), Some(0.25)));
        assert_eq!(value("a.pressure"), 60);
        assert_eq!(value("envoy.overload_actions.stop_accepting_requests.scale_percent"), 25);
        assert_eq!(value("envoy.overload_actions.stop_accepting_requests.active"), 0);
        assert_eq!(value("envoy.overload_actions.shrink_heap.active"), 1);
        assert!(overload.shrink_heap.is_saturated() && !overload.refuse_requests.is_saturated());

        manager.refresh(at(Some(0.95), None));
        assert!(overload.refuse_requests.is_saturated());
        assert_eq!((value("b.failed_updates"), value("b.pressure")), (1, 25));

        manager.refresh(at(Some(0.0), Some(f64::NAN)));
        assert!(!overload.shrink_heap.is_saturated());
        assert_eq!(value("envoy.overload_actions.stop_accepting_requests.scale_percent"), 25);
    }

    #[test]
    fn a_control_group_is_pressed_against_the_lower_limit() {
        assert_eq!(cgroup_pressure("50\n", "100\n", None), Some(0.5));
        assert_eq!(cgroup_pressure("50\n", "100\n", Some(80)), Some(0.625));
        assert_eq!(cgroup_pressure("50\n", "max\n", Some(50)), Some(1.0));
        assert_eq!(cgroup_pressure("50\n", "max\n", None), Some(0.0));
        assert_eq!(cgroup_pressure("x", "100", None), None);
    }

    #[test]
    fn an_injected_pressure_is_a_share() {
        assert_eq!(parse_share("0.5\n"), Some(0.5));
        assert_eq!(["", "x", "1.1", "-0.1", "NaN"].map(parse_share), [None; 5]);
    }
}
