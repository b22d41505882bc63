//! What a worker does about new connections when the process has too much to do.

use std::sync::Arc;
use std::time::Duration;

use crate::config::listener::Listener;
use crate::config::live::Overload;
use crate::config::overload::ShedPoint;
use crate::upstream::local::Local;

/// How soon a pause is over after the load that caused it.
const PAUSE: Duration = Duration::from_millis(20);

/// A connection that counts for the limit of the process, until dropped.
pub(super) struct Counted(Option<Arc<Overload>>);

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(overload) = &self.0 {
            overload.end_connection();
        }
    }
}

/// Whether a new connection is taken on. `None`: close it.
pub(super) fn admit(local: &Local, listener: &Listener) -> Option<Counted> {
    let Some(overload) = &local.overload else { return Some(Counted(None)) };
    let refused =
        || local.random(|rng| overload.refuse_connections.is_taken(rng)) || local.sheds(ShedPoint::Accept);
    if !listener.bypasses_overload && refused() {
        local.stats.inc(listener.stats.downstream_cx_overload_reject);
        return None;
    }
    if listener.ignores_connection_limit {
        return Some(Counted(None));
    }
    if !overload.begin_connection() {
        local.stats.inc(listener.stats.downstream_global_cx_overflow);
        return None;
    }
    Some(Counted(Some(overload.clone())))
}

/// Waits while no connection is to be accepted.
pub(super) async fn pause(local: &Local) {
    while local.overload.as_ref().is_some_and(|overload| overload.pause_accepting.is_saturated()) {
        tokio::time::sleep(PAUSE).await;
    }
}
