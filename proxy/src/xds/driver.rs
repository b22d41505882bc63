//! The configuration task of the main runtime: one owner for engine, stream, resolutions and snapshots.
//!
//! Everything that changes configuration arrives here as an event, one at a time, so nothing is locked. A burst of
//! events is merged for some milliseconds and becomes one snapshot. Invariant: nothing that happens to the control
//! plane, the resolver or a resource takes the published snapshot away.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use outrigger_xds_protos::v3::admin::UnreadyTargetsDumps;
use outrigger_xds_protos::v3::bootstrap::bootstrap::StaticResources;
use outrigger_xds_protos::v3::core::Node;
use outrigger_xds_protos::v3::wkt::Any;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tonic::transport::Channel;

use super::client::{Client, Event, Reach, Requests};
use super::dump;
use super::engine::{Engine, InitPhase};
use super::files::{self, Files};
use super::node;
use super::protocol::{Protocol, Request};
use super::resource::{Fault, ResourceType};
use super::settings::{DynamicSettings, Target};
use super::store::{Now, Trouble};
use super::translate::{self, TracingContext};
use crate::config::outside::{Ports, Resolution, ResolveCommand};
use crate::config::publish::Publisher;
use crate::observe::access_log::grpc::GrpcLogs;
use crate::observe::access_log::sink::Sinks;
use crate::stats::registry::Registry;

mod identity;
mod merge;
mod streams;
mod target;

#[cfg(test)]
mod tests;

use identity::Identity;
use merge::Merge;
use streams::SecretStreams;

/// Responses that may wait here; the rest waits in the server, by flow control.
const EVENTS: usize = 2;
/// Questions of admin that may wait.
const QUESTIONS: usize = 16;

/// What the driver is built from.
pub struct Parts {
    /// Control plane and lists, out of the bootstrap.
    pub dynamic: DynamicSettings,
    /// Who we are.
    pub node: Node,
    /// The cluster we are a host of (`cluster_manager.local_cluster_name`).
    pub local_cluster: Option<String>,
    /// Binds listeners.
    pub ports: Box<dyn Ports>,
    /// Where snapshots go.
    pub publisher: Publisher,
    /// Statistics.
    pub stats: Registry,
    /// Access-log sinks; `None` checks loggers and opens nothing (`--mode validate`).
    pub sinks: Option<Arc<Sinks>>,
    /// Loggers to services; `None` likewise.
    pub grpc_logs: Option<Arc<GrpcLogs>>,
    /// Tracers, and the provider of the bootstrap.
    pub tracing: TracingContext,
    /// To the resolver. Unbounded, because the resolver answers through `resolutions` and two bounded queues could
    /// block each other; what waits in it is bounded by the DNS clusters that the configuration names.
    pub resolve: mpsc::UnboundedSender<ResolveCommand>,
    /// From the resolver.
    pub resolutions: mpsc::Receiver<Resolution>,
    /// Whether TLS towards hosts that nobody verifies is an error.
    pub strict_tls: bool,
    /// Whether requests are counted by virtual service.
    pub counts_services: bool,
    /// Rung when a host got the first result of its health check.
    pub checked: Arc<Notify>,
}

/// How far the proxy has come, and the snapshot that got it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Phase.
    pub phase: InitPhase,
    /// Generation published when the phase was reached: the proxy is ready once every worker has applied that of
    /// [`InitPhase::Done`].
    pub generation: u64,
}

/// Asks the driver from elsewhere. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    questions: mpsc::Sender<Question>,
    progress: watch::Receiver<Progress>,
    control_plane: Option<watch::Receiver<Option<Channel>>>,
}

#[derive(Debug)]
enum Question {
    Sections { include_eds: bool, answer: oneshot::Sender<Vec<Any>> },
    Unready(oneshot::Sender<UnreadyTargetsDumps>),
    Unconfigured(oneshot::Sender<Vec<String>>),
    Unresolved(oneshot::Sender<Vec<(Arc<str>, Trouble)>>),
}

impl Handle {
    /// The sections of `/config_dump` about resources, in Envoy's order. Empty when the driver is gone.
    pub async fn config_dump(&self, include_eds: bool) -> Vec<Any> {
        let (answer, dump) = oneshot::channel();
        // A closed channel shows as the missing answer.
        let _ = self.questions.send(Question::Sections { include_eds, answer }).await;
        dump.await.unwrap_or_default()
    }

    /// `/init_dump`: what is waited for.
    pub async fn init_dump(&self) -> UnreadyTargetsDumps {
        let (answer, dump) = oneshot::channel();
        let _ = self.questions.send(Question::Unready(answer)).await;
        dump.await.unwrap_or_default()
    }

    /// Why the proxy is not configured: see [`Engine::unconfigured`].
    pub async fn unconfigured(&self) -> Vec<String> {
        let (answer, reasons) = oneshot::channel();
        let _ = self.questions.send(Question::Unconfigured(answer)).await;
        reasons.await.unwrap_or_else(|_| vec!["the configuration task has ended".to_owned()])
    }

