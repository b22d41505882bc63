//! Answers HTTP/1 and HTTP/2 (prior knowledge, on the same port) with a JSON description of the request.
//!
//! `{"upstream", "method", "target", "version", "headers": [[name, value]], "body", "trailers": [[name, value]]}`.
//! The request steers the answer by header: `x-echo-status`, `x-echo-delay-ms`, `x-echo-header: name=value`,
//! `x-echo-trailer: name=value`, `x-echo-bytes` (a body of that many bytes in place of the JSON).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Behaviour, Counts};

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// See the module.
#[derive(Debug)]
pub struct Echo {
    name: String,
}

impl Echo {
    /// `name` comes back in every answer, to tell upstreams apart.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl Behaviour for Echo {
    async fn serve(self: Arc<Self>, stream: TcpStream, counts: Arc<Counts>) {
        let service = service_fn(move |request| {
            counts.request();
            answer(self.clone(), request)
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        // The peer's resets and half-sent requests are the tests' business, not errors here.
        let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
    }
}

async fn answer(echo: Arc<Echo>, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let received = body.collect().await?;
    let trailers = received.trailers().cloned().unwrap_or_default();
    let description = json!({
        "upstream": echo.name,
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "version": version(head.version),
        "headers": pairs(&head.headers),
        "body": String::from_utf8_lossy(&received.to_bytes()),
        "trailers": pairs(&trailers),
    });
    if let Some(delay) = number(&head.headers, "x-echo-delay-ms") {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    Ok(respond(&head.headers, &description))
}

fn respond(asked: &HeaderMap, description: &Value) -> Response<Body> {
    let bytes = match number(asked, "x-echo-bytes") {
        Some(count) => Bytes::from(vec![b'x'; count as usize]),
        None => Bytes::from(description.to_string()),
    };
    let trailers = assignments(asked, "x-echo-trailer");
    let body = Full::new(bytes);
    let body = if trailers.is_empty() {
        body.boxed_unsync()
    } else {
        body.with_trailers(async move { Some(Ok(trailers)) }).boxed_unsync()
    };
    let mut response = Response::new(body);
    let status = number(asked, "x-echo-status").and_then(|code| StatusCode::from_u16(code as u16).ok());
    *response.status_mut() = status.unwrap_or(StatusCode::OK);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response.headers_mut().extend(assignments(asked, "x-echo-header"));
    response
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        _ => "other",
    }
}

fn pairs(headers: &HeaderMap) -> Vec<[String; 2]> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| [name.to_string(), text(value)]).collect()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn assignments(headers: &HeaderMap, name: &str) -> HeaderMap {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()?.split_once('='));
    values
        .filter_map(|(n, v)| Some((HeaderName::try_from(n).ok()?, HeaderValue::try_from(v).ok()?)))
        .collect()
}
