//! The operators: what can be printed, and how their names and arguments are read.

use super::FormatError;
use super::time::TimeFormat;
use crate::http::header_id::HeaderId;

/// One operator with its arguments resolved.
#[derive(Clone, Debug)]
pub(super) enum Operator {
    /// Text known when the format is compiled (`HOSTNAME`, `ENVIRONMENT`).
    Fixed(Box<[u8]>),
    /// A fact this proxy never has, but Envoy prints as missing when the feature is not configured.
    Absent,
    StartTime(TimeFormat),
    EmitTime(TimeFormat),
    /// The first of two headers that is present.
    Header(HeaderChoice),
    /// Between two points in time.
    Duration {
        from: Point,
        to: Point,
        unit: Unit,
    },
    Address {
        whose: Whose,
        part: AddressPart,
    },
    GrpcStatus(GrpcStatusForm),
    Path {
        query: bool,
        which: PathChoice,
    },
    QueryParam(Box<[u8]>),
    QueryParams,
    Protocol,
    UpstreamProtocol,
    ResponseCode,
    ResponseCodeDetails {
        allow_whitespace: bool,
    },
    ResponseFlags {
        long: bool,
    },
    BytesReceived,
    BytesSent,
    RequestHeadersBytes,
    ResponseHeadersBytes,
    ResponseTrailersBytes,
    AttemptCount,
    RouteName,
    FilterChainName,
    AccessLogType,
    UpstreamHost,
    UpstreamHostName {
        port: bool,
    },
    UpstreamCluster,
    UpstreamFailure,
    ServerName,
    ConnectionId,
    UniqueId,
    LocalReplyBody,
    Tls(TlsFact),
}

/// What TLS tells of the client's connection.
#[derive(Clone, Debug)]
pub(super) enum TlsFact {
    Version,
    Cipher,
    PeerUris,
    PeerDnsNames,
    PeerSubject,
    PeerIssuer,
    PeerSerial,
    PeerFingerprint,
    PeerCertificate,
    PeerValidFrom(TimeFormat),
    PeerValidUntil(TimeFormat),
}

/// A header, its alternative, and whether the query is cut off.
#[derive(Clone, Debug)]
pub(super) struct HeaderChoice {
    pub(super) of: Message,
    pub(super) main: HeaderName,
    pub(super) alternative: Option<HeaderName>,
    pub(super) keep_query: bool,
}

/// Which header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Request,
    Response,
    Trailers,
}

/// A header name as the head types keep it.
#[derive(Clone, Debug)]
pub(super) enum HeaderName {
    Method,
    Path,
    Authority,
    Scheme,
    Status,
    OriginalPath,
    ContentLength,
    Upgrade,
    Known(HeaderId),
    Other(Box<[u8]>),
}

/// Points in time that are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    RequestBegin,
    RequestEnd,
    UpstreamSent,
    UpstreamFirstByte,
    End,
}

/// Unit of a duration.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// Which end of which connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose {
    DownstreamRemote,
    DownstreamDirectRemote,
    DownstreamLocal,
    UpstreamLocal,
    UpstreamRemote,
}

/// Which part of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressPart {
    Whole,
    Ip,
    Port,
}

/// How a gRPC status is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcStatusForm {
    Camel,
    Snake,
    Number,
}

/// Path before or after rewriting.
#[derive(Clone, Copy, Debug)]
pub(super) enum PathChoice {
    Original,
    Current,
    OriginalOrCurrent,
}

/// Operators without arguments.
const SIMPLE: &[(&str, Operator)] = &[
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
    ("RESPONSE_TX_DURATION", duration(Point::UpstreamFirstByte, Point::End)),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", Operator::AttemptCount),
    ("ROUTE_NAME", Operator::RouteName),
    ("FILTER_CHAIN_NAME", Operator::FilterChainName),
    ("ACCESS_LOG_TYPE", Operator::AccessLogType),
    ("UPSTREAM_HOST", Operator::UpstreamHost),
    ("UPSTREAM_HOST_NAME", Operator::UpstreamHostName { port: true }),
    ("UPSTREAM_HOST_NAME_WITHOUT_PORT", Operator::UpstreamHostName { port: false }),
    ("UPSTREAM_CLUSTER", Operator::UpstreamCluster),
    ("UPSTREAM_CLUSTER_RAW", Operator::UpstreamCluster),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", Operator::UpstreamFailure),
    ("REQUESTED_SERVER_NAME", Operator::ServerName),
    ("CONNECTION_ID", Operator::ConnectionId),
    ("UNIQUE_ID", Operator::UniqueId),
    ("LOCAL_REPLY_BODY", Operator::LocalReplyBody),
    ("DOWNSTREAM_TLS_VERSION", Operator::Tls(TlsFact::Version)),
    ("DOWNSTREAM_TLS_CIPHER", Operator::Tls(TlsFact::Cipher)),
    ("DOWNSTREAM_PEER_URI_SAN", Operator::Tls(TlsFact::PeerUris)),
    ("DOWNSTREAM_PEER_DNS_SAN", Operator::Tls(TlsFact::PeerDnsNames)),
    ("DOWNSTREAM_PEER_SUBJECT", Operator::Tls(TlsFact::PeerSubject)),
    ("DOWNSTREAM_PEER_ISSUER", Operator::Tls(TlsFact::PeerIssuer)),
    ("DOWNSTREAM_PEER_SERIAL", Operator::Tls(TlsFact::PeerSerial)),
    ("DOWNSTREAM_PEER_FINGERPRINT_256", Operator::Tls(TlsFact::PeerFingerprint)),
    ("DOWNSTREAM_PEER_CERT", Operator::Tls(TlsFact::PeerCertificate)),
    ("QUERY_PARAMS", Operator::QueryParams),
    ("GRPC_STATUS_NUMBER", Operator::GrpcStatus(GrpcStatusForm::Number)),
    // Features that are never configured here, so their facts are missing as they would be in Envoy.
    ("CONNECTION_TERMINATION_DETAILS", Operator::Absent),
    ("VIRTUAL_CLUSTER_NAME", Operator::Absent),
    ("CUSTOM_FLAGS", Operator::Absent),
    ("TRACE_ID", Operator::Absent),
    ("SPAN_ID", Operator::Absent),
];

