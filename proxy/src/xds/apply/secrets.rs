//! Secrets and certificate files: a new one changes every listener and cluster that refers to it.
//!
//! TLS settings are ready rustls configurations inside the compiled listener or cluster, so a rotation translates
//! its users again from the bytes that are held. Source: Envoy SDS.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use memchr::memmem::Finder;
use outrigger_xds_protos::any::Typed;
use outrigger_xds_protos::{identity, v3};

use super::{Intake, Tally, fresh, text};
use crate::xds::resource::{Body, Incoming, ResourceType};
use crate::xds::store::{Record, Records};
use crate::xds::translate::{self, ResourceRef, Secret};

impl Intake<'_> {
    pub(super) fn secret(&mut self, incoming: &Incoming, tally: &mut Tally) -> Result<(), String> {
        if let Some(known) = fresh(&mut self.store.secrets, incoming, self.origin) {
            let mut message: v3::tls::Secret = self.decode(incoming)?;
            let secret = translate::secret(&message, self.context).map_err(text);
            translate::wipe_secret(&mut message);
            let secret = secret?.secret;
            let held = self.held(incoming, secret.clone());
            self.store.put_secret(&incoming.name, self.origin, held);
            if !matches!(*secret, Secret::Requested(_)) {
                self.context.secrets.insert(incoming.name.to_string(), secret);
                self.renew_users(&incoming.name);
            }
            tally.count(known);
        }
        // One that we have to ask for first has not come with this.
        if self.context.secrets.contains_key(&*incoming.name) {
            self.store.answered(ResourceType::Secret, &incoming.name);
        }
        Ok(())
    }

    /// Takes an identity that was asked for.
    pub fn identity(&mut self, identity: Arc<Secret>) {
        self.context.secrets.insert(identity::SECRET.to_owned(), identity);
        self.store.answered(ResourceType::Secret, identity::SECRET);
        self.renew_users(identity::SECRET);
    }

    /// Translates every user of a secret again. Those that fail keep what they have: the secret is valid in
    /// itself, and the refusal of its user would hit a resource that nobody sent.
    fn renew_users(&mut self, secret: &str) {
        let clusters: Vec<Arc<str>> = users(&self.store.clusters, |one| &one.secret_refs, secret);
        for name in clusters {
            self.renew_cluster(&name);
        }
        let listeners = users(&self.store.listeners, |one| &one.translated.secret_refs, secret);
        for name in listeners {
            self.renew_listener(&name);
        }
    }

    /// Reads changed files again, for everything that names them. What cannot be used changes nothing. What was refused is
    /// judged again: the files may have been what it lacked.
    pub fn files_changed(&mut self, files: &[PathBuf]) {
        for file in files {
            let Some(text) = file.to_str() else { continue };
            let finder = Finder::new(text);
            let named = |body: &Body| finder.find(&body.0).is_some();
            let secrets = naming(&self.store.secrets, named);
            let clusters = naming(&self.store.clusters, named);
            let listeners = naming(&self.store.listeners, named);
            let again = self.refused_naming(named);
            if secrets.is_empty() && clusters.is_empty() && listeners.is_empty() && again.is_empty() {
                self.context.files.remove(file);
                continue;
            }
            tracing::info!("{} has changed and is read again", file.display());
            secrets.iter().for_each(|name| self.renew_secret(name));
            clusters.iter().for_each(|name| self.renew_cluster(name));
            listeners.iter().for_each(|name| self.renew_listener(name));
            again.iter().for_each(|(kind, incoming)| self.judge_again(*kind, incoming));
        }
    }

    /// Refused versions whose bytes name a file: secrets, then who may refer to them.
    fn refused_naming(&self, named: impl Fn(&Body) -> bool) -> Vec<(ResourceType, Incoming)> {
        fn of<T>(
            kind: ResourceType,
            records: &Records<T>,
            named: impl Fn(&Body) -> bool,
        ) -> impl Iterator<Item = (ResourceType, Incoming)> {
            records.iter().filter_map(move |(name, record)| {
                let refused = record.refused.as_ref().filter(|refused| named(&refused.body))?;
                let (body, version) = (refused.body.clone(), refused.version.clone());
                Some((kind, Incoming { name: name.clone(), version, body }))
            })
        }
        let secrets = of(ResourceType::Secret, &self.store.secrets, &named);
        let clusters = of(ResourceType::Cluster, &self.store.clusters, &named);
        secrets.chain(clusters).chain(of(ResourceType::Listener, &self.store.listeners, &named)).collect()
    }

    fn judge_again(&mut self, kind: ResourceType, incoming: &Incoming) {
        let (name, mut tally) = (&incoming.name, Tally::default());
        let fault = match kind {
            ResourceType::Listener => self.listeners(std::slice::from_ref(incoming), &mut tally).pop(),
            kind => self.take(kind, incoming, &mut HashSet::new(), &mut tally),
        };
        match fault {
            None => {
                tracing::info!("{} {name:?} was refused and is good now", kind.label());
                self.store.forgiven(kind, &incoming.version);
            }
            Some(fault) => tracing::warn!("{} {name:?} stays refused: {}", kind.label(), fault.reason),
        }
    }

    fn renew_secret(&mut self, name: &Arc<str>) {
        let Some(held) = self.store.secrets.get_mut(name).and_then(|record| record.active.as_mut()) else {
            return;
        };
        let message = v3::tls::Secret::from_wire(&held.body.0).map_err(text);
        let renewed = message.and_then(|mut message| {
            let renewed = translate::secret(&message, self.context).map_err(text);
            translate::wipe_secret(&mut message);
            renewed
        });
        match renewed {
            Ok(renewed) => {
                held.value = renewed.secret.clone();
                self.context.secrets.insert(name.to_string(), renewed.secret);
                self.renew_users(name);
            }
            Err(reason) => tracing::warn!("secret {name:?} keeps its old content: {reason}"),
        }
    }

    fn renew_cluster(&mut self, name: &Arc<str>) {
        let Some(record) = self.store.clusters.get_mut(name) else { return };
        for held in record.versions_mut() {
            let message = v3::cluster::Cluster::from_wire(&held.body.0).map_err(text);
            match message.and_then(|message| translate::cluster(&message, self.context).map_err(text)) {
                Ok(renewed) => held.value = renewed,
                Err(reason) => tracing::warn!("cluster {name:?} keeps its old TLS settings: {reason}"),
            }
        }
        self.store.touch_cluster(name);
    }

    fn renew_listener(&mut self, name: &Arc<str>) {
        let Some(record) = self.store.listeners.get_mut(name) else { return };
        for held in record.versions_mut() {
            let message = v3::listener::Listener::from_wire(&held.body.0).map_err(text);
            match message.and_then(|message| translate::listener(&message, self.context).map_err(text)) {
                Ok(renewed) => held.value.translated = renewed,
                Err(reason) => tracing::warn!("listener {name:?} keeps its old TLS settings: {reason}"),
            }
        }
        self.store.touch_listener(name);
    }
}

/// Names of the records that refer to a secret.
fn users<T>(records: &Records<T>, refs: impl Fn(&T) -> &Vec<ResourceRef>, secret: &str) -> Vec<Arc<str>> {
    let uses = |record: &Record<T>| {
        record.versions().any(|held| refs(&held.value).iter().any(|reference| reference.name == secret))
    };
    records.iter().filter(|(_, record)| uses(record)).map(|(name, _)| name.clone()).collect()
}

/// Names of the records whose bytes name a file.
fn naming<T>(records: &Records<T>, named: impl Fn(&Body) -> bool) -> Vec<Arc<str>> {
    let found = records.iter().filter(|(_, record)| record.versions().any(|held| named(&held.body)));
    found.map(|(name, _)| name.clone()).collect()
}
