//! Points in time and what lies between them.

use std::time::{Duration, Instant, SystemTime};

use super::super::Out;
use super::super::operator::{Point, Unit};
use crate::observe::record::{Record, Subject, Timing};

fn at(record: &Record<'_>, point: Point) -> Option<Instant> {
    let (timing, upstream, downstream) = (&record.timing, record.upstream, record.downstream);
    let is_request = record.subject == Subject::Request;
    match point {
        Point::ConnectionBegin => downstream.map(|downstream| downstream.opened),
        Point::ConnectionEnd => timing.finished.filter(|_| record.subject == Subject::TcpSession),
        Point::HandshakeBegin => Some(downstream?.handshake?.0),
        Point::HandshakeEnd => Some(downstream?.handshake?.1),
        Point::RequestBegin => Some(timing.started),
        // A request exists from its complete head on.
        Point::RequestHead => Some(timing.started).filter(|_| is_request),
        Point::RequestEnd => timing.request_complete,
        Point::PoolReady => timing.pool_ready,
        Point::UpstreamConnectBegin => upstream.map(|upstream| upstream.begun),
        Point::UpstreamConnectEnd => upstream.map(|upstream| upstream.connected),
        Point::UpstreamSecured => upstream?.secured,
        Point::UpstreamBegun => timing.upstream_begun,
        Point::UpstreamSent => timing.upstream_sent,
        Point::UpstreamFirstByte => timing.upstream_first_byte,
        Point::UpstreamBody => timing.upstream_body,
        Point::UpstreamComplete => timing.upstream_complete,
        Point::ResponseBegin => timing.response_begun,
        Point::ResponseEnd => timing.finished.filter(|_| timing.response_begun.is_some()),
        Point::End => timing.finished,
    }
}

/// Between two points; missing when one is, or when the second came first, as with a connection older than the request.
#[inline]
pub(super) fn duration(record: &Record<'_>, from: Point, to: Point, unit: Unit, out: &mut Out<'_>) -> bool {
    let (Some(from), Some(to)) = (at(record, from), at(record, to)) else { return false };
    let Some(elapsed) = to.checked_duration_since(from) else { return false };
    out.number(match unit {
        Unit::Millis => elapsed.as_millis() as u64,
        Unit::Micros => elapsed.as_micros() as u64,
        Unit::Nanos => elapsed.as_nanos() as u64,
    });
    true
}

/// Wall clock at the end, by the monotonic clock: a stepped clock cannot make it precede the start.
pub(super) fn emitted_at(timing: &Timing) -> SystemTime {
    let elapsed = timing.finished.map_or(Duration::ZERO, |end| end.saturating_duration_since(timing.started));
    timing.started_at + elapsed
}
