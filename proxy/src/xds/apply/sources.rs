//! Secrets of one name from two servers: here a name is one secret, so the second is refused.

use std::collections::HashSet;

use super::Intake;
use crate::xds::resource::ResourceType;
use crate::xds::store::Record;
use crate::xds::translate::ResourceRef;

impl Intake<'_> {
    /// Refuses references that name another source than those beside them, or than those of another resource. Resources
    /// in `changing` are of the same response and still to be taken: what they refer to now counts no more.
    pub(super) fn check_sources(
        &self,
        refs: &[ResourceRef],
        kind: ResourceType,
        own: &str,
        changing: &HashSet<&str>,
    ) -> Result<(), String> {
        let counts = |of: ResourceType, name: &str| of != kind || (name != own && !changing.contains(name));
        for (at, reference) in refs.iter().enumerate() {
            let differs =
                |other: &ResourceRef| other.name == reference.name && other.stream != reference.stream;
            if refs[..at].iter().any(differs) {
                return Err(refusal(&reference.name, "this resource itself"));
            }
            let clusters = self.store.clusters.iter().filter(|(name, _)| counts(ResourceType::Cluster, name));
            let mut clusters =
                clusters.filter_map(|(name, record)| Some((name, &latest(record)?.secret_refs)));
            if let Some((name, _)) = clusters.find(|(_, refs)| refs.iter().any(differs)) {
                return Err(refusal(&reference.name, &format!("cluster {name:?}")));
            }
            let listeners =
                self.store.listeners.iter().filter(|(name, _)| counts(ResourceType::Listener, name));
            let mut listeners =
                listeners.filter_map(|(name, record)| Some((name, &latest(record)?.translated.secret_refs)));
            if let Some((name, _)) = listeners.find(|(_, refs)| refs.iter().any(differs)) {
                return Err(refusal(&reference.name, &format!("listener {name:?}")));
            }
        }
        Ok(())
    }
}

fn latest<T>(record: &Record<T>) -> Option<&T> {
    record.latest().map(|held| &held.value)
}

fn refusal(name: &str, other: &str) -> String {
    format!(
        "secret {name:?}: {other} has it from another sds_config, and a name is one secret; use two names"
    )
}
