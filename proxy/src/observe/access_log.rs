//! Access loggers: a compiled format, a filter and a sink that never blocks a worker.
//!
//! A worker formats into its own lane of the sink's buffer; a writer thread per path swaps the lanes out
//! and writes them ([`sink`], [`writer`]). A sink that is slow, full or gone costs lines, which are
//! counted, and nothing else. What goes to an access-log service takes the same way ([`grpc`]).

pub mod filter;
pub mod grpc;
pub mod sink;
mod writer;

use std::sync::Arc;

use filter::LogFilter;
use grpc::GrpcLog;
use sink::{Sink, WorkerLogs};

use super::format::json::JsonFormat;
use super::format::{DEFAULT_LOG_FORMAT, Format, FormatError};
use super::record::Record;

/// How a line is written.
#[derive(Clone, Debug)]
pub enum LogFormat {
    /// Text; newlines are the format's own business.
    Text {
        /// The compiled text.
        format: Format,
        /// `omit_empty_values`: nothing instead of `-`.
        omit_empty: bool,
    },
    /// One JSON object per line.
    Json(JsonFormat),
}

impl LogFormat {
    /// Envoy's default text line.
    pub fn default_text() -> Result<Self, FormatError> {
        Ok(LogFormat::Text { format: Format::parse(DEFAULT_LOG_FORMAT)?, omit_empty: false })
    }

    /// Appends the text as the body of a message: nothing is escaped but what JSON demands.
    pub fn render_body(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        match self {
            LogFormat::Text { format, omit_empty } => {
                format.render_body(record, if *omit_empty { b"" } else { b"-" }, out);
            }
            LogFormat::Json(_) => self.render(record, out),
        }
    }

    /// It tells what streams take on the wire.
    fn measures(&self) -> bool {
        match self {
            LogFormat::Text { format, .. } => format.measures(),
            LogFormat::Json(format) => format.measures(),
        }
    }

    fn render(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        match self {
            LogFormat::Text { format, omit_empty } => {
                format.render_log(record, if *omit_empty { b"" } else { b"-" }, out);
            }
            LogFormat::Json(format) => {
                format.render(record, out);
                out.push(b'\n');
            }
        }
    }
}

/// Where a logger's lines or entries go.
#[derive(Debug)]
enum Destination {
    Sink(LogFormat, Arc<Sink>),
    Service(Arc<GrpcLog>),
}

/// One configured access logger.
#[derive(Debug)]
pub struct AccessLog {
    filter: LogFilter,
    destination: Destination,
}

impl AccessLog {
    /// A logger of everything that passes `filter`, as lines.
    pub fn new(format: LogFormat, filter: LogFilter, sink: Arc<Sink>) -> Self {
        Self { filter, destination: Destination::Sink(format, sink) }
    }

    /// The same, as entries for a service.
    pub fn to_service(filter: LogFilter, service: Arc<GrpcLog>) -> Self {
        Self { filter, destination: Destination::Service(service) }
    }

    /// It tells what streams take on the wire, which HTTP/2 connections have to be told beforehand.
    pub fn measures(&self) -> bool {
        match &self.destination {
            Destination::Sink(format, _) => format.measures(),
            Destination::Service(_) => true,
        }
    }

    /// Formats `record` into the worker's lane of the destination; drops and counts it when that is full.
    pub fn log(&self, record: &Record<'_>, logs: &mut WorkerLogs) {
        if !self.filter.passes(record, logs) {
            return;
        }
        match &self.destination {
            Destination::Sink(format, sink) => {
                logs.lane(sink).write(|out| format.render(record, out));
            }
            Destination::Service(service) => service.log(record, logs),
        }
    }
}

/// Writes what the loggers of a connection's listener want to know of it.
pub fn log_at_listener(connection: &Record<'_>, logs: &mut WorkerLogs) {
    let Some(listener) = connection.downstream.map(|downstream| &downstream.listener) else { return };
    for log in &listener.access_logs {
        log.log(&Record { at_listener: true, ..*connection }, logs);
    }
}

#[cfg(test)]
mod tests;
