//! A client of the control plane that says whatever a test wants: it asks, refuses and reports.

use std::net::SocketAddr;

use outrigger_tests::{Result, wait};
use outrigger_xds_protos::load::TIME_METRIC;
use outrigger_xds_protos::v3::core::Node;
use outrigger_xds_protos::v3::discovery::{DiscoveryRequest, DiscoveryResponse};
use outrigger_xds_protos::v3::endpoint::{ClusterStats, EndpointLoadMetricStats, UpstreamLocalityStats};
use outrigger_xds_protos::v3::load_service::{LoadReportingClient, LoadStatsRequest, LoadStatsResponse};
use outrigger_xds_protos::v3::wkt::Duration;
use outrigger_xds_protos::v3::{AdsClient, Status};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::LIMIT;

const CLUSTERS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

/// A discovery stream, state of the world.
pub struct Discovery {
    asks: mpsc::UnboundedSender<DiscoveryRequest>,
    answers: Streaming<DiscoveryResponse>,
}

impl Discovery {
    /// Asks for clusters and waits for them.
    pub async fn open(at: SocketAddr, node: Node) -> Result<(Self, DiscoveryResponse)> {
        let (asks, asked) = mpsc::unbounded_channel();
        asks.send(DiscoveryRequest { node: Some(node), type_url: CLUSTERS.into(), ..Default::default() })?;
        let mut client = AdsClient::new(channel(at).await?);
        let answers =
            client.stream_aggregated_resources(UnboundedReceiverStream::new(asked)).await?.into_inner();
        let mut stream = Self { asks, answers };
        let clusters = stream.answer().await?;
        Ok((stream, clusters))
    }

    async fn answer(&mut self) -> Result<DiscoveryResponse> {
        let answer = wait::within("clusters", LIMIT, self.answers.message()).await??;
        answer.ok_or_else(|| "the stream ended".into())
    }

    /// Accepts an answer.
    pub fn accept(&self, answer: &DiscoveryResponse) -> Result<()> {
        Ok(self.asks.send(DiscoveryRequest {
            type_url: CLUSTERS.into(),
            version_info: answer.version_info.clone(),
            response_nonce: answer.nonce.clone(),
            ..Default::default()
        })?)
    }

    /// Refuses an answer in these words.
    pub fn refuse(&self, answer: &DiscoveryResponse, words: &str) -> Result<()> {
        let error = Status { code: 13, message: words.to_owned(), details: Vec::new() };
        Ok(self.asks.send(DiscoveryRequest {
            type_url: CLUSTERS.into(),
            response_nonce: answer.nonce.clone(),
            error_detail: Some(error),
            ..Default::default()
        })?)
    }
}

/// A stream of load reports.
pub struct Reports {
    reports: mpsc::UnboundedSender<LoadStatsRequest>,
    _answers: Streaming<LoadStatsResponse>,
}

impl Reports {
    /// Opens with this report, and waits until it was heard.
    pub async fn open(at: SocketAddr, first: LoadStatsRequest) -> Result<Self> {
        let (reports, reported) = mpsc::unbounded_channel();
        reports.send(first)?;
        let mut client = LoadReportingClient::new(channel(at).await?);
        let mut answers =
            client.stream_load_stats(UnboundedReceiverStream::new(reported)).await?.into_inner();
        wait::within("the pace of reports", LIMIT, answers.message()).await??;
        Ok(Self { reports, _answers: answers })
    }

    /// One more report.
    pub fn send(&self, report: LoadStatsRequest) -> Result<()> {
        Ok(self.reports.send(report)?)
    }
}

async fn channel(at: SocketAddr) -> Result<Channel> {
    Ok(Channel::from_shared(format!("http://{at}"))?.connect().await?)
}

/// A node of this name and no other properties.
pub fn node(id: &str) -> Node {
    Node { id: id.to_owned(), ..Default::default() }
}

/// What was sent through a cluster in five seconds: requests, failures, and response times by upper bound in milliseconds.
pub fn stats(cluster: &str, requests: u64, failed: u64, times: &[(&str, u64)]) -> ClusterStats {
    let metric = |(bound, count): &(&str, u64)| EndpointLoadMetricStats {
        metric_name: format!("{TIME_METRIC}{bound}"),
        num_requests_finished_with_metric: *count,
        ..Default::default()
    };
    let locality = UpstreamLocalityStats {
        total_issued_requests: requests,
        total_error_requests: failed,
        load_metric_stats: times.iter().map(metric).collect(),
        ..Default::default()
    };
    ClusterStats {
        cluster_name: cluster.to_owned(),
        upstream_locality_stats: vec![locality],
        load_report_interval: Some(Duration { seconds: 5, nanos: 0 }),
        ..Default::default()
    }
}
