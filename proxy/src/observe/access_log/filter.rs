//! Which exchanges are logged. Source: `envoy.config.accesslog.v3.AccessLogFilter`.

use std::sync::Arc;

use super::sink::WorkerLogs;
use crate::base::error::ResponseFlags;
use crate::base::matcher::HeaderMatch;
use crate::config::value_match::MetadataMatch;
use crate::http::header_id::HeaderId;
use crate::observe::cel::Program;
use crate::observe::format::grpc_code_of_any;
use crate::observe::record::{LogType, Record};

/// A compiled filter.
#[derive(Clone, Debug, Default)]
pub enum LogFilter {
    /// No filter.
    #[default]
    All,
    /// `status_code_filter`.
    StatusCode(Comparison),
    /// `duration_filter`, milliseconds.
    Duration(Comparison),
    /// `response_flag_filter` without flags: any at all.
    AnyFlag,
    /// `response_flag_filter`: any of these.
    Flags(ResponseFlags),
    /// `header_filter`: a request header.
    Header(HeaderMatch),
    /// `runtime_filter`: `numerator` in `denominator`, by the request's identifier, so that every hop that asks for the
    /// same share logs the same requests; by chance where there is none, or with `use_independent_randomness`.
    Sampled {
        /// How many.
        numerator: u32,
        /// Of how many; never 0.
        denominator: u32,
        /// By chance in any case.
        independent: bool,
    },
    /// `and_filter`.
    And(Vec<LogFilter>),
    /// `or_filter`.
    Or(Vec<LogFilter>),
    /// `grpc_status_filter`: any of these codes, or with `exclude` none of them. What has no gRPC status counts as
    /// UNKNOWN.
    GrpcStatus {
        /// Bit n stands for code n.
        codes: u32,
        /// Turns it around.
        exclude: bool,
    },
    /// `log_type_filter`: logs are written at the end of requests, of TCP sessions, or by listeners.
    LogType {
        /// Of requests.
        http: bool,
        /// Of TCP sessions.
        tcp: bool,
        /// Of listeners, whose moment has no name.
        unnamed: bool,
    },
    /// `traceable_filter`: as in Envoy, requests of which a caller inside has forced a trace, and no other traced ones.
    Traceable,
    /// `metadata_filter`: what filters left of the request.
    Metadata {
        /// What a value must be that is there. Without it nothing is looked for.
        wanted: Option<Arc<MetadataMatch>>,
        /// Whether those without a value are logged.
        missing: bool,
    },
    /// `extension_filter` with an expression that comes to true.
    Expression(Program),
    /// `not_health_check_filter`: all but what the health check filter recognised.
    NotHealthCheck,
}

/// `ComparisonFilter` with its default value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Operator.
    pub op: ComparisonOp,
    /// Right-hand side.
    pub value: u64,
}

/// `ComparisonFilter.Op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComparisonOp {
    /// Equal.
    Equal,
    /// Greater or equal.
    AtLeast,
    /// Less or equal.
    AtMost,
    /// Not equal.
    NotEqual,
}

impl Comparison {
    fn holds(self, left: u64) -> bool {
        match self.op {
            ComparisonOp::Equal => left == self.value,
            ComparisonOp::AtLeast => left >= self.value,
            ComparisonOp::AtMost => left <= self.value,
            ComparisonOp::NotEqual => left != self.value,
        }
    }
}

impl LogFilter {
    /// Whether `record` is to be logged. The worker's logs lend their random numbers.
    pub(super) fn passes(&self, record: &Record<'_>, logs: &mut WorkerLogs) -> bool {
        match self {
            LogFilter::All => true,
            LogFilter::Metadata { wanted, missing } => metadata(record, wanted.as_deref(), *missing),
            LogFilter::Expression(program) => program.holds(record),
            LogFilter::NotHealthCheck => !record.health_check,
            LogFilter::Traceable => record.trace.is_some_and(|trace| trace.span.forced),
            LogFilter::StatusCode(comparison) => comparison.holds(record.status.into()),
            LogFilter::Duration(comparison) => comparison.holds(duration_ms(record)),
            LogFilter::AnyFlag => record.flags != ResponseFlags::NONE,
            LogFilter::Flags(wanted) => record.flags.0 & wanted.0 != 0,
            LogFilter::GrpcStatus { codes, exclude } => {
                let code = grpc_code_of_any(record).unwrap_or(UNKNOWN);
                let listed =
                    u32::try_from(code).is_ok_and(|code| codes.checked_shr(code).unwrap_or(0) & 1 == 1);
                listed != *exclude
            }
            LogFilter::LogType { http, tcp, unnamed } => match record.log_type() {
                Some(LogType::DownstreamEnd) => *http,
                Some(LogType::TcpConnectionEnd) => *tcp,
                None => *unnamed,
            },
            LogFilter::Header(matcher) => header(record, matcher),
            LogFilter::Sampled { numerator, denominator, independent } => {
                let draw = identifier(record).filter(|_| !independent).unwrap_or_else(|| logs.random());
                draw % denominator < *numerator
            }
            LogFilter::And(all) => all.iter().all(|filter| filter.passes(record, logs)),
            LogFilter::Or(any) => any.iter().any(|filter| filter.passes(record, logs)),
        }
    }
}

/// The request's identifier as Envoy's extension for UUIDs reads it: the number in its first eight digits.
fn identifier(record: &Record<'_>) -> Option<u32> {
    let digits = record.request?.block.get(HeaderId::RequestId)?.get(..8)?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u32::from_str_radix(digits, 16).ok()
}

/// gRPC's UNKNOWN.
const UNKNOWN: u64 = 2;

fn duration_ms(record: &Record<'_>) -> u64 {
    let timing = &record.timing;
    timing.finished.map_or(0, |end| end.saturating_duration_since(timing.started).as_millis() as u64)
}

fn metadata(record: &Record<'_>, wanted: Option<&MetadataMatch>, missing: bool) -> bool {
    let found = wanted.and_then(|wanted| Some((wanted, wanted.place.find(record.dynamic, None)?)));
    found.map_or(missing, |(wanted, value)| wanted.matches(Some(value)))
}

fn header(record: &Record<'_>, matcher: &HeaderMatch) -> bool {
    match record.request {
        Some(head) => matcher.matches(head.lines(&matcher.name)),
        None => matcher.matches(None),
    }
}
