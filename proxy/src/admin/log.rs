//! The admin endpoint's access log: one line per request, in Envoy's default format. Source: `Admin.access_log_path`.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hyper::body::{Body, Incoming};
use hyper::header::{HOST, HeaderMap, HeaderName, USER_AGENT};
use hyper::{Request, StatusCode, Version};

use crate::observe::access_log::sink::Lines;
use crate::observe::format::time::Civil;
use crate::observe::format::{Escape, Out};

/// Longest value in a line, bytes before escaping.
const MAX_VALUE: usize = 8 * 1024;
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// One request; dropped when its reply was sent, or cannot be.
pub(super) struct Entry {
    logs: Arc<[Lines]>,
    at: SystemTime,
    started: Instant,
    /// `METHOD path protocol`.
    line: Vec<u8>,
    /// What headers say of who asks.
    sender: Vec<u8>,
    received: u64,
    /// None while there is no answer.
    status: Option<StatusCode>,
    sent: u64,
}

impl Entry {
    /// A request has arrived.
    pub(super) fn begin(logs: &Arc<[Lines]>, request: &Request<Incoming>) -> Self {
        let mut line = Vec::new();
        let path = request.uri().path_and_query().map_or("", |path| path.as_str());
        let protocol = if request.version() == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
        for (text, end) in [(request.method().as_str(), " "), (path, " "), (protocol, "")] {
            value(&mut line, text.as_bytes());
            line.extend_from_slice(end.as_bytes());
        }
        Self {
            logs: logs.clone(),
            at: SystemTime::now(),
            started: Instant::now(),
            line,
            sender: sender(request.headers()),
            // Bodies mean nothing here and are not read.
            received: request.body().size_hint().exact().unwrap_or(0),
            status: None,
            sent: 0,
        }
    }

    /// This is the answer.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// So much of its body is on its way.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut line = b"[".to_vec();
        line.extend_from_slice(&Civil::of(self.at).iso_millis());
        line.extend_from_slice(b"] \"");
        line.extend_from_slice(&self.line);
        let (status, took) =
            (self.status.map_or(0, |status| status.as_u16()), self.started.elapsed().as_millis());
        let numbers = format!("\" {status} - {} {} {took} - ", self.received, self.sent);
        line.extend_from_slice(numbers.as_bytes());
        line.extend_from_slice(&self.sender);
        line.extend_from_slice(b"\"-\"\n");
        for log in &*self.logs {
            log.write(&line);
        }
    }
}

/// The quoted headers of the format, each with a space behind it.
fn sender(headers: &HeaderMap) -> Vec<u8> {
    let mut out = Vec::new();
    for name in [FORWARDED_FOR, USER_AGENT, REQUEST_ID, HOST] {
        out.push(b'"');
        value(&mut out, headers.get(name).map_or(b"-", |value| value.as_bytes()));
        out.extend_from_slice(b"\" ");
    }
    out
}

fn value(out: &mut Vec<u8>, text: &[u8]) {
    Out::new(out, Escape::Text, MAX_VALUE).text(text);
}
