//! `envoy.filters.http.jwt_authn`: requests need tokens.
//!
//! Verification is computation alone, so it happens where the request is. What a token becomes on its way up (payload and
//! claim headers) is removed from the request first: no client writes it.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode;
use serde_json::Value;

use super::{Call, Running, Verdict};
use crate::base::error::ResponseFlags;
use crate::config::filter::jwt::{Fault, Jwt, JwtRoute, Provider, Requirement, Token, Tolerance};
use crate::config::filter::{HttpFilter, RouteFilter};
use crate::http::head::{Method, RequestHead};
use crate::http::local_reply::LocalReply;
use crate::http::route;

/// Longest path in `www-authenticate`, bytes, as in Envoy.
const LONGEST_PATH: usize = 256;

pub(super) fn request<'r>(
    running: &Running<'r>,
    filter: &'r HttpFilter,
    jwt: &'r Jwt,
    call: &mut Call<'_, 'r>,
) -> Verdict {
    let shard = &call.ctx.local.stats;
    // Where nothing is needed too: the upstream believes these headers.
    jwt.providers.iter().for_each(|provider| sanitize(provider, call.head));
    if jwt.bypass_preflight && is_preflight(call.head) {
        shard.inc(jwt.stats.cors_preflight_bypassed);
        shard.inc(jwt.stats.allowed);
        return Verdict::Pass;
    }
    let requirement = match running.levels.configs(filter.id).next() {
        Some(RouteFilter::Jwt(JwtRoute::Off)) => None,
        Some(RouteFilter::Jwt(JwtRoute::Named(name))) => match jwt.named.get(name) {
            Some(requirement) => Some(requirement),
            None => {
                shard.inc(jwt.stats.denied);
                return Verdict::Answer(Box::new(unknown_name(jwt, name)));
            }
        },
        _ => {
            let shown = call.ctx.shown_certificate();
            let rule = jwt.rules.iter().find(|rule| route::matches(&rule.matching, call.head, 0, shown));
            rule.and_then(|rule| rule.requires.as_ref())
        }
    };
    let uri = requirement.map(|_| original_uri(call.head));
    let verdict =
        requirement.map_or(Ok(()), |requirement| Check { jwt, now: now() }.meet(requirement, call.head));
    shard.inc(if verdict.is_ok() { jwt.stats.allowed } else { jwt.stats.denied });
    match verdict {
        Ok(()) => Verdict::Pass,
        Err(fault) => Verdict::Answer(Box::new(refusal(fault, uri.unwrap_or_default()))),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn is_preflight(head: &RequestHead) -> bool {
    let has = |name: &[u8]| head.block.get_by_name(name).is_some_and(|value| !value.is_empty());
    head.method == Method::Options && has(b"origin") && has(b"access-control-request-method")
}

fn refusal(fault: Fault, uri: Vec<u8>) -> LocalReply {
    let mut reply = LocalReply::new(fault.status(), ResponseFlags::NONE, "", fault.text());
    reply.details = format!("jwt_authn_access_denied{{{}}}", fault.text().replace(' ', "_")).into();
    let error: &[u8] = if fault == Fault::Missing { b"" } else { b", error=\"invalid_token\"" };
    let challenge = [b"Bearer realm=\"", uri.as_slice(), b"\"", error].concat();
    reply.headers.push((b"www-authenticate", challenge));
    reply
}

fn unknown_name(jwt: &Jwt, name: &str) -> LocalReply {
    let known: Vec<&str> = jwt.named.keys().map(|name| &**name).collect();
    let why = format!("Wrong requirement_name: {name}. It should be one of [{}]", known.join(","));
    let mut reply = LocalReply::new(403, ResponseFlags::NONE, "", "");
    reply.details = format!("jwt_authn_access_denied{{{}}}", why.replace(char::is_whitespace, "_")).into();
    reply.body = format!("Failed JWT authentication: {why}").into_bytes().into();
    reply
}

fn original_uri(head: &RequestHead) -> Vec<u8> {
    let path = head.block.get_by_name(b"x-envoy-original-path").unwrap_or_else(|| head.path_and_query());
    let path = &path[..path.len().min(LONGEST_PATH)];
    // It is quoted in a header.
    let bare = |text: &[u8]| text.iter().copied().filter(|byte| *byte != b'"').collect::<Vec<u8>>();
    [head.scheme().as_bytes(), b"://", &bare(head.authority()), &bare(path)].concat()
}

/// Where a token was.
#[derive(Clone, Copy, PartialEq)]
enum Place<'p> {
    Header(&'p str),
    Parameter(&'p str),
}

impl Place<'_> {
    /// Whether a provider has tokens there.
    fn is_of(self, provider: &Provider) -> bool {
        match self {
            Place::Header(name) => provider.headers.iter().any(|(header, _)| **header == *name),
            Place::Parameter(name) => provider.parameters.iter().any(|parameter| **parameter == *name),
        }
    }
}

/// One request being checked.
struct Check<'r> {
    jwt: &'r Jwt,
    now: u64,
}

impl<'r> Check<'r> {
    /// Depth is bounded when requirements are compiled.
    fn meet(&self, requirement: &'r Requirement, head: &mut RequestHead) -> Result<(), Fault> {
        match requirement {
            Requirement::Provider(index, audiences) => {
                let Some(provider) = self.jwt.providers.get(*index) else { return Err(Fault::UnknownIssuer) };
                self.of_provider(provider, audiences.as_deref(), head)
            }
            Requirement::All(all) => all.iter().try_for_each(|one| self.meet(one, head)),
            Requirement::Any(any, tolerance) => {
                let mut worst = Fault::Missing;
                for one in any {
                    match self.meet(one, head) {
                        Ok(()) => return Ok(()),
                        // What is wrong with a token says more than that it is another's, or not there.
                        Err(fault) if worst == Fault::Missing || says_more(fault) => worst = fault,
                        Err(_) => {}
                    }
                }
                tolerance.apply(Err(worst))
            }
            Requirement::Tolerant(tolerance) => self.of_anyone(*tolerance, head),
        }
    }

    fn of_provider(
        &self,
        provider: &'r Provider,
        audiences: Option<&[Box<str>]>,
        head: &mut RequestHead,
    ) -> Result<(), Fault> {
        let found = tokens(provider, head);
        if found.is_empty() {
            return Err(Fault::Missing);
        }
        // All of them: the upstream may look at another one than we do.
        for (place, text) in found.iter().rev() {
            let token = Token::parse(text)?;
            provider.check(&token, audiences, self.now)?;
            accept(provider, &token, *place, head);
        }
        Ok(())
    }

    /// Tokens of every provider, each judged by the one that has issued it.
    fn of_anyone(&self, tolerance: Tolerance, head: &mut RequestHead) -> Result<(), Fault> {
        let mut verdict = Err(Fault::Missing);
        // Providers may name the same places.
        let mut seen: Vec<(Place<'_>, String)> = Vec::new();
        for carrier in &self.jwt.providers {
            for (place, text) in tokens(carrier, head).iter().rev() {
                if seen.iter().any(|(before, token)| before == place && token == text) {
                    continue;
                }
                seen.push((*place, text.clone()));
                verdict = self.by_issuer(text, *place, head);
                if verdict.is_err() {
                    return tolerance.apply(verdict);
                }
            }
        }
        tolerance.apply(verdict)
    }

    fn by_issuer(&self, text: &str, place: Place<'_>, head: &mut RequestHead) -> Result<(), Fault> {
        let token = Token::parse(text)?;
        let provider = self
            .jwt
            .providers
            .iter()
            .find(|provider| *provider.issuer == *token.issuer && place.is_of(provider));
        let provider = provider.ok_or(Fault::UnknownIssuer)?;
        provider.check(&token, None, self.now)?;
        accept(provider, &token, place, head);
        Ok(())
    }
}

fn says_more(fault: Fault) -> bool {
    !matches!(fault, Fault::Missing | Fault::UnknownIssuer)
}

/// Removes what only a verified token may say.
fn sanitize(provider: &Provider, head: &mut RequestHead) {
    let payload = provider.payload_header.iter().map(|(name, _)| name);
    for name in payload.chain(provider.claims.iter().map(|(name, _)| name)) {
        head.block.remove_named(name.as_bytes());
    }
}

/// The tokens that a request carries where the provider has them.
fn tokens<'p>(provider: &'p Provider, head: &RequestHead) -> Vec<(Place<'p>, String)> {
    let mut found = Vec::new();
    for (name, prefix) in &provider.headers {
        let lines: Vec<&[u8]> = head.lines(name).collect();
        let value = String::from_utf8_lossy(&lines.join(&b","[..])).into_owned();
        if lines.is_empty() {
            continue;
        }
        let token = match prefix.is_empty() {
            true => Some(value),
            false => value.find(&**prefix).map(|at| begun(&value[at + prefix.len()..]).to_owned()),
        };
        found.extend(token.map(|token| (Place::Header(name), token)));
    }
    for name in &provider.parameters {
        let value = pairs(head.query()).find(|(key, _)| *key == **name).map(|(_, value)| value);
        found.extend(value.map(|value| (Place::Parameter(name), value)));
    }
    found
}

/// From the first character on that a token may have. What follows the token makes it another one, as in Envoy.
fn begun(text: &str) -> &str {
    text.trim_start_matches(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
}

/// Names and values of a query, decoded.
fn pairs(query: &[u8]) -> impl Iterator<Item = (String, String)> {
    let decoded = |text: &[u8]| percent_decode(text).decode_utf8_lossy().into_owned();
    query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        (decoded(&pair[..at]), decoded(pair.get(at + 1..).unwrap_or_default()))
    })
}

