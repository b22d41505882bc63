//! The one place where a failure becomes an answer: status, response flag, details and body, for HTTP and
//! gRPC callers. Texts and codes are Envoy's.

use std::borrow::Cow;

use super::grpc;
use super::head::{BodyLength, HeaderBlock, ResponseHead, Version};
use super::header_id::HeaderId;
use crate::base::details::{Detail, Details};
use crate::base::error::{ConnectFailure, ProxyError, ResponseFlags};
use crate::base::grpc::status_from_http;

/// How the text for an upstream that went away begins.
const RESET: &str = "upstream connect error or disconnect/reset before headers. ";

/// An answer that did not come from an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalReply {
    /// HTTP status.
    pub status: u16,
    /// Why, for the access log.
    pub flags: ResponseFlags,
    /// Response-code details.
    pub details: Details,
    /// Body text.
    pub body: Cow<'static, [u8]>,
    /// Adds `x-envoy-overloaded: true`.
    pub overloaded: bool,
    /// `location` header.
    pub location: Option<Vec<u8>>,
    /// `content-type` of a body; `None`: `text/plain`.
    pub content_type: Option<Box<str>>,
    /// Further headers.
    pub headers: Vec<(Cow<'static, [u8]>, Vec<u8>)>,
    /// What gRPC callers are told instead of the status that the HTTP one maps to.
    pub grpc_status: Option<u32>,
    /// The answer as it is: no route edits it, and gRPC callers get no other.
    pub unedited: bool,
    /// The connection takes no further request.
    pub close: bool,
}

impl LocalReply {
    /// A plain answer.
    pub fn new(status: u16, flags: ResponseFlags, details: Detail, body: &'static str) -> Self {
        Self {
            status,
            flags,
            details: details.into(),
            body: body.as_bytes().into(),
            overloaded: false,
            location: None,
            content_type: None,
            headers: Vec::new(),
            grpc_status: None,
            unedited: false,
            close: false,
        }
    }

    /// The answer when the process has too much to do. `tell`: also in a header.
    pub fn overload(tell: bool) -> Self {
        let mut reply = Self::new(503, ResponseFlags::NONE, Detail::OVERLOAD, "envoy overloaded");
        if tell {
            reply.headers.push((b"x-envoy-local-overloaded".into(), b"true".to_vec()));
        }
        reply
    }

    /// The answer for a failure; `None` when nobody is left to answer.
    pub fn for_error(error: &ProxyError) -> Option<Self> {
        use ResponseFlags as F;
        Some(match error {
            ProxyError::ClientGone | ProxyError::Cut => return None,
            ProxyError::NoRoute => Self::new(404, F::NO_ROUTE_FOUND, Detail::ROUTE_NOT_FOUND, ""),
            ProxyError::NoCluster { status } => {
                Self::new(*status, F::NO_CLUSTER_FOUND, Detail::CLUSTER_NOT_FOUND, "")
            }
            ProxyError::NoHealthyUpstream => {
                Self::new(503, F::NO_HEALTHY_UPSTREAM, Detail::NO_HEALTHY_UPSTREAM, "no healthy upstream")
            }
            ProxyError::ConnectFailure(failure) => connect_failure(failure),
            ProxyError::UpstreamClosed { .. } => {
                reset(F::UPSTREAM_CONNECTION_TERMINATION, "connection_termination", "connection termination")
            }
            ProxyError::UpstreamReset { .. } => {
                reset(F::UPSTREAM_REMOTE_RESET, "remote_reset", "remote reset")
            }
            ProxyError::UpstreamProtocol(_) => {
                Self { status: 502, ..reset(F::UPSTREAM_PROTOCOL_ERROR, "protocol_error", "protocol error") }
            }
            ProxyError::Overflow => {
                Self { overloaded: true, ..reset(F::UPSTREAM_OVERFLOW, "overflow", "overflow") }
            }
            ProxyError::RequestTimeout => Self::new(
                504,
                F::UPSTREAM_REQUEST_TIMEOUT,
                Detail::RESPONSE_TIMEOUT,
                "upstream request timeout",
            ),
            ProxyError::PerTryTimeout => Self::new(
                504,
                F::UPSTREAM_REQUEST_TIMEOUT,
                Detail::PER_TRY_TIMEOUT,
                "upstream request timeout",
            ),
            ProxyError::PerTryIdleTimeout => Self::new(
                504,
                F::UPSTREAM_REQUEST_TIMEOUT,
                Detail::PER_TRY_IDLE_TIMEOUT,
                "upstream request timeout",
            ),
            ProxyError::UpstreamMaxDuration { request_complete } => Self::new(
                timeout_status(*request_complete),
                F::UPSTREAM_MAX_STREAM_DURATION,
                Detail::UPSTREAM_MAX_DURATION,
                "upstream max stream duration reached",
            ),
            ProxyError::StreamIdle { request_complete } => Self::new(
                timeout_status(*request_complete),
                F::STREAM_IDLE_TIMEOUT,
                Detail::STREAM_IDLE_TIMEOUT,
                "stream timeout",
            ),
            ProxyError::MaxStreamDuration { request_complete } => Self {
                grpc_status: Some(grpc::DEADLINE_EXCEEDED),
                ..Self::new(
                    timeout_status(*request_complete),
                    F::NONE,
                    Detail::MAX_DURATION_TIMEOUT,
                    "downstream duration timeout",
                )
            },
            ProxyError::RequestArrivalTimeout => Self {
                close: true,
                ..Self::new(408, F::NONE, Detail::REQUEST_OVERALL_TIMEOUT, "request timeout")
            },
            ProxyError::Downstream(error) => Self {
                close: true,
                ..Self::new(error.status, F::DOWNSTREAM_PROTOCOL_ERROR, error.detail, reason(error.status))
            },
            ProxyError::UpgradeNotAllowed => {
                Self { close: true, ..Self::new(403, F::NONE, Detail::UPGRADE_FAILED, "") }
            }
            ProxyError::NoPath => Self::new(404, F::NONE, Detail::ABSOLUTE_PATH_REJECTED, ""),
            ProxyError::BadPath => {
                Self { close: true, ..Self::new(400, F::NONE, Detail::PATH_NORMALIZATION_FAILED, "") }
            }
            ProxyError::RetryBufferExceeded => Self::new(
                507,
                F::NONE,
                Detail::RETRY_BUFFER_EXCEEDED,
                "exceeded request buffer limit while retrying upstream",
            ),
        })
    }

