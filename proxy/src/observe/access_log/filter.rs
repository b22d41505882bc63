//! Which exchanges are logged. Source: `envoy.config.accesslog.v3.AccessLogFilter`.

use super::sink::WorkerLogs;
use crate::base::error::ResponseFlags;
use crate::base::matcher::HeaderMatch;
use crate::observe::record::Record;

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
    /// `response_flag_filter`: any of these; [`ResponseFlags::NONE`] asks for any flag at all.
    Flags(ResponseFlags),
    /// `header_filter`: a request header.
    Header(HeaderMatch),
    /// `runtime_filter`: this share per million.
    Sampled {
        /// Per million.
        ppm: u32,
    },
    /// `and_filter`.
    And(Vec<LogFilter>),
    /// `or_filter`.
    Or(Vec<LogFilter>),
    /// `not_health_check_filter`: holds for everything, as no filter here marks health checks.
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
            LogFilter::All | LogFilter::NotHealthCheck => true,
            LogFilter::StatusCode(comparison) => comparison.holds(record.status.into()),
            LogFilter::Duration(comparison) => comparison.holds(duration_ms(record)),
            LogFilter::Flags(wanted) if *wanted == ResponseFlags::NONE => record.flags != *wanted,
            LogFilter::Flags(wanted) => record.flags.0 & wanted.0 != 0,
            LogFilter::Header(matcher) => header(record, matcher),
            LogFilter::Sampled { ppm } => logs.sample(*ppm),
            LogFilter::And(all) => all.iter().all(|filter| filter.passes(record, logs)),
            LogFilter::Or(any) => any.iter().any(|filter| filter.passes(record, logs)),
        }
    }
}

fn duration_ms(record: &Record<'_>) -> u64 {
    let timing = &record.timing;
    timing.finished.map_or(0, |end| end.saturating_duration_since(timing.started).as_millis() as u64)
}

fn header(record: &Record<'_>, matcher: &HeaderMatch) -> bool {
    match record.request {
        Some(head) => matcher.matches(head.lines(&matcher.name)),
        None => matcher.matches(None),
    }
}
