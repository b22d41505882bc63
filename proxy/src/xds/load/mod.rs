//! Load reports: what went to each cluster and how it ended, told to the control plane at the pace it asks for.
//!
//! A stream of its own on the connection of the aggregated stream, so no control plane gets a second connection.
//! Invariants: nothing is counted for it on the request path, all is read from what hosts and clusters count anyway;
//! a control plane that offers no load reporting costs one call every few minutes. Source: Envoy
//! `LoadReportingService`.

use std::time::Duration;

use futures_util::stream;
use outrigger_xds_protos::load::MAX_REPORT_BYTES;
use outrigger_xds_protos::v3::core::Node;
use outrigger_xds_protos::v3::load_service::{LoadReportingClient, LoadStatsRequest, LoadStatsResponse};
use outrigger_xds_protos::v3::wkt;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::client::{Backoff, grpc_metadata};
use super::node;
use super::settings::LoadSettings;
use crate::config::publish::Subscriber;
use crate::stats::registry::Registry;

mod shorten;
mod tally;

#[cfg(test)]
mod tests;

use shorten::shorten;
use tally::Tally;

/// Pause before a control plane without load reporting is asked again.
const UNIMPLEMENTED_PAUSE: Duration = Duration::from_secs(300);
/// The shortest interval honoured: a control plane cannot have us report without pause.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// Taken when the control plane names none.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// What the control plane wants to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Every cluster.
    pub all: bool,
    /// These clusters, when not all.
    pub clusters: Vec<String>,
    /// Each endpoint by itself as well.
    pub endpoints: bool,
}

/// The reporting task.
pub struct Reporter {
    settings: LoadSettings,
    node: Node,
    channels: watch::Receiver<Option<Channel>>,
    snapshots: Subscriber,
    registry: Registry,
    tally: Tally,
}

impl Reporter {
    /// A reporter for `node` over the channels that the control plane's client opens.
    pub fn new(
        settings: LoadSettings,
        node: Node,
        channels: watch::Receiver<Option<Channel>>,
        snapshots: Subscriber,
        registry: Registry,
    ) -> Self {
        Self { settings, node: node::complete(node), channels, snapshots, registry, tally: Tally::default() }
    }

    /// Runs until the control plane's client is gone.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(self.settings.backoff.0, self.settings.backoff.1);
        loop {
            let channel = match self.channels.wait_for(Option::is_some).await {
                Ok(channel) => channel.clone(),
                Err(_) => return,
            };
            let Some(channel) = channel else { continue };
            let status = match self.stream(channel, &mut backoff).await {
                Ok(()) => Status::ok("closed by the server"),
                Err(status) => status,
            };
            tracing::debug!("load reports ended: {:?}: {}", status.code(), status.message());
            let pause = match status.code() {
                Code::Unimplemented => UNIMPLEMENTED_PAUSE,
                _ => backoff.next(fastrand::f64()),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One stream, until it ends.
    async fn stream(&mut self, channel: Channel, backoff: &mut Backoff) -> Result<(), Status> {
        // One report may wait for the transport; while it does, no further one is made.
        let (reports, mut sending) = mpsc::channel(1);
        let hello = LoadStatsRequest { node: Some(self.node.clone()), cluster_stats: Vec::new() };
        let requests = stream::poll_fn(move |context| sending.poll_recv(context));
        // There is room for one.
        let _ = reports.try_send(hello);
        let mut call = tonic::Request::new(requests);
        *call.metadata_mut() = grpc_metadata(&self.settings.metadata).await;
        let mut answers = LoadReportingClient::new(channel).stream_load_stats(call).await?.into_inner();
        let Some(first) = answers.message().await? else { return Ok(()) };
        backoff.reset();
        self.report(first, &mut answers, reports).await
    }

    /// Reports at the pace of the last answer.
    async fn report(
        &mut self,
        first: LoadStatsResponse,
        answers: &mut Streaming<LoadStatsResponse>,
        reports: mpsc::Sender<LoadStatsRequest>,
    ) -> Result<(), Status> {
        let (mut wanted, mut pace) = asked(first);
        let mut since = self.begin();
        let mut ticks = ticks(pace);
        loop {
            tokio::select! {
                answer = answers.message() => {
                    let Some(answer) = answer? else { return Ok(()) };
                    (wanted, pace) = asked(answer);
                    since = self.begin();
                    ticks = self::ticks(pace);
                }
                _ = ticks.tick() => {
                    let Ok(place) = reports.try_reserve() else { continue };
                    let now = Instant::now();
                    let snapshot = self.snapshots.current();
                    let mut cluster_stats =
                        self.tally.report(&snapshot, &self.registry, &wanted, now - since);
                    shorten(&mut cluster_stats, MAX_REPORT_BYTES);
                    since = now;
                    place.send(LoadStatsRequest { node: None, cluster_stats });
                }
            }
        }
    }

    /// Starts an interval: what was counted before it is nobody's.
    fn begin(&mut self) -> Instant {
        self.tally.begin(&self.snapshots.current(), &self.registry);
        Instant::now()
    }
}

fn ticks(pace: Duration) -> tokio::time::Interval {
    let mut ticks = interval_at(Instant::now() + pace, pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn asked(answer: LoadStatsResponse) -> (Wanted, Duration) {
    let LoadStatsResponse {
        clusters,
        send_all_clusters,
        load_reporting_interval,
        report_endpoint_granularity,
    } = answer;
    let pace = load_reporting_interval.as_ref().map_or(DEFAULT_INTERVAL, duration);
    let wanted = Wanted { all: send_all_clusters, clusters, endpoints: report_endpoint_granularity };
    (wanted, pace.max(SHORTEST_INTERVAL))
}

/// Negative parts count as nothing.
fn duration(message: &wkt::Duration) -> Duration {
    Duration::new(message.seconds.try_into().unwrap_or(0), message.nanos.clamp(0, 999_999_999) as u32)
}
