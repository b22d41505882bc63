//! Where the data path's news goes: lines of access logs, entries for log services, spans.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outrigger_xds_protos::any::Typed;

use super::bootstrap::Settings;
use super::dial::Dialler;
use crate::config::publish::Subscriber;
use crate::observe::access_log::grpc::GrpcLogs;
use crate::observe::access_log::sink::{Lines, Sinks};
use crate::observe::platform::Place;
use crate::observe::trace::tracers::Tracers;
use crate::stats::registry::Registry;
use crate::stats::scope::AccessLogStats;
use crate::xds::node;

/// How long the last log lines may take.
const LOG_GRACE: Duration = Duration::from_secs(2);
/// How long the last spans and log entries may take.
const SPAN_GRACE: Duration = Duration::from_secs(1);

/// The writers and exporters behind configured logs and tracers.
pub(super) struct Outlets {
    pub(super) sinks: Arc<Sinks>,
    pub(super) grpc_logs: Arc<GrpcLogs>,
    pub(super) tracers: Arc<Tracers>,
}

impl Outlets {
    /// Outlets that nothing goes through yet; they work on the calling runtime.
    pub(super) fn new(
        registry: &Registry,
        snapshots: &Subscriber,
        settings: &Settings,
        place: &Place,
    ) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let dialler = Arc::new(Dialler { snapshots: snapshots.clone() });
        let who = node::complete(settings.node.clone()).to_wire().into();
        let sinks = Sinks::new(AccessLogStats::register(registry), registry.shared().clone());
        Self {
            sinks: Arc::new(sinks),
            grpc_logs: Arc::new(GrpcLogs::new(registry, runtime.clone(), dialler.clone(), who)),
            tracers: Arc::new(Tracers::new(registry, runtime, dialler, place.clone())),
        }
    }

    /// A log of lines made elsewhere than on a worker.
    pub(super) fn open_log(&self, path: &Path) -> Result<Lines, String> {
        let sink = self.sinks.open(path);
        sink.map(Lines::new).map_err(|error| format!("cannot open the log {}: {error}", path.display()))
    }

    /// Sends and writes what is left. Bounded.
    pub(super) async fn finish(self) {
        tokio::join!(self.tracers.shutdown(SPAN_GRACE), self.grpc_logs.shutdown(SPAN_GRACE));
        let sinks = self.sinks;
        // Files: off the runtime.
        let _ = tokio::task::spawn_blocking(move || sinks.shutdown(LOG_GRACE)).await;
    }
}
