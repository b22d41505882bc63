//! Resources that the bootstrap has in it: taken in as if they had been received.

use std::collections::HashSet;

use outrigger_xds_protos::any::Typed;
use outrigger_xds_protos::v3;

use super::Engine;
use crate::xds::resource::{Body, Fault, Incoming, ResourceType, Update};
use crate::xds::store::{Now, Origin};

impl Engine {
    /// Takes the resources of the bootstrap. Any fault is a start failure.
    pub fn load_static(
        &mut self,
        resources: &v3::bootstrap::bootstrap::StaticResources,
        now: Now,
    ) -> Result<(), Vec<(ResourceType, Fault)>> {
        let lists = [
            (ResourceType::Secret, encode(&resources.secrets, |one| one.name.clone())),
            (ResourceType::Cluster, encode(&resources.clusters, |one| one.name.clone())),
            (ResourceType::Listener, named_listeners(&resources.listeners)),
        ];
        let mut all = Vec::new();
        for (kind, list) in lists {
            let (resources, mut faults) = distinct(list);
            let update = Update {
                kind,
                version: "".into(),
                nonce: String::new(),
                complete: false,
                resources,
                removed: Vec::new(),
                faults: Vec::new(),
            };
            let (refused, tally) = self.intake(Origin::Static, now, |intake| intake.apply(&update));
            self.counters.listed(kind, &tally);
            faults.extend(refused);
            all.extend(faults.into_iter().map(|fault| (kind, fault)));
        }
        if all.is_empty() { Ok(()) } else { Err(all) }
    }
}

/// Resources of the bootstrap as if they had been received.
fn encode<M: Typed>(messages: &[M], name: impl Fn(&M) -> String) -> Vec<Incoming> {
    let one = |message: &M| Incoming {
        name: name(message).into(),
        version: "".into(),
        body: Body(message.to_wire().into()),
    };
    messages.iter().map(one).collect()
}

/// Listeners of a bootstrap need no name: they get one from their position.
fn named_listeners(listeners: &[v3::listener::Listener]) -> Vec<Incoming> {
    let mut listeners = listeners.to_vec();
    for (index, listener) in listeners.iter_mut().enumerate() {
        if listener.name.is_empty() {
            listener.name = format!("static_listener_{index}");
        }
    }
    encode(&listeners, |one| one.name.clone())
}

/// The first resource of every name, and a fault for each further one.
fn distinct(list: Vec<Incoming>) -> (Vec<Incoming>, Vec<Fault>) {
    let mut seen = HashSet::new();
    let (first, again): (Vec<_>, Vec<_>) = list.into_iter().partition(|one| seen.insert(one.name.clone()));
    let twice = |one: Incoming| Fault { name: one.name, reason: "occurs twice in the bootstrap".to_owned() };
    (first, again.into_iter().map(twice).collect())
}
