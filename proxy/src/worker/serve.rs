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
use super::guard;
use crate::base::drain::{Drain, DrainPhase};
use crate::config::listener::{FilterChain, HttpSettings, NetworkFilter};
use crate::config::overload::ScaledTimer;
use crate::config::secret::ServerTls;
use crate::http::context::{ConnContext, Course};
use crate::net::stream::Stream;
use crate::observe::connection::{DownstreamConnection, Refusal};
use crate::tcp::proxy::TcpConn;
use crate::{http, tcp, tls};

/// What serves a connection.
pub(super) struct Chosen {
    pub(super) chain: Arc<FilterChain>,
    pub(super) drain: Drain,
    /// The restored original destination, when there was one.
    pub(super) original: Option<SocketAddr>,
}

/// Serves a connection to its end.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    tcp: TcpStream,
    mut connection: DownstreamConnection,
    chosen: Chosen,
) {
    connection.id = worker.local.connection_id();
    connection.chain = Some(chosen.chain.clone());
    let (_admission, met) = match guard::admit(&chosen.chain, &worker.local).await {
        Ok(admission) => (Some(admission), Box::pin(meet(worker, tcp, &mut connection, &chosen)).await),
        Err(refusal) => (None, Err(refusal)),
    };
    match &chosen.chain.filter {
        NetworkFilter::Http(settings) => match met {
            Ok(io) => serve_http(worker, settings.clone(), connection, chosen, io).await,
            Err(refusal) => connection_log::refused(&worker.local, &connection, &refusal),
        },
        NetworkFilter::Tcp(settings) => {
            let conn = TcpConn {
                local: worker.local.clone(),
                settings: settings.clone(),
                connection,
                original_destination: chosen.original,
                drain: chosen.drain,
            };
            match met {
                Ok(io) => Box::pin(tcp::proxy::serve(conn, io)).await,
                Err(refusal) => tcp::proxy::refused(&conn, refusal),
            }
        }
    }
}

/// TLS, and the guards that want to know who it is.
async fn meet(
    worker: &Rc<Worker>,
    tcp: TcpStream,
    connection: &mut DownstreamConnection,
    chosen: &Chosen,
) -> Result<Stream, Refusal> {
    let io = match &chosen.chain.tls {
        None => Stream::Tcp(tcp),
        Some(tls) => secure(worker, tls, tcp, connection, chosen).await?,
    };
    if !chosen.chain.guards.is_empty() {
        guard::authorise(&chosen.chain, &worker.local, &io, connection).await?;
    }
    Ok(io)
}

/// The TLS handshake, and what it tells of the connection.
async fn secure(
    worker: &Rc<Worker>,
    tls: &ServerTls,
    tcp: TcpStream,
    connection: &mut DownstreamConnection,
    chosen: &Chosen,
) -> Result<Stream, Refusal> {
    let begun = Instant::now();
    let shard = &worker.local.stats;
    let io = match handshake(worker, tls, tcp, chosen).await {
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
    Chosen { chain, drain, .. }: &Chosen,
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
    chosen: Chosen,
    io: Stream,
) {
    let identity = connection.identity.as_deref();
    let client_cert = http::client_cert::element(&settings.client_cert, identity, connection.own.as_deref());
    let context = Rc::new(ConnContext {
        local: worker.local.clone(),
        settings,
        connection,
        course: Course::default(),
        original_destination: chosen.original,
        client_cert,
        drain: chosen.drain,
        cut: Cell::new(false),
        buckets: OnceCell::new(),
    });
    http::conn::serve(context.clone(), io).await;
    connection_log::served(&context);
}
