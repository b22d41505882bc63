//! Route conditions.

use outrigger_xds_protos::v3::matcher::StringMatcher;
use outrigger_xds_protos::v3::matcher::string_matcher::MatchPattern;
use outrigger_xds_protos::v3::route::header_matcher::HeaderMatchSpecifier;
use outrigger_xds_protos::v3::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use outrigger_xds_protos::v3::route::route_match::PathSpecifier;
use outrigger_xds_protos::v3::route::{HeaderMatcher, QueryParameterMatcher, RouteMatch};
use outrigger_xds_protos::v3::types::Int64Range;

use super::message::{escaped, regex};
use crate::model::{GrpcMatch, HeaderMatch, HostnameMatch, HttpMatch, PathMatch, QueryMatch, ValueMatch};

/// Conditions of an HTTP route.
pub fn http(matching: &HttpMatch) -> RouteMatch {
    let method = matching.method.map(|m| exact_header(":method", m.name()));
    let scheme = matching.scheme.map(|s| exact_header(":scheme", s.name()));
    RouteMatch {
        path_specifier: Some(path(matching.path.as_ref())),
        headers: method.into_iter().chain(scheme).chain(matching.headers.iter().map(header)).collect(),
        query_parameters: matching.query.iter().map(query).collect(),
        ..Default::default()
    }
}

/// Conditions of a gRPC route: the service and method are the path.
pub fn grpc(matching: &GrpcMatch) -> RouteMatch {
    RouteMatch {
        path_specifier: Some(grpc_path(matching.service.as_deref(), matching.method.as_deref())),
        headers: matching.metadata.iter().map(header).collect(),
        ..Default::default()
    }
}

/// The path of gRPC calls to a service, or to one of its methods.
pub fn grpc_path(service: Option<&str>, method: Option<&str>) -> PathSpecifier {
    match (service, method) {
        (Some(service), Some(method)) => PathSpecifier::Path(format!("/{service}/{method}")),
        (Some(service), None) => PathSpecifier::Prefix(format!("/{service}/")),
        (None, _) => PathSpecifier::Prefix("/".to_owned()),
    }
}

/// Everything.
pub fn any() -> RouteMatch {
    RouteMatch { path_specifier: Some(path(None)), ..Default::default() }
}

/// A path condition; none is every path.
pub fn path(path: Option<&PathMatch>) -> PathSpecifier {
    match path {
        Some(PathMatch::Prefix(prefix)) => PathSpecifier::Prefix(prefix.clone()),
        Some(PathMatch::Exact(exact)) => PathSpecifier::Path(exact.clone()),
        Some(PathMatch::Regex(pattern)) => PathSpecifier::SafeRegex(regex(pattern)),
        None => PathSpecifier::Prefix("/".to_owned()),
    }
}

/// A header condition.
pub fn header(condition: &HeaderMatch) -> HeaderMatcher {
    let specifier = match &condition.value {
        None => HeaderMatchSpecifier::PresentMatch(true),
        Some(ValueMatch::Range { start, end }) => {
            HeaderMatchSpecifier::RangeMatch(Int64Range { start: *start, end: *end })
        }
        Some(ValueMatch::Exact(text)) => string(MatchPattern::Exact(text.clone())),
        Some(ValueMatch::Prefix(text)) => string(MatchPattern::Prefix(text.clone())),
        Some(ValueMatch::Suffix(text)) => string(MatchPattern::Suffix(text.clone())),
        Some(ValueMatch::Regex(pattern)) => string(MatchPattern::SafeRegex(regex(pattern))),
    };
    matcher(&condition.name, condition.invert, specifier)
}

/// A header that must have just this value.
pub fn exact_header(name: &str, value: &str) -> HeaderMatcher {
    matcher(name, false, string(MatchPattern::Exact(value.to_owned())))
}

/// A condition on the host, with or without a port, in any case.
pub fn hostname(hostname: &HostnameMatch) -> HeaderMatcher {
    let pattern = match hostname {
        HostnameMatch::Exact(name) => format!("(?i){}(:[0-9]+)?", escaped(name)),
        HostnameMatch::Suffix(suffix) => format!("(?i).*{}(:[0-9]+)?", escaped(suffix)),
    };
    matcher(":authority", false, string(MatchPattern::SafeRegex(regex(pattern))))
}

fn string(pattern: MatchPattern) -> HeaderMatchSpecifier {
    HeaderMatchSpecifier::StringMatch(StringMatcher { match_pattern: Some(pattern), ..Default::default() })
}

fn matcher(name: &str, invert: bool, specifier: HeaderMatchSpecifier) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        invert_match: invert,
        header_match_specifier: Some(specifier),
        ..Default::default()
    }
}

/// A query condition.
pub fn query(condition: &QueryMatch) -> QueryParameterMatcher {
    let specifier = match &condition.exact {
        Some(value) => QueryParameterMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(value.clone())),
            ..Default::default()
        }),
        None => QueryParameterMatchSpecifier::PresentMatch(true),
    };
    QueryParameterMatcher { name: condition.name.clone(), query_parameter_match_specifier: Some(specifier) }
}
