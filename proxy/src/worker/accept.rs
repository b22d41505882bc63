//! From an accepted socket to its filter chain: original destination, protocol detection, chain choice,
//! TLS, then HTTP or TCP.

use std::cell::{Cell, OnceCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::Worker;
use super::guard::{self, Judged, Peer, Refusal};
use super::overload;
use super::reconcile::ChainDrains;
use crate::base::drain::{Drain, DrainPhase};
use crate::base::ids::ListenerId;
use crate::config::listener::{ConnectionFacts, FilterChain, Inspect, Listener, ListenerSlot, NetworkFilter};
use crate::config::overload::ScaledTimer;
use crate::config::secret::ServerTls;
use crate::http::context::ConnContext;
use crate::net::listener;
use crate::net::orig_dst::{canonical, original_destination};
use crate::net::peek::{Detected, PeekError, detect};
use crate::net::stream::Stream;
use crate::observe::connection::DownstreamConnection;
use crate::observe::record::Served;
use crate::tcp::proxy::TcpConn;
use crate::upstream::connect::millis;
use crate::{http, tcp, tls};

/// Pause after an accept error that repeats at once (no descriptors left): the queue is served when it heals.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How long handshakes that had begun may take when a socket is about to close.
const HANDSHAKES: Duration = Duration::from_millis(100);

/// An accept loop; it ends when told to, or with its worker.
#[derive(Debug)]
pub(super) struct Accepting {
    stop: Rc<Notify>,
}

impl Accepting {
    /// Takes no new connection; those that the kernel has already accepted are still served.
    pub(super) fn stop(self) {
        self.stop.notify_one();
    }
}

/// Starts accepting on this worker's member of the listener's socket group.
pub(super) fn start(
    worker: &Rc<Worker>,
    id: ListenerId,
    socket: &std::net::TcpListener,
    drains: ChainDrains,
) -> Accepting {
    let worker = worker.clone();
    let socket = socket.try_clone().and_then(TcpListener::from_std);
    let stop = Rc::new(Notify::new());
    let told = stop.clone();
    let guard = Serving::begin(&worker);
    tokio::task::spawn_local(async move {
        let _serving = guard;
        match socket {
            Ok(socket) => {
                tokio::select! {
                    () = told.notified() => {}
                    never = accept_all(&worker, id, &socket, &drains) => match never {},
                }
                close(&worker, id, socket, &drains).await;
            }
            Err(error) => tracing::error!(%error, listener = id.0, "cannot accept on a bound listener"),
        }
    });
    Accepting { stop }
}

/// Counts a socket as accepting until dropped.
struct Serving(Rc<Worker>);

impl Serving {
    fn begin(worker: &Rc<Worker>) -> Self {
        worker.progress.accept_begins(worker.local.index);
        Self(worker.clone())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.progress.accept_ends(self.0.local.index);
    }
}

async fn accept_all(
    worker: &Rc<Worker>,
    id: ListenerId,
    socket: &TcpListener,
    drains: &ChainDrains,
) -> Infallible {
    loop {
        match socket.accept().await {
            Ok((tcp, peer)) => {
                // One that came just then waits as well, like those still in the kernel's queue.
                overload::pause(&worker.local).await;
                spawn_connection(worker, id, tcp, peer, drains);
            }
            Err(error) if is_per_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accept failed; trying again shortly");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Closes the socket so that nobody it has answered is reset: no new handshakes, then what is queued, then the end.
/// The socket leaves the listening state for all who still hold a descriptor of it.
async fn close(worker: &Rc<Worker>, id: ListenerId, socket: TcpListener, drains: &ChainDrains) {
    if let Err(error) = listener::refuse_handshakes(&socket) {
        tracing::debug!(%error, listener = id.0, "handshakes go on until the socket closes");
    }
    let _ = tokio::time::timeout(HANDSHAKES, accept_all(worker, id, &socket, drains)).await;
    let ended = socket.into_std().and_then(|socket| {
        loop {
            match socket.accept() {
                Ok((tcp, peer)) => {
                    tcp.set_nonblocking(true)?;
                    spawn_connection(worker, id, TcpStream::from_std(tcp)?, peer, drains);
                }
                Err(error) if is_per_connection(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        listener::close(&socket)
    });
    if let Err(error) = ended {
        tracing::warn!(%error, listener = id.0, "a listener did not close in order");
    }
}

/// Errors of the one connection that was being accepted, not of the socket.
fn is_per_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted)
}

fn spawn_connection(
    worker: &Rc<Worker>,
    id: ListenerId,
    tcp: TcpStream,
    peer: SocketAddr,
    drains: &ChainDrains,
) {
    let (worker, drains) = (worker.clone(), drains.clone());
    let guard = Open::begin(&worker);
    tokio::task::spawn_local(async move {
        let _open = guard;
        let mut handled = pin!(handle(&worker, id, tcp, canonical(peer), &drains));
        poll_fn(|cx| worker.local.clock.turn(|| handled.as_mut().poll(cx))).await;
    });
}

/// Counts a connection as open until dropped.
struct Open(Rc<Worker>);

impl Open {
    fn begin(worker: &Rc<Worker>) -> Self {
        worker.progress.connection_opened(worker.local.index);
        Self(worker.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.progress.connection_closed(self.0.local.index);
    }
}

/// An accepted connection before its chain is known.
struct Arrival {
    tcp: TcpStream,
    opened: Instant,
    own_address: SocketAddr,
    peer: SocketAddr,
    destination: SocketAddr,
    original: Option<SocketAddr>,
    detected: Detected,
}

/// Everything the chain's filter needs.
struct Chosen {
    chain: Arc<FilterChain>,
    drain: Drain,
}

/// The listener that serves a connection; another one may have accepted it.
struct Serves {
    listener: Arc<Listener>,
    drains: ChainDrains,
    /// What its own listener filters look at, and those of the one that accepted.
    inspect: Inspect,
    original: Option<SocketAddr>,
}

impl Serves {
    /// A connection that may be handed over goes to the listener that owns its original destination.
    fn of(worker: &Worker, accepting: Arc<Listener>, tcp: &TcpStream, drains: &ChainDrains) -> Self {
        let wants_original = accepting.original_dst || accepting.use_original_dst;
        let original = if wants_original { original_destination(tcp) } else { None };
        let owner = original.filter(|_| accepting.use_original_dst).and_then(|to| find_owner(worker, to));
        let mut inspect = accepting.inspect;
        let (listener, drains) = owner.unwrap_or_else(|| (accepting, drains.clone()));
        inspect.tls |= listener.inspect.tls;
        inspect.http |= listener.inspect.http;
        Self { listener, drains, inspect, original }
    }
}

async fn handle(worker: &Rc<Worker>, id: ListenerId, tcp: TcpStream, peer: SocketAddr, drains: &ChainDrains) {
    let Some(accepting) = worker.local.view().snapshot.listener(id).map(|slot| slot.config.clone()) else {
        return;
    };
    let Some(_counted) = overload::admit(&worker.local, &accepting) else { return };
    let opened = Instant::now();
    let serves = Serves::of(worker, accepting, &tcp, drains);
    let stats = &serves.listener.stats;
    worker.local.stats.inc(stats.downstream_cx_total);
    worker.local.stats.gauge_add(stats.downstream_cx_active, 1);
    if tcp.set_nodelay(true).is_ok()
        && let Some((arrival, chosen)) = Box::pin(choose_chain(worker, &serves, (tcp, opened), peer)).await
    {
        serve(worker, &serves.listener, arrival, chosen).await;
    }
    worker.local.stats.gauge_add(stats.downstream_cx_active, -1);
    worker.local.stats.inc(stats.downstream_cx_destroy);
    worker.local.stats.record(stats.downstream_cx_length_ms, millis(opened.elapsed()));
}

/// Runs the listener filters and picks the chain.
async fn choose_chain(
    worker: &Rc<Worker>,
    serves: &Serves,
    (tcp, opened): (TcpStream, Instant),
    peer: SocketAddr,
) -> Option<(Arrival, Chosen)> {
    let original = serves.original;
    let own_address = canonical(tcp.local_addr().ok()?);
    let destination = original.unwrap_or(own_address);
    let detected = inspect(worker, serves, &tcp).await?;
    let arrival = Arrival { tcp, opened, own_address, peer, destination, original, detected };
    let Some(chain) = find_chain(&serves.listener, &arrival) else {
        worker.local.stats.inc(serves.listener.stats.no_filter_chain_match);
        return None;
    };
    let drain = serves.drains.of(&chain);
    Some((arrival, Chosen { chain, drain }))
}

fn find_chain(listener: &Listener, arrival: &Arrival) -> Option<Arc<FilterChain>> {
    let facts = ConnectionFacts {
        destination: arrival.destination,
        source: arrival.peer,
        server_name: arrival.detected.server_name.as_deref(),
        transport: arrival.detected.transport,
        application_protocols: &arrival.detected.application_protocols,
    };
    listener.find_chain(&facts).cloned()
}

/// The listener, bound or not, whose address is the original destination, else one on the wildcard address of its family
/// with that port; of two at one address the one that is not bound, which is there for this.
/// Source: Envoy's `ConnectionHandlerImpl::getBalancedHandlerByAddress`.
fn find_owner(worker: &Worker, original: SocketAddr) -> Option<(Arc<Listener>, ChainDrains)> {
    let view = worker.local.view();
    let slots = || view.snapshot.listeners.iter().enumerate();
    let slots = || slots().filter_map(|(index, slot)| Some((ListenerId(index as u32), slot.as_ref()?)));
    let bound = |(_, slot): &(ListenerId, &Arc<ListenerSlot>)| slot.config.bind_to_port;
    let exact = slots().filter(|(_, slot)| canonical(slot.address()) == original).min_by_key(bound);
    let any = || slots().filter(|(_, slot)| takes_any(slot, original)).min_by_key(bound);
    let (id, slot) = exact.or_else(any)?;
    let drains = worker.listeners.borrow().get(&id).cloned()?;
    Some((slot.config.clone(), drains))
}

/// Whether a listener takes connections to any address of this family on this port.
fn takes_any(slot: &ListenerSlot, to: SocketAddr) -> bool {
    let own = slot.address();
    let same_family = own.is_ipv4() == to.is_ipv4() || slot.config.ipv4_compat;
    own.ip().is_unspecified() && own.port() == to.port() && same_family
}

/// Detects the protocol when there are inspectors. `None`: the connection is over.
async fn inspect(worker: &Rc<Worker>, serves: &Serves, tcp: &TcpStream) -> Option<Detected> {
    let Serves { listener, inspect, .. } = serves;
    if !inspect.tls && !inspect.http {
        return Some(Detected::opaque());
    }
    let stats = &listener.stats;
    worker.local.stats.gauge_add(stats.downstream_pre_cx_active, 1);
    let detected = detect(tcp, *inspect, listener.listener_filters_timeout).await;
    worker.local.stats.gauge_add(stats.downstream_pre_cx_active, -1);
    match detected {
        Ok(detected) => Some(detected),
        Err(PeekError::Timeout) => {
            worker.local.stats.inc(stats.downstream_pre_cx_timeout);
            // A server-first protocol: say nothing about it and go on.
            listener.continue_on_timeout.then(Detected::opaque)
        }
        Err(PeekError::Closed) => None,
        Err(PeekError::Io(_)) => {
            worker.local.stats.inc(stats.downstream_listener_filter_error);
            None
        }
    }
}

/// How long a TLS handshake may take.
fn handshake_time(worker: &Worker, chain: &FilterChain) -> Duration {
    worker.local.scaled(ScaledTimer::TransportConnect, chain.transport_socket_timeout)
}

/// A handshake ends with the settings that it began under: when its chain is cut, so is it.
async fn handshake(
    worker: &Worker,
    chain: &FilterChain,
    tls: &ServerTls,
    tcp: TcpStream,
    drain: &Drain,
) -> io::Result<Stream> {
    tokio::select! {
        done = tls::accept(tls, tcp, handshake_time(worker, chain)) => done,
        () = drain.reached(DrainPhase::Terminating) => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

async fn serve(worker: &Rc<Worker>, listener: &Arc<Listener>, arrival: Arrival, chosen: Chosen) {
    let Arrival { tcp, opened, own_address, peer, destination, original, detected } = arrival;
    let Chosen { chain, drain } = chosen;
    let Some(_admission) = guard::admit(&chain, &worker.local).await else { return };
    let handshake_begun = Instant::now();
    let io = match &chain.tls {
        None => Stream::Tcp(tcp),
        Some(tls) => match Box::pin(handshake(worker, &chain, tls, tcp, &drain)).await {
            Ok(io) => {
                tls::count_handshake(&tls.stats, &worker.local.stats, &io);
                io
            }
            Err(error) => {
                tls::count_failure(&tls.stats, &worker.local.stats, &error);
                if error.kind() == io::ErrorKind::TimedOut {
                    worker.local.stats.inc(listener.stats.downstream_cx_transport_socket_connect_timeout);
                }
                tracing::debug!(%error, %peer, "TLS handshake failed");
                return;
            }
        },
    };
    let id = worker.local.connection_id();
    let peer_identity = chain.tls.as_ref().and_then(|tls| tls::PeerIdentity::of(&io, tls)).map(Rc::new);
    let agreed = tls::Agreed::of(&io);
    let connection = DownstreamConnection {
        opened,
        handshake: agreed.map(|_| (handshake_begun, Instant::now())),
        own_address,
        own: chain.tls.as_ref().map(|tls| tls.own.clone()),
        listener: listener.clone(),
        chain: chain.metadata.clone(),
    };
    // Who looks at nothing before the handshake learns the name in it.
    let server_name = detected.server_name.or_else(|| io.server_name().map(Box::from)).unwrap_or_default();
    let served = Served {
        id,
        connection: &connection,
        peer,
        destination,
        server_name: &server_name,
        tls: agreed,
        identity: peer_identity.as_deref(),
        filter_chain: &chain.name,
    };
    let Judged { refused, metadata } = match chain.guards.is_empty() {
        true => Judged::default(),
        false => guard::authorise(&chain, &worker.local, &Peer { io: &io, served }).await,
    };
    match &chain.filter {
        // Requests have logs, and there is none.
        NetworkFilter::Http(_) if refused.is_some() => {}
        NetworkFilter::Http(settings) => {
            let own = connection.own.as_deref();
            let client_cert =
                http::client_cert::element(&settings.client_cert, peer_identity.as_deref(), own);
            let context = ConnContext {
                local: worker.local.clone(),
                settings: settings.clone(),
                id,
                connection,
                peer,
                destination,
                original_destination: original,
                tls: io.is_tls(),
                agreed,
                client_cert,
                peer_identity,
                server_name,
                filter_chain: chain.name.clone(),
                drain,
                cut: Cell::new(false),
                buckets: OnceCell::new(),
            };
            http::conn::serve(Rc::new(context), io).await;
        }
        NetworkFilter::Tcp(settings) => {
            let conn = TcpConn {
                local: worker.local.clone(),
                settings: settings.clone(),
                id,
                connection,
                peer,
                destination,
                original_destination: original,
                agreed,
                peer_identity,
                server_name,
                filter_chain: chain.name.clone(),
                metadata,
                drain,
            };
            match refused {
                None => Box::pin(tcp::proxy::serve(conn, io)).await,
                Some(Refusal { flags, details, termination }) => {
                    tcp::proxy::refused(&conn, flags, details, termination);
                }
            }
        }
    }
}
