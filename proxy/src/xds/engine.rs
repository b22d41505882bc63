//! Everything that happens to configuration, without I/O and without a clock: protocol, intake, references,
//! warming, compilation, and the order in which a proxy comes up.
//!
//! Owns the protocol machine, the store and the compiler. What it wants sent or resolved collects in an
//! [`Outbox`] that its driver empties after every call. Source: Envoy "Initialization", xDS transport protocol.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_xds_protos::{identity, v3};

use super::apply::{Intake, Tally};
use super::compile::Compiler;
use super::counters::Counters;
use super::files::Files;
use super::protocol::{Protocol, Request, Response};
use super::resource::{Fault, Interest, ResourceType, Update, WILDCARD};
use super::store::{Changes, Now, Origin, Store};
use super::translate::{Secret, TracingContext, TranslateContext};
use crate::config::outside::{Ports, Resolution, ResolveCommand};
use crate::config::{Locality, Place, Snapshot};
use crate::observe::access_log::grpc::GrpcLogs;
use crate::observe::access_log::sink::Sinks;
use crate::stats::registry::Registry;

mod bootstrap;
mod listen;
mod streams;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

use streams::SecretStreams;
pub use streams::{StreamCommand, StreamId};

/// Faults of one response that are logged one by one.
const LOGGED_FAULTS: usize = 16;

/// Which lists come over xDS, each with its `initial_fetch_timeout` (zero waits for ever).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// `cds_config`.
    pub clusters: Option<Duration>,
    /// `lds_config`.
    pub listeners: Option<Duration>,
}

/// How far the proxy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InitPhase {
    /// Clusters are being fetched or warm (`PRE_INITIALIZING`).
    Clusters,
    /// Listeners are being fetched or warm (`INITIALIZING`).
    Listeners,
    /// Whatever was to be had has arrived or was given up.
    Done,
}

/// What the engine wants done.
#[derive(Debug, Default)]
pub struct Outbox {
    /// For the control plane, in this order.
    pub requests: Vec<Request>,
    /// About streams that secrets have to themselves.
    pub streams: Vec<StreamCommand>,
    /// For the resolver.
    pub resolve: Vec<ResolveCommand>,
}

/// The engine.
pub struct Engine {
    roots: Roots,
    protocol: Option<Protocol>,
    streams: SecretStreams,
    store: Store,
    context: TranslateContext,
    compiler: Compiler,
    ports: Box<dyn Ports>,
    phase: InitPhase,
    /// Everything that discovery named was in place once.
    configured: bool,
    outbox: Outbox,
    counters: Counters,
}

impl Engine {
    /// An engine that holds nothing. Without `protocol` the configuration is purely static; without `sinks`
    /// access logs are checked and not opened.
    pub fn new(
        roots: Roots,
        protocol: Option<Protocol>,
        ports: Box<dyn Ports>,
        stats: &Registry,
        sinks: Option<Arc<Sinks>>,
    ) -> Self {
        Self {
            roots,
            protocol,
            streams: SecretStreams::default(),
            store: Store::default(),
            context: TranslateContext::new(stats.clone(), sinks),
            compiler: Compiler::default(),
            ports,
            phase: InitPhase::Clusters,
            configured: false,
            outbox: Outbox::default(),
            counters: Counters::new(stats),
        }
    }

    /// Traces with these. Comes before any resource.
    pub fn trace(&mut self, tracing: TracingContext) {
        self.context.tracing = tracing;
    }

    /// Lets configuration log to services.
    pub fn log_to(&mut self, services: Option<Arc<GrpcLogs>>) {
        self.context.grpc_logs = services;
    }

    /// Says where this proxy runs: its locality, and the name of the cluster it is a host of.
    pub fn locate(&mut self, locality: Locality, cluster: Option<&str>) {
        let cluster = cluster.map(|name| self.context.clusters.intern(name));
        self.context.has_own_cluster = cluster.is_some();
        self.compiler.locate(Place { locality, cluster });
    }

    /// Says who asks for secrets on streams of their own.
    pub fn identify(&mut self, node: v3::core::Node) {
        self.streams.identify(node);
    }

    /// The service that this proxy stands before: `node.cluster`.
    pub fn stands_before(&mut self, service: &str) {
        self.context.service_cluster = service.into();
    }

    /// Whether TLS towards hosts that nobody verifies is an error from now on.
    pub fn strict_tls(&mut self, strict: bool) {
        self.context.strict_tls = strict;
    }

    /// Whether requests are counted by virtual service from now on.
    pub fn count_services(&mut self, counts: bool) {
        self.context.counts_services = counts;
    }

    /// Begins: asks for clusters and follows what the bootstrap refers to.
    pub fn start(&mut self, now: Instant) {
        if let Some(timeout) = self.roots.clusters {
            self.ask(ResourceType::Cluster, timeout, now);
        }
        self.follow(now);
    }

