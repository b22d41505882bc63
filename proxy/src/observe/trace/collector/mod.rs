//! Collectors that take spans over HTTP: OpenTelemetry, Zipkin, Datadog's agent. Each has an encoding for one
//! exchange, which the worker writes, and a frame around many, which the exporter writes.

mod answer;
mod datadog;
pub mod export;
mod otlp;
mod zipkin;

use super::header::Propagation;
use super::sampling::manifest::Manifest;
use super::span::Finished;
use super::transport::Target;

/// Settings of a tracer.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where spans go.
    pub target: Target,
    /// `Host` for it; empty: the target's own.
    pub authority: Box<str>,
    /// It is reached over TLS, which is the target's business; requests say so.
    pub secure: bool,
    /// Path of requests.
    pub path: Box<str>,
    /// What spans call us.
    pub service: Box<str>,
    /// `node.id`.
    pub node_id: Box<str>,
    /// How spans are written.
    pub form: Form,
    /// Each try is a span of its own.
    pub attempts: bool,
    /// Which requests are recorded.
    pub sampling: Sampling,
    /// Headers.
    pub propagation: Propagation,
}

/// Which requests are recorded.
#[derive(Clone, Debug, PartialEq)]
pub enum Sampling {
    /// The connection manager's shares, as with Envoy.
    Manager,
    /// X-Ray's local rules.
    Local(Manifest),
    /// The X-Ray service's rules, asked for there.
    Central(Target),
}

/// How spans are written and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OpenTelemetry, gRPC.
    OtlpGrpc,
    /// OpenTelemetry, protobuf over HTTP.
    OtlpHttp,
    /// Zipkin v2, JSON.
    ZipkinJson,
    /// Zipkin v2, protobuf.
    ZipkinProto,
    /// Datadog's agent, version 0.4.
    Datadog,
}

impl Form {
    /// Name in statistics, as in Envoy's.
    pub fn kind(self) -> &'static str {
        match self {
            Form::OtlpGrpc | Form::OtlpHttp => "opentelemetry",
            Form::ZipkinJson | Form::ZipkinProto => "zipkin",
            Form::Datadog => "datadog",
        }
    }
}

/// Appends what one exchange is told as.
pub fn encode(settings: &Settings, finished: &Finished<'_>, out: &mut Vec<u8>) {
    match settings.form {
        Form::OtlpGrpc | Form::OtlpHttp => otlp::spans(settings, finished, out),
        Form::ZipkinJson => zipkin::json(settings, finished, out),
        Form::ZipkinProto => zipkin::proto(settings, finished, out),
        Form::Datadog => datadog::trace(settings, finished, out),
    }
}

#[cfg(test)]
mod tests;
