//! The smuggling catalogue, row by row: every input has a canary request behind it, which must be seen as
//! a request of its own when the input ended where it should, and never otherwise.

mod bodies;
mod heads;
mod replies;

use super::harness::*;
use super::outcome::{Event, Seen, serve};
use crate::http::codec::StreamError;
use crate::http::codec::h1::ServerOptions;

const CANARY: &[u8] = b"GET /canary HTTP/1.1\r\nhost: c\r\n\r\n";

/// What must come of an input.
#[derive(Clone, Copy, Debug)]
enum Must {
    /// Answered with one of these and closed.
    Refuse(&'static [u16]),
    /// The head passes; the body breaks, and nothing follows.
    BreakBody,
    /// Nothing complete arrived: the end of the stream ends it.
    Wait,
    /// Served with this body, then the canary.
    Serve(&'static [u8]),
}

const BAD: Must = Must::Refuse(&[400]);
const BAD_OR_UNIMPLEMENTED: Must = Must::Refuse(&[400, 501]);

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n{body}").into_bytes()
}

fn post_raw(fields: &[u8], body: &[u8]) -> Vec<u8> {
    [b"POST / HTTP/1.1\r\nhost: a\r\n", fields, b"\r\n\r\n", body].concat()
}

fn chunked(body: &[u8]) -> Vec<u8> {
    post_raw(b"transfer-encoding: chunked", body)
}

fn line(line: &[u8]) -> Vec<u8> {
    [line, b"\r\nhost: a\r\n\r\n"].concat()
}

fn host(fields: &[u8]) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\n", fields, b"\r\n\r\n"].concat()
}

async fn check(row: u8, cases: Vec<(Vec<u8>, Must)>) {
    for (input, must) in cases {
        let shown = String::from_utf8_lossy(&input[..input.len().min(300)]).into_owned();
        let events = serve(&[&[&input, CANARY].concat()], server_options()).await;
        let is_canary = |event: &Event| matches!(event, Event::Request(seen) if seen.line == "GET /canary");
        let holds = match (must, &events[..]) {
            (Must::Refuse(statuses), [Event::Invalid(status)]) => statuses.contains(status),
            (Must::BreakBody, [Event::BrokenBody(StreamError::Protocol(_))]) => true,
            (Must::Wait, [Event::BrokenBody(StreamError::Closed) | Event::Failed(StreamError::Closed)]) => {
                true
            }
            (Must::Serve(content), [Event::Request(seen), canary, Event::Closed]) => {
                seen.body == content && is_canary(canary)
            }
            _ => false,
        };
        assert!(holds, "row {row}: {shown:?} must {must:?}, gave {events:?}");
    }
}
