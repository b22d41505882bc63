//! What the exporter is told to do.

use std::time::Duration;

use super::Selection;

/// Settings of the exporter, as the `OUTRIGGER_EMF*` variables give them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where documents go.
    pub target: Target,
    /// CloudWatch namespace.
    pub namespace: String,
    /// Between flushes, whole seconds.
    pub interval: Duration,
    /// `StorageResolution`: 1 or 60 seconds.
    pub resolution: u8,
    /// Which metrics.
    pub selection: Selection,
    /// Which dimension sets.
    pub dimensions: Dimensions,
    /// Put before the names of App Mesh's metrics: nothing, `envoy_appmesh_` or `envoy.appmesh.`.
    pub prefix: String,
    /// Distinct combinations of dimension values beside the node's own.
    pub max_series: usize,
    /// `LogGroupName`, which the CloudWatch agent reads.
    pub log_group: Option<String>,
}

/// Where documents go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One line each; never blocks, see the access log's writer.
    Stdout,
    /// Newline-delimited to `host:port`.
    Tcp(String),
    /// One datagram each to `host:port`.
    Udp(String),
}

/// Families of dimension sets; a metric is published once for every set of every family in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimensions {
    /// `[Mesh, VirtualNode]` and, for targets, with `TargetVirtualNode` and `TargetVirtualService`.
    pub mesh: bool,
    /// `[DiscoveryName]`, `[DiscoveryName, ServiceName, ClusterName]`, for targets with `TargetDiscoveryName`.
    pub service_connect: bool,
    /// `[ClusterName, TaskDefinitionFamily]` on ECS, `[ClusterName, Namespace]` on Kubernetes.
    pub container_insights: bool,
}

impl Dimensions {
    /// What App Mesh's users have.
    pub const MESH: Dimensions = Dimensions { mesh: true, service_connect: false, container_insights: false };

    /// No family.
    pub const NONE: Dimensions =
        Dimensions { mesh: false, service_connect: false, container_insights: false };

    /// Those that are not in `others`.
    pub fn without(self, others: Dimensions) -> Self {
        Self {
            mesh: self.mesh && !others.mesh,
            service_connect: self.service_connect && !others.service_connect,
            container_insights: self.container_insights && !others.container_insights,
        }
    }

    /// From a list of `mesh`, `service-connect`, `container-insights`.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut dimensions = Dimensions::NONE;
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "mesh" => dimensions.mesh = true,
                "service-connect" => dimensions.service_connect = true,
                "container-insights" => dimensions.container_insights = true,
                other => {
                    return Err(format!("{other:?} is none of mesh, service-connect, container-insights"));
                }
            }
        }
        match dimensions {
            Dimensions::NONE => Err("names no dimensions".to_owned()),
            some => Ok(some),
        }
    }
}
