//! The operators: what can be printed, and how their names and arguments are read.

mod arguments;
mod names;
mod parts;
mod tls;

use super::FormatError;
use super::time::{TimeFormat, Zone};
use crate::observe::cel::{Dialect, Program};
use arguments::header_choice;
pub use parts::MetadataOf;
pub(super) use parts::{
    AddressPart, AttemptedPart, GrpcStatusForm, HeaderChoice, HeaderName, Message, MetadataPath, PathChoice,
    Point, Unit, Whose, WirePart,
};
pub(super) use tls::{NameKind, TlsFact, TlsSide};

/// One operator with its arguments resolved.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operator {
    /// Text known when the format is compiled (`HOSTNAME`, `ENVIRONMENT`).
    Fixed(Box<[u8]>),
    /// Nothing at all, which is not missing.
    Nothing,
    /// Always this number.
    Always(u64),
    /// A fact this proxy never has, but Envoy prints as missing when the feature is not configured.
    Absent,
    StartTime(TimeFormat, Zone),
    EmitTime(TimeFormat, Zone),
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
    QueryParams {
        decoded: bool,
    },
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
    UpstreamCluster {
        raw: bool,
    },
    UpstreamFailure,
    DownstreamFailure,
    UpstreamConnectionId,
    /// Nothing of a connected host.
    EndpointId,
    /// Of the hosts that attempts were connected to.
    Attempted(AttemptedPart),
    Metadata(MetadataPath),
    /// What an expression comes to; `typed`: in JSON as what it is, not as text.
    Expression {
        program: Program,
        typed: bool,
    },
    ServerName,
    ConnectionId,
    UniqueId,
    LocalReplyBody,
    StreamId,
    TraceId,
    SpanId,
    Tls(TlsSide, TlsFact),
    /// What a connection of the exchange took on the wire.
    Wire(TlsSide, WirePart),
    ListenerName,
    CloseType(TlsSide),
    /// Why we have closed both connections.
    CloseReason,
    /// Why a filter has ended the connection.
    Termination,
}

impl Operator {
    /// The operator `name` with what stood in its parentheses.
    pub(super) fn resolve(
        name: &str,
        arguments: Option<&str>,
        dialect: Dialect,
    ) -> Result<Self, FormatError> {
        let simple =
            names::SIMPLE.iter().find(|(known, _)| *known == name).map(|(_, operator)| operator.clone());
        if let Some(operator) = simple.or_else(|| names::address(name)).or_else(|| names::wire(name)) {
            return match arguments {
                None => Ok(operator),
                Some(_) => Err(FormatError(format!("operator %{name}% takes no arguments"))),
            };
        }
        match tls::fact(name, arguments)? {
            Some((side, fact)) => Ok(Operator::Tls(side, fact)),
            None if name == "CEL" || name == "TYPED_CEL" => {
                arguments::expression(name, arguments.unwrap_or_default(), dialect)
            }
            None => with_arguments(name, arguments),
        }
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
            | Operator::UpstreamConnectionId
            | Operator::Always(_)
            | Operator::Wire(..)
            | Operator::Duration { .. } => true,
            Operator::Address { part, .. } => *part == AddressPart::Port,
            Operator::GrpcStatus(form) => *form == GrpcStatusForm::Number,
            _ => false,
        }
    }
}

fn with_arguments(name: &str, given: Option<&str>) -> Result<Operator, FormatError> {
    let required = || given.ok_or_else(|| FormatError(format!("operator %{name}% needs an argument")));
    let header = |of, keep_query| Ok(Operator::Header(header_choice(name, required()?, of, keep_query)?));
    match name {
        "START_TIME" => Ok(Operator::StartTime(pattern(given)?, Zone::utc())),
        "START_TIME_LOCAL" => Ok(Operator::StartTime(pattern(given)?, Zone::local())),
        "EMIT_TIME" => Ok(Operator::EmitTime(pattern(given)?, Zone::utc())),
        "EMIT_TIME_LOCAL" => Ok(Operator::EmitTime(pattern(given)?, Zone::local())),
        "REQ" | "REQUEST_HEADER" => header(Message::Request, true),
        "REQ_WITHOUT_QUERY" => header(Message::Request, false),
        "RESP" | "RESPONSE_HEADER" => header(Message::Response, true),
        "TRAILER" | "RESPONSE_TRAILER" => header(Message::Trailers, true),
        "RESPONSE_CODE_DETAILS" => match given {
            None => Ok(Operator::ResponseCodeDetails { allow_whitespace: false }),
            Some("ALLOW_WHITESPACES") => Ok(Operator::ResponseCodeDetails { allow_whitespace: true }),
            Some(other) => Err(arguments::bad(name, other)),
        },
        "COMMON_DURATION" => arguments::common_duration(required()?),
        "GRPC_STATUS" => arguments::grpc_status(given.unwrap_or("CAMEL_STRING")),
        "PATH" => arguments::path(given.unwrap_or("")),
        "QUERY_PARAMS" => arguments::query_params(given),
        "DYNAMIC_METADATA" => arguments::metadata(name, MetadataOf::Request, required()?),
        "CLUSTER_METADATA" => arguments::metadata(name, MetadataOf::Cluster, required()?),
        "UPSTREAM_METADATA" => arguments::metadata(name, MetadataOf::Host, required()?),
        "METADATA" => arguments::typed_metadata(required()?),
        "FILTER_STATE" | "UPSTREAM_FILTER_STATE" => arguments::filter_state(name, required()?),
        "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID" => Ok(Operator::EndpointId),
        "QUERY_PARAM" => Ok(Operator::QueryParam(required()?.as_bytes().into())),
        "ENVIRONMENT" => {
            let value = std::env::var(required()?).ok().filter(|value| !value.is_empty());
            Ok(Operator::Fixed(value.as_deref().unwrap_or("-").as_bytes().into()))
        }
        "HOSTNAME" => Ok(Operator::Fixed(hostname().as_bytes().into())),
        _ => Err(FormatError(format!("unknown operator %{name}%"))),
    }
}

fn pattern(given: Option<&str>) -> Result<TimeFormat, FormatError> {
    TimeFormat::parse(given.unwrap_or(""))
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "-".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests;
