//! Sockets that accept connections, from their beginning to their end in order.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::reconcile::ChainDrains;
use super::{Worker, arrival, overload};
use crate::base::ids::ListenerId;
use crate::net::listener;
use crate::net::orig_dst::canonical;

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
        let mut handled = pin!(arrival::handle(&worker, id, tcp, canonical(peer), &drains));
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