    /// A stream to the control plane was opened.
    pub fn opened(&mut self) {
        if let Some(protocol) = &mut self.protocol {
            self.outbox.requests.extend(protocol.opened());
        }
    }

    /// The server answered on the stream for the first time.
    pub fn connected(&mut self) {
        self.counters.connected(true);
    }

    /// The stream ended or could not be opened. What is held stays.
    pub fn closed(&mut self) {
        if let Some(protocol) = &mut self.protocol {
            protocol.closed();
        }
        self.counters.connected(false);
        self.counters.stream_failed();
    }

    /// The control plane sent a response.
    pub fn response(&mut self, response: Response, now: Now) {
        self.counters.control_plane(response.control_plane());
        let Some(update) = self.protocol.as_mut().and_then(|protocol| protocol.received(response)) else {
            return;
        };
        let (faults, tally) = self.intake(Origin::Dynamic, now, |intake| intake.apply(&update));
        self.counters.updated(&update, &faults, &tally, &self.store, now.wall);
        log_update(&update, &tally);
        log_faults(update.kind, &faults);
        if update.kind.is_root() {
            self.store.answered(update.kind, WILDCARD);
        }
        if faults.is_empty() {
            self.store.set_list_version(update.kind, update.version.clone());
        }
        if let Some(protocol) = &mut self.protocol {
            self.outbox.requests.push(protocol.answer(&update, &faults));
        }
        if update.kind.is_root() && tally.is_change() {
            self.follow(now.instant);
        }
    }

    /// The stream of a secret was opened.
    pub fn stream_opened(&mut self, id: StreamId) {
        self.streams.opened(id, &mut self.outbox);
    }

    /// It ended, or could not be opened. What is held stays.
    pub fn stream_closed(&mut self, id: StreamId) {
        self.streams.closed(id);
    }

    /// It brought something.
    pub fn stream_response(&mut self, id: StreamId, response: Response, now: Now) {
        let Some(update) = self.streams.received(id, response) else { return };
        let (faults, tally) = self.intake(Origin::Dynamic, now, |intake| intake.apply(&update));
        self.counters.updated(&update, &faults, &tally, &self.store, now.wall);
        log_update(&update, &tally);
        log_faults(update.kind, &faults);
        self.streams.answer(id, &update, &faults, &mut self.outbox);
    }

    /// The resolver answered.
    pub fn resolved(&mut self, answer: &Resolution) {
        if let Some((cluster, changed)) = self.store.resolved(answer) {
            self.counters.resolved(&self.store, &cluster, answer, changed);
        }
    }

    /// Certificate files were written anew.
    pub fn files_changed(&mut self, files: &[PathBuf], now: Now) {
        self.intake(Origin::Dynamic, now, |intake| intake.files_changed(files));
        // What is accepted now may refer to more.
        self.follow(now.instant);
    }

    /// An identity that was asked for has come. One that nobody refers to any more is dropped.
    pub fn identity(&mut self, identity: Arc<Secret>, now: Now) {
        if self.signer().is_some() {
            self.intake(Origin::Dynamic, now, |intake| intake.identity(identity));
            self.counters.renewed(identity::SECRET);
        }
    }

    /// Who signs the identity that we have to ask for; `None` when there is nothing to ask for.
    pub fn signer(&self) -> Option<Arc<str>> {
        match &*self.store.secrets.get(identity::SECRET)?.active.as_ref()?.value {
            Secret::Requested(signer) => Some(signer.clone()),
            _ => None,
        }
    }

    /// Certificate files that were read, as they were then.
    pub fn files(&self) -> &Files {
        &self.context.files
    }

    /// Gives up what is overdue, lets serve what is warm, moves on in the start order, and compiles the next
    /// snapshot when anything is different.
    pub fn settle(&mut self, now: Now) -> Option<Snapshot> {
        for (kind, name) in self.store.expire(now.instant) {
            tracing::warn!("{} {name:?} did not arrive in time; going on without it", kind.label());
            self.counters.fetch_timed_out(kind, &name, &self.store);
        }
        let checked = self.compiler.nurse(&self.store);
        let ids = &self.context.clusters;
        let clusters = self.store.promote(|name| ids.get(name), &checked, now.instant);
        let listeners = self.activate_listeners(now);
        if !clusters.is_empty() || listeners {
            self.follow(now.instant);
        }
        self.advance(now.instant);
        for warning in self.context.warnings.take() {
            tracing::warn!("{warning}");
        }
        let changes = self.store.take_changes();
        log_changes(&changes, &self.store);
        let compiled = self.compiler.compile(&self.store, &mut self.context, &changes);
        self.counters.settled(&self.store, &changes);
        compiled.map(|compiled| {
            self.counters.memberships(&compiled.memberships);
            compiled.snapshot
        })
    }

