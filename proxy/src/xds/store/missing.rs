//! What discovery named and this proxy does not have.

use super::{Records, Store};
use crate::xds::resource::ResourceType;

impl Store {
    /// Everything that keeps this from being the configuration that was sent, one line each: lists of `roots` of which
    /// no version was accepted as a whole, resources that were refused and have no version in place, listeners that
    /// warm, and route tables that a serving listener waits for in vain.
    pub fn missing(&self, roots: impl Iterator<Item = ResourceType>) -> Vec<String> {
        let never = roots.filter(|kind| !self.list_versions.contains_key(kind));
        let mut missing: Vec<String> =
            never.map(|kind| format!("no list of type {} has been accepted", kind.label())).collect();
        refused(ResourceType::Listener, &self.listeners, &mut missing);
        refused(ResourceType::Cluster, &self.clusters, &mut missing);
        refused(ResourceType::Routes, &self.routes, &mut missing);
        refused(ResourceType::Endpoints, &self.endpoints, &mut missing);
        refused(ResourceType::Secret, &self.secrets, &mut missing);
        let warming = self.listeners.iter().filter(|(_, record)| record.is_first_warming());
        missing.extend(warming.map(|(name, _)| format!("Listener {name:?} is still warming")));
        let serving = self.listeners.values().filter_map(|record| record.active.as_ref());
        for route in serving.flat_map(|held| &held.value.translated.route_refs) {
            if !self.routes.contains_key(&*route.name) {
                missing.push(format!("RouteConfiguration {:?} has not arrived", route.name));
            }
        }
        missing
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

fn refused<T>(kind: ResourceType, records: &Records<T>, missing: &mut Vec<String>) {
    for (name, record) in records.iter().filter(|(_, record)| record.latest().is_none()) {
        if let Some(refused) = &record.refused {
            missing.push(format!("{} {name:?} was refused: {}", kind.label(), refused.details));
        }
    }
}
