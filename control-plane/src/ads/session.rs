//! One discovery stream: reads requests, follows the definitions, sends what the pure [`Stream`] says.
//!
//! Bounds: one response waits for the transport, one per type for its ACK; a client that does not read is sent the
//! newest state once it does, not every state in between.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use super::issue::Issues;
use super::machine::{Machine, Push, Received};
use super::peer::Peer;
use super::protocol::{Envelope, Protocol, audience, identify, user_agent};
use super::refusal::{self, ended, refuse, refuse_node, unauthenticated};
use super::registry::{Client, Registration, Registry};
use super::service::Method;
use super::store::{Generation, NoSnapshot, Store};
use super::stream::{Next, Policy, Stream};
use crate::access::Gate;
use crate::discovery_tls::DiscoveryTls;
use crate::load::Loads;
use crate::metrics::{Metrics, Refusal};
use crate::snapshot::{Audience, NodeSnapshot, TypeUrl};

const MAX_TYPE_URL: usize = 256;
const RESOURCES: &str = "resources";

/// What all sessions share.
pub struct Context {
    /// The definitions.
    pub store: Store,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// What sidecars report about their traffic.
    pub loads: Arc<Loads>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Limits and waits of each stream.
    pub policy: Policy,
    /// How long a client may take to say who it is.
    pub first_request: Duration,
    /// How many streams there may be.
    pub streams: Arc<Semaphore>,
    /// Who may connect.
    pub gate: Arc<Gate>,
    /// How many certificates there may be on request.
    pub issues: Issues,
    /// TLS of connections from the network, if any.
    pub tls: Option<Arc<DiscoveryTls>>,
}

impl Context {
    /// Whether a client may be the node that it says it is, in a state of the definitions: that knows the account of the
    /// mesh, which the client may leave out. A node that nobody knows is what it is called.
    ///
    /// # Errors
    /// If not: counted, and a line of the audit says what was denied.
    pub(crate) fn permit(
        &self,
        peer: &Peer,
        node: &str,
        generation: &Generation,
        what: &str,
    ) -> Result<(), Status> {
        if peer.may_be(generation.canonical_id(node).as_deref().unwrap_or(node)) {
            return Ok(());
        }
        tracing::warn!(target: "audit", peer = peer.address(), node, "denied {what}: not a node of this client");
        Err(refuse(self, Refusal::Unauthenticated, unauthenticated()))
    }

    /// Returns when a stream of this client is to end that it opened as this node.
    pub(crate) fn ended(
        self: &Arc<Self>,
        peer: &Peer,
        node: String,
    ) -> impl Future<Output = Result<(), Status>> + Send + use<> {
        let context = Arc::clone(self);
        peer.ended(move |nodes| {
            let canonical = context.store.current().canonical_id(&node);
            nodes.include(canonical.as_deref().unwrap_or(&node))
        })
    }
}

/// Runs a stream to its end and tells the client why it ended, if it was not its own wish or ours.
pub async fn run<P: Protocol>(
    context: Arc<Context>,
    peer: Peer,
    method: Method,
    requests: Streaming<P::Wire>,
    responses: mpsc::Sender<Result<Push, Status>>,
) {
    if let Err(status) = open_and_serve::<P>(context, peer, method, requests, &responses).await {
        tracing::info!(code = ?status.code(), "discovery stream ended: {}", status.message());
        // A client that is gone does not need to hear it.
        let _ = responses.send(Err(status)).await;
    }
}

async fn open_and_serve<P: Protocol>(
    context: Arc<Context>,
    peer: Peer,
    method: Method,
    requests: Streaming<P::Wire>,
    responses: &mpsc::Sender<Result<Push, Status>>,
) -> Result<(), Status> {
    // Which node it needs is not known yet; whether it may be that one is asked when it is.
    let end = peer.ended(|_| true);
    let session = tokio::select! {
        session = Session::<P>::open(context, peer, method, requests, responses) => session?,
        ended = end => return ended,
    };
    let Some(session) = session else { return Ok(()) };
    let end = session.context.ended(&session.peer, session.node_id.clone());
    tokio::select! {
        ended = session.serve(responses) => ended,
        ended = end => ended,
    }
}

struct Session<P: Protocol> {
    context: Arc<Context>,
    peer: Peer,
    method: Method,
    node_id: String,
    audience: Audience,
    requests: Streaming<P::Wire>,
    generations: watch::Receiver<Arc<Generation>>,
    snapshot: Arc<NodeSnapshot>,
    stream: Stream<P::Machine>,
    registration: Registration,
}

/// What a session waits for when it has nothing to send.
enum Pause {
    /// An event, or this instant.
    Until(Option<Instant>),
    /// Room for a response.
    Room,
}

