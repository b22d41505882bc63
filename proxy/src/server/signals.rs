//! Signals of the process: what each asks for.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::process::Lifecycle;
use crate::admin::Process;

/// Reasons to end. They are listened to from here on, so that none that comes during a drain is lost.
pub(super) struct Signals {
    terminate: Option<Signal>,
    quit: Option<Signal>,
    interrupt: Option<Signal>,
    /// A closed terminal must not end a sidecar.
    _hangup: Option<Signal>,
}

impl Signals {
    /// Takes the signals over from the system, whose answer to each is to end the process.
    pub(super) fn listen() -> Self {
        Self {
            terminate: taken(SignalKind::terminate()),
            quit: taken(SignalKind::quit()),
            interrupt: taken(SignalKind::interrupt()),
            _hangup: taken(SignalKind::hangup()),
        }
    }

    /// Waits for a reason to end: true when there is time to drain (SIGTERM, SIGQUIT), false for SIGINT and
    /// `/quitquitquit`.
    pub(super) async fn reason_to_end(&mut self, lifecycle: &Lifecycle) -> bool {
        tokio::select! {
            () = received(&mut self.terminate) => true,
            () = received(&mut self.quit) => true,
            () = received(&mut self.interrupt) => false,
            () = lifecycle.quit_requested() => false,
        }
    }
}

/// Opens the access logs anew at every SIGUSR1, as Envoy does for those who move them away.
pub(super) fn reopen_logs(lifecycle: &Arc<Lifecycle>) {
    let (lifecycle, mut asked) = (lifecycle.clone(), taken(SignalKind::user_defined1()));
    tokio::spawn(async move {
        loop {
            received(&mut asked).await;
            tracing::info!("SIGUSR1: access logs are opened anew");
            lifecycle.reopen_logs();
        }
    });
}

fn taken(kind: SignalKind) -> Option<Signal> {
    let taken = signal(kind);
    taken.inspect_err(|error| tracing::warn!(%error, "signal {} is not handled", kind.as_raw_value())).ok()
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        // `None` is the end of the runtime.
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
