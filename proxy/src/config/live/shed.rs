//! Points at which load is shed, and timers that shrink under load. Written by the main runtime, read by workers.

use std::time::Duration;

use fastrand::Rng;

use super::ActionState;
use crate::config::overload::{Floor, ScaledTimer, ShedPoint};
use crate::stats::registry::{Counter, Registry};
use crate::stats::scope::LoadShedStats;

/// The points that are configured.
#[derive(Debug, Default)]
pub struct LoadShed([Option<Box<Point>>; ShedPoint::COUNT]);

/// One of them.
#[derive(Debug)]
struct Point {
    state: ActionState,
    stats: LoadShedStats,
}

impl LoadShed {
    /// With these points, at which nothing is shed yet.
    pub fn new(points: impl IntoIterator<Item = ShedPoint>, registry: &Registry) -> Self {
        let mut all = Self::default();
        for point in points {
            let stats = LoadShedStats::new(registry, &format!("overload.{}.", point.name()));
            all.0[point as usize] = Some(Box::new(Point { state: ActionState::default(), stats }));
        }
        all
    }

    /// Sheds at `point` as often as `state` says, from 0.0 to 1.0.
    pub fn set(&self, point: ShedPoint, state: f64) {
        if let Some(found) = &self.0[point as usize] {
            found.state.set(state);
        }
    }

    /// The statistics of a configured point.
    pub fn stats(&self, point: ShedPoint) -> Option<&LoadShedStats> {
        self.0[point as usize].as_ref().map(|point| &point.stats)
    }

    /// What counts that load is shed at `point` this time; `None`: it is not.
    #[inline]
    pub fn sheds(&self, point: ShedPoint, rng: &mut Rng) -> Option<Counter> {
        let found = self.0[point as usize].as_ref()?;
        found.state.is_taken(rng).then_some(found.stats.shed_load_count)
    }
}

/// How far timers shrink. Source: `envoy.config.overload.v3.ScaleTimersOverloadActionConfig`.
#[derive(Debug, Default)]
pub struct ScaledTimers {
    /// `envoy.overload_actions.reduce_timeouts`
    pub state: ActionState,
    floors: [Option<Floor>; ScaledTimer::COUNT],
}

impl ScaledTimers {
    /// With these floors.
    pub fn new(floors: &[(ScaledTimer, Floor)]) -> Self {
        let mut timers = Self::default();
        for (timer, floor) in floors {
            timers.floors[*timer as usize] = Some(*floor);
        }
        timers
    }

    /// Whether this timer ever shrinks.
    #[inline]
    pub fn scales(&self, timer: ScaledTimer) -> bool {
        self.floors[timer as usize].is_some()
    }

    /// The timeout that is in force where `full` is configured. Zero is off and stays so.
    #[inline]
    pub fn timeout(&self, timer: ScaledTimer, full: Duration) -> Duration {
        let Some(floor) = self.floors[timer as usize] else { return full };
        let least = match floor {
            Floor::Absolute(least) => least.min(full),
            Floor::Share(share) => full.mul_f64(share),
        };
        // Never zero, which would switch the timer off.
        let scaled = least + (full - least).mul_f64(1.0 - self.state.share());
        if full.is_zero() { full } else { scaled.max(Duration::from_nanos(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_shrink_to_their_floor_as_pressure_grows() {
        let second = Duration::from_secs(1);
        let timers = ScaledTimers::new(&[
            (ScaledTimer::ConnectionIdle, Floor::Absolute(2 * second)),
            (ScaledTimer::StreamIdle, Floor::Share(0.1)),
        ]);
        let of = |timer| timers.timeout(timer, 600 * second);
        assert_eq!(of(ScaledTimer::ConnectionIdle), 600 * second);
        timers.state.set(0.5);
        assert_eq!(of(ScaledTimer::ConnectionIdle), 301 * second);
        assert_eq!(of(ScaledTimer::StreamIdle), 330 * second);
        assert_eq!(of(ScaledTimer::ConnectionMax), 600 * second, "not configured");
        timers.state.set(1.0);
        assert_eq!(of(ScaledTimer::ConnectionIdle), 2 * second);
        assert_eq!(of(ScaledTimer::StreamIdle), 60 * second);
        assert_eq!(timers.timeout(ScaledTimer::ConnectionIdle, second), second, "below its floor already");
        assert_eq!(timers.timeout(ScaledTimer::ConnectionIdle, Duration::ZERO), Duration::ZERO, "off");
        let at_once = ScaledTimers::new(&[(ScaledTimer::StreamIdle, Floor::Share(0.0))]);
        at_once.state.set(1.0);
        assert!(!at_once.timeout(ScaledTimer::StreamIdle, second).is_zero(), "not off");
    }

    #[test]
    fn what_is_not_configured_sheds_nothing() {
        let shed = LoadShed::new([ShedPoint::Accept], &Registry::new());
        let mut rng = Rng::with_seed(1);
        assert!(shed.sheds(ShedPoint::Accept, &mut rng).is_none());
        shed.set(ShedPoint::Accept, 1.0);
        shed.set(ShedPoint::Codec, 1.0);
        assert!(shed.sheds(ShedPoint::Accept, &mut rng).is_some());
        assert!(shed.sheds(ShedPoint::Codec, &mut rng).is_none());
    }
}
