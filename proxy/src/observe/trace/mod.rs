//! Distributed tracing: headers in and out, what is recorded, and how it gets to a collector.
//!
//! A connection manager with tracing has an [`tracer::HttpTracing`]. It makes a [`span::Span`] of each request, which
//! costs no memory unless the request is recorded; at the end the worker encodes the provider's document straight
//! into its lane of the tracer's [`queue`](super::queue), and an exporter on the main runtime sends it.

pub mod attempt;
pub mod collector;
mod decorator;
mod facts;
pub mod header;
pub mod id;
pub mod json;
pub mod sampling;
pub mod span;
pub mod tag;
pub mod tracer;
pub mod tracers;
pub mod transport;
pub mod xray;
