//! One response into the store: what changed is translated, what cannot be honoured is refused by name.
//!
//! Owns nothing. Invariants: a refused resource leaves its last good version untouched; the rest of its response
//! applies; identical content is not even decoded. Source: xDS transport protocol, "ACK and NACK semantics".

use std::collections::HashSet;
use std::sync::Arc;

use outrigger_xds_protos::any::Typed;
use outrigger_xds_protos::v3::{self, wkt::Any};
use outrigger_xds_protos::{unknown, validate};

use super::resource::{Fault, Incoming, ResourceType, Update};
use super::settings::SDS_CLUSTER;
use super::store::{Held, Novelty, Now, Origin, Records, Refused, RouteVersion, Store};
use super::translate::{self, RequiredCluster, TranslateContext};
use crate::config::outside::Ports;

mod listeners;
mod secrets;
mod sources;

#[cfg(test)]
mod tests;

/// Everything needed to take resources in.
pub struct Intake<'a> {
    /// Where they go.
    pub store: &'a mut Store,
    /// Names and secrets for translation.
    pub context: &'a mut TranslateContext,
    /// Binds listeners.
    pub ports: &'a dyn Ports,
    /// The moment.
    pub now: Now,
    /// Whose resources these are.
    pub origin: Origin,
    /// Fields met that the API does not know.
    pub unknown_fields: u64,
}

/// What a response did to one type, for statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// New names.
    pub added: u32,
    /// Names with new content.
    pub modified: u32,
    /// Names gone.
    pub removed: u32,
    /// Resources refused.
    pub refused: u32,
    /// Listeners among the modified that kept their sockets.
    pub in_place: u32,
    /// Listeners among the refused whose port could not be had.
    pub unbound: u32,
}

impl Tally {
    /// Whether the response changed anything.
    pub fn is_change(&self) -> bool {
        self.added + self.modified + self.removed > 0
    }

    fn count(&mut self, known: bool) {
        if known {
            self.modified += 1;
        } else {
            self.added += 1;
        }
    }
}

