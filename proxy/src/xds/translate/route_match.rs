//! Conditions of a route. Source: `envoy.config.route.v3.RouteMatch`.

use outrigger_xds_protos::v3::core::RuntimeFractionalPercent;
use outrigger_xds_protos::v3::route::RouteMatch as MatchMessage;
use outrigger_xds_protos::v3::route::route_match::{PathSpecifier, TlsContextMatchOptions};
use outrigger_xds_protos::v3::wkt;

use super::fields;
use super::fields::refuse;
use super::matchers;
use super::path::{Path, Rejection};
use super::uri_template::UriTemplate;
use crate::config::route::{CertificateMatch, Literal, PathMatch, RouteMatch};

/// Compiles the conditions of one route.
pub(super) fn compile(
    message: &Option<MatchMessage>,
    ignore_parameters: bool,
    path: &Path<'_>,
) -> Result<RouteMatch, Rejection> {
    let MatchMessage {
        case_sensitive,
        runtime_fraction,
        headers,
        query_parameters,
        cookies,
        grpc,
        tls_context,
        dynamic_metadata,
        filter_state,
        path_specifier,
    } = fields::message(message, path)?;
    refuse!(path; dynamic_metadata, filter_state);
    let ignore_case = !fields::flag(case_sensitive, true);
    let headers_path = path.field("headers");
    let query_path = path.field("query_parameters");
    let header = |(i, matcher)| matchers::header(matcher, &headers_path.index(i));
    let query = |(i, matcher)| matchers::query(matcher, &query_path.index(i));
    let cookies_path = path.field("cookies");
    let cookie = |(i, matcher)| matchers::cookie(matcher, &cookies_path.index(i));
    Ok(RouteMatch {
        cookies: cookies.iter().enumerate().map(cookie).collect::<Result<_, _>>()?,
        ignore_parameters,
        path: path_match(path_specifier, ignore_case, path)?,
        headers: headers.iter().enumerate().map(header).collect::<Result<_, _>>()?,
        query: query_parameters.iter().enumerate().map(query).collect::<Result<_, _>>()?,
        grpc: grpc.is_some(),
        certificate: tls_context.as_ref().map(certificate),
        runtime_fraction_ppm: fraction(runtime_fraction, &path.field("runtime_fraction"))?,
    })
}

fn certificate(message: &TlsContextMatchOptions) -> CertificateMatch {
    let TlsContextMatchOptions { presented, validated } = message;
    let flag = |value: &Option<wkt::BoolValue>| value.as_ref().map(|flag| flag.value);
    CertificateMatch { presented: flag(presented), validated: flag(validated) }
}

/// The path template of a route's condition, when that is what it is.
pub(super) fn template(
    message: &Option<MatchMessage>,
    path: &Path<'_>,
) -> Result<Option<UriTemplate>, Rejection> {
    match message.as_ref().and_then(|message| message.path_specifier.as_ref()) {
        Some(PathSpecifier::PathMatchPolicy(policy)) => {
            UriTemplate::read(policy, &path.field("path_match_policy")).map(Some)
        }
        _ => Ok(None),
    }
}

fn path_match(
    specifier: &Option<PathSpecifier>,
    ignore_case: bool,
    path: &Path<'_>,
) -> Result<PathMatch, Rejection> {
    let Some(specifier) = specifier else {
        return Err(
            path.reject("needs one of prefix, path, safe_regex, path_separated_prefix, connect_matcher, path_match_policy")
        );
    };
    Ok(match specifier {
        PathSpecifier::Prefix(text) => PathMatch::Prefix(literal(text, ignore_case)),
        PathSpecifier::Path(text) => PathMatch::Exact(literal(text, ignore_case)),
        PathSpecifier::PathSeparatedPrefix(text) => {
            check_separated_prefix(text, &path.field("path_separated_prefix"))?;
            PathMatch::SeparatedPrefix(literal(text, ignore_case))
        }
        // Envoy ignores case_sensitive here.
        PathSpecifier::SafeRegex(matcher) => {
            PathMatch::Regex(matchers::regex(matcher, &path.field("safe_regex"))?)
        }
        PathSpecifier::ConnectMatcher(_) => PathMatch::Connect,
        PathSpecifier::PathMatchPolicy(policy) => {
            PathMatch::Regex(UriTemplate::read(policy, &path.field("path_match_policy"))?.pattern)
        }
    })
}

fn literal(text: &str, ignore_case: bool) -> Literal {
    let text = if ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
    Literal { text: text.into_bytes().into_boxed_slice(), ignore_case }
}

fn check_separated_prefix(text: &str, path: &Path<'_>) -> Result<(), Rejection> {
    if text.starts_with('/') && text.len() > 1 && !text.ends_with('/') && !text.contains(['?', '#']) {
        Ok(())
    } else {
        Err(path.reject(format_args!("{text:?} must start with /, not end in /, and hold neither ? nor #")))
    }
}

/// The share of requests. There is no runtime, so the key is never found and the default holds.
pub(super) fn fraction(
    fraction: &Option<RuntimeFractionalPercent>,
    path: &Path<'_>,
) -> Result<Option<u32>, Rejection> {
    let Some(RuntimeFractionalPercent { default_value, runtime_key: _ }) = fraction else { return Ok(None) };
    let path = path.field("default_value");
    fields::parts_per_million(fields::message(default_value, &path)?, &path).map(Some)
}
