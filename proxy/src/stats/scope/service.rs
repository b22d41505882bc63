//! What is counted by virtual service and cluster, for metrics that are told apart by both (`observe/mesh`).

use super::super::registry::{Histogram, Registry, StatusCodes};
use super::{bundle, sanitize};

bundle! {
    /// What a cluster's requests of one virtual service did, with the names that they count in `cluster.<name>.*`.
    ServiceStats(prefix) {
        traffic: unlisted(prefix) {
            upstream_rq_time: Histogram,
            upstream_rq: StatusCodes,
        }
    }
}

/// Between the parts of [`ServiceStats`]' names; no name of a cluster or service has it.
const BETWEEN: char = '\u{1f}';

impl ServiceStats {
    /// Of the requests for `service` that go to the cluster called `name`.
    pub fn for_service(registry: &Registry, name: &str, service: &str) -> Self {
        let service = service.replace(char::is_control, "_");
        Self::new(registry, &format!("{}{BETWEEN}{service}{BETWEEN}", sanitize(name)))
    }

    /// Cluster (as statistics call it), service and name below the cluster's prefix, of a full name.
    pub fn parts(name: &str) -> Option<(&str, &str, &str)> {
        let mut parts = name.split(BETWEEN);
        Some((parts.next()?, parts.next()?, parts.next()?))
    }
}
