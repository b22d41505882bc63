//! Trace context in headers: who called, and what was decided about recording.

mod b3;
mod datadog;
mod w3c;
pub mod xray;

use smallvec::SmallVec;

use super::id::{SpanId, TraceId};
use crate::http::head::HeaderBlock;
use crate::http::header_id::HeaderId;

/// What a request said about its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The trace it belongs to; `None`: only a decision came.
    pub trace_id: Option<TraceId>,
    /// The caller's span, unless it named none.
    pub parent: Option<SpanId>,
    /// The caller's decision; `None` leaves it to us.
    pub sampled: Option<bool>,
    /// The caller wants to be told what we decide (`Sampled=?`).
    pub asks: bool,
}

/// What goes to the next hop.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing {
    /// The trace.
    pub trace_id: TraceId,
    /// Our span, or that of the attempt.
    pub parent: Option<SpanId>,
    /// The span above ours.
    pub caller: Option<SpanId>,
    /// Decided.
    pub sampled: bool,
}

/// A header format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `x-amzn-trace-id`.
    XRay,
    /// `traceparent`.
    W3c,
    /// `b3`, `x-b3-...`.
    B3,
    /// `x-datadog-...`.
    Datadog,
}

impl Format {
    /// By the name that users write.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "xray" => Some(Format::XRay),
            "w3c" => Some(Format::W3c),
            "b3" => Some(Format::B3),
            "datadog" => Some(Format::Datadog),
            _ => None,
        }
    }
}

/// Which formats are read, in this order, and written, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propagation(pub SmallVec<[Format; 4]>);

impl Propagation {
    /// These formats.
    pub fn of(formats: &[Format]) -> Self {
        Self(SmallVec::from_slice(formats))
    }

    /// The context in the first format that has one.
    #[inline]
    pub fn extract(&self, block: &HeaderBlock) -> Option<Incoming> {
        self.0.iter().find_map(|format| match format {
            Format::XRay => xray::extract(block),
            Format::W3c => w3c::extract(block),
            Format::B3 => b3::extract(block),
            Format::Datadog => datadog::extract(block),
        })
    }

    /// Writes the context in every format, in place of what came.
    #[inline]
    pub fn inject(&self, outgoing: &Outgoing, block: &mut HeaderBlock) {
        for format in &self.0 {
            match format {
                Format::XRay => xray::inject(outgoing, block),
                Format::W3c => w3c::inject(outgoing, block),
                Format::B3 => b3::inject(outgoing, block),
                Format::Datadog => datadog::inject(outgoing, block),
            }
        }
    }
}

/// Removes every header of every format.
pub fn discard(block: &mut HeaderBlock) {
    block.remove(HeaderId::AmznTraceId);
    block.retain(|_, name, _| !OTHERS.contains(&name));
}

/// Names beside X-Ray's, in lower case.
const OTHERS: &[&[u8]] = &[
    b"traceparent",
    b"tracestate",
    b"b3",
    b"x-b3-traceid",
    b"x-b3-spanid",
    b"x-b3-parentspanid",
    b"x-b3-sampled",
    b"x-b3-flags",
    b"x-datadog-trace-id",
    b"x-datadog-parent-id",
    b"x-datadog-sampling-priority",
    b"x-datadog-origin",
    b"x-datadog-tags",
    b"x-client-trace-id",
];

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