/// Address operators: name before the `ADDRESS...` or `PORT` suffix.
const ADDRESSES: &[(&str, Whose)] = &[
    ("DOWNSTREAM_REMOTE_", Whose::DownstreamRemote),
    ("DOWNSTREAM_DIRECT_REMOTE_", Whose::DownstreamDirectRemote),
    ("DOWNSTREAM_LOCAL_", Whose::DownstreamLocal),
    ("UPSTREAM_LOCAL_", Whose::UpstreamLocal),
    ("UPSTREAM_REMOTE_", Whose::UpstreamRemote),
];

const fn duration(from: Point, to: Point) -> Operator {
    Operator::Duration { from, to, unit: Unit::Millis }
}

impl Operator {
    /// The operator `name` with what stood in its parentheses.
    pub(super) fn resolve(name: &str, arguments: Option<&str>) -> Result<Self, FormatError> {
        let simple = SIMPLE.iter().find(|(known, _)| *known == name).map(|(_, operator)| operator.clone());
        if let Some(operator) = simple.or_else(|| address(name)) {
            return match arguments {
                None => Ok(operator),
                Some(_) => Err(FormatError(format!("operator %{name}% takes no arguments"))),
            };
        }
        with_arguments(name, arguments)
    }

    /// Whether JSON logs print it as a number.
    pub(super) fn is_number(&self) -> bool {
        match self {
            Operator::ResponseCode
            | Operator::BytesReceived
            | Operator::BytesSent
            | Operator::RequestHeadersBytes
            | Operator::ResponseHeadersBytes
            | Operator::ResponseTrailersBytes
            | Operator::AttemptCount
            | Operator::ConnectionId
            | Operator::Duration { .. } => true,
            Operator::Address { part, .. } => *part == AddressPart::Port,
            Operator::GrpcStatus(form) => *form == GrpcStatusForm::Number,
            _ => false,
        }
    }
}

fn address(name: &str) -> Option<Operator> {
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

fn with_arguments(name: &str, arguments: Option<&str>) -> Result<Operator, FormatError> {
    let required = || arguments.ok_or_else(|| FormatError(format!("operator %{name}% needs an argument")));
    let header = |of, keep_query| Ok(Operator::Header(header_choice(name, required()?, of, keep_query)?));
    match name {
        "START_TIME" => Ok(Operator::StartTime(TimeFormat::parse(arguments.unwrap_or(""))?)),
        "EMIT_TIME" => Ok(Operator::EmitTime(TimeFormat::parse(arguments.unwrap_or(""))?)),
        "DOWNSTREAM_PEER_CERT_V_START" => validity(arguments, TlsFact::PeerValidFrom),
        "DOWNSTREAM_PEER_CERT_V_END" => validity(arguments, TlsFact::PeerValidUntil),
        "REQ" | "REQUEST_HEADER" => header(Message::Request, true),
        "REQ_WITHOUT_QUERY" => header(Message::Request, false),
        "RESP" | "RESPONSE_HEADER" => header(Message::Response, true),
        "TRAILER" | "RESPONSE_TRAILER" => header(Message::Trailers, true),
        "STREAM_ID" => header_choice(name, "x-request-id", Message::Request, true).map(Operator::Header),
        "RESPONSE_CODE_DETAILS" => match arguments {
            None => Ok(Operator::ResponseCodeDetails { allow_whitespace: false }),
            Some("ALLOW_WHITESPACES") => Ok(Operator::ResponseCodeDetails { allow_whitespace: true }),
            Some(other) => Err(bad_argument(name, other)),
        },
        "COMMON_DURATION" => common_duration(required()?),
        "GRPC_STATUS" => grpc_status(arguments.unwrap_or("CAMEL_STRING")),
        "PATH" => path(arguments.unwrap_or("")),
        "QUERY_PARAM" => Ok(Operator::QueryParam(required()?.as_bytes().into())),
        "ENVIRONMENT" => {
            let value = std::env::var(required()?).ok().filter(|value| !value.is_empty());
            Ok(Operator::Fixed(value.as_deref().unwrap_or("-").as_bytes().into()))
        }
        "HOSTNAME" => Ok(Operator::Fixed(hostname().as_bytes().into())),
        _ => Err(refuse(name)),
    }
}

fn validity(format: Option<&str>, fact: fn(TimeFormat) -> TlsFact) -> Result<Operator, FormatError> {
    Ok(Operator::Tls(fact(TimeFormat::parse(format.unwrap_or(""))?)))
}

fn refuse(name: &str) -> FormatError {
    const UNSUPPORTED: &[&str] = &[
        "CEL",
        "CLUSTER_METADATA",
        "DYNAMIC_METADATA",
        "FILTER_STATE",
        "METADATA",
        "UPSTREAM_METADATA",
        "UPSTREAM_FILTER_STATE",
        "START_TIME_LOCAL",
        "EMIT_TIME_LOCAL",
        "TLS_JA3_FINGERPRINT",
        "TLS_JA4_FINGERPRINT",
    ];
    const PREFIXES: &[&str] = &["DOWNSTREAM_", "UPSTREAM_"];
    if UNSUPPORTED.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        FormatError(format!("operator %{name}% is not supported here: take it out of the format"))
    } else {
        FormatError(format!("unknown operator %{name}%"))
    }
}

