//! What of a request or connection is hashed for consistent hashing.
//! Source: `envoy.config.route.v3.RouteAction.HashPolicy`, `envoy.type.v3.HashPolicy`.

use std::fmt::Write;
use std::sync::Arc;

use outrigger_xds_protos::v3::route::route_action::HashPolicy as Message;
use outrigger_xds_protos::v3::route::route_action::hash_policy::{
    ConnectionProperties, Cookie as CookieMessage, CookieAttribute, Header, PolicySpecifier, QueryParameter,
};
use outrigger_xds_protos::v3::types::hash_policy::PolicySpecifier as TcpSpecifier;
use outrigger_xds_protos::v3::types::{HashPolicy as TcpMessage, hash_policy};

use super::path::{Path, Rejection};
use super::{fields, matchers};
use crate::config::balance::{Cookie, HashInput, HashPolicy};

/// The policies of a route or a cluster; `None` without any.
pub(super) fn compile(messages: &[Message], path: &Path<'_>) -> Result<Option<Arc<[HashPolicy]>>, Rejection> {
    let compile = |(i, message)| policy(message, &path.index(i));
    let policies = messages.iter().enumerate().map(compile).collect::<Result<Vec<_>, _>>()?;
    let policies: Vec<HashPolicy> = policies.into_iter().flatten().collect();
    Ok((!policies.is_empty()).then(|| policies.into()))
}

fn policy(message: &Message, path: &Path<'_>) -> Result<Option<HashPolicy>, Rejection> {
    let Message { terminal, policy_specifier } = message;
    let input = match policy_specifier {
        Some(PolicySpecifier::Header(message)) => header(message, &path.field("header"))?,
        Some(PolicySpecifier::Cookie(message)) => HashInput::Cookie(cookie(message, &path.field("cookie"))?),
        Some(PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })) => {
            HashInput::SourceIp
        }
        // Says nothing.
        Some(PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: false })) => {
            return Ok(None);
        }
        Some(PolicySpecifier::QueryParameter(QueryParameter { name })) => {
            let path = path.field("query_parameter");
            HashInput::Query(fields::required(name, &path.field("name"))?.into())
        }
        Some(PolicySpecifier::FilterState(_)) => return Err(path.field("filter_state").unsupported()),
        None => {
            return Err(path.reject("needs one of header, cookie, connection_properties, query_parameter"));
        }
    };
    Ok(Some(HashPolicy { input, terminal: *terminal }))
}

fn header(message: &Header, path: &Path<'_>) -> Result<HashInput, Rejection> {
    let Header { header_name, regex_rewrite } = message;
    let rewrite_path = path.field("regex_rewrite");
    let rewrite = regex_rewrite.as_ref().map(|rewrite| matchers::substitution(rewrite, &rewrite_path));
    let name = matchers::header_name(header_name, &path.field("header_name"))?;
    Ok(HashInput::Header { name, rewrite: rewrite.transpose()? })
}

fn cookie(message: &CookieMessage, path: &Path<'_>) -> Result<Cookie, Rejection> {
    let CookieMessage { name, ttl, path: cookie_path, attributes } = message;
    let name = fields::required(name, &path.field("name"))?;
    check_text(name, &path.field("name"))?;
    check_text(cookie_path, &path.field("path"))?;
    let Some(ttl) = fields::duration(ttl, &path.field("ttl"))? else {
        return Ok(Cookie { name: name.into(), attributes: None });
    };
    let mut text = String::new();
    if ttl.as_secs() > 0 {
        let _ = write!(text, "; Max-Age={}", ttl.as_secs());
    }
    if !cookie_path.is_empty() {
        let _ = write!(text, "; Path={cookie_path}");
    }
    let list_path = path.field("attributes");
    for (i, CookieAttribute { name, value }) in attributes.iter().enumerate() {
        let path = list_path.index(i);
        let name = fields::required(name, &path.field("name"))?;
        check_text(name, &path.field("name"))?;
        check_text(value, &path.field("value"))?;
        let _ = match value.as_str() {
            "" => write!(text, "; {name}"),
            value => write!(text, "; {name}={value}"),
        };
    }
    text.push_str("; HttpOnly");
    Ok(Cookie { name: name.into(), attributes: Some(text.into()) })
}

/// Text that becomes part of `set-cookie` must not break out of it.
fn check_text(text: &str, path: &Path<'_>) -> Result<(), Rejection> {
    if text.contains(|c: char| c == ';' || c.is_control()) {
        return Err(path.reject("must not hold semicolons or control characters"));
    }
    Ok(())
}

/// Whether connections of a `tcp_proxy` are hashed by their source address: all there is to hash.
pub(super) fn of_connections(messages: &[TcpMessage], path: &Path<'_>) -> Result<bool, Rejection> {
    for (i, TcpMessage { policy_specifier }) in messages.iter().enumerate() {
        let path = path.index(i);
        match policy_specifier {
            Some(TcpSpecifier::SourceIp(hash_policy::SourceIp {})) => {}
            Some(TcpSpecifier::FilterState(_)) => return Err(path.field("filter_state").unsupported()),
            None => return Err(path.field("source_ip").missing()),
        }
    }
    Ok(!messages.is_empty())
}
