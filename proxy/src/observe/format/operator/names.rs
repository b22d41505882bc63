//! Operators that take no arguments, by their names.

use super::{AddressPart, AttemptedPart, GrpcStatusForm, Operator, Point, TlsSide, Unit, Whose, WirePart};

/// Operators without arguments.
pub(super) const SIMPLE: &[(&str, Operator)] = &[
    ("PROTOCOL", Operator::Protocol),
    ("UPSTREAM_PROTOCOL", Operator::UpstreamProtocol),
    ("RESPONSE_CODE", Operator::ResponseCode),
    ("RESPONSE_FLAGS", Operator::ResponseFlags { long: false }),
    ("RESPONSE_FLAGS_LONG", Operator::ResponseFlags { long: true }),
    ("BYTES_RECEIVED", Operator::BytesReceived),
    ("BYTES_SENT", Operator::BytesSent),
    ("REQUEST_HEADERS_BYTES", Operator::RequestHeadersBytes),
    ("RESPONSE_HEADERS_BYTES", Operator::ResponseHeadersBytes),
    ("RESPONSE_TRAILERS_BYTES", Operator::ResponseTrailersBytes),
    ("DURATION", duration(Point::RequestBegin, Point::End)),
    ("REQUEST_DURATION", duration(Point::RequestBegin, Point::RequestEnd)),
    ("REQUEST_TX_DURATION", duration(Point::RequestBegin, Point::UpstreamSent)),
    ("RESPONSE_DURATION", duration(Point::RequestBegin, Point::UpstreamFirstByte)),
    ("RESPONSE_TX_DURATION", duration(Point::UpstreamFirstByte, Point::ResponseEnd)),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", Operator::AttemptCount),
    ("ROUTE_NAME", Operator::RouteName),
    ("FILTER_CHAIN_NAME", Operator::FilterChainName),
    ("LISTENER_NAME", Operator::ListenerName),
    ("ACCESS_LOG_TYPE", Operator::AccessLogType),
    ("UPSTREAM_HOST", Operator::UpstreamHost),
    ("UPSTREAM_HOST_NAME", Operator::UpstreamHostName { port: true }),
    ("UPSTREAM_HOST_NAME_WITHOUT_PORT", Operator::UpstreamHostName { port: false }),
    ("UPSTREAM_CLUSTER", Operator::UpstreamCluster { raw: false }),
    ("UPSTREAM_CLUSTER_RAW", Operator::UpstreamCluster { raw: true }),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", Operator::UpstreamFailure),
    ("DOWNSTREAM_TRANSPORT_FAILURE_REASON", Operator::DownstreamFailure),
    ("REQUESTED_SERVER_NAME", Operator::ServerName),
    ("CONNECTION_ID", Operator::ConnectionId),
    ("UNIQUE_ID", Operator::UniqueId),
    ("LOCAL_REPLY_BODY", Operator::LocalReplyBody),
    ("GRPC_STATUS_NUMBER", Operator::GrpcStatus(GrpcStatusForm::Number)),
    ("STREAM_ID", Operator::StreamId),
    ("TRACE_ID", Operator::TraceId),
    ("SPAN_ID", Operator::SpanId),
    ("UPSTREAM_CONNECTION_ID", Operator::UpstreamConnectionId),
    ("UPSTREAM_HOSTS_ATTEMPTED", Operator::Attempted(AttemptedPart::Address { port: true })),
    ("UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT", Operator::Attempted(AttemptedPart::Address { port: false })),
    ("UPSTREAM_HOST_NAMES_ATTEMPTED", Operator::Attempted(AttemptedPart::Name { port: true })),
    ("UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT", Operator::Attempted(AttemptedPart::Name { port: false })),
    ("UPSTREAM_CONNECTION_IDS_ATTEMPTED", Operator::Attempted(AttemptedPart::ConnectionId)),
    ("DOWNSTREAM_HANDSHAKE_DURATION", duration(Point::HandshakeBegin, Point::HandshakeEnd)),
    ("UPSTREAM_CONNECTION_POOL_READY_DURATION", duration(Point::RequestBegin, Point::PoolReady)),
    ("DOWNSTREAM_DETECTED_CLOSE_TYPE", Operator::CloseType(TlsSide::Downstream)),
    ("UPSTREAM_DETECTED_CLOSE_TYPE", Operator::CloseType(TlsSide::Upstream)),
    ("DOWNSTREAM_LOCAL_CLOSE_REASON", Operator::CloseReason),
    ("UPSTREAM_LOCAL_CLOSE_REASON", Operator::CloseReason),
    ("CONNECTION_TERMINATION_DETAILS", Operator::Termination),
    // Of QUIC alone.
    ("BYTES_RETRANSMITTED", Operator::Always(0)),
    ("PACKETS_RETRANSMITTED", Operator::Always(0)),
    ("ROUNDTRIP_DURATION", Operator::Absent),
    // IP addresses have none.
    ("DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID", Operator::Nothing),
    ("DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID", Operator::Nothing),
    // Features that are never configured here, so their facts are missing as they would be in Envoy.
    ("VIRTUAL_CLUSTER_NAME", Operator::Absent),
    ("CUSTOM_FLAGS", Operator::Nothing),
    ("TLS_JA3_FINGERPRINT", Operator::Absent),
    ("TLS_JA4_FINGERPRINT", Operator::Absent),
    // TLS 1.3 has none, and in TLS 1.2 sessions are known by tickets.
    ("DOWNSTREAM_TLS_SESSION_ID", Operator::Absent),
    ("UPSTREAM_TLS_SESSION_ID", Operator::Absent),
];