    /// Clusters whose names did not resolve, with the last reason. Empty when the driver is gone.
    pub async fn unresolved(&self) -> Vec<(Arc<str>, Trouble)> {
        let (answer, troubles) = oneshot::channel();
        let _ = self.questions.send(Question::Unresolved(answer)).await;
        troubles.await.unwrap_or_default()
    }

    /// The connection of the open stream to the control plane; `None` in a purely static configuration.
    pub fn control_plane(&self) -> Option<watch::Receiver<Option<Channel>>> {
        self.control_plane.clone()
    }

    /// Follows the start.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }
}

/// The driver.
pub struct Driver {
    engine: Engine,
    ads: Option<Ads>,
    secret_streams: SecretStreams,
    publisher: Publisher,
    resolve: mpsc::UnboundedSender<ResolveCommand>,
    resolutions: mpsc::Receiver<Resolution>,
    checked: Arc<Notify>,
    questions: mpsc::Receiver<Question>,
    progress: watch::Sender<Progress>,
    identity: Option<Identity>,
    merge: Merge,
    /// Certificate files to watch, and those that changed.
    files: watch::Sender<Arc<Files>>,
    changed: Option<mpsc::Receiver<Vec<PathBuf>>>,
}

/// The stream to the control plane as the driver sees it.
struct Ads {
    target: Target,
    reach: watch::Sender<Reach>,
    events: mpsc::Receiver<Event>,
    /// Into the open stream.
    requests: Option<Requests>,
    /// Until [`Driver::run`] starts it.
    client: Option<Client>,
}

impl Driver {
    /// A driver that has taken the resources of the bootstrap and published them. Any fault is a start failure.
    pub fn new(
        parts: Parts,
        resources: &StaticResources,
    ) -> Result<(Self, Handle), Vec<(ResourceType, Fault)>> {
        let Parts {
            dynamic,
            node,
            local_cluster,
            ports,
            publisher,
            stats,
            sinks,
            grpc_logs,
            tracing,
            resolve,
            resolutions,
            strict_tls,
            counts_services,
            checked,
        } = parts;
        known_target(dynamic.ads.as_ref().map(|ads| &ads.target), resources)?;
        let locality = translate::locality(&node.locality);
        let node_id = node.id.clone();
        let service = node.cluster.clone();
        let node = node::complete(node);
        let protocol = dynamic.ads.as_ref().map(|ads| Protocol::new(ads.variant, node.clone()));
        let mut engine = Engine::new(dynamic.roots, protocol, ports, &stats, sinks);
        engine.identify(node);
        engine.trace(tracing);
        engine.log_to(grpc_logs);
        engine.locate(locality, local_cluster.as_deref());
        engine.stands_before(&service);
        engine.strict_tls(strict_tls);
        engine.count_services(counts_services);
        engine.load_static(resources, now())?;
        engine.start(Instant::now());
        let (asking, questions) = mpsc::channel(QUESTIONS);
        let (progress, watching) = watch::channel(Progress { phase: InitPhase::Clusters, generation: 0 });
        let metadata = dynamic.ads.as_ref().map(|ads| ads.metadata.clone());
        let ads = dynamic.ads.map(Ads::new);
        let control_plane = ads.as_ref().and_then(|ads| ads.client.as_ref()).map(Client::channels);
        let asking_for = control_plane.clone().zip(metadata);
        let identity = asking_for.map(|(channels, metadata)| Identity::new(node_id, metadata, channels));
        let merge = Merge::default();
        let files = watch::Sender::new(Arc::default());
        let mut driver = Self {
            engine,
            ads,
            secret_streams: SecretStreams::new(),
            publisher,
            resolve,
            resolutions,
            checked,
            questions,
            progress,
            identity,
            merge,
            files,
            changed: None,
        };
        driver.settle();
        Ok((driver, Handle { questions: asking, progress: watching, control_plane }))
    }