    /// The start order: clusters first; listeners once no cluster warms; then done.
    fn advance(&mut self, now: Instant) {
        let answered = |roots: Option<Duration>, kind| roots.is_none() || self.store.root_is_answered(kind);
        if self.phase == InitPhase::Clusters
            && answered(self.roots.clusters, ResourceType::Cluster)
            && self.store.clusters_are_initialised()
        {
            self.phase = InitPhase::Listeners;
            if let Some(timeout) = self.roots.listeners {
                self.ask(ResourceType::Listener, timeout, now);
            }
        }
        if self.phase == InitPhase::Listeners
            && (self.roots.listeners.is_none() || self.store.root_is_answered(ResourceType::Listener))
            && self.store.listeners_are_initialised()
        {
            self.phase = InitPhase::Done;
            self.counters.workers_started();
        }
        // Looked at until it is so, and then no more.
        self.configured =
            self.configured || (self.phase == InitPhase::Done && self.missing().next().is_none());
    }

    fn missing(&self) -> impl Iterator<Item = String> {
        let Roots { clusters, listeners } = self.roots;
        let clusters = clusters.map(|_| ResourceType::Cluster);
        self.store.missing(clusters.into_iter().chain(listeners.map(|_| ResourceType::Listener)))
    }

    /// Why this proxy is not configured, one line each; empty when it is. Once everything was in place
    /// refusals are no reason, as they leave the last good state serving; a listener that does not get its port is.
    pub fn unconfigured(&self) -> Vec<String> {
        if self.configured { self.store.unbound() } else { self.missing().collect() }
    }

    /// How far the proxy has come, as of the last [`Engine::settle`].
    pub fn phase(&self) -> InitPhase {
        self.phase
    }

    /// When [`Engine::settle`] has something to do by the passing of time alone.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.store.next_deadline()
    }

    /// Everything that is to be sent and resolved since the last call.
    pub fn take_outbox(&mut self) -> Outbox {
        std::mem::take(&mut self.outbox)
    }

    /// Whether anything is to be sent.
    #[cfg(any(test, fuzzing))]
    pub(super) fn has_requests(&self) -> bool {
        !self.outbox.requests.is_empty()
    }

    /// What is held, for dumps.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Subscribes to everything of a root type.
    fn ask(&mut self, kind: ResourceType, timeout: Duration, now: Instant) {
        self.store.want_root(kind, timeout, now);
        self.want(kind, Interest::everything());
    }

    fn want(&mut self, kind: ResourceType, interest: Interest) {
        if let Some(protocol) = &mut self.protocol {
            self.outbox.requests.extend(protocol.want(kind, interest));
        }
    }

    /// Brings subscriptions and resolutions in line with what is held. One request per type, however many
    /// references changed.
    fn follow(&mut self, now: Instant) {
        let wants = self.store.follow(now);
        for (kind, interest) in wants.interests {
            self.want(kind, interest);
        }
        self.streams.follow(&wants.streams, &mut self.outbox);
        for secret in wants.dropped_secrets {
            self.context.secrets.remove(&*secret);
        }
        self.outbox.resolve.extend(wants.resolve);
        self.counters.follow(&self.store);
    }

    fn intake<T>(&mut self, origin: Origin, now: Now, work: impl FnOnce(&mut Intake<'_>) -> T) -> T {
        let mut intake = Intake {
            store: &mut self.store,
            context: &mut self.context,
            ports: &*self.ports,
            now,
            origin,
            unknown_fields: 0,
        };
        let done = work(&mut intake);
        let unknown_fields = intake.unknown_fields;
        self.counters.unknown_fields(origin, unknown_fields);
        done
    }
}

fn log_update(update: &Update, tally: &Tally) {
    let Tally { added, modified, removed, refused, .. } = tally;
    tracing::debug!(
        "response: {} version {:?}, {} resources: {added} added, {modified} modified, {removed} removed, {refused} refused",
        update.kind.label(),
        update.version,
        update.resources.len(),
    );
}

fn log_changes(changes: &Changes, store: &Store) {
    for name in &changes.listeners {
        let held = store.listeners.get(name).and_then(|record| record.active.as_ref());
        match held.map(|held| &held.value.translated.config.address) {
            Some(address) => tracing::debug!("listener {name:?} serves {address}"),
            None => tracing::debug!("listener {name:?} is gone"),
        }
    }
    for name in &changes.clusters {
        let serves = store.clusters.get(name).is_some_and(|record| record.active.is_some());
        tracing::debug!("cluster {name:?} {}", if serves { "serves" } else { "is gone" });
    }
}

fn log_faults(kind: ResourceType, faults: &[Fault]) {
    for fault in faults.iter().take(LOGGED_FAULTS) {
        tracing::warn!("refused {} {fault}", kind.label());
    }
    if faults.len() > LOGGED_FAULTS {
        tracing::warn!("refused {} more of type {}", faults.len() - LOGGED_FAULTS, kind.label());
    }
}