impl<P: Protocol> Session<P> {
    /// Reads the first request and finds the node. `None` if the client left before that.
    async fn open(
        context: Arc<Context>,
        peer: Peer,
        method: Method,
        mut requests: Streaming<P::Wire>,
        responses: &mpsc::Sender<Result<Push, Status>>,
    ) -> Result<Option<Self>, Status> {
        let first = tokio::select! {
            first = tokio::time::timeout(context.first_request, requests.next()) => first,
            () = responses.closed() => return Ok(None),
        };
        let first = match first {
            Ok(Some(Ok(wire))) => P::split(wire),
            Ok(Some(Err(status))) => return Err(refuse(&context, Refusal::BadRequest, status)),
            Ok(None) => return Ok(None),
            Err(_) => {
                let status = Status::deadline_exceeded("no discovery request arrived on this stream");
                return Err(refuse(&context, Refusal::BadRequest, status));
            }
        };
        let node = identify(first.node.as_ref()).map_err(|s| refuse(&context, Refusal::BadRequest, s))?;
        let mut generations = context.store.subscribe();
        let generation = Arc::clone(&generations.borrow_and_update());
        context.permit(&peer, &node.id, &generation, RESOURCES)?;
        let audience = audience(node);
        let snapshot = context.store.snapshot(&generation, &node.id, audience).await;
        let snapshot = snapshot.map_err(|e| refuse_node(&context, &e))?;
        let registration = context.registry.register(Client {
            node_id: node.id.clone(),
            user_agent: user_agent(node),
            peer: peer.address().to_owned(),
            variant: method.variant,
            service: method.service(),
        });
        tracing::info!(node = node.id, peer = peer.address(), "{} stream opened", method.variant.name());
        let mut session = Self {
            stream: Stream::new(context.policy.clone()),
            node_id: node.id.clone(),
            audience,
            context,
            peer,
            method,
            requests,
            generations,
            snapshot,
            registration,
        };
        session.request(first)?;
        Ok(Some(session))
    }

    async fn serve(mut self, responses: &mpsc::Sender<Result<Push, Status>>) -> Result<(), Status> {
        loop {
            let Some(pause) = self.send(responses) else { return Ok(()) };
            let (wake, full) = match pause {
                Pause::Until(wake) => (wake, false),
                Pause::Room => (None, true),
            };
            tokio::select! {
                message = self.requests.next() => match message {
                    Some(Ok(wire)) => self.request(P::split(wire))?,
                    Some(Err(status)) => return ended(status),
                    None => return Ok(()),
                },
                changed = self.generations.changed() => match changed {
                    Ok(()) => self.update().await?,
                    Err(_) => return Ok(()),
                },
                () = sleep_until(wake) => {}
                _ = responses.reserve(), if full => {}
                () = responses.closed() => return Ok(()),
            }
        }
    }

    /// Sends until nothing is due or there is no room. `None` when the client is gone.
    fn send(&mut self, responses: &mpsc::Sender<Result<Push, Status>>) -> Option<Pause> {
        loop {
            let permit = match responses.try_reserve() {
                Ok(permit) => permit,
                Err(TrySendError::Full(())) => return Some(Pause::Room),
                Err(TrySendError::Closed(())) => return None,
            };
            match self.stream.next(&self.snapshot, Instant::now().into_std()) {
                Next::Send(push) => {
                    self.registration.sent(&push.type_url, push.version);
                    permit.send(Ok(push));
                }
                Next::Wait(wake) => return Some(Pause::Until(wake.map(Instant::from_std))),
            }
        }
    }

    fn request(&mut self, envelope: Envelope<<P::Machine as Machine>::Request>) -> Result<(), Status> {
        let refuse = |status| refuse(&self.context, Refusal::BadRequest, status);
        if envelope.node.as_ref().is_some_and(|node| !node.id.is_empty() && node.id != self.node_id) {
            return Err(refuse(Status::invalid_argument("node.id changed in mid-stream")));
        }
        let type_url = self.type_of(&envelope.type_url).map_err(refuse)?;
        self.registration.asked(&type_url);
        let received = self.stream.request(&type_url, &envelope.request, &self.snapshot);
        let received = received.map_err(|excess| {
            let status = Status::resource_exhausted(excess.to_string());
            refusal::refuse(&self.context, Refusal::Limit, status)
        })?;
        self.note(&type_url, received);
        Ok(())
    }

    fn type_of(&self, type_url: &str) -> Result<TypeUrl, Status> {
        if type_url.len() > MAX_TYPE_URL {
            return Err(Status::invalid_argument("type_url is too long"));
        }
        match &self.method.type_url {
            None if type_url.is_empty() => {
                Err(Status::invalid_argument("type_url is required on the aggregated service"))
            }
            None => Ok(TypeUrl::new(type_url)),
            Some(only) if type_url.is_empty() || type_url == only.as_str() => Ok(only.clone()),
            Some(only) => {
                Err(Status::invalid_argument(format!("type_url {type_url} on a stream of {}", only.as_str())))
            }
        }
    }

    fn note(&mut self, type_url: &TypeUrl, received: Received) {
        match received {
            Received::Acked => self.registration.acked(type_url),
            Received::Nacked(text) => {
                tracing::warn!(node = self.node_id, "client rejected {type_url}: {text}");
                self.registration.nacked(type_url, text);
            }
            Received::Subscribed => {
                if let Some(version) = self.stream.current(type_url, &self.snapshot) {
                    self.registration.holds(type_url, version);
                }
            }
            Received::Stale => {
                tracing::debug!(node = self.node_id, "stale nonce in a request for {type_url}")
            }
        }
    }

    /// Moves to the current state of the definitions. A node that they no longer have is told so; the client keeps
    /// what it has.
    async fn update(&mut self) -> Result<(), Status> {
        let generation = Arc::clone(&self.generations.borrow_and_update());
        // The same id may be the node of another account now; one that is no node any more is told so below.
        if generation.canonical_id(&self.node_id).is_some() {
            self.context.permit(&self.peer, &self.node_id, &generation, RESOURCES)?;
        }
        match self.context.store.snapshot(&generation, &self.node_id, self.audience).await {
            Ok(snapshot) if snapshot.same_content(&self.snapshot) => {}
            Ok(snapshot) => self.snapshot = snapshot,
            Err(NoSnapshot::Defect(text)) => tracing::error!("{text}; the last good state stays served"),
            Err(reason) => return Err(refuse_node(&self.context, &reason)),
        }
        Ok(())
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
