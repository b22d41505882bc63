//! The operators that command strings may name: what the sidecar prints, and what it refuses by name.

/// Operators that stand alone.
const PLAIN: &[&str] = &[
    "ACCESS_LOG_TYPE",
    "BYTES_RECEIVED",
    "BYTES_RETRANSMITTED",
    "BYTES_SENT",
    "CEL",
    "CLUSTER_METADATA",
    "COMMON_DURATION",
    "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DURATION",
    "DYNAMIC_METADATA",
    "EMIT_TIME",
    "EMIT_TIME_LOCAL",
    "ENVIRONMENT",
    "FILTER_CHAIN_NAME",
    "FILTER_STATE",
    "GRPC_STATUS",
    "GRPC_STATUS_NUMBER",
    "HOSTNAME",
    "LISTENER_NAME",
    "LOCAL_REPLY_BODY",
    "METADATA",
    "PACKETS_RETRANSMITTED",
    "PATH",
    "PROTOCOL",
    "QUERY_PARAM",
    "QUERY_PARAMS",
    "REQ",
    "REQUESTED_SERVER_NAME",
    "REQUEST_DURATION",
    "REQUEST_HEADER",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "REQ_WITHOUT_QUERY",
    "RESP",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_DURATION",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_HEADER",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILER",
    "RESPONSE_TRAILERS_BYTES",
    "RESPONSE_TX_DURATION",
    "ROUNDTRIP_DURATION",
    "ROUTE_NAME",
    "SPAN_ID",
    "START_TIME",
    "START_TIME_LOCAL",
    "STREAM_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "TRAILER",
    "TYPED_CEL",
    "UNIQUE_ID",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_HOST",
    "UPSTREAM_HOSTS_ATTEMPTED",
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAMES_ATTEMPTED",
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_METADATA",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_SERVER_NAME",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "VIRTUAL_CLUSTER_NAME",
];

/// Whose addresses there are.
const ADDRESSED: &[&str] = &[
    "DOWNSTREAM_REMOTE_",
    "DOWNSTREAM_DIRECT_REMOTE_",
    "DOWNSTREAM_LOCAL_",
    "DOWNSTREAM_DIRECT_LOCAL_",
    "UPSTREAM_LOCAL_",
    "UPSTREAM_REMOTE_",
];

const ADDRESS: &[&str] = &["ADDRESS", "ADDRESS_WITHOUT_PORT", "PORT"];

const SIDES: &[&str] = &["DOWNSTREAM_", "UPSTREAM_"];

/// What there is to tell about either side's connection.
const CONNECTION: &[&str] = &[
    "DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "DECOMPRESSED_HEADER_BYTES_SENT",
    "DETECTED_CLOSE_TYPE",
    "HEADER_BYTES_RECEIVED",
    "HEADER_BYTES_SENT",
    "LOCAL_CLOSE_REASON",
    "LOCAL_DNS_SAN",
    "LOCAL_EMAIL_SAN",
    "LOCAL_IP_SAN",
    "LOCAL_OTHERNAME_SAN",
    "LOCAL_SUBJECT",
    "LOCAL_URI_SAN",
    "PEER_CERT",
    "PEER_CERT_V_END",
    "PEER_CERT_V_START",
    "PEER_CHAIN_FINGERPRINTS_1",
    "PEER_CHAIN_FINGERPRINTS_256",
    "PEER_CHAIN_SERIALS",
    "PEER_DNS_SAN",
    "PEER_EMAIL_SAN",
    "PEER_FINGERPRINT_1",
    "PEER_FINGERPRINT_256",
    "PEER_IP_SAN",
    "PEER_ISSUER",
    "PEER_ISSUER_FINGERPRINT_256",
    "PEER_ISSUER_SERIAL",
    "PEER_OTHERNAME_SAN",
    "PEER_SERIAL",
    "PEER_SUBJECT",
    "PEER_URI_SAN",
    "TLS_CIPHER",
    "TLS_GROUP",
    "TLS_SESSION_ID",
    "TLS_VERSION",
    "WIRE_BYTES_RECEIVED",
    "WIRE_BYTES_SENT",
];

/// Operators of Envoy that the sidecar refuses.
const UNSUPPORTED: &[&str] =
    &["COALESCE", "FILE_CONTENT", "ROUTE_RESOLUTION_COUNT", "ROUTE_RESOLUTION_TIME_US", "STREAM_INFO_REQ"];

/// Every operator that the sidecar prints.
pub fn all() -> impl Iterator<Item = String> {
    let joined = |first: &'static [&'static str], last: &'static [&'static str]| {
        first.iter().flat_map(move |first| last.iter().map(move |last| format!("{first}{last}")))
    };
    let plain = PLAIN.iter().map(|name| (*name).to_owned());
    plain.chain(joined(ADDRESSED, ADDRESS)).chain(joined(SIDES, CONNECTION))
}

/// Whether `name` is one of [`all`], without making them: a push has thousands of formats.
fn is_printed(name: &str) -> bool {
    let joined = |first: &[&str], last: &[&str]| {
        first.iter().any(|first| name.strip_prefix(first).is_some_and(|rest| last.contains(&rest)))
    };
    PLAIN.contains(&name) || joined(ADDRESSED, ADDRESS) || joined(SIDES, CONNECTION)
}

/// Whether the sidecar prints the operator `name`; if not, why.
pub(crate) fn check(name: &str) -> Result<(), String> {
    if is_printed(name) {
        Ok(())
    } else if UNSUPPORTED.contains(&name) || SIDES.iter().any(|side| name.starts_with(side)) {
        Err(format!("operator %{name}% is not supported here: take it out of the format"))
    } else {
        Err(format!("unknown operator %{name}%"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_printed_and_nothing_like_it() {
        for name in all() {
            assert_eq!(check(&name), Ok(()), "{name}");
            assert!(check(&format!("{name}_X")).is_err(), "{name}");
        }
        assert!(check("DOWNSTREAM_").is_err() && check("ADDRESS").is_err() && check("").is_err());
    }
}
