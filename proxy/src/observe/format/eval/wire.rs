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
    let closes = &record.closes;
    out.plain(match side {
        TlsSide::Upstream if record.upstream_host.is_none() => return false,
        TlsSide::Upstream if closes.upstream_reset => b"RemoteReset",
        TlsSide::Downstream if closes.downstream_reset => b"RemoteReset",
        // What the host does to its connection is done to the client's.
        TlsSide::Downstream if closes.upstream_reset => b"LocalReset",
        _ => b"Normal",
    });
    true
}
