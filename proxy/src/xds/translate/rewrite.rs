//! Rewrites of paths and authorities, and redirects, which write both.
//! Source: `envoy.config.route.v3.RouteAction`, `RedirectAction`.

use outrigger_xds_protos::v3::matcher::RegexMatchAndSubstitute;
use outrigger_xds_protos::v3::route::RedirectAction;
use outrigger_xds_protos::v3::route::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use outrigger_xds_protos::v3::route::route_action::HostRewriteSpecifier;

use super::path::{Path, Rejection};
use super::{fields, matchers};
use crate::config::route::{HostRewrite, PathRewrite, Redirect};
use crate::observe::format::Format;

/// The path rewrite of a route action; at most one of the three fields may be set.
pub(super) fn of_path(
    prefix: &str,
    regex: &Option<RegexMatchAndSubstitute>,
    format: &str,
    path: &Path<'_>,
) -> Result<Option<PathRewrite>, Rejection> {
    match (prefix, regex, format) {
        ("", None, "") => Ok(None),
        ("", Some(rewrite), "") => by_regex(rewrite, &path.field("regex_rewrite")).map(Some),
        (prefix, None, "") => Ok(Some(PathRewrite::Prefix(checked(prefix, &path.field("prefix_rewrite"))?))),
        ("", None, text) => Ok(Some(PathRewrite::Format(format_of(text, &path.field("path_rewrite"))?))),
        (_, Some(_), _) => Err(path.field("regex_rewrite").reject("cannot be combined with another rewrite")),
        _ => Err(path.field("path_rewrite").reject("cannot be combined with another rewrite")),
    }
}

/// The authority rewrite of a route action.
pub(super) fn of_host(
    specifier: &Option<HostRewriteSpecifier>,
    path: &Path<'_>,
) -> Result<Option<HostRewrite>, Rejection> {
    let Some(specifier) = specifier else { return Ok(None) };
    Ok(Some(match specifier {
        HostRewriteSpecifier::HostRewriteLiteral(host) => {
            HostRewrite::Literal(checked(host, &path.field("host_rewrite_literal"))?)
        }
        HostRewriteSpecifier::AutoHostRewrite(auto) if !auto.value => return Ok(None),
        HostRewriteSpecifier::AutoHostRewrite(_) => HostRewrite::Auto,
        HostRewriteSpecifier::HostRewriteHeader(name) => {
            HostRewrite::Header(matchers::header_name(name, &path.field("host_rewrite_header"))?)
        }
        HostRewriteSpecifier::HostRewritePathRegex(rewrite) => {
            let (pattern, substitution) =
                matchers::substitution(rewrite, &path.field("host_rewrite_path_regex"))?;
            HostRewrite::PathRegex { pattern, substitution }
        }
        HostRewriteSpecifier::HostRewrite(text) => {
            HostRewrite::Format(format_of(text, &path.field("host_rewrite"))?)
        }
    }))
}

/// A redirect.
pub(super) fn redirect(message: &RedirectAction, path: &Path<'_>) -> Result<Redirect, Rejection> {
    let RedirectAction {
        host_redirect,
        port_redirect,
        response_code,
        strip_query,
        scheme_rewrite_specifier,
        path_rewrite_specifier,
    } = message;
    let port = fields::port(*port_redirect, &path.field("port_redirect"))?;
    Ok(Redirect {
        scheme: match scheme_rewrite_specifier {
            Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".into()),
            Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
            Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => {
                Some(checked(scheme, &path.field("scheme_redirect"))?)
            }
        },
        host: match host_redirect.as_str() {
            "" => None,
            host => Some(checked(host, &path.field("host_redirect"))?),
        },
        port: (port != 0).then_some(port),
        path: path_rewrite_specifier.as_ref().map(|specifier| redirect_path(specifier, path)).transpose()?,
        strip_query: *strip_query,
        status: redirect_status(*response_code, &path.field("response_code"))?,
    })
}

fn redirect_path(specifier: &PathRewriteSpecifier, path: &Path<'_>) -> Result<PathRewrite, Rejection> {
    match specifier {
        PathRewriteSpecifier::PathRedirect(to) => {
            checked(to, &path.field("path_redirect")).map(PathRewrite::Full)
        }
        PathRewriteSpecifier::PrefixRewrite(to) => {
            checked(to, &path.field("prefix_rewrite")).map(PathRewrite::Prefix)
        }
        PathRewriteSpecifier::RegexRewrite(rewrite) => by_regex(rewrite, &path.field("regex_rewrite")),
        PathRewriteSpecifier::PathRewrite(text) => {
            format_of(text, &path.field("path_rewrite")).map(PathRewrite::Format)
        }
    }
}

fn redirect_status(number: i32, path: &Path<'_>) -> Result<u16, Rejection> {
    Ok(match RedirectResponseCode::try_from(number) {
        Ok(RedirectResponseCode::MovedPermanently) => 301,
        Ok(RedirectResponseCode::Found) => 302,
        Ok(RedirectResponseCode::SeeOther) => 303,
        Ok(RedirectResponseCode::TemporaryRedirect) => 307,
        Ok(RedirectResponseCode::PermanentRedirect) => 308,
        Err(_) => return Err(path.reject(fields::unknown_enum(number))),
    })
}

fn by_regex(rewrite: &RegexMatchAndSubstitute, path: &Path<'_>) -> Result<PathRewrite, Rejection> {
    let (pattern, substitution) = matchers::substitution(rewrite, path)?;
    Ok(PathRewrite::Regex { pattern, substitution })
}

fn format_of(text: &str, path: &Path<'_>) -> Result<Format, Rejection> {
    check_value(text, path)?;
    Format::parse(text).map_err(|error| path.reject(error))
}

/// Text that becomes part of a request line or a header must not break out of it.
pub(super) fn checked(text: &str, path: &Path<'_>) -> Result<Box<str>, Rejection> {
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(path.reject("must not hold spaces or control characters"));
    }
    Ok(text.into())
}

/// Refuses what cannot stand in a header's value.
pub(super) fn check_value(text: &str, path: &Path<'_>) -> Result<(), Rejection> {
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(path.reject("must not hold control characters"));
    }
    Ok(())
}
