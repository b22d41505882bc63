//! The metrics of App Mesh's extension, computed from Envoy's statistics when somebody reads them: nothing but
//! the service of a request is counted for them on the request path.
//!
//! Which statistics belong to which side follows from the configuration in effect: listeners whose traffic
//! direction is not outbound are inbound, and clusters that the virtual hosts of outbound listeners name are
//! targets. Source: App Mesh's metrics extension, version 1, and the names of ECS Service Connect.

mod roles;
mod services;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use roles::Roles;
use services::Services;

use crate::config::publish::Subscriber;
use crate::stats::histogram::Distribution;
use crate::stats::interval::{Change, Interval, Recorder};
use crate::stats::registry::Registry;

/// Whose proxy this is, as `node.id` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Mesh name.
    pub mesh: String,
    /// Node or gateway.
    pub kind: NodeKind,
    /// Its name.
    pub name: String,
}

/// What a proxy of a mesh serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// One virtual node.
    VirtualNode,
    /// One virtual gateway.
    VirtualGateway,
}

impl NodeKind {
    /// Name of the dimension.
    pub fn dimension(self) -> &'static str {
        match self {
            NodeKind::VirtualNode => "VirtualNode",
            NodeKind::VirtualGateway => "VirtualGateway",
        }
    }
}

impl Identity {
    /// From `mesh/<mesh>/virtualNode/<name>`, the same of a gateway, or an ARN that ends in one.
    pub fn parse(node_id: &str) -> Option<Self> {
        let resource = node_id.rsplit_once(':').map_or(node_id, |(_, resource)| resource);
        let mut parts = resource.split('/');
        let (mesh, kind, name) = (parts.nth(1)?, parts.next()?, parts.next()?);
        let kind = match kind {
            "virtualNode" => NodeKind::VirtualNode,
            "virtualGateway" => NodeKind::VirtualGateway,
            _ => return None,
        };
        // `mesh@owner` is a shared mesh.
        let mesh = mesh.split('@').next().unwrap_or(mesh);
        Some(Self { mesh: mesh.to_owned(), kind, name: name.to_owned() })
    }
}

/// The metrics, by the name that dashboards know. The last two are about the process: they are in CloudWatch
/// documents only, Envoy's statistics tell others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are documented in `observe/emf` and by AWS")]
pub enum Metric {
    ActiveConnectionCount,
    NewConnectionCount,
    ProcessedBytes,
    RequestCount,
    GrpcRequestCount,
    ClientTlsNegotiationErrorCount,
    RequestCountPerTarget,
    TargetProcessedBytes,
    Target2xx,
    Target3xx,
    Target4xx,
    Target5xx,
    TargetTlsNegotiationErrorCount,
    TargetResponseTime,
    CertificateSecondsToExpiry,
    ProxyStartCount,
}

impl Metric {
    /// All of them.
    pub const ALL: [Metric; 16] = [
        Metric::ActiveConnectionCount,
        Metric::NewConnectionCount,
        Metric::ProcessedBytes,
        Metric::RequestCount,
        Metric::GrpcRequestCount,
        Metric::ClientTlsNegotiationErrorCount,
        Metric::RequestCountPerTarget,
        Metric::TargetProcessedBytes,
        Metric::Target2xx,
        Metric::Target3xx,
        Metric::Target4xx,
        Metric::Target5xx,
        Metric::TargetTlsNegotiationErrorCount,
        Metric::TargetResponseTime,
        Metric::CertificateSecondsToExpiry,
        Metric::ProxyStartCount,
    ];