    /// The same after retries: an upstream that went away did so more than once.
    pub fn after_retries(mut self) -> Self {
        if let Some(reason) = self.body.strip_prefix(RESET.as_bytes()) {
            let retried = [RESET.as_bytes(), b"retried and the latest ", reason].concat();
            self.body = retried.into();
        }
        self
    }

    /// The response head and body bytes. gRPC callers get HTTP 200 with the status in the headers.
    pub fn into_response(self, grpc: bool) -> (ResponseHead, Cow<'static, [u8]>) {
        let mut block = HeaderBlock::default();
        if self.overloaded {
            block.add(HeaderId::EnvoyOverloaded, b"true");
        }
        if let Some(location) = &self.location {
            block.append(b"location", location);
        }
        for (name, value) in &self.headers {
            block.append(name, value);
        }
        if grpc && !self.unedited {
            let status = self.grpc_status.unwrap_or_else(|| status_from_http(self.status).into());
            grpc_headers(&mut block, status, &self.body);
            return (head(200, block, BodyLength::None), b"".as_slice().into());
        }
        if self.body.is_empty() {
            return (head(self.status, block, BodyLength::None), self.body);
        }
        block.add(HeaderId::ContentType, self.content_type.as_deref().unwrap_or("text/plain").as_bytes());
        (head(self.status, block, BodyLength::Fixed(self.body.len() as u64)), self.body)
    }
}

fn head(status: u16, block: HeaderBlock, body: BodyLength) -> ResponseHead {
    ResponseHead { block, status, version: Version::Http11, body, upgrade: None }
}

fn grpc_headers(block: &mut HeaderBlock, status: u32, body: &[u8]) {
    block.add(HeaderId::ContentType, b"application/grpc");
    block.append(b"grpc-status", status.to_string().as_bytes());
    if !body.is_empty() {
        let mut message = Vec::with_capacity(body.len());
        grpc::encode_message(body, &mut message);
        block.append(b"grpc-message", &message);
    }
}

fn connect_failure(failure: &ConnectFailure) -> LocalReply {
    let (details, reason) = match failure {
        ConnectFailure::Remote(text) => {
            (format!("remote_connection_failure|{text}"), "remote connection failure")
        }
        ConnectFailure::Timeout => ("connection_timeout".to_owned(), "connection timeout"),
        ConnectFailure::Local(text) => {
            (format!("local_connection_failure|{text}"), "local connection failure")
        }
    };
    let details = Detail::RESET_BEFORE_RESPONSE.with(format_args!("{{{details}}}"));
    LocalReply { details, ..reset(ResponseFlags::UPSTREAM_CONNECTION_FAILURE, "", reason) }
}

/// An upstream that went away before its response began.
fn reset(flags: ResponseFlags, details: &str, reason: &str) -> LocalReply {
    let body = format!("{RESET}reset reason: {reason}");
    LocalReply {
        details: Detail::RESET_BEFORE_RESPONSE.with(format_args!("{{{details}}}")),
        body: body.into_bytes().into(),
        ..LocalReply::new(503, flags, Detail::RESET_BEFORE_RESPONSE, "")
    }
}

fn timeout_status(request_complete: bool) -> u16 {
    if request_complete { 504 } else { 408 }
}

/// Reason phrase, as the body of a codec-level error.
pub fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        408 => "request header timeout",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
