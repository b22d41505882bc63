//! One request's span, from the head to the end of the exchange, and what there is to tell of it then.

use std::time::Instant;

use super::attempt::AttemptSpan;
use super::header::{Incoming, Outgoing};
use super::id::{SpanId, TraceId};
use super::sampling::central::RuleSlot;
use super::tag::CustomTag;
use super::tracer::RouteTracing;
use crate::config::listener::Direction;
use crate::http::head::RequestHead;
use crate::observe::format::{self, Format};
use crate::observe::record::Record;

/// A span in the making. Holds no memory of its own unless it is recorded.
#[derive(Debug)]
pub struct Span {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Itself.
    pub id: SpanId,
    /// The caller's span.
    pub parent: Option<SpanId>,
    /// Decided: it is recorded, here and by those behind us.
    pub sampled: bool,
    /// A caller inside forced it (`x-envoy-force-trace`).
    pub forced: bool,
    /// The service's rule that has decided, where it wants to know the end.
    pub rule: Option<RuleSlot>,
    /// The caller wants to know the decision.
    pub asked: bool,
    /// What the other side calls it, when it has said so.
    pub operation: Option<Box<str>>,
    /// Tries, where they are told of.
    pub attempts: Vec<AttemptSpan>,
}

impl Span {
    /// What the next hop is told.
    pub fn outgoing(&self) -> Outgoing {
        // Nobody will ever hear of a span that is not recorded, so the caller's stays the parent of what follows.
        let own = self.attempts.last().map_or(self.id, |attempt| attempt.id);
        let parent = if self.sampled { Some(own) } else { self.parent.or(Some(self.id)) };
        Outgoing { trace_id: self.trace_id, parent, caller: self.parent, sampled: self.sampled }
    }

    /// A span of the trace that came, or of a new one.
    pub fn new(
        incoming: Option<Incoming>,
        id: SpanId,
        sampled: bool,
        new_trace: impl FnOnce() -> TraceId,
    ) -> Self {
        Self {
            trace_id: incoming.and_then(|incoming| incoming.trace_id).unwrap_or_else(new_trace),
            id,
            parent: incoming.and_then(|incoming| incoming.parent),
            sampled,
            forced: false,
            rule: None,
            asked: incoming.is_some_and(|incoming| incoming.asks),
            operation: None,
            attempts: Vec::new(),
        }
    }
}

/// A recorded exchange, for an encoder.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// Identifiers.
    pub span: &'a Span,
    /// Everything else that is known.
    pub record: &'a Record<'a>,
    /// The request's head, after edits.
    pub head: &'a RequestHead,
    /// Beginning, microseconds since the epoch.
    pub start: u64,
    /// End, likewise.
    pub end: u64,
    /// Towards the application or away from it.
    pub direction: Direction,
    /// What the connection manager adds.
    pub tags: &'a [CustomTag],
    /// What the route adds and says instead.
    pub route: Option<&'a RouteTracing>,
    /// What the connection manager calls it.
    pub operation: Option<&'a Format>,
    /// Bytes of the path that are told (`max_path_tag_length`).
    pub max_path: usize,
}

/// How it went, in X-Ray's terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The caller's fault.
    pub error: bool,
    /// Ours or the service's.
    pub fault: bool,
    /// Too much of it.
    pub throttle: bool,
}

impl Outcome {
    const ERROR: Self = Self { error: true, fault: false, throttle: false };
    const FAULT: Self = Self { error: false, fault: true, throttle: false };
    const THROTTLE: Self = Self { error: true, fault: false, throttle: true };

    /// By the gRPC status where there is one, else by the HTTP status.
    pub fn of(status: u16, grpc: Option<u64>) -> Self {
        match grpc {
            Some(code) if status > 0 => Self::of_grpc(code),
            _ => Self::of_status(status),
        }
    }

    /// Of an HTTP status; 0 is no response at all.
    fn of_status(status: u16) -> Self {
        match status {
            429 => Self::THROTTLE,
            400..=499 => Self::ERROR,
            0 | 500.. => Self::FAULT,
            _ => Self::default(),
        }
    }

    /// Of a gRPC status, as X-Ray's SDK for Go has it.
    fn of_grpc(code: u64) -> Self {
        match code {
            0 => Self::default(),
            8 => Self::THROTTLE,
            1 | 3 | 5 | 6 | 7 | 9 | 10 | 11 | 16 => Self::ERROR,
            _ => Self::FAULT,
        }
    }
}

impl<'a> Finished<'a> {
    /// Tags of the connection manager and of the route; of two with the same name the route's.
    pub fn all_tags(&self) -> impl Iterator<Item = &'a CustomTag> {
        let of_route = self.route.map_or(&[][..], |route| &route.tags);
        let replaced = move |tag: &&CustomTag| !of_route.iter().any(|own| own.name == tag.name);
        self.tags.iter().filter(replaced).chain(of_route)
    }

    /// What it is called, where the other side or the configuration says so.
    pub fn operation(&self) -> Option<String> {
        if let Some(operation) = &self.span.operation {
            return Some(operation.to_string());
        }
        let format = self.route.and_then(|route| route.operation.as_ref()).or(self.operation)?;
        let mut text = Vec::new();
        format.render(self.record, b"", &mut text);
        Some(String::from_utf8_lossy(&text).into_owned()).filter(|text| !text.is_empty())
    }

    /// How it went.
    pub fn outcome(&self) -> Outcome {
        Outcome::of(self.record.status, self.grpc_status())
    }

    /// Of gRPC requests.
    pub fn grpc_status(&self) -> Option<u64> {
        format::grpc_code(self.record)
    }

    /// Path as the client sent it, with its query, cut.
    pub fn path(&self) -> &[u8] {
        let path = self.record.original_path.unwrap_or(self.head.path_and_query());
        &path[..path.len().min(self.max_path)]
    }

    /// Who is called, as X-Ray's SDKs name it: the host without its port, else the cluster.
    pub fn callee(&self) -> std::borrow::Cow<'_, str> {
        let authority = self.head.authority();
        let host = authority.rsplitn(2, |byte| *byte == b':').last().unwrap_or_default();
        if host.is_empty() { self.record.cluster.into() } else { String::from_utf8_lossy(host) }
    }

    /// Length of the exchange in microseconds.
    pub fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// Wall-clock time, microseconds since the epoch, of a moment `now - since` ago and of now.
pub(super) fn wall_times(since: Instant, now: Instant) -> (u64, u64) {
    let wall =
        std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    let end = wall.as_micros() as u64;
    (end.saturating_sub(now.saturating_duration_since(since).as_micros() as u64), end)
}
