//! A connection whose filter chain is known: guards, TLS, then HTTP or TCP.

use std::cell::{Cell, OnceCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::Worker;
use super::connection_log;
use super::guard::{self, Admission};
use crate::base::drain::{Drain, DrainPhase};
use crate::config::listener::{FilterChain, HttpSettings, NetworkFilter};
use crate::config::overload::ScaledTimer;
use crate::config::secret::ServerTls;
use crate::http::context::{ConnContext, Course};
use crate::net::stream::Stream;
use crate::observe::connection::{DownstreamConnection, Refusal};
use crate::tcp::proxy::TcpConn;
use crate::{http, tcp, tls};

/// How a connection is served beside its chain.
pub(super) struct Terms {
    pub(super) drain: Drain,
    /// The restored original destination, when there was one.
    pub(super) original: Option<SocketAddr>,
}

/// Serves a connection with `chain` to its end.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    tcp: TcpStream,
    mut connection: DownstreamConnection,
    chain: Arc<FilterChain>,
    terms: Terms,
) {
    connection.id = worker.local.connection_id();
    let filter = chain.filter.clone();
    let plain = chain.tls.is_none() && chain.guards.is_empty();
    let chain = connection.chain.insert(chain);
    let (_admission, met) = if plain {
        (None, Ok(Stream::Tcp(tcp)))
    } else {
        let chain = chain.clone();
        Box::pin(meet(worker, tcp, &mut connection, (&chain, &terms.drain))).await
    };
    match filter {
        NetworkFilter::Http(settings) => match met {
            Ok(io) => serve_http(worker, settings, connection, terms, io).await,
            Err(refusal) => connection_log::refused(&worker.local, &connection, &refusal),
        },
        NetworkFilter::Tcp(settings) => {
            let conn = TcpConn {
                local: worker.local.clone(),
                settings,
                connection,
                original_destination: terms.original,
                drain: terms.drain,
            };
            match met {
                Ok(io) => Box::pin(tcp::proxy::serve(conn, io)).await,
                Err(refusal) => tcp::proxy::refused(&conn, refusal),
            }
        }
    }
}

/// Guards and TLS. What the guards hold is held while the connection is served.
async fn meet<'w>(
    worker: &'w Rc<Worker>,
    tcp: TcpStream,
    connection: &mut DownstreamConnection,
    (chain, drain): (&FilterChain, &Drain),
) -> (Option<Admission<'w>>, Result<Stream, Refusal>) {
    let admission = match guard::admit(chain, &worker.local).await {
        Ok(admission) => admission,
        Err(refusal) => return (None, Err(refusal)),
    };
    (Some(admission), introduce(worker, tcp, connection, (chain, drain)).await)
}

/// TLS, and the guards that want to know who it is.
async fn introduce(
    worker: &Rc<Worker>,
    tcp: TcpStream,
    connection: &mut DownstreamConnection,
    (chain, drain): (&FilterChain, &Drain),
) -> Result<Stream, Refusal> {
    let io = match &chain.tls {
        None => Stream::Tcp(tcp),
        Some(tls) => secure(worker, tls, tcp, connection, (chain, drain)).await?,
    };
    guard::authorise(chain, &worker.local, &io, connection).await?;
    Ok(io)
}

/// The TLS handshake, and what it tells of the connection.
async fn secure(
    worker: &Rc<Worker>,
    tls: &ServerTls,
    tcp: TcpStream,
    connection: &mut DownstreamConnection,
    (chain, drain): (&FilterChain, &Drain),
) -> Result<Stream, Refusal> {
    let begun = Instant::now();
    let shard = &worker.local.stats;
    let io = match handshake(worker, tls, tcp, (chain, drain)).await {
        Ok(io) => io,
        Err(error) => {
            tls::count_failure(&tls.stats, shard, &error);
            tracing::debug!(%error, peer = %connection.peer, "TLS handshake failed");
            if error.kind() != io::ErrorKind::TimedOut {
                return Err(Refusal { handshake_failure: tls::failure(&error), ..Refusal::default() });
            }
            shard.inc(connection.listener.stats.downstream_cx_transport_socket_connect_timeout);
            let termination = "transport socket timeout was reached".to_owned();
            return Err(Refusal { termination, closed: "transport_socket_timeout", ..Refusal::default() });
        }
    };
    tls::count_handshake(&tls.stats, shard, &io);
    connection.handshake = Some((begun, Instant::now()));
    connection.agreed = tls::Agreed::of(&io);
    connection.identity = tls::PeerIdentity::of(&io, tls).map(Rc::new);
    connection.own = Some(tls.own.clone());
    // Who looks at nothing before the handshake learns the name in it.
    if connection.server_name.is_empty() {
        connection.server_name = io.server_name().map(Box::from).unwrap_or_default();
    }
    Ok(io)
}

/// How long a TLS handshake may take.
fn handshake_time(worker: &Worker, chain: &FilterChain) -> Duration {
    worker.local.scaled(ScaledTimer::TransportConnect, chain.transport_socket_timeout)
}

/// A handshake ends with the settings that it began under: when its chain is cut, so is it.
async fn handshake(
    worker: &Worker,
    tls: &ServerTls,
    tcp: TcpStream,
    (chain, drain): (&FilterChain, &Drain),
) -> io::Result<Stream> {
    tokio::select! {
        done = tls::accept(tls, tcp, handshake_time(worker, chain)) => done,
        () = drain.reached(DrainPhase::Terminating) => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

async fn serve_http(
    worker: &Rc<Worker>,
    settings: Arc<HttpSettings>,
    connection: DownstreamConnection,
    terms: Terms,
    io: Stream,
) {
    let identity = connection.identity.as_deref();
    let client_cert = http::client_cert::element(&settings.client_cert, identity, connection.own.as_deref());
    let context = Rc::new(ConnContext {
        local: worker.local.clone(),
        settings,
        connection,
        course: Course::default(),
        original_destination: terms.original,
        client_cert,
        drain: terms.drain,
        cut: Cell::new(false),
        buckets: OnceCell::new(),
    });
    http::conn::serve(context.clone(), io).await;
    connection_log::served(&context);
}
