//! Dimension sets: which ones a group of metrics is published under. Each makes a metric of its own.

use super::document::Group;
use super::settings::Dimensions;
use crate::observe::mesh::{Identity, Side};
use crate::observe::platform::Platform;

/// What sets are made of.
#[derive(Clone, Copy, Debug)]
pub struct Sets<'w> {
    /// Families in use.
    pub families: Dimensions,
    /// Whose proxy this is, in a mesh.
    pub identity: Option<&'w Identity>,
    /// `node.cluster`, the name of a proxy outside a mesh.
    pub node_cluster: &'w str,
    /// Where it runs, as far as known.
    pub platform: &'w Platform,
}

impl Sets<'_> {
    /// Whether there is any set now: without one all targets would be one metric.
    pub fn exist(&self) -> bool {
        self.known() != Dimensions::NONE
    }

    /// The families in use whose names are known now.
    pub fn known(&self) -> Dimensions {
        Dimensions {
            mesh: self.families.mesh,
            service_connect: self.families.service_connect && !self.discovery_name().is_empty(),
            container_insights: self.families.container_insights && self.container().is_some(),
        }
    }

    /// `[Mesh, VirtualNode]` and, for targets, with `TargetVirtualNode` and `TargetVirtualService`.
    pub fn of_mesh(&self, side: &Side, group: &mut Group) {
        if !self.families.mesh {
            return;
        }
        let own = self.own();
        group.add(&own);
        if let Side::Target { node, service } = side {
            group.add(&[own.as_slice(), &[("TargetVirtualNode", node)]].concat());
            if let Some(service) = service {
                let target = [("TargetVirtualService", service.as_str()), ("TargetVirtualNode", node)];
                group.add(&[own.as_slice(), &target].concat());
            }
        }
    }

    /// `[DiscoveryName]`, `[DiscoveryName, ServiceName, ClusterName]`, for targets with `TargetDiscoveryName`.
    pub fn of_service_connect(&self, side: &Side, group: &mut Group) {
        let own = self.discovery_name();
        if !self.families.service_connect || own.is_empty() {
            return;
        }
        let name = match side {
            Side::Inbound => ("DiscoveryName", own),
            Side::Target { node, .. } => ("TargetDiscoveryName", node.as_str()),
        };
        group.add(&[name]);
        let Platform { service_name, cluster_name, .. } = self.platform;
        let service = [("ServiceName", service_name.as_str()), ("ClusterName", cluster_name)];
        if service.iter().all(|(_, value)| !value.is_empty()) {
            group.add(&[&[name], service.as_slice()].concat());
        }
    }

    /// `[ClusterName, TaskDefinitionFamily]` on ECS, `[ClusterName, Namespace]` on Kubernetes.
    pub fn of_container(&self, group: &mut Group) {
        if let Some(set) = self.container().filter(|_| self.families.container_insights) {
            group.add(&set);
        }
    }

    /// Labels of a statistic behind the node's own dimensions.
    pub fn of_labels(&self, labels: &[(String, String)], group: &mut Group) {
        let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        group.add(&self.own().into_iter().chain(labels).collect::<Vec<_>>());
    }

    /// The node's own dimensions: of a mesh, or its cluster's name.
    fn own(&self) -> Vec<(&'static str, &str)> {
        match self.identity {
            Some(Identity { mesh, kind, name }) => vec![("Mesh", mesh), (kind.dimension(), name)],
            None if self.node_cluster.is_empty() => Vec::new(),
            None => vec![("NodeCluster", self.node_cluster)],
        }
    }

    fn discovery_name(&self) -> &str {
        self.identity.map_or(self.node_cluster, |own| &own.name)
    }

    fn container(&self) -> Option<[(&'static str, &str); 2]> {
        let Platform { cluster_name, task_family, namespace, .. } = self.platform;
        let second = match (task_family.as_str(), namespace.as_str()) {
            ("", "") => return None,
            ("", namespace) => ("Namespace", namespace),
            (family, _) => ("TaskDefinitionFamily", family),
        };
        (!cluster_name.is_empty()).then_some([("ClusterName", cluster_name.as_str()), second])
    }
}

impl Group {
    /// Adds a dimension set with its values; an empty one is the set without dimensions. A name that occurs again,
    /// such as a tag of every statistic that is one of the node's own dimensions, is there once.
    pub fn add(&mut self, set: &[(&str, &str)]) {
        let mut names: Vec<String> = Vec::with_capacity(set.len());
        for (name, value) in set {
            if names.iter().any(|known| known == name) {
                continue;
            }
            names.push((*name).to_owned());
            if !self.dimensions.iter().any(|(known, _)| known == name) {
                self.dimensions.push(((*name).to_owned(), (*value).to_owned()));
            }
        }
        self.sets.push(names);
    }
}
