//! Answers as soon as it has read a request and says only who it is, for counting many requests: HTTP/1 and HTTP/2 (prior knowledge, on the same
//! port) with an empty 200 and `x-upstream`, gRPC calls with status 0 besides.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;

use super::{Behaviour, Counts};

/// See the module.
#[derive(Debug)]
pub struct Tally(
    /// What `x-upstream` says.
    pub &'static str,
);

impl Behaviour for Tally {
    async fn serve(self: Arc<Self>, stream: TcpStream, counts: Arc<Counts>) {
        let service = service_fn(move |request: Request<Incoming>| {
            counts.request();
            answer(self.0, request)
        });
        // The peer's resets are the tests' business, not errors here.
        let _ =
            auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    }
}

/// Reads the request to its end first: a stream that is over before is reset, sometimes.
async fn answer(
    name: &'static str,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    body.collect().await?;
    let mut response = Response::new(Empty::new());
    let headers = response.headers_mut();
    headers.insert("x-upstream", HeaderValue::from_static(name));
    if head.headers.get("content-type").is_some_and(|kind| kind == "application/grpc") {
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static("0"));
    }
    Ok(response)
}
