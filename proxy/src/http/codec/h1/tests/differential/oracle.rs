//! hyper's HTTP/1 connection over the same bytes, reduced to the same outcome.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::super::harness::{read_all, read_until, within};
use super::super::outcome::Seen;
use crate::http::codec::h1::trailers;
use crate::http::header_id::HeaderId;

/// What hyper yielded, in order. Raw heads go along to explain differences.
#[derive(Clone, Debug)]
pub(super) enum Theirs {
    Request(Seen, Raw),
    BrokenBody(Raw),
    Error,
    Closed,
}

/// A head as hyper gave it out.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    /// Empty for a response.
    pub method: String,
    pub uri: hyper::Uri,
    pub version: hyper::Version,
    pub fields: http::HeaderMap,
}

impl Raw {
    /// All values of `name`.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        self.fields.get_all(name).iter().map(|value| text(value.as_bytes())).collect()
    }

    /// The members of all values of `name`.
    pub(super) fn members(&self, name: &str) -> Vec<String> {
        let values = self.values(name).join(",");
        values.split(',').map(|member| member.trim().to_owned()).filter(|member| !member.is_empty()).collect()
    }
}

/// Fields that our codec keeps to itself.
const FRAMING: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The fields of a map that pass through a proxy, sorted.
fn end_to_end(map: &http::HeaderMap, stop: &[&str]) -> Vec<(String, String)> {
    let mut fields: Vec<_> = map
        .iter()
        .filter(|(name, _)| !stop.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())))
        .collect();
    fields.sort();
    fields
}

fn kept_trailers(map: &http::HeaderMap) -> Vec<(String, String)> {
    let mut fields = end_to_end(map, &[]);
    fields.retain(|(name, _)| !trailers::is_refused(HeaderId::of(name.as_bytes()), name.as_bytes()));
    fields
}

async fn see(request: hyper::Request<Incoming>) -> Theirs {
    let (head, body) = request.into_parts();
    let host = head.headers.get("host").map(|host| text(host.as_bytes())).unwrap_or_default();
    let path = head.uri.path_and_query().map(|path| path.as_str().to_owned()).unwrap_or_default();
    let raw = Raw {
        method: head.method.to_string(),
        uri: head.uri.clone(),
        version: head.version,
        fields: head.headers.clone(),
    };
    let Ok(body) = body.collect().await else { return Theirs::BrokenBody(raw) };
    let seen = Seen {
        line: format!("{} {path}", head.method),
        authority: head.uri.authority().map_or(host, |authority| authority.as_str().to_owned()),
        fields: end_to_end(&head.headers, &FRAMING),
        trailers: body.trailers().map(kept_trailers).unwrap_or_default(),
        body: body.to_bytes().to_vec(),
    };
    Theirs::Request(seen, raw)
}

/// Feeds `input` to hyper's server.
pub(super) async fn serve(input: &[u8]) -> Vec<Theirs> {
    let (near, mut peer) = UnixStream::pair().unwrap();
    let input = input.to_vec();
    let feeding = tokio::spawn(async move {
        let _ = peer.write_all(&input).await;
        let _ = peer.shutdown().await;
        read_all(&mut peer).await;
    });
    let events = Rc::new(RefCell::new(Vec::new()));
    let sink = Rc::clone(&events);
    let service = service_fn(move |request| {
        let sink = Rc::clone(&sink);
        async move {
            let event = see(request).await;
            sink.borrow_mut().push(event);
            Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.half_close(true).max_headers(100);
    let ended = within(builder.serve_connection(TokioIo::new(near), service)).await;
    let _ = feeding.await;
    let mut events = events.borrow().clone();
    if !matches!(events.last(), Some(Theirs::BrokenBody(_))) {
        events.push(if ended.is_ok() { Theirs::Closed } else { Theirs::Error });
    }
    events
}

/// What hyper's client made of a reply.
#[derive(Debug)]
pub(super) struct TheirReply {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    pub raw: Raw,
}

/// Fields of a response that our codec keeps to itself.
const RESPONSE_FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-connection",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Feeds `input` to hyper's client as the answer to a request of `method`.
pub(super) async fn ask(method: &str, input: &[u8]) -> Option<TheirReply> {
    let (near, mut peer) = UnixStream::pair().unwrap();
    let input = input.to_vec();
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_headers(100)
        .handshake(TokioIo::new(near))
        .await
        .unwrap();
    let driving = tokio::spawn(connection);
    let feeding = tokio::spawn(async move {
        read_until(&mut peer, "\r\n\r\n").await;
        let _ = peer.write_all(&input).await;
        let _ = peer.shutdown().await;
        read_all(&mut peer).await;
    });
    let request = hyper::Request::builder()
        .method(method)
        .uri("/")
        .header("host", "mesh.local")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let reply = within(sender.send_request(request)).await;
    let outcome = match reply {
        Err(_) => None,
        Ok(response) => {
            let (head, body) = response.into_parts();
            let body = within(body.collect()).await.ok().map(|body| body.to_bytes().to_vec());
            let fields = end_to_end(&head.headers, &RESPONSE_FRAMING);
            let raw = Raw {
                method: String::new(),
                uri: hyper::Uri::default(),
                version: head.version,
                fields: head.headers,
            };
            Some(TheirReply { status: head.status.as_u16(), fields, body, raw })
        }
    };
    drop(sender);
    let _ = driving.await;
    let _ = feeding.await;
    outcome
}
