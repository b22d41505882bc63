//! Listeners: translation, address conflicts, sockets.
//!
//! Sockets are bound while the response is judged, so that a taken port is part of the NACK. A listener whose
//! address stays keeps its sockets: nothing is ever rebound. Source: Envoy `ListenerManagerImpl`.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_xds_protos::v3;

use super::{Intake, Tally, fresh, text};
use crate::config::listener::Listener;
use crate::config::live::ListenerSockets;
use crate::xds::resource::{Fault, Incoming, ResourceType};
use crate::xds::store::{BoundListener, Record};
use crate::xds::translate::{self, TranslatedListener};

/// A translated listener of this response, and whether its name was known.
struct Candidate<'a> {
    incoming: &'a Incoming,
    translated: TranslatedListener,
    known: bool,
}

/// Why a listener got no place; `port`: the system did not give it its own.
struct Misplaced {
    reason: String,
    port: bool,
}

/// What two listeners may not share: an address, among those that bind and among those that do not.
type Place = (SocketAddr, bool);

impl Intake<'_> {
    /// Takes the listeners of one response together: they may swap addresses.
    pub(super) fn listeners(&mut self, resources: &[Incoming], tally: &mut Tally) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut candidates = Vec::new();
        for incoming in resources {
            match self.translate_listener(incoming) {
                Ok(candidate) => candidates.extend(candidate),
                Err(reason) => faults.push(self.refuse(ResourceType::Listener, incoming, reason)),
            }
        }
        let mut places = self.places_beside(&candidates);
        let mut changing: HashSet<&str> = candidates.iter().map(|one| &*one.incoming.name).collect();
        for candidate in candidates {
            let incoming = candidate.incoming;
            changing.remove(&*incoming.name);
            let refs = &candidate.translated.secret_refs;
            let sources = self.check_sources(refs, ResourceType::Listener, &incoming.name, &changing);
            if let Err(reason) = sources {
                faults.push(self.refuse(ResourceType::Listener, incoming, reason));
                continue;
            }
            if let Err(Misplaced { reason, port }) = self.place(candidate, &mut places, tally) {
                faults.push(self.refuse(ResourceType::Listener, incoming, reason));
                tally.unbound += u32::from(port);
                let record = self.store.listeners.get_mut(&incoming.name);
                if let Some(refused) = record.and_then(|record| record.refused.as_mut()) {
                    refused.port = port;
                }
            }
        }
        faults
    }

    fn translate_listener<'a>(&mut self, incoming: &'a Incoming) -> Result<Option<Candidate<'a>>, String> {
        let Some(known) = fresh(&mut self.store.listeners, incoming, self.origin) else { return Ok(None) };
        let message: v3::listener::Listener = self.decode(incoming)?;
        let translated = translate::listener(&message, self.context).map_err(text)?;
        self.require(&translated.required_clusters)?;
        Ok(Some(Candidate { incoming, translated, known }))
    }

    /// Addresses held by listeners that this response does not change.
    fn places_beside(&self, candidates: &[Candidate<'_>]) -> HashMap<Place, Arc<str>> {
        let changed: HashSet<&str> = candidates.iter().map(|candidate| &*candidate.incoming.name).collect();
        let others = self.store.listeners.iter().filter(|(name, _)| !changed.contains(&***name));
        let held = others.flat_map(|(name, record)| record.versions().map(move |held| (name, held)));
        held.filter_map(|(name, held)| Some((place(&held.value.translated.config)?, name.clone()))).collect()
    }

    fn place(
        &mut self,
        candidate: Candidate<'_>,
        places: &mut HashMap<Place, Arc<str>>,
        tally: &mut Tally,
    ) -> Result<(), Misplaced> {
        let Candidate { incoming, translated, known } = candidate;
        let listener = &translated.config;
        if let Some(place) = place(listener) {
            if let Some(other) = places.get(&place) {
                let reason = format!("address {}: listener {other:?} has it already", listener.address);
                return Err(Misplaced { reason, port: false });
            }
            places.insert(place, incoming.name.clone());
        }
        let record = self.store.listeners.get(&incoming.name);
        let kept = record.and_then(|record| sockets_of(record, listener));
        tally.in_place += u32::from(known && kept.is_some());
        let sockets = match kept {
            Some(sockets) => Some(sockets),
            None if listener.bind_to_port => Some(self.bind(listener)?),
            None => None,
        };
        let held = self.held(incoming, BoundListener { translated, sockets });
        self.store.put_listener(&incoming.name, self.origin, held);
        tally.count(known);
        Ok(())
    }

    fn bind(&self, listener: &Listener) -> Result<Arc<ListenerSockets>, Misplaced> {
        let reason = |error| format!("address {}: cannot bind: {error}", listener.address);
        let bound = self.ports.bind(listener).map(Arc::new);
        bound.map_err(|error| Misplaced { reason: reason(error), port: true })
    }
}

/// `None` for port 0: the kernel never gives the same twice.
fn place(listener: &Listener) -> Option<Place> {
    let fixed = !(listener.bind_to_port && listener.address.port() == 0);
    fixed.then_some((listener.address, listener.bind_to_port))
}

/// The sockets that some version of this listener holds for the very same address.
fn sockets_of(record: &Record<BoundListener>, listener: &Listener) -> Option<Arc<ListenerSockets>> {
    let same = |held: &&BoundListener| {
        let other = &held.translated.config;
        other.address == listener.address && other.ipv4_compat == listener.ipv4_compat
    };
    if !listener.bind_to_port {
        return None;
    }
    let mut versions = record.versions().map(|held| &held.value);
    versions.find(|held| same(held) && held.sockets.is_some()).and_then(|held| held.sockets.clone())
}
