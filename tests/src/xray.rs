//! A stand-in for the X-Ray daemon: takes segments over UDP as the daemon does, and is strict about them; hands out
//! sampling rules over TCP. Applications with AWS's SDK that send to it, and the graph that segments make.

mod application;
mod graph;

pub use application::Application;
pub use graph::Graph;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

use crate::{Result, wait};

const HEADER: &str = "{\"format\":\"json\",\"version\":1}";
const MAX_DOCUMENT: usize = 65_000;
const LIMIT: Duration = Duration::from_secs(10);

/// A daemon on a free port of loopback; it ends when dropped.
#[derive(Debug)]
pub struct Daemon {
    address: SocketAddr,
    received: Received,
    receiver: JoinHandle<()>,
}

/// Each document as it came, and read.
type Received = Arc<Mutex<Vec<Result<(String, Value), String>>>>;

impl Daemon {
    /// Starts.
    pub async fn start() -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts on an address that is free.
    pub async fn start_at(address: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        let (address, received) = (socket.local_addr()?, Arc::default());
        let receiver = tokio::spawn(receive(socket, Arc::clone(&received)));
        Ok(Self { address, received, receiver })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived.
    pub fn segments(&self) -> Result<Vec<Value>> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.iter().map(|one| Ok(one.as_ref().map_err(String::as_str)?.1.clone())).collect()
    }

    /// The documents that have arrived, byte for byte.
    pub fn documents(&self) -> Result<Vec<String>> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.iter().map(|one| Ok(one.as_ref().map_err(String::as_str)?.0.clone())).collect()
    }

    /// Waits until so many have arrived, in the order in which they began.
    pub async fn until(&self, count: usize) -> Result<Vec<Value>> {
        let arrived = || {
            let arrived = self.segments();
            let enough = arrived.as_ref().map_or(true, |all| all.len() >= count);
            std::future::ready(enough.then_some(arrived))
        };
        let mut segments = match wait::until(&format!("{count} segments"), LIMIT, arrived).await {
            Ok(segments) => segments?,
            Err(error) => return Err(format!("{error}; there are {:?}", self.segments()?).into()),
        };
        segments.sort_by(|one, other| {
            let start = |segment: &Value| segment["start_time"].as_f64().unwrap_or(0.0);
            start(one).total_cmp(&start(other))
        });
        Ok(segments)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.receiver.abort();
    }
}

async fn receive(socket: UdpSocket, received: Received) {
    let mut buffer = vec![0; 70_000];
    while let Ok(length) = socket.recv(&mut buffer).await {
        let segment = read(&buffer[..length]);
        received.lock().unwrap_or_else(PoisonError::into_inner).push(segment);
    }
}

/// One datagram: a header line, and a document that the service would take.
fn read(datagram: &[u8]) -> Result<(String, Value), String> {
    let text = std::str::from_utf8(datagram).map_err(|error| error.to_string())?;
    let fail = |why: &str| Err(format!("{why}: {text}"));
    let Some((HEADER, body)) = text.split_once('\n') else { return fail("no header line") };
    if body.len() > MAX_DOCUMENT || body.contains('\n') {
        return fail("too long, or several lines");
    }
    let segment: Value = serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))?;
    let length = |field: &str| segment[field].as_str().map_or(0, str::len);
    if length("id") != 16 || length("trace_id") != 35 || length("name") == 0 {
        return fail("no identifiers");
    }
    match (segment["start_time"].as_f64(), segment["end_time"].as_f64()) {
        (Some(start), Some(end)) if start <= end && start > 1.6e9 => Ok((body.to_owned(), segment)),
        _ => fail("no times"),
    }
}

/// A stand-in for the daemon's other port: sampling rules for whoever asks, and what was reported.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Pages of `GetSamplingRules`.
    pages: Vec<Value>,
    /// Answer to `GetSamplingTargets`.
    targets: Value,
    /// Paths asked for, with the bodies.
    asked: Vec<(String, Value)>,
}

impl Service {
    /// Starts with these pages of rules, and what it answers to reports.
    pub async fn start(pages: Vec<Value>, targets: Value) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let state = Arc::new(Mutex::new(State { pages, targets, asked: Vec::new() }));
        let address = listener.local_addr()?;
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Ok(Self { address, state, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bodies of the requests to `path` so far.
    pub fn asked(&self, path: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked.iter().filter(|(asked, _)| asked == path).map(|(_, body)| body.clone()).collect()
    }

    /// Waits until `path` was asked for so many times.
    pub async fn until_asked(&self, path: &str, count: usize) -> Result<Vec<Value>> {
        let limit = Duration::from_secs(30);
        let asked = || std::future::ready(Some(self.asked(path)).filter(|asked| asked.len() >= count));
        wait::until(&format!("{count} requests to {path}"), limit, asked).await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let answer = service_fn(move |request: Request<Incoming>| {
            let state = Arc::clone(&state);
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await?.to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                let answer = state.answer(&path, &body);
                state.asked.push((path, body));
                Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(answer.to_string()))))
            }
        });
        tokio::spawn(
            async move { http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await },
        );
    }
}

impl State {
    fn answer(&self, path: &str, body: &Value) -> Value {
        match path {
            "/GetSamplingRules" => {
                let page: usize =
                    body["NextToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or(0);
                let next = page + 1;
                let token = if next < self.pages.len() { Value::from(next.to_string()) } else { Value::Null };
                let rules = self.pages.get(page).cloned().unwrap_or_default();
                serde_json::json!({"SamplingRuleRecords": rules, "NextToken": token})
            }
            _ => self.targets.clone(),
        }
    }
}
