//! What counts as overload and what to do about it. Source: `envoy.config.overload.v3.OverloadManager`.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of the overload manager.
#[derive(Debug, Default)]
pub struct OverloadSettings {
    /// How often resources are looked at.
    pub refresh: Duration,
    /// Resources.
    pub monitors: Vec<Monitor>,
    /// What is done when they run short.
    pub actions: Vec<Action>,
    /// Most downstream connections; `None` is no limit.
    pub max_connections: Option<u64>,
}

/// A resource that is looked at.
#[derive(Debug)]
pub struct Monitor {
    /// Its name: triggers and statistics refer to it.
    pub name: Box<str>,
    /// What it is.
    pub resource: Resource,
}

/// How the pressure of a resource is known: 0.0 is none, 1.0 all there is.
#[derive(Debug, PartialEq)]
pub enum Resource {
    /// Memory of the process, against this many bytes (`fixed_heap`).
    Heap(u64),
    /// Memory of the control group, against its limit or this many bytes, whichever is less (`cgroup_memory`).
    Cgroup(Option<u64>),
    /// What the file says (`injected_resource`).
    File(PathBuf),
}

/// One action.
#[derive(Debug)]
pub struct Action {
    /// Which.
    pub kind: ActionKind,
    /// Taken as far as the furthest of these says.
    pub triggers: Vec<Trigger>,
}

/// The actions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// New requests get 503.
    StopAcceptingRequests,
    /// Connections end after their response.
    DisableHttpKeepalive,
    /// No connection is accepted.
    StopAcceptingConnections,
    /// New connections are closed at once.
    RejectIncomingConnections,
    /// Free buffers go back to the allocator.
    ShrinkHeap,
}

impl ActionKind {
    /// With Envoy's names.
    pub const ALL: &'static [(&'static str, ActionKind)] = &[
        ("envoy.overload_actions.stop_accepting_requests", ActionKind::StopAcceptingRequests),
        ("envoy.overload_actions.disable_http_keepalive", ActionKind::DisableHttpKeepalive),
        ("envoy.overload_actions.stop_accepting_connections", ActionKind::StopAcceptingConnections),
        ("envoy.overload_actions.reject_incoming_connections", ActionKind::RejectIncomingConnections),
        ("envoy.overload_actions.shrink_heap", ActionKind::ShrinkHeap),
    ];

    /// Envoy's name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// When a resource calls for an action.
#[derive(Debug)]
pub struct Trigger {
    /// Index into [`OverloadSettings::monitors`].
    pub monitor: usize,
    /// Pressure at which the action begins.
    pub start: f64,
    /// Pressure at which it is fully taken; the same for a threshold.
    pub full: f64,
}

impl Trigger {
    /// How far the action is to be taken at this pressure.
    pub fn state(&self, pressure: f64) -> f64 {
        if pressure >= self.full {
            1.0
        } else if pressure <= self.start {
            0.0
        } else {
            (pressure - self.start) / (self.full - self.start)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_all_or_nothing_and_a_scale_grows() {
        let threshold = Trigger { monitor: 0, start: 0.9, full: 0.9 };
        assert_eq!([0.0, 0.89, 0.9, 1.5].map(|p| threshold.state(p)), [0.0, 0.0, 1.0, 1.0]);
        let scale = Trigger { monitor: 0, start: 0.5, full: 1.0 };
        assert_eq!([0.5, 0.75, 1.0].map(|p| scale.state(p)), [0.0, 0.5, 1.0]);
    }

    #[test]
    fn names_are_envoys() {
        assert_eq!(ActionKind::ShrinkHeap.name(), "envoy.overload_actions.shrink_heap");
        assert!(ActionKind::ALL.iter().all(|(name, kind)| kind.name() == *name));
    }
}
