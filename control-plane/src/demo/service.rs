//! The sample application of a virtual node: says who it is, and calls the node's backends when asked.
//!
//! `GET /call/<service>[:<port>]/<path>` sends `/<path>` to the node's own sidecar with the service as host, as an
//! application behind interception would without knowing. Headers of the caller go along, so that the request id
//! and headers that routes match on do, too. Every other path is answered with what arrived.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::http::{self as client, Outgoing};

const MAX_CONNECTIONS: usize = 256;
/// What belongs to one connection, or is the sidecars' own.
const NOT_FORWARDED: [&str; 8] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "upgrade",
    "keep-alive",
    "x-envoy-expected-rq-timeout-ms",
];

/// How a backend is reached through the sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The sidecar's egress.
    pub address: SocketAddr,
    /// Whether the service speaks HTTP/2.
    pub http2: bool,
    /// The service as host.
    pub authority: String,
}

/// Name of a virtual node, and its backends by what stands after `/call/`.
#[derive(Clone, Debug)]
pub struct Service {
    /// The virtual node.
    pub node: String,
    /// Its backends.
    pub backends: BTreeMap<String, Backend>,
}

/// Serves HTTP/1.1 and HTTP/2 until the task is aborted.
pub async fn serve(listener: TcpListener, service: Arc<Service>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Without it answers are late, not wrong.
        let _ = stream.set_nodelay(true);
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            let handler = service_fn(move |request| {
                let service = Arc::clone(&service);
                async move { Ok::<_, Infallible>(service.answer(request).await) }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            // A client that goes away is no concern of the sample.
            let _ = server.serve_connection(TokioIo::new(stream), handler).await;
            drop(permit);
        });
    }
}

impl Service {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let Some(rest) = path.strip_prefix("/call/") else {
            return respond(StatusCode::OK, request.headers(), &self.describe(&request, &path));
        };
        let (name, path) = match rest.split_once('/') {
            Some((name, path)) => (name, format!("/{path}")),
            None => (rest, "/".to_owned()),
        };
        let Some(backend) = self.backends.get(name) else {
            let known: Vec<&String> = self.backends.keys().collect();
            let body = json!({ "node": self.node, "error": "no such backend", "backends": known });
            return respond(StatusCode::NOT_FOUND, request.headers(), &body);
        };
        self.call(backend, &path, &request).await
    }

    fn describe(&self, request: &Request<Incoming>, path: &str) -> Value {
        json!({
            "node": self.node,
            "method": request.method().as_str(),
            "path": path,
            "host": host(request),
            "headers": text(request.headers()),
        })
    }

    async fn call(
        &self,
        backend: &Backend,
        path: &str,
        request: &Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let mut headers = request.headers().clone();
        for name in NOT_FORWARDED {
            headers.remove(name);
        }
        let outgoing = Outgoing {
            address: backend.address,
            http2: backend.http2,
            authority: backend.authority.clone(),
            method: request.method().clone(),
            path: path.to_owned(),
            headers,
        };
        let (status, outcome) = match client::send(&outgoing).await {
            Ok(answer) => {
                let body = match answer.json() {
                    Value::Null => Value::from(String::from_utf8_lossy(&answer.body)),
                    value => value,
                };
                let headers = text(&answer.headers);
                (answer.status, json!({ "status": answer.status, "headers": headers, "body": body }))
            }
            Err(error) => (502, json!({ "error": error })),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let body = json!({ "node": self.node, "host": host(request), "headers": text(request.headers()),
            "called": backend.authority, "answer": outcome });
        respond(status, request.headers(), &body)
    }
}

fn host(request: &Request<Incoming>) -> String {
    let header = || request.headers().get(header::HOST).and_then(|v| v.to_str().ok());
    request.uri().authority().map(|a| a.as_str()).or_else(header).unwrap_or_default().to_owned()
}

fn text(headers: &HeaderMap) -> BTreeMap<String, String> {
    let all = headers.iter().filter(|(name, _)| *name != header::HOST);
    all.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

/// The answer carries the request's id, as well-behaved applications do.
fn respond(status: StatusCode, request: &HeaderMap, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{body:#}\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    if let Some(id) = request.get("x-request-id") {
        headers.insert("x-request-id", id.clone());
    }
    response
}