    /// The name on dashboards, without prefix.
    pub fn name(self) -> &'static str {
        match self {
            Metric::ActiveConnectionCount => "ActiveConnectionCount",
            Metric::NewConnectionCount => "NewConnectionCount",
            Metric::ProcessedBytes => "ProcessedBytes",
            Metric::RequestCount => "RequestCount",
            Metric::GrpcRequestCount => "GrpcRequestCount",
            Metric::ClientTlsNegotiationErrorCount => "ClientTLSNegotiationErrorCount",
            Metric::RequestCountPerTarget => "RequestCountPerTarget",
            Metric::TargetProcessedBytes => "TargetProcessedBytes",
            Metric::Target2xx => "HTTPCode_Target_2XX_Count",
            Metric::Target3xx => "HTTPCode_Target_3XX_Count",
            Metric::Target4xx => "HTTPCode_Target_4XX_Count",
            Metric::Target5xx => "HTTPCode_Target_5XX_Count",
            Metric::TargetTlsNegotiationErrorCount => "TargetTLSNegotiationErrorCount",
            Metric::TargetResponseTime => "TargetResponseTime",
            Metric::CertificateSecondsToExpiry => "CertificateSecondsToExpiry",
            Metric::ProxyStartCount => "ProxyStartCount",
        }
    }

    /// Whether it tells of requests to a target, and not of the connections that they share.
    fn is_of_requests(self) -> bool {
        use Metric::{RequestCountPerTarget, Target2xx, Target3xx, Target4xx, Target5xx, TargetResponseTime};
        matches!(
            self,
            RequestCountPerTarget | Target2xx | Target3xx | Target4xx | Target5xx | TargetResponseTime
        )
    }

    /// What a metric of one direction starts with; histograms are never sent empty.
    fn zero(self) -> Change {
        match self {
            Metric::ActiveConnectionCount => Change::Gauge(0),
            Metric::TargetResponseTime => Change::Histogram(Distribution::default()),
            _ => Change::Counter(0),
        }
    }

    /// Metrics that an inbound statistic counts in; `name` is below the prefix of its listener, connection
    /// manager or TCP proxy.
    fn of_inbound(name: &str, grpc: bool) -> &'static [Metric] {
        match name {
            "downstream_cx_active" => &[Metric::ActiveConnectionCount],
            "downstream_cx_total" => &[Metric::NewConnectionCount],
            "downstream_cx_rx_bytes_total" | "downstream_cx_tx_bytes_total" => &[Metric::ProcessedBytes],
            "downstream_rq_total" if grpc => &[Metric::GrpcRequestCount],
            "downstream_rq_total" => &[Metric::RequestCount],
            name if is_tls_failure(name) => &[Metric::ClientTlsNegotiationErrorCount],
            _ => &[],
        }
    }

    /// The metric that a cluster's statistic counts in.
    fn of_target(name: &str) -> &'static [Metric] {
        match name {
            // Every request that was given an answer. `upstream_rq_total` has those only that a host was found for,
            // so it stands still in an outage; App Mesh counted in a filter before the router, which sees no tries.
            "upstream_rq_completed" => &[Metric::RequestCountPerTarget],
            "upstream_cx_rx_bytes_total" | "upstream_cx_tx_bytes_total" => &[Metric::TargetProcessedBytes],
            "upstream_rq_2xx" => &[Metric::Target2xx],
            "upstream_rq_3xx" => &[Metric::Target3xx],
            "upstream_rq_4xx" => &[Metric::Target4xx],
            "upstream_rq_5xx" => &[Metric::Target5xx],
            "upstream_rq_time" => &[Metric::TargetResponseTime],
            name if is_tls_failure(name) => &[Metric::TargetTlsNegotiationErrorCount],
            _ => &[],
        }
    }
}

/// Handshakes that failed; verification is counted apart from the rest.
fn is_tls_failure(name: &str) -> bool {
    ["ssl.connection_error", "ssl.fail_verify_no_cert", "ssl.fail_verify_error", "ssl.fail_verify_san"]
        .contains(&name)
}

impl Side {
    /// The tags of App Mesh's extension beside the node's own.
    pub fn tags(&self) -> Vec<(&'static str, &str)> {
        match self {
            Side::Inbound => Vec::new(),
            Side::Target { node, service } => {
                let service = service.iter().map(|service| ("TargetVirtualService", service.as_str()));
                std::iter::once(("TargetVirtualNode", node.as_str())).chain(service).collect()
            }
        }
    }
}

/// Whose traffic a group of metrics is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// What came to this node.
    Inbound,
    /// What this node sent to another.
    Target {
        /// The virtual node; another cluster's name when it is none.
        node: String,
        /// The virtual service it was reached by; `None` for requests of none, and for what the connections of
        /// several services have in common.
        service: Option<String>,
    },
}

/// The metrics of one reading.
pub type Metrics = BTreeMap<Side, BTreeMap<Metric, Change>>;

/// Computes the metrics of one interval after the other.
#[derive(Debug)]
pub struct Reader {
    snapshots: Subscriber,
    identity: Option<Identity>,
    /// Of the interval before: a removed cluster's last counts find their place there.
    before: Roles,
}

impl Reader {
    /// A reader over everything published to `snapshots`.
    pub fn new(snapshots: Subscriber, identity: Option<Identity>) -> Self {
        Self { snapshots, identity, before: Roles::default() }
    }

    /// Whose proxy this is.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Adds up what the statistics of `interval` did. Inbound metrics are always there.
    pub fn metrics(&mut self, interval: &Interval) -> Metrics {
        let roles = Roles::new(&self.snapshots.current(), self.identity.as_ref());
        let metrics = metrics(interval, &roles, &self.before);
        self.before = roles;
        metrics
    }
}

/// The metrics since the process started, for readers that scrape.
#[derive(Debug)]
pub struct Totals {
    registry: Registry,
    /// One reading at a time.
    reader: Mutex<Reader>,
}

impl Totals {
    /// Of everything that `reader` sees.
    pub fn new(registry: &Registry, reader: Reader) -> Self {
        Self { registry: registry.clone(), reader: Mutex::new(reader) }
    }

    /// The metrics now.
    pub fn metrics(&self) -> Metrics {
        let interval = Recorder::new(&self.registry).advance();
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).metrics(&interval)
    }
}

fn metrics(interval: &Interval, roles: &Roles, before: &Roles) -> Metrics {
    let services = Services::of(interval, roles, before);
    let mut metrics = Roles::empty();
    let mut name = String::new();
    for stat in interval.stats() {
        name.clear();
        interval.view().write_name(stat, &mut name);
        if let Some((side, members)) = roles.find(&name).or_else(|| before.find(&name)) {
            let change = interval.change(stat);
            let group = metrics.entry(side.clone()).or_default();
            for metric in members.iter().filter(|metric| !services.tell(&name, **metric)) {
                group.entry(*metric).or_insert_with(|| metric.zero()).add(&change);
            }
        }
    }
    services.add_to(&mut metrics, roles, before);
    metrics
}

#[cfg(test)]
pub(super) mod tests;
