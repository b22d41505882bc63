//! What stands in an operator's parentheses.

use super::super::FormatError;
use super::{
    GrpcStatusForm, HeaderChoice, HeaderName, Message, MetadataOf, MetadataPath, Operator, PathChoice, Point,
    Unit,
};
use crate::http::header_id::HeaderId;
use crate::observe::cel::{Dialect, Program};

pub(super) fn bad(operator: &str, argument: &str) -> FormatError {
    FormatError(format!("operator %{operator}%: argument {argument:?} is not understood"))
}

pub(super) fn header_choice(
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
        return Err(bad(operator, argument));
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

/// Envoy's names of the points in time.
const POINTS: &[(&str, Point)] = &[
    ("DS_CX_BEG", Point::ConnectionBegin),
    ("DS_CX_END", Point::ConnectionEnd),
    ("DS_HS_BEG", Point::HandshakeBegin),
    ("DS_HS_END", Point::HandshakeEnd),
    ("DS_RX_BEG", Point::RequestBegin),
    ("DS_RX_HDR_END", Point::RequestHead),
    ("DS_RX_END", Point::RequestEnd),
    ("US_CX_BEG", Point::UpstreamConnectBegin),
    ("US_CX_END", Point::UpstreamConnectEnd),
    ("US_HS_END", Point::UpstreamSecured),
    ("US_TX_BEG", Point::UpstreamBegun),
    ("US_TX_END", Point::UpstreamSent),
    ("US_RX_BEG", Point::UpstreamFirstByte),
    ("US_RX_BODY_BEG", Point::UpstreamBody),
    ("US_RX_END", Point::UpstreamComplete),
    ("DS_TX_BEG", Point::ResponseBegin),
    ("DS_TX_END", Point::ResponseEnd),
];

pub(super) fn common_duration(arguments: &str) -> Result<Operator, FormatError> {
    let bad = |what: &str| bad("COMMON_DURATION", what);
    let point = |name: &str| {
        let known = POINTS.iter().find(|(known, _)| *known == name);
        known.map(|(_, point)| *point).ok_or_else(|| bad(name))
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

pub(super) fn grpc_status(form: &str) -> Result<Operator, FormatError> {
    let form = match form {
        "CAMEL_STRING" => GrpcStatusForm::Camel,
        "SNAKE_STRING" => GrpcStatusForm::Snake,
        "NUMBER" => GrpcStatusForm::Number,
        other => return Err(bad("GRPC_STATUS", other)),
    };
    Ok(Operator::GrpcStatus(form))
}

pub(super) fn path(arguments: &str) -> Result<Operator, FormatError> {
    let (query, which) = arguments.split_once(':').unwrap_or((arguments, ""));
    let query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        other => return Err(bad("PATH", other)),
    };
    let which = match which {
        "" | "ORIG_OR_PATH" => PathChoice::OriginalOrCurrent,
        "ORIG" => PathChoice::Original,
        "PATH" => PathChoice::Current,
        other => return Err(bad("PATH", other)),
    };
    Ok(Operator::Path { query, which })
}

pub(super) fn query_params(form: Option<&str>) -> Result<Operator, FormatError> {
    match form {
        None | Some("ORIG") => Ok(Operator::QueryParams { decoded: false }),
        Some("DECODED") => Ok(Operator::QueryParams { decoded: true }),
        Some(other) => Err(bad("QUERY_PARAMS", other)),
    }
}

/// `namespace:key:key...`
pub(super) fn metadata(operator: &str, of: MetadataOf, arguments: &str) -> Result<Operator, FormatError> {
    let mut parts = arguments.split(':');
    let namespace = parts.next().filter(|name| !name.is_empty()).ok_or_else(|| bad(operator, arguments))?;
    let path: Vec<Box<str>> = parts.map(Into::into).collect();
    if path.iter().any(|key| key.is_empty()) {
        return Err(bad(operator, arguments));
    }
    Ok(Operator::Metadata(MetadataPath { of, namespace: namespace.into(), path }))
}

/// `METADATA(TYPE:namespace:key...)`
pub(super) fn typed_metadata(arguments: &str) -> Result<Operator, FormatError> {
    const OPERATOR: &str = "METADATA";
    let (kind, rest) = arguments.split_once(':').ok_or_else(|| bad(OPERATOR, arguments))?;
    let of = match kind {
        "ROUTE" => MetadataOf::Route,
        "VIRTUAL_HOST" => MetadataOf::VirtualHost,
        "CLUSTER" => MetadataOf::Cluster,
        "UPSTREAM_HOST" => MetadataOf::Host,
        "LISTENER" => MetadataOf::Listener,
        "LISTENER_FILTER_CHAIN" => MetadataOf::FilterChain,
        "DYNAMIC" => MetadataOf::Request,
        other => return Err(bad(OPERATOR, other)),
    };
    metadata(OPERATOR, of, rest)
}

pub(super) fn expression(operator: &str, source: &str, dialect: Dialect) -> Result<Operator, FormatError> {
    let program = Program::parse(source, dialect);
    let program = program.map_err(|error| FormatError(format!("operator %{operator}%: {error}")))?;
    Ok(Operator::Expression { program, typed: operator == "TYPED_CEL" })
}

/// `key`, `key:PLAIN`, `key:TYPED` or `key:FIELD:name`: checked, although there is no such state here.
pub(super) fn filter_state(operator: &str, arguments: &str) -> Result<Operator, FormatError> {
    let parts: Vec<&str> = arguments.split(':').collect();
    match parts.as_slice() {
        [key] | [key, "PLAIN" | "TYPED"] | [key, "FIELD", _] if !key.is_empty() => Ok(Operator::Absent),
        _ => Err(bad(operator, arguments)),
    }
}
