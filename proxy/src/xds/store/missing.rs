//! What discovery named and this proxy does not have.

use super::{Records, Store};
use crate::xds::resource::ResourceType;

impl Store {
    /// Everything that keeps this from being the configuration that was sent, one line each: lists of `roots` of which
    /// no version was accepted as a whole, resources that were refused and have no version in place, listeners that
    /// warm, and route tables that a serving listener waits for in vain.
    pub fn missing(&self, roots: impl Iterator<Item = ResourceType>) -> impl Iterator<Item = String> {
        let never = roots.filter(|kind| !self.list_versions.contains_key(kind));
        let never = never.map(|kind| format!("no list of type {} has been accepted", kind.label()));
        let warming = self.listeners.iter().filter(|(_, record)| record.is_first_warming());
        let serving = self.listeners.values().filter_map(|record| record.active.as_ref());
        let routes = serving.flat_map(|held| &held.value.translated.route_refs);
        let waited_for = routes.filter(|route| !self.routes.contains_key(&*route.name));
        never
            .chain(refused(ResourceType::Listener, &self.listeners))
            .chain(refused(ResourceType::Cluster, &self.clusters))
            .chain(refused(ResourceType::Routes, &self.routes))
            .chain(refused(ResourceType::Endpoints, &self.endpoints))
            .chain(refused(ResourceType::Secret, &self.secrets))
            .chain(warming.map(|(name, _)| format!("Listener {name:?} is still warming")))
            .chain(waited_for.map(|route| format!("RouteConfiguration {:?} has not arrived", route.name)))
    }

    /// Listeners that have no version in place because their port could not be had.
    pub fn unbound(&self) -> Vec<String> {
        let mut unbound = Vec::new();
        for (name, record) in self.listeners.iter().filter(|(_, record)| record.latest().is_none()) {
            let refused = record.refused.as_ref().filter(|refused| refused.port);
            unbound.extend(refused.map(|refused| format!("Listener {name:?}: {}", refused.details)));
        }
        unbound
    }
}

fn refused<T>(kind: ResourceType, records: &Records<T>) -> impl Iterator<Item = String> {
    let empty = records.iter().filter(|(_, record)| record.latest().is_none());
    empty.filter_map(move |(name, record)| {
        let refused = record.refused.as_ref()?;
        Some(format!("{} {name:?} was refused: {}", kind.label(), refused.details))
    })
}
