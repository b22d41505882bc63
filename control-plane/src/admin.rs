//! The control plane's own admin endpoint: readiness, metrics, connected nodes. Read-only, and meant for loopback:
//! node ids and peer addresses are nobody else's business.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::ads::registry::{Answer, HeldBack, Registry, StreamRecord, TypeStatus};
use crate::listen::{Listener, Socket};
use crate::load::Loads;
use crate::metrics::Metrics;
use crate::picture::Picture;
use crate::picture::page::PAGE;
use crate::snapshot::ResourceSource;

const MAX_CONNECTIONS: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(300);
const GRACE: Duration = Duration::from_secs(1);

const HELP: &str = "\
GET /ready    200 once the control plane serves
GET /metrics  counters in Prometheus text
GET /nodes    connected nodes, and how far each is with each type (JSON)
GET /mesh     the mesh as it runs: proxies, calls, traffic, refusals (JSON); browsers get a picture at /
GET /help     this
";

/// What the pages are made of.
#[derive(Clone)]
pub struct View {
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// What sidecars report about their traffic.
    pub loads: Arc<Loads>,
    /// The definitions that are served.
    pub source: watch::Receiver<Arc<dyn ResourceSource>>,
}

/// The pages.
pub fn routes(view: View) -> Router {
    Router::new()
        .route("/", get(start_page))
        .route("/help", get(|| async { HELP }))
        .route("/mesh", get(mesh_page))
        .route("/ready", get(|| async { "ready\n" }))
        .route("/metrics", get(metrics_page))
        .route("/nodes", get(nodes_page))
        .fallback(|| async { (StatusCode::NOT_FOUND, format!("no such page; there are\n{HELP}")) })
        .with_state(view)
}

/// A picture for browsers, the list of pages for others.
async fn start_page(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accept.contains("text/html") {
        return HELP.into_response();
    }
    // Everything is in the page itself; nothing from elsewhere may run in it.
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(PAGE)).into_response()
}

async fn mesh_page(State(view): State<View>) -> impl IntoResponse {
    let source = Arc::clone(&view.source.borrow());
    Json(Picture::take(&*source, &view.registry, &view.loads, Instant::now()))
}

async fn metrics_page(State(view): State<View>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], view.metrics.render())
}

async fn nodes_page(State(view): State<View>) -> impl IntoResponse {
    let nodes = view.registry.streams().iter().map(|record| Node::of(record)).collect();
    let held_back = view.registry.held_back().into_iter().map(HeldBackNode::of).collect();
    Json(Nodes { nodes, held_back })
}

#[derive(Serialize)]
struct Nodes {
    nodes: Vec<Node>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held_back: Vec<HeldBackNode>,
}

/// A node that cannot be given the current state of its definitions, connected or not.
#[derive(Serialize)]
struct HeldBackNode {
    node_id: String,
    reason: String,
    /// `last good state`, or `nothing`.
    served: &'static str,
}

impl HeldBackNode {
    fn of(node: HeldBack) -> Self {
        let served = if node.kept { "last good state" } else { "nothing" };
        Self { node_id: node.node_id, reason: node.reason, served }
    }
}

/// One discovery stream of a node.
#[derive(Serialize)]
struct Node {
    node_id: String,
    peer: String,
    user_agent: String,
    service: &'static str,
    transport: &'static str,
    connected_since: String,
    types: BTreeMap<String, Type>,
}

/// How far a node is with one type.
#[derive(Serialize)]
struct Type {
    type_url: String,
    /// `ACK`, `NACK`, `SENT` (no answer yet) or `WAITING` (nothing to send).
    status: &'static str,
    /// Version last sent, or found to be held at the start of the stream.
    version: Option<String>,
    /// Version last accepted.
    accepted_version: Option<String>,
    /// When the client answered last.
    answered_at: Option<String>,
    /// The client's words, while its last answer is a NACK.
    error: Option<String>,
}

impl Node {
    fn of(record: &StreamRecord) -> Self {
        let types = record.types().into_iter();
        Self {
            node_id: record.node_id.clone(),
            peer: record.peer.clone(),
            user_agent: record.user_agent.clone(),
            service: record.service,
            transport: record.variant.name(),
            connected_since: rfc3339(record.since),
            types: types
                .map(|(url, status)| (url.label().to_owned(), Type::of(url.as_str(), status)))
                .collect(),
        }
    }
}

impl Type {
    fn of(type_url: &str, status: TypeStatus) -> Self {
        let TypeStatus { sent, accepted, answer } = status;
        let (word, error) = match (&answer, sent) {
            (Some((Answer::Nack(refused, text), _)), _) if sent == Some(*refused) => {
                ("NACK", Some(text.clone()))
            }
            (_, Some(_)) if sent == accepted => ("ACK", None),
            (_, Some(_)) => ("SENT", None),
            (_, None) => ("WAITING", None),
        };
        Self {
            type_url: type_url.to_owned(),
            status: word,
            version: sent.map(|v| v.to_string()),
            accepted_version: accepted.map(|v| v.to_string()),
            answered_at: answer.map(|(_, at)| rfc3339(at)),
            error,
        }
    }
}

/// A time as `2026-01-02T03:04:05Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of a number of days since 1970-01-01 in the Gregorian calendar.
fn civil(mut days: u64) -> (u64, usize, u64) {
    let is_leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// Serves the pages until `stop` is true.
pub async fn serve(listener: Listener, routes: Router, mut stop: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
        let socket = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Ok(socket) = socket else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (routes, stop) = (routes.clone(), stop.clone());
        connections.spawn(async move {
            connection(socket, routes, stop).await;
            drop(permit);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(socket: Socket, routes: Router, mut stop: watch::Receiver<bool>) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let service = TowerToHyperService::new(routes);
    let mut http = pin!(builder.serve_connection(TokioIo::new(socket.io), service));
    tokio::select! {
        // An error or lateness of a reader of pages matters to nobody but itself.
        _ = http.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => {}
        () = tokio::time::sleep(MAX_CONNECTION_AGE) => {}
    }
    http.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, http).await;
}

#[cfg(test)]
mod tests;
