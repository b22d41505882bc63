//! A stand-in for collectors of spans: keeps every request it gets, over HTTP/1 and HTTP/2, and takes its time if told.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{Result, wait};

const LIMIT: Duration = Duration::from_secs(15);

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// Path.
    pub path: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// A collector on a free port of loopback; it ends when dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    server: JoinHandle<()>,
}

impl Collector {
    /// Answers at once.
    pub async fn start() -> Result<Self> {
        Self::with_delay(Duration::ZERO).await
    }

    /// Answers after a while.
    pub async fn with_delay(delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, received) = (listener.local_addr()?, Arc::default());
        let server = tokio::spawn(serve(listener, Arc::clone(&received), delay));
        Ok(Self { address, received, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until what came satisfies `holds`.
    pub async fn until(&self, what: &str, holds: impl Fn(&[Received]) -> bool) -> Result<Vec<Received>> {
        let check = || std::future::ready(Some(self.received()).filter(|received| holds(received)));
        wait::until(what, LIMIT, check).await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, received: Arc<Mutex<Vec<Received>>>, delay: Duration) {
    while let Ok((stream, _)) = listener.accept().await {
        let received = Arc::clone(&received);
        let answer = service_fn(move |request| answer(request, Arc::clone(&received), delay));
        tokio::spawn(async move {
            // The peer may go away as it likes.
            let _ =
                auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    received: Arc<Mutex<Vec<Received>>>,
    delay: Duration,
) -> Result<Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    tokio::time::sleep(delay).await;
    let grpc = head.headers.get("content-type").is_some_and(|kind| kind == "application/grpc");
    let one = Received { path: head.uri.path().to_owned(), headers: head.headers, body };
    received.lock().unwrap_or_else(PoisonError::into_inner).push(one);
    if !grpc {
        return Ok(Response::new(Full::new(Bytes::from_static(b"{}")).boxed_unsync()));
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    // An empty message, and the status behind it.
    let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}