    /// Runs for as long as the process; dropping the future ends it and leaves the snapshot in place.
    pub async fn run(mut self) {
        self.follow_target();
        if let Some(client) = self.ads.as_mut().and_then(|ads| ads.client.take()) {
            tokio::spawn(client.run());
        }
        self.secret_streams.run(&self.publisher.current());
        if let Some(requester) = self.identity.as_mut().and_then(Identity::requester) {
            tokio::spawn(requester.run());
        }
        let (changed, changes) = mpsc::channel(EVENTS);
        tokio::spawn(files::follow(self.files.subscribe(), changed));
        self.changed = Some(changes);
        loop {
            self.flush();
            let due = earliest(self.merge.due(), self.engine.next_deadline());
            tokio::select! {
                event = next_event(&mut self.ads) => self.event(event),
                (id, event) = self.secret_streams.next() => self.stream_event(id, event),
                Some(answer) = self.resolutions.recv() => self.resolution(&answer),
                Some(files) = next_change(&mut self.changed) => {
                    self.engine.files_changed(&files, now());
                    self.merge.note(Instant::now());
                }
                Some(identity) = identity::next(&mut self.identity) => {
                    self.engine.identity(identity, now());
                    self.merge.note(Instant::now());
                }
                () = self.checked.notified() => self.merge.note(Instant::now()),
                Some(question) = self.questions.recv() => self.answer(question),
                () = until(due) => {}
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                self.settle();
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Opened(requests) => {
                self.engine.opened();
                if let Some(ads) = &mut self.ads {
                    ads.requests = Some(requests);
                }
            }
            Event::Accepted => self.engine.connected(),
            Event::Response(response) => {
                self.engine.response(response, now());
                self.merge.note(Instant::now());
            }
            Event::Closed => {
                self.engine.closed();
                if let Some(ads) = &mut self.ads {
                    ads.requests = None;
                }
            }
        }
    }

    fn resolution(&mut self, answer: &Resolution) {
        if answer.id == target::QUERY {
            return self.reach_name(answer);
        }
        self.engine.resolved(answer);
        self.merge.note(Instant::now());
    }

    fn answer(&self, question: Question) {
        // Whoever asked may have gone.
        match question {
            Question::Sections { include_eds, answer } => {
                let _ = answer.send(dump::sections(self.engine.store(), include_eds));
            }
            Question::Unready(answer) => {
                let _ = answer.send(dump::unready(self.engine.store()));
            }
            Question::Unconfigured(answer) => {
                let _ = answer.send(self.engine.unconfigured());
            }
            Question::Unresolved(answer) => {
                let _ = answer.send(self.engine.store().unresolved());
            }
        }
    }

    /// Lets serve what is warm and publishes when anything is different.
    fn settle(&mut self) {
        self.merge.clear();
        if let Some(snapshot) = self.engine.settle(now()) {
            self.reach_cluster(&snapshot);
            self.secret_streams.reach_clusters(&snapshot);
            self.publisher.publish(snapshot);
        }
        self.files.send_if_modified(|files| {
            let other = **files != *self.engine.files();
            if other {
                *files = Arc::new(self.engine.files().clone());
            }
            other
        });
        if let Some(identity) = &self.identity {
            identity.ask(self.engine.signer());
        }
        let reached = Progress { phase: self.engine.phase(), generation: self.publisher.generation() };
        self.progress.send_if_modified(|progress| {
            let further = progress.phase != reached.phase;
            if further {
                *progress = reached;
            }
            further
        });
        self.flush();
    }

    /// Sends what the engine wants sent.
    fn flush(&mut self) {
        let outbox = self.engine.take_outbox();
        for command in outbox.resolve {
            // Without a resolver nothing resolves; the clusters stay empty.
            let _ = self.resolve.send(command);
        }
        if !outbox.streams.is_empty() {
            let snapshot = self.publisher.current();
            for command in outbox.streams {
                self.secret_streams.obey(command, &snapshot);
            }
        }
        let Some(ads) = &mut self.ads else { return };
        for request in outbox.requests {
            log_request(&request);
            if ads.requests.as_ref().is_some_and(|stream| !stream.send(request)) {
                // The stream is gone already, or the server does not read: either way it ends here, and the next
                // one starts from what is known.
                ads.requests = None;
            }
        }
    }
}

fn log_request(request: &Request) {
    match request {
        Request::Sotw(request) => tracing::debug!(
            "request: {} version {:?}, names {:?}, error {:?}",
            request.type_url,
            request.version_info,
            request.resource_names,
            request.error_detail.as_ref().map(|error| &error.message),
        ),
        Request::Delta(request) => tracing::debug!(
            "request: {} nonce {:?}, subscribe {:?}, unsubscribe {:?}, error {:?}",
            request.type_url,
            request.response_nonce,
            request.resource_names_subscribe,
            request.resource_names_unsubscribe,
            request.error_detail.as_ref().map(|error| &error.message),
        ),
    }
}

/// The cluster that leads to the control plane cannot come from the control plane.
fn known_target(
    target: Option<&Target>,
    resources: &StaticResources,
) -> Result<(), Vec<(ResourceType, Fault)>> {
    match target {
        Some(Target::Cluster(name)) if resources.clusters.iter().all(|cluster| cluster.name != *name) => {
            let reason =
                "ads_config leads to this cluster, and static_resources.clusters has none of that name";
            Err(vec![(
                ResourceType::Cluster,
                Fault { name: name.as_str().into(), reason: reason.to_owned() },
            )])
        }
        _ => Ok(()),
    }
}

fn now() -> Now {
    Now { instant: Instant::now(), wall: SystemTime::now() }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

async fn next_event(ads: &mut Option<Ads>) -> Event {
    let event = match ads {
        Some(ads) => ads.events.recv().await,
        None => None,
    };
    match event {
        Some(event) => event,
        // Purely static, or the client has ended with the process.
        None => std::future::pending().await,
    }
}

async fn next_change(changes: &mut Option<mpsc::Receiver<Vec<PathBuf>>>) -> Option<Vec<PathBuf>> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}