/// What a good token leaves behind.
fn accept(provider: &Provider, token: &Token<'_>, place: Place<'_>, head: &mut RequestHead) {
    if let Some((name, padded)) = &provider.payload_header {
        let padding = if *padded { (4 - token.payload.len() % 4) % 4 } else { 0 };
        let value = format!("{}{}", token.payload, "=".repeat(padding));
        head.block.append(name.as_bytes(), value.as_bytes());
    }
    for (name, path) in &provider.claims {
        if let Some(value) = token.claim(path).and_then(header_value) {
            head.block.append(name.as_bytes(), value.as_bytes());
        }
    }
    if !provider.forward {
        remove(place, head);
    }
}

/// Simple values as they are, others as JSON in base64. `None`: it cannot be in a header.
fn header_value(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Null => return None,
        Value::Array(_) | Value::Object(_) => STANDARD.encode(value.to_string()),
    };
    let plain = text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte) || byte >= 0x80);
    plain.then_some(text)
}

fn remove(place: Place<'_>, head: &mut RequestHead) {
    match place {
        Place::Header(name) => head.block.remove_named(name.as_bytes()),
        Place::Parameter(name) => {
            let query = head.query();
            let named = |pair: &&[u8]| pairs(pair).next().is_some_and(|(key, _)| key == *name);
            let kept: Vec<&[u8]> = query.split(|byte| *byte == b'&').filter(|pair| !named(pair)).collect();
            let (path, kept) = (head.path_only(), kept.join(&b"&"[..]));
            let separator: &[u8] = if kept.is_empty() { b"" } else { b"?" };
            let path = [path, separator, &kept].concat();
            head.set_path(&path);
        }
    }
}
