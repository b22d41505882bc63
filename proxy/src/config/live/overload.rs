//! How loaded the process is, for those who shed load. Written by the main runtime, read by workers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use fastrand::Rng;

use super::{LoadShed, ScaledTimers};
use crate::config::overload::OverloadSettings;
use crate::stats::registry::Registry;

/// A state of 1.0.
const FULL: u32 = 1 << 16;

/// What workers do when the process has too much to do. Source: `envoy.config.overload.v3.OverloadManager`.
#[derive(Debug, Default)]
pub struct Overload {
    /// `envoy.overload_actions.stop_accepting_requests`
    pub refuse_requests: ActionState,
    /// `envoy.overload_actions.disable_http_keepalive`
    pub end_keepalive: ActionState,
    /// `envoy.overload_actions.stop_accepting_connections`
    pub pause_accepting: ActionState,
    /// `envoy.overload_actions.reject_incoming_connections`
    pub refuse_connections: ActionState,
    /// `envoy.overload_actions.shrink_heap`
    pub shrink_heap: ActionState,
    /// Timers that run out sooner.
    pub timers: ScaledTimers,
    /// `loadshed_points`
    pub shed: LoadShed,
    /// `envoy.resource_monitors.global_downstream_max_connections`; `None` is no limit.
    pub max_connections: Option<u64>,
    connections: AtomicU64,
}

impl Overload {
    /// Without load, and with this limit on downstream connections.
    pub fn new(max_connections: Option<u64>) -> Self {
        Self { max_connections, ..Self::default() }
    }

    /// As configured, without load.
    pub fn of(settings: &OverloadSettings, registry: &Registry) -> Self {
        Self {
            timers: ScaledTimers::new(&settings.timers),
            shed: LoadShed::new(settings.sheds.iter().map(|shedding| shedding.point), registry),
            ..Self::new(settings.max_connections)
        }
    }

    /// Counts a downstream connection, to be ended by [`Overload::end_connection`]. False: there are too many.
    pub fn begin_connection(&self) -> bool {
        let limit = self.max_connections.unwrap_or(u64::MAX);
        let counted = self
            .connections
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |open| (open < limit).then_some(open + 1));
        counted.is_ok()
    }

    /// A connection that was counted is over.
    pub fn end_connection(&self) {
        self.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How far one action is to be taken, from not at all to always.
#[derive(Debug, Default)]
pub struct ActionState(AtomicU32);

impl ActionState {
    /// Sets the state, 0.0 to 1.0.
    pub fn set(&self, state: f64) {
        self.0.store((state.clamp(0.0, 1.0) * f64::from(FULL)) as u32, Ordering::Relaxed);
    }

    /// How far the action is taken, 0.0 to 1.0.
    #[inline]
    pub fn share(&self) -> f64 {
        f64::from(self.0.load(Ordering::Relaxed)) / f64::from(FULL)
    }

    /// Whether the action is fully taken.
    pub fn is_saturated(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= FULL
    }

    /// Whether the action is taken this time: more often the further it is.
    #[inline]
    pub fn is_taken(&self, rng: &mut Rng) -> bool {
        let state = self.0.load(Ordering::Relaxed);
        state > 0 && (state >= FULL || rng.u32(..FULL) < state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_up_to_the_limit() {
        let overload = Overload::new(Some(2));
        assert!(overload.begin_connection() && overload.begin_connection() && !overload.begin_connection());
        overload.end_connection();
        assert!(overload.begin_connection());
        let unlimited = Overload::new(None);
        assert!((0..1000).all(|_| unlimited.begin_connection()));
    }

    #[test]
    fn an_action_is_taken_as_often_as_its_state_says() {
        let state = ActionState::default();
        let mut rng = Rng::with_seed(7);
        let mut taken = |state: &ActionState| (0..10_000).filter(|_| state.is_taken(&mut rng)).count();
        assert_eq!(taken(&state), 0);
        state.set(0.25);
        assert!((2_000..3_000).contains(&taken(&state)) && !state.is_saturated());
        state.set(1.0);
        assert!(taken(&state) == 10_000 && state.is_saturated());
        state.set(7.0);
        assert!(state.is_saturated());
        state.set(-1.0);
        assert_eq!(taken(&state), 0);
    }
}
