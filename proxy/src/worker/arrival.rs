//! From an accepted socket to its filter chain: the listener that serves it, protocol detection, chain choice.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::net::TcpStream;

use super::reconcile::ChainDrains;
use super::serve::{self, Terms};
use super::{Worker, connection_log, overload};
use crate::base::details::Detail;
use crate::base::error::ResponseFlags;
use crate::base::ids::ListenerId;
use crate::config::listener::{ConnectionFacts, FilterChain, Inspect, Listener, ListenerSlot};
use crate::net::orig_dst::{canonical, original_destination};
use crate::net::peek::{Detected, PeekError, detect};
use crate::observe::connection::{DownstreamConnection, Refusal};
use crate::upstream::connect::millis;

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

/// Serves an accepted connection to its end.
pub(super) async fn handle(
    worker: &Rc<Worker>,
    id: ListenerId,
    tcp: TcpStream,
    peer: SocketAddr,
    drains: &ChainDrains,
) {
    let Some(accepting) = worker.local.view().snapshot.listener(id).map(|slot| slot.config.clone()) else {
        return;
    };
    let Some(_counted) = overload::admit(&worker.local, &accepting) else { return };
    let opened = Instant::now();
    let serves = Serves::of(worker, accepting, &tcp, drains);
    let listener = serves.listener.clone();
    let stats = &listener.stats;
    worker.local.stats.inc(stats.downstream_cx_total);
    worker.local.stats.gauge_add(stats.downstream_cx_active, 1);
    if tcp.set_nodelay(true).is_ok()
        && let Ok(own_address) = tcp.local_addr()
    {
        let connection =
            arrived(&serves, (peer, canonical(own_address)), (opened, worker.local.clock.wall(opened)));
        meet(worker, serves, tcp, connection).await;
    }
    worker.local.stats.gauge_add(stats.downstream_cx_active, -1);
    worker.local.stats.inc(stats.downstream_cx_destroy);
    worker.local.stats.record(stats.downstream_cx_length_ms, millis(opened.elapsed()));
}

/// What is known of a connection before anybody has looked at its bytes.
fn arrived(
    serves: &Serves,
    (peer, own_address): (SocketAddr, SocketAddr),
    (opened, opened_at): (Instant, SystemTime),
) -> DownstreamConnection {
    DownstreamConnection {
        id: 0,
        opened,
        opened_at,
        peer,
        destination: serves.original.unwrap_or(own_address),
        own_address,
        server_name: Box::default(),
        listener: serves.listener.clone(),
        chain: None,
        handshake: None,
        agreed: None,
        identity: None,
        own: None,
        metadata: None,
    }
}

/// Runs the listener filters, picks the chain and lets it serve; one that gets no chain leaves its line in the log.
async fn meet(worker: &Rc<Worker>, serves: Serves, tcp: TcpStream, mut connection: DownstreamConnection) {
    let refusal = match Box::pin(inspect(worker, &serves, &tcp)).await {
        None => Refusal::default(),
        Some(detected) => match find_chain(&connection, &detected) {
            Some(chain) => {
                let drain = serves.drains.of(&chain);
                connection.server_name = detected.server_name.unwrap_or_default();
                let terms = Terms { drain, original: serves.original };
                return serve::serve(worker, tcp, connection, chain, terms).await;
            }
            None => {
                worker.local.stats.inc(serves.listener.stats.no_filter_chain_match);
                let (flags, details) = (ResponseFlags::NO_ROUTE_FOUND, Detail::FILTER_CHAIN_NOT_FOUND.into());
                Refusal { flags, details, ..Refusal::default() }
            }
        },
    };
    connection_log::refused(&worker.local, &connection, &refusal);
}

fn find_chain(connection: &DownstreamConnection, detected: &Detected) -> Option<Arc<FilterChain>> {
    let facts = ConnectionFacts {
        destination: connection.destination,
        source: connection.peer,
        server_name: detected.server_name.as_deref(),
        transport: detected.transport,
        application_protocols: &detected.application_protocols,
    };
    connection.listener.find_chain(&facts).cloned()
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
