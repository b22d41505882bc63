//! The load reporting service: a sidecar says who it is, is told the pace, and reports until it goes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use outrigger_xds_protos::v3::load_service::{LoadReportingService, LoadStatsRequest, LoadStatsResponse};
use outrigger_xds_protos::v3::wkt;
use tonic::{Request, Response, Status, Streaming};

use crate::ads::peer::Peer;
use crate::ads::session::Context;

/// How often sidecars report.
const INTERVAL: Duration = Duration::from_secs(5);
/// Longest node id kept.
const MAX_ID: usize = 2048;

/// The service.
#[derive(Clone)]
pub struct LoadReports {
    context: Arc<Context>,
    peer: Peer,
}

impl LoadReports {
    /// The service for a connection with `peer`.
    pub fn new(context: Arc<Context>, peer: Peer) -> Self {
        Self { context, peer }
    }
}

#[tonic::async_trait]
impl LoadReportingService for LoadReports {
    type StreamLoadStatsStream =
        std::pin::Pin<Box<dyn Stream<Item = Result<LoadStatsResponse, Status>> + Send>>;

    async fn stream_load_stats(
        &self,
        request: Request<Streaming<LoadStatsRequest>>,
    ) -> Result<Response<Self::StreamLoadStatsStream>, Status> {
        let mut reports = request.into_inner();
        let Some(first) = reports.message().await? else {
            return Err(Status::invalid_argument("the stream ended before it said whose it is"));
        };
        let id = first.node.as_ref().map(|node| node.id.as_str()).filter(|id| !id.is_empty());
        let Some(id) = id.filter(|id| id.len() <= MAX_ID) else {
            return Err(Status::invalid_argument("the first report needs node.id, of at most 2048 bytes"));
        };
        let Context { store, loads, .. } = &*self.context;
        let generation = store.current();
        self.context.permit(&self.peer, id, &generation, "reports")?;
        let end = Box::pin(self.context.ended(&self.peer, id.to_owned()));
        let place = loads.open(id.to_owned());
        place.put(&first.cluster_stats, &generation.clusters_of(id));
        let hello = stream::once(std::future::ready(Ok(answer(INTERVAL))));
        // Nothing more is answered: the other half lives as long as reports come.
        let (whose, open) = ((Arc::clone(&self.context), id.to_owned()), self.peer.stream_opened());
        let rest = stream::unfold(Some((reports, place, end, open, whose)), |state| async move {
            let (mut reports, place, mut end, open, (context, id)) = state?;
            loop {
                let report = tokio::select! {
                    report = reports.message() => report,
                    ended = &mut end => ended.map(|()| None),
                };
                match report {
                    Ok(Some(report)) => {
                        place.put(&report.cluster_stats, &context.store.current().clusters_of(&id));
                    }
                    Ok(None) => return None,
                    Err(status) => {
                        drop((place, open));
                        return Some((Err(status), None));
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(hello.chain(rest))))
    }
}

fn answer(interval: Duration) -> LoadStatsResponse {
    LoadStatsResponse {
        send_all_clusters: true,
        load_reporting_interval: Some(wkt::Duration { seconds: interval.as_secs() as i64, nanos: 0 }),
        ..LoadStatsResponse::default()
    }
}
