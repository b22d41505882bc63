//! Trace context in headers: who called, and what was decided about recording.

pub mod xray;

use smallvec::SmallVec;

use super::id::{SpanId, TraceId};
use crate::http::head::HeaderBlock;

/// What a request said about its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The trace it belongs to.
    pub trace_id: TraceId,
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
    /// Decided.
    pub sampled: bool,
}

/// A header format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `x-amzn-trace-id`.
    XRay,
}

/// Which formats are read, in this order, and written, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propagation(pub SmallVec<[Format; 4]>);

impl Propagation {
    /// One format only.
    pub fn only(format: Format) -> Self {
        Self(SmallVec::from_slice(&[format]))
    }

    /// The context in the first format that has one.
    #[inline]
    pub fn extract(&self, block: &HeaderBlock) -> Option<Incoming> {
        self.0.iter().find_map(|format| match format {
            Format::XRay => xray::extract(block),
        })
    }

    /// Writes the context in every format, in place of what came.
    #[inline]
    pub fn inject(&self, outgoing: &Outgoing, block: &mut HeaderBlock) {
        for format in &self.0 {
            match format {
                Format::XRay => xray::inject(outgoing, block),
            }
        }
    }
}
