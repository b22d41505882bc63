//! The admin listener: HTTP/1.1 on a TCP port or a Unix socket, bounded and guarded.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, SERVER, X_CONTENT_TYPE_OPTIONS};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

use super::log::Entry;
use super::query::Query;
use super::reply::{Body, Reply};
use super::{AdminState, endpoints, guard};
use crate::observe::access_log::sink::Lines;
use crate::stats::scope::HttpStats;

/// Connections served at once; more wait in the backlog.
const MAX_CONNECTIONS: usize = 100;
/// A request head must arrive, and an idle connection must send the next, within this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection is asked to end after this, so that slow readers do not use the limit up.
const MAX_AGE: Duration = Duration::from_secs(60);
/// What is being sent may take this much longer.
const AGE_GRACE: Duration = Duration::from_secs(60);
/// At shutdown, replies on their way may take this long.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);
/// After a failed accept (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where the admin endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// TCP; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// Unix socket that only this user may open.
    Unix(PathBuf),
}

/// A bound admin endpoint.
#[derive(Debug)]
pub struct AdminServer {
    listener: Listener,
    second: Option<TcpListener>,
    allowed_hosts: Arc<[String]>,
    logs: Arc<[Lines]>,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl AdminServer {
    /// Binds. `allowed_hosts` are further names that requests may use in `Host`, beside addresses,
    /// `localhost`, single labels and private names.
    pub async fn bind(address: &AdminAddress, allowed_hosts: &[String]) -> io::Result<Self> {
        let listener = match address {
            AdminAddress::Tcp(address) => Listener::Tcp(TcpListener::bind(address).await?),
            AdminAddress::Unix(path) => Listener::Unix(bind_private(path)?, path.clone()),
        };
        Ok(Self { listener, second: None, allowed_hosts: allowed_hosts.into(), logs: Arc::default() })
    }

    /// Answers on this TCP address as well.
    ///
    /// # Errors
    /// It cannot be bound: this machine may have no such address.
    pub async fn answer_on(&mut self, address: SocketAddr) -> io::Result<()> {
        self.second = Some(TcpListener::bind(address).await?);
        Ok(())
    }

    /// Logs every request there.
    pub fn log_to(mut self, logs: Vec<Lines>) -> Self {
        self.logs = logs.into();
        self
    }

    /// The TCP address as bound; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(..) => None,
        }
    }

    /// Serves until `shutdown`, then finishes replies on their way.
    pub async fn serve(self, state: Arc<AdminState>, shutdown: impl Future<Output = ()>) {
        let stats = HttpStats::new(&state.registry, "http.admin.", "listener.admin.http.admin.");
        let allowed_hosts = self.allowed_hosts.clone();
        let logs = self.logs.clone();
        let service = Arc::new(Service { state, stats, allowed_hosts, logs });
        let limit = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let (stop, stopped) = watch::channel(());
        tokio::select! {
            () = self.accept(&service, &limit, &stopped) => {}
            () = shutdown => {}
        }
        drop(stop);
        // Every permit free means every connection ended. Replies that take longer are cut.
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, limit.acquire_many(MAX_CONNECTIONS as u32)).await;
    }

    async fn accept(&self, service: &Arc<Service>, limit: &Arc<Semaphore>, stopped: &watch::Receiver<()>) {
        // The semaphore is never closed.
        while let Ok(permit) = limit.clone().acquire_owned().await {
            let connection = tokio::select! {
                connection = self.listener.accept() => connection,
                connection = accept_on(&self.second) => connection,
            };
            match connection {
                Ok(socket) => {
                    let connection = service.clone().serve(socket, stopped.clone());
                    tokio::spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "admin accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Socket>> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(socket, _)| Box::new(socket) as _),
            Self::Unix(listener, _) => listener.accept().await.map(|(socket, _)| Box::new(socket) as _),
        }
    }
}

async fn accept_on(listener: &Option<TcpListener>) -> io::Result<Box<dyn Socket>> {
    match listener {
        Some(listener) => listener.accept().await.map(|(socket, _)| Box::new(socket) as _),
        None => std::future::pending().await,
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            // Gone already is as good.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A TCP or Unix connection.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Binds a Unix socket that never is open to others: it gets its mode before it gets its name. A stale
/// socket of a crashed process is replaced.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let hidden = PathBuf::from(hidden);
    let listener = UnixListener::bind(&hidden)?;
    let named = std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&hidden, path));
    if named.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&hidden);
    }
    named.map(|()| listener)
}

type ReplyBody = UnsyncBoxBody<Bytes, Infallible>;

struct Service {
    state: Arc<AdminState>,
    stats: HttpStats,
    allowed_hosts: Arc<[String]>,
    logs: Arc<[Lines]>,
}

impl Service {
    /// Drives one connection to its end: by the peer, by age, or because the process stops.
    async fn serve(self: Arc<Self>, socket: Box<dyn Socket>, mut stopped: watch::Receiver<()>) {
        let service = self.clone();
        let answer = service_fn(move |request| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(32 * 1024)
            .serve_connection(TokioIo::new(socket), answer);
        let mut connection = std::pin::pin!(connection);
        let shard = self.state.registry.shared();
        shard.inc(self.stats.downstream_cx_total);
        shard.gauge_add(self.stats.downstream_cx_active, 1);
        let ended = tokio::select! {
            _ = connection.as_mut() => true,
            () = tokio::time::sleep(MAX_AGE) => false,
            _ = stopped.changed() => false,
        };
        if !ended {
            connection.as_mut().graceful_shutdown();
            // A connection that does not end is cut; the peer sees it.
            let _ = tokio::time::timeout(AGE_GRACE, connection).await;
        }
        shard.gauge_add(self.stats.downstream_cx_active, -1);
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        let mut entry = (!self.logs.is_empty()).then(|| Entry::begin(&self.logs, &request));
        let reply = match guard::refuse(request.headers(), &self.allowed_hosts) {
            Some(reason) => Reply::error(StatusCode::FORBIDDEN, reason),
            None => {
                let (method, uri) = (request.method(), request.uri());
                let query = Query::parse(uri.query().unwrap_or(""));
                endpoints::answer(&self.state, method, uri.path(), query).await
            }
        };
        let shard = self.state.registry.shared();
        shard.inc(self.stats.downstream_rq_total);
        self.stats.response_counters(reply.status.as_u16()).iter().for_each(|counter| shard.inc(*counter));
        if let Some(entry) = &mut entry {
            entry.answered(reply.status);
        }
        respond(reply, entry)
    }
}

/// The reply as HTTP, with Envoy's headers. The log's entry ends with its body.
fn respond(reply: Reply, mut entry: Option<Entry>) -> Response<ReplyBody> {
    let mut count = move |bytes: usize| {
        if let Some(entry) = &mut entry {
            entry.sent(bytes);
        }
    };
    let body = match reply.body {
        Body::Whole(text) => {
            count(text.len());
            Full::new(Bytes::from(text)).boxed_unsync()
        }
        Body::Pieces(pieces) => {
            let frames = pieces.map(move |piece| {
                count(piece.len());
                Ok(Frame::data(Bytes::from(piece)))
            });
            StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
        }
        Body::Live(lines) => {
            let frames = lines.map(move |line| {
                count(line.len());
                Ok(Frame::data(Bytes::from(line)))
            });
            StreamBody::new(frames).boxed_unsync()
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(SERVER, HeaderValue::from_static("envoy"));
    response
}

#[cfg(test)]
mod tests;