impl Intake<'_> {
    /// Takes a response. Every refused resource is in the result, those refused before translation included.
    pub fn apply(&mut self, update: &Update) -> (Vec<Fault>, Tally) {
        let mut tally = Tally::default();
        self.remove(update, &mut tally);
        let mut faults = update.faults.clone();
        for fault in &update.faults {
            self.note(update.kind, fault, None);
        }
        match update.kind {
            ResourceType::Listener => faults.extend(self.listeners(&update.resources, &mut tally)),
            kind => {
                let mut changing = update.resources.iter().map(|one| &*one.name).collect();
                let taken =
                    update.resources.iter().map(|one| self.take(kind, one, &mut changing, &mut tally));
                faults.extend(taken.flatten());
            }
        }
        tally.refused = faults.len() as u32;
        (faults, tally)
    }

    /// Takes one resource that is not a listener, and out of `changing`: those of its response that were not taken yet.
    fn take<'u>(
        &mut self,
        kind: ResourceType,
        incoming: &'u Incoming,
        changing: &mut HashSet<&'u str>,
        tally: &mut Tally,
    ) -> Option<Fault> {
        changing.remove(&*incoming.name);
        let taken = match kind {
            ResourceType::Cluster => self.cluster(incoming, changing, tally),
            ResourceType::Endpoints => self.endpoints(incoming, tally),
            ResourceType::Routes => self.routes(incoming, tally),
            ResourceType::Secret => self.secret(incoming, tally),
            ResourceType::Listener => Ok(()),
        };
        taken.err().map(|reason| self.refuse(kind, incoming, reason))
    }

    /// Drops what the response says is gone: by name, or by absence from a complete list.
    fn remove(&mut self, update: &Update, tally: &mut Tally) {
        for name in &update.removed {
            // "There are no endpoints" lets a cluster serve empty. Routes or secrets that do not exist yet are worth
            // the rest of their timeout: until then the listener before serves.
            if update.kind == ResourceType::Endpoints {
                self.store.answered(update.kind, name);
            }
            tally.removed += u32::from(self.remove_root(update.kind, name));
        }
        if update.complete {
            let present = update.resources.iter().map(|one| &*one.name);
            let present: HashSet<&str> =
                present.chain(update.faults.iter().map(|fault| &*fault.name)).collect();
            for name in self.absent(update.kind, &present) {
                tally.removed += u32::from(self.remove_root(update.kind, &name));
            }
        }
    }

    fn absent(&self, kind: ResourceType, present: &HashSet<&str>) -> Vec<Arc<str>> {
        fn missing<T>(records: &Records<T>, present: &HashSet<&str>) -> Vec<Arc<str>> {
            records.keys().filter(|name| !present.contains(&***name)).cloned().collect()
        }
        match kind {
            ResourceType::Cluster => missing(&self.store.clusters, present),
            ResourceType::Listener => missing(&self.store.listeners, present),
            _ => Vec::new(),
        }
    }

    /// Only clusters and listeners are removed; the others go with what refers to them.
    fn remove_root(&mut self, kind: ResourceType, name: &str) -> bool {
        match kind {
            ResourceType::Cluster => self.store.remove_cluster(name),
            ResourceType::Listener => self.store.remove_listener(name),
            _ => false,
        }
    }

    fn cluster(
        &mut self,
        incoming: &Incoming,
        changing: &HashSet<&str>,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let Some(known) = fresh(&mut self.store.clusters, incoming, self.origin) else { return Ok(()) };
        let message: v3::cluster::Cluster = self.decode(incoming)?;
        let cluster = translate::cluster(&message, self.context).map_err(text)?;
        self.check_sources(&cluster.secret_refs, ResourceType::Cluster, &incoming.name, changing)?;
        let held = self.held(incoming, cluster);
        self.store.put_cluster(&incoming.name, self.origin, held);
        tally.count(known);
        Ok(())
    }

    fn endpoints(&mut self, incoming: &Incoming, tally: &mut Tally) -> Result<(), String> {
        self.store.answered(ResourceType::Endpoints, &incoming.name);
        let Some(known) = fresh(&mut self.store.endpoints, incoming, self.origin) else { return Ok(()) };
        let message: v3::endpoint::ClusterLoadAssignment = self.decode(incoming)?;
        let assignment = translate::load_assignment(&message, self.context).map_err(text)?;
        let held = self.held(incoming, Arc::new(assignment));
        self.store.put_endpoints(&incoming.name, held);
        tally.count(known);
        Ok(())
    }

    fn routes(&mut self, incoming: &Incoming, tally: &mut Tally) -> Result<(), String> {
        self.store.answered(ResourceType::Routes, &incoming.name);
        let Some(known) = fresh(&mut self.store.routes, incoming, self.origin) else { return Ok(()) };
        let message: v3::route::RouteConfiguration = self.decode(incoming)?;
        let routes = translate::route_table(&message, self.context).map_err(text)?;
        self.require(&routes.required_clusters)?;
        let version = RouteVersion { table: routes.config, since: self.now.instant };
        let held = self.held(incoming, version);
        self.store.put_routes(&incoming.name, held);
        tally.count(known);
        Ok(())
    }

    /// Refuses a resource that insists on clusters nobody sent.
    fn require(&self, clusters: &[RequiredCluster]) -> Result<(), String> {
        let known =
            |name: &str| self.store.clusters.get(name).is_some_and(|record| record.latest().is_some());
        match clusters.iter().find(|required| !known(&required.name)) {
            Some(missing) => {
                let to_do = if missing.name == SDS_CLUSTER {
                    "; set APPMESH_SDS_SOCKET_PATH to the socket of the SDS server (a SPIRE agent)"
                } else {
                    ""
                };
                Err(format!("{}: unknown cluster {:?}{to_do}", missing.path, missing.name))
            }
            None => Ok(()),
        }
    }

    /// Decodes what has passed Envoy's own constraints. Unknown fields are accepted, counted and said, as in Envoy.
    fn decode<M: Typed>(&mut self, incoming: &Incoming) -> Result<M, String> {
        let any = Any { type_url: M::TYPE_URL.to_owned(), value: incoming.body.0.to_vec() };
        validate::check_any(&any).map_err(text)?;
        for field in unknown::fields(&any) {
            self.unknown_fields += 1;
            tracing::debug!("{} {:?}: {field} is ignored", M::NAME, incoming.name);
        }
        M::from_wire(&incoming.body.0).map_err(text)
    }

    fn held<T>(&self, incoming: &Incoming, value: T) -> Held<T> {
        Held { body: incoming.body.clone(), version: incoming.version.clone(), updated: self.now.wall, value }
    }

    fn refuse(&mut self, kind: ResourceType, incoming: &Incoming, reason: String) -> Fault {
        let fault = Fault { name: incoming.name.clone(), reason };
        self.note(kind, &fault, Some(incoming));
        fault
    }

    /// Remembers a refusal for dumps, beside whatever is held.
    fn note(&mut self, kind: ResourceType, fault: &Fault, incoming: Option<&Incoming>) {
        if fault.name.is_empty() {
            return;
        }
        let refused = Refused {
            body: incoming.map(|one| one.body.clone()).unwrap_or_default(),
            version: incoming.map_or_else(|| "".into(), |one| one.version.clone()),
            at: self.now.wall,
            details: fault.reason.clone(),
            port: false,
        };
        self.store.refuse(kind, &fault.name, refused);
    }
}

/// Whether a received resource must be looked at, and then whether its name is known already. `None`: it is what is
/// held, or belongs to the bootstrap, which xDS may not change.
fn fresh<T>(records: &mut Records<T>, incoming: &Incoming, origin: Origin) -> Option<bool> {
    let Some(record) = records.get_mut(&incoming.name) else { return Some(false) };
    if record.origin != origin {
        return None;
    }
    match record.compare(&incoming.body) {
        Novelty::New => return Some(record.latest().is_some()),
        Novelty::Rollback => record.warming = None,
        Novelty::Same => {}
    }
    record.refused = None;
    None
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