fn bad_argument(name: &str, argument: &str) -> FormatError {
    FormatError(format!("operator %{name}%: argument {argument:?} is not understood"))
}

fn header_choice(
    operator: &str,
    argument: &str,
    of: Message,
    keep_query: bool,
) -> Result<HeaderChoice, FormatError> {
    let (main, alternative) = match argument.split_once('?') {
        Some((main, alternative)) => (main, Some(alternative)),
        None => (argument, None),
    };
    let valid = |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b'?');
    if !std::iter::once(&main).chain(&alternative).all(valid) {
        return Err(bad_argument(operator, argument));
    }
    Ok(HeaderChoice {
        of,
        main: HeaderName::of(main),
        alternative: alternative.map(HeaderName::of),
        keep_query,
    })
}

impl HeaderName {
    fn of(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        match (name.as_str(), HeaderId::of(name.as_bytes())) {
            (":method", _) => HeaderName::Method,
            (":path", _) => HeaderName::Path,
            (":authority", _) | (_, HeaderId::Host) => HeaderName::Authority,
            (":scheme", _) => HeaderName::Scheme,
            (":status", _) => HeaderName::Status,
            (_, HeaderId::EnvoyOriginalPath) => HeaderName::OriginalPath,
            (_, HeaderId::ContentLength) => HeaderName::ContentLength,
            (_, HeaderId::Upgrade) => HeaderName::Upgrade,
            (_, HeaderId::Other) => HeaderName::Other(name.into_bytes().into()),
            (_, id) => HeaderName::Known(id),
        }
    }
}

fn common_duration(arguments: &str) -> Result<Operator, FormatError> {
    let bad = |what: &str| bad_argument("COMMON_DURATION", what);
    let point = |name: &str| match name {
        "DS_RX_BEG" => Ok(Point::RequestBegin),
        "DS_RX_END" => Ok(Point::RequestEnd),
        "US_TX_END" => Ok(Point::UpstreamSent),
        "US_RX_BEG" => Ok(Point::UpstreamFirstByte),
        "DS_TX_END" => Ok(Point::End),
        other => Err(bad(other)),
    };
    let mut parts = arguments.split(':');
    let (Some(from), Some(to), Some(unit), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad(arguments));
    };
    let unit = match unit {
        "ms" => Unit::Millis,
        "us" => Unit::Micros,
        "ns" => Unit::Nanos,
        other => return Err(bad(other)),
    };
    Ok(Operator::Duration { from: point(from)?, to: point(to)?, unit })
}

fn grpc_status(form: &str) -> Result<Operator, FormatError> {
    let form = match form {
        "CAMEL_STRING" => GrpcStatusForm::Camel,
        "SNAKE_STRING" => GrpcStatusForm::Snake,
        "NUMBER" => GrpcStatusForm::Number,
        other => return Err(bad_argument("GRPC_STATUS", other)),
    };
    Ok(Operator::GrpcStatus(form))
}

fn path(arguments: &str) -> Result<Operator, FormatError> {
    let (query, which) = arguments.split_once(':').unwrap_or((arguments, ""));
    let query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        other => return Err(bad_argument("PATH", other)),
    };
    let which = match which {
        "" | "ORIG_OR_PATH" => PathChoice::OriginalOrCurrent,
        "ORIG" => PathChoice::Original,
        "PATH" => PathChoice::Current,
        other => return Err(bad_argument("PATH", other)),
    };
    Ok(Operator::Path { query, which })
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "-".to_owned() } else { name.to_owned() }
}
