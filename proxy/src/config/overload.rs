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
    /// Timers that `reduce_timeouts` shrinks, and how far at most.
    pub timers: Vec<(ScaledTimer, Floor)>,
    /// Where load is shed.
    pub sheds: Vec<Shedding>,
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
    /// Timers run out sooner.
    ReduceTimeouts,
}

impl ActionKind {
    /// With Envoy's names.
    pub const ALL: &'static [(&'static str, ActionKind)] = &[
        ("envoy.overload_actions.stop_accepting_requests", ActionKind::StopAcceptingRequests),
        ("envoy.overload_actions.disable_http_keepalive", ActionKind::DisableHttpKeepalive),
        ("envoy.overload_actions.stop_accepting_connections", ActionKind::StopAcceptingConnections),
        ("envoy.overload_actions.reject_incoming_connections", ActionKind::RejectIncomingConnections),
        ("envoy.overload_actions.shrink_heap", ActionKind::ShrinkHeap),
        ("envoy.overload_actions.reduce_timeouts", ActionKind::ReduceTimeouts),
    ];

    /// Envoy's name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// A timer that may shrink under pressure (`ScaleTimersOverloadActionConfig.TimerType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaledTimer {
    /// Of downstream HTTP connections without requests.
    ConnectionIdle,
    /// Of requests on which nothing moves.
    StreamIdle,
    /// Of TLS handshakes with clients.
    TransportConnect,
    /// The longest life of downstream HTTP connections.
    ConnectionMax,
}

impl ScaledTimer {
    /// How many there are.
    pub const COUNT: usize = 4;
}

/// What is left of a timer when the action is fully taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Floor {
    /// This long, or less where less is configured.
    Absolute(Duration),
    /// This share, 0.0 to 1.0.
    Share(f64),
}

/// A point at which load is shed.
#[derive(Debug)]
pub struct Shedding {
    /// Which.
    pub point: ShedPoint,
    /// As often as the furthest of these says.
    pub triggers: Vec<Trigger>,
}

/// The points there are. Source: Envoy's `loadshed_points`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShedPoint {
    /// A connection was accepted: it is closed.
    Accept,
    /// The first bytes of an HTTP connection are here: it is closed.
    Codec,
    /// A request head is here: it gets 503.
    DecodeHeaders,
    /// The same over HTTP/1: it gets 500 and the connection ends.
    Http1Dispatch,
    /// A request is here: its connection takes no other.
    GoAway,
    /// A request is here: its connection is cut.
    GoAwayAndClose,
    /// A request is about to be sent on: it gets 503.
    Router,
    /// A connection to an upstream is about to be opened: the request that needs it fails.
    NewUpstream,
}

impl ShedPoint {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// With Envoy's names.
    pub const ALL: [(&'static str, ShedPoint); 8] = [
        ("envoy.load_shed_points.tcp_listener_accept", ShedPoint::Accept),
        ("envoy.load_shed_points.hcm_ondata_creating_codec", ShedPoint::Codec),
        ("envoy.load_shed_points.http_connection_manager_decode_headers", ShedPoint::DecodeHeaders),
        ("envoy.load_shed_points.http1_server_abort_dispatch", ShedPoint::Http1Dispatch),
        ("envoy.load_shed_points.http2_server_go_away_on_dispatch", ShedPoint::GoAway),
        ("envoy.load_shed_points.http2_server_go_away_and_close_on_dispatch", ShedPoint::GoAwayAndClose),
        ("envoy.load_shed_points.http_downstream_filter_check", ShedPoint::Router),
        ("envoy.load_shed_points.connection_pool_new_connection", ShedPoint::NewUpstream),
    ];

    /// Envoy's name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, point)| *point == self).map_or("", |(name, _)| name)
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
        assert!(ShedPoint::ALL.iter().all(|(name, point)| point.name() == *name));
    }
}
