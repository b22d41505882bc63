//! Bytes on the wire, and how connections ended.

use super::super::Out;
use super::super::operator::{TlsSide, WirePart};
use crate::observe::record::Record;

pub(super) fn bytes(record: &Record<'_>, side: TlsSide, part: WirePart) -> u64 {
    let measured = match side {
        TlsSide::Downstream => &record.downstream_wire,
        TlsSide::Upstream => &record.upstream_wire,
    };
    match part {
        WirePart::Received => measured.received,
        WirePart::Sent => measured.sent,
        WirePart::HeadsReceived => measured.heads_received,
        WirePart::HeadsSent => measured.heads_sent,
        WirePart::DecodedReceived => measured.decoded_received,
        WirePart::DecodedSent => measured.decoded_sent,
    }
}

/// Missing where nothing went upstream.
pub(super) fn close_type(record: &Record<'_>, side: TlsSide, out: &mut Out<'_>) -> bool {
    let (is_there, reset) = match side {
        TlsSide::Downstream => (true, record.closes.downstream_reset),
        TlsSide::Upstream => (record.upstream_host.is_some(), record.closes.upstream_reset),
    };
    if is_there {
        out.plain(if reset { b"RemoteReset" } else { b"Normal" });
    }
    is_there
}