/// Address operators: name before the `ADDRESS...` or `PORT` suffix.
const ADDRESSES: &[(&str, Whose)] = &[
    ("DOWNSTREAM_REMOTE_", Whose::DownstreamRemote),
    ("DOWNSTREAM_DIRECT_REMOTE_", Whose::DownstreamDirectRemote),
    ("DOWNSTREAM_LOCAL_", Whose::DownstreamLocal),
    ("DOWNSTREAM_DIRECT_LOCAL_", Whose::DownstreamDirectLocal),
    ("UPSTREAM_LOCAL_", Whose::UpstreamLocal),
    ("UPSTREAM_REMOTE_", Whose::UpstreamRemote),
];

const fn duration(from: Point, to: Point) -> Operator {
    Operator::Duration { from, to, unit: Unit::Millis }
}

/// The operator of an address or a port.
pub(super) fn address(name: &str) -> Option<Operator> {
    ADDRESSES.iter().find_map(|(prefix, whose)| {
        let part = match name.strip_prefix(prefix)? {
            "ADDRESS" => AddressPart::Whole,
            "ADDRESS_WITHOUT_PORT" => AddressPart::Ip,
            "PORT" => AddressPart::Port,
            _ => return None,
        };
        Some(Operator::Address { whose: *whose, part })
    })
}

/// The operator of bytes on the wire.
pub(super) fn wire(name: &str) -> Option<Operator> {
    let downstream = name.strip_prefix("DOWNSTREAM_").map(|rest| (TlsSide::Downstream, rest));
    let (side, rest) = downstream.or_else(|| Some((TlsSide::Upstream, name.strip_prefix("UPSTREAM_")?)))?;
    let part = match rest {
        "WIRE_BYTES_RECEIVED" => WirePart::Received,
        "WIRE_BYTES_SENT" => WirePart::Sent,
        "HEADER_BYTES_RECEIVED" => WirePart::HeadsReceived,
        "HEADER_BYTES_SENT" => WirePart::HeadsSent,
        "DECOMPRESSED_HEADER_BYTES_RECEIVED" => WirePart::DecodedReceived,
        "DECOMPRESSED_HEADER_BYTES_SENT" => WirePart::DecodedSent,
        _ => return None,
    };
    Some(Operator::Wire(side, part))
}
