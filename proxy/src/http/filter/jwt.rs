//! `envoy.filters.http.jwt_authn`: requests need tokens.
//!
//! Verification is computation alone, so it happens where the request is. Keys that are not here are waited for first, by
//! requests whose tokens say what they should: see `fetch`. What a token becomes on its way up (payload and claim headers)
//! is removed from the request first: no client writes it.

pub mod fetch;
mod places;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Call, Running, State, Verdict, Waited};
use crate::base::details::Detail;
use crate::base::error::ResponseFlags;
use crate::config::filter::jwt::{
    Fault, Jwt, JwtRoute, KeySource, Keys, Provider, Requirement, Token, Tolerance,
};
use crate::config::filter::{HttpFilter, RouteFilter};
use crate::http::head::{Method, RequestHead};
use crate::http::local_reply::LocalReply;
use crate::http::route;
use places::Place;

/// Namespace of what tokens leave for others.
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";
/// Longest path in `www-authenticate`, bytes, as in Envoy.
const LONGEST_PATH: usize = 256;

pub(super) fn request<'r>(
    running: &mut Running<'r>,
    filter: &'r HttpFilter,
    jwt: &'r Jwt,
    call: &mut Call<'_, 'r>,
) -> Verdict {
    let shard = &call.ctx.local.stats;
    if let Some(Waited::Keys(provider)) = running.reached {
        running.reached = None;
        running.keep(State::Fetched(provider));
    }
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
    let Some(requirement) = requirement else {
        shard.inc(jwt.stats.allowed);
        return Verdict::Pass;
    };
    let fetched = fetched(running);
    let mut check =
        Check { jwt, now: now(), at: Instant::now(), fetched: &fetched, left: Map::new(), rerouted: false };
    if let Some(provider) = check.lacks(requirement, call.head) {
        return fetch::wait(provider, jwt, call);
    }
    let uri = original_uri(call.head);
    let verdict = check.meet(requirement, call.head);
    let (left, rerouted) = (std::mem::take(&mut check.left), check.rerouted);
    if !left.is_empty() {
        call.summary.metadata.get_or_insert_default().merge(NAMESPACE, left);
    }
    shard.inc(if verdict.is_ok() { jwt.stats.allowed } else { jwt.stats.denied });
    match verdict {
        Ok(()) => {
            running.reroute |= rerouted;
            Verdict::Pass
        }
        Err(fault) => Verdict::Answer(Box::new(refusal(fault, uri, jwt.silent))),
    }
}

/// The providers whose keys were waited for on behalf of this request.
fn fetched(running: &Running<'_>) -> Vec<usize> {
    let own = running.states.iter().filter(|(owner, _)| *owner == running.next);
    let fetched = own.filter_map(|(_, state)| match state {
        State::Fetched(provider) => Some(*provider),
        _ => None,
    });
    fetched.collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn is_preflight(head: &RequestHead) -> bool {
    let has = |name: &[u8]| head.block.get_by_name(name).is_some_and(|value| !value.is_empty());
    head.method == Method::Options && has(b"origin") && has(b"access-control-request-method")
}

/// `silent`: only the log is told why.
fn refusal(fault: Fault, uri: Vec<u8>, silent: bool) -> LocalReply {
    let body = if silent { "" } else { fault.text() };
    let mut reply = LocalReply::new(fault.status(), ResponseFlags::NONE, Detail::JWT_ACCESS_DENIED, body);
    reply.details = Detail::JWT_ACCESS_DENIED.with(format_args!("{{{}}}", fault.text()));
    if silent {
        return reply;
    }
    let error: &[u8] = if fault == Fault::Missing { b"" } else { b", error=\"invalid_token\"" };
    let challenge = [b"Bearer realm=\"", uri.as_slice(), b"\"", error].concat();
    reply.headers.push((b"www-authenticate".into(), challenge));
    reply
}

fn unknown_name(jwt: &Jwt, name: &str) -> LocalReply {
    let known: Vec<&str> = jwt.named.keys().map(|name| &**name).collect();
    let why = format!("Wrong requirement_name: {name}. It should be one of [{}]", known.join(","));
    let mut reply = LocalReply::new(403, ResponseFlags::NONE, Detail::JWT_ACCESS_DENIED, "");
    reply.details = Detail::JWT_ACCESS_DENIED.with(format_args!("{{{why}}}"));
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

/// One request being checked.
struct Check<'r> {
    jwt: &'r Jwt,
    now: u64,
    at: Instant,
    /// Providers whose keys were just fetched, or could not be.
    fetched: &'r [usize],
    /// What becomes dynamic metadata.
    left: Map<String, Value>,
    /// The request is to be routed anew.
    rerouted: bool,
}

impl<'r> Check<'r> {
    /// A provider whose keys are not here and that has issued, by what it says, a token of the request.
    fn lacks(&self, requirement: &'r Requirement, head: &RequestHead) -> Option<usize> {
        match requirement {
            Requirement::Provider(index, audiences) => {
                let provider = self.jwt.providers.get(*index)?;
                self.is_missing(*index, provider)?;
                let mut found = places::tokens(provider, head).into_iter();
                found
                    .any(|(_, text)| self.could_pass(provider, audiences.as_deref(), &text))
                    .then_some(*index)
            }
            Requirement::All(all) | Requirement::Any(all, _) => {
                all.iter().find_map(|one| self.lacks(one, head))
            }
            Requirement::Tolerant(_) => {
                let providers = self.jwt.providers.iter().enumerate();
                let mut missing = providers.filter(|(index, one)| self.is_missing(*index, one).is_some());
                let carried = |(_, provider): &(usize, &Provider)| {
                    let mut found = places::tokens(provider, head).into_iter();
                    found.any(|(_, text)| self.could_pass(provider, None, &text))
                };
                missing.find(carried).map(|(index, _)| index)
            }
        }
    }

    fn is_missing(&self, index: usize, provider: &Provider) -> Option<()> {
        let KeySource::Remote(remote) = &provider.keys else { return None };
        (!self.fetched.contains(&index) && remote.current(self.at).is_none()).then_some(())
    }

    /// Nobody's keys are fetched for tokens that would be refused anyway.
    fn could_pass(&self, provider: &Provider, audiences: Option<&[Box<str>]>, text: &str) -> bool {
        Token::parse(text).is_ok_and(|token| provider.check_claims(&token, audiences, self.now).is_ok())
    }

    fn verify(
        &self,
        index: usize,
        provider: &Provider,
        token: &Token<'_>,
        audiences: Option<&[Box<str>]>,
    ) -> Result<(), Fault> {
        provider.check_claims(token, audiences, self.now)?;
        match &provider.keys {
            KeySource::Local(keys) => keys.verify(token),
            KeySource::Remote(remote) => {
                let just_fetched = self.fetched.contains(&index);
                let keys: Option<Arc<Keys>> =
                    remote.current(self.at).or_else(|| remote.latest().filter(|_| just_fetched));
                keys.ok_or(Fault::KeysUnavailable)?.verify(token)
            }
        }
    }

    /// One token. What is wrong with it is left where its provider wants it.
    fn judge(
        &mut self,
        index: usize,
        provider: &'r Provider,
        audiences: Option<&[Box<str>]>,
        (place, text): (Place<'_>, &str),
        head: &mut RequestHead,
    ) -> Result<(), Fault> {
        let verified = Token::parse(text).and_then(|token| {
            self.verify(index, provider, &token, audiences)?;
            Ok(token)
        });
        match verified {
            Ok(token) => {
                let changed = accept(provider, &token, place, head);
                self.leave(provider, &token);
                let has_payload = provider.metadata.payload.is_some();
                self.rerouted |= provider.clear_route && (changed || has_payload);
                Ok(())
            }
            Err(fault) => Err(self.failed(provider, fault)),
        }
    }

    fn failed(&mut self, provider: &Provider, fault: Fault) -> Fault {
        if let Some(name) = &provider.metadata.failure {
            let status = json!({"code": fault.code(), "message": fault.text()});
            self.left.insert(name.to_string(), status);
        }
        fault
    }

    fn leave(&mut self, provider: &Provider, token: &Token<'_>) {
        let wanted = &provider.metadata;
        if let Some(name) = &wanted.payload {
            let mut claims = token.claims.clone();
            for claim in &wanted.spaced {
                if let Some(value) = claims.get_mut(&**claim)
                    && let Some(text) = value.as_str()
                {
                    *value = text.split(' ').filter(|word| !word.is_empty()).map(Value::from).collect();
                }
            }
            self.left.insert(name.to_string(), Value::Object(claims));
        }
        if let Some(name) = &wanted.header {
            self.left.insert(name.to_string(), Value::Object(token.header.clone()));
        }
    }

    /// Depth is bounded when requirements are compiled.
    fn meet(&mut self, requirement: &'r Requirement, head: &mut RequestHead) -> Result<(), Fault> {
        match requirement {
            Requirement::Provider(index, audiences) => {
                let Some(provider) = self.jwt.providers.get(*index) else { return Err(Fault::UnknownIssuer) };
                self.of_provider(*index, provider, audiences.as_deref(), head)
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
        &mut self,
        index: usize,
        provider: &'r Provider,
        audiences: Option<&[Box<str>]>,
        head: &mut RequestHead,
    ) -> Result<(), Fault> {
        let found = places::tokens(provider, head);
        if found.is_empty() {
            return Err(self.failed(provider, Fault::Missing));
        }
        // All of them: the upstream may look at another one than we do.
        for (place, text) in found.iter().rev() {
            self.judge(index, provider, audiences, (*place, text), head)?;
        }
        Ok(())
    }

    /// Tokens of every provider, each judged by the one that has issued it.
    fn of_anyone(&mut self, tolerance: Tolerance, head: &mut RequestHead) -> Result<(), Fault> {
        let mut verdict = Err(Fault::Missing);
        // Providers may name the same places.
        let mut seen: Vec<(Place<'_>, String)> = Vec::new();
        for carrier in &self.jwt.providers {
            for (place, text) in places::tokens(carrier, head).iter().rev() {
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

    fn by_issuer(&mut self, text: &str, place: Place<'_>, head: &mut RequestHead) -> Result<(), Fault> {
        let issuer = Token::parse(text)?.issuer;
        let mut providers = self.jwt.providers.iter().enumerate();
        let provider = providers.find(|(_, provider)| *provider.issuer == *issuer && place.is_of(provider));
        let (index, provider) = provider.ok_or(Fault::UnknownIssuer)?;
        self.judge(index, provider, None, (place, text), head)
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

/// What a good token leaves in the request; whether a claim is among it.
fn accept(provider: &Provider, token: &Token<'_>, place: Place<'_>, head: &mut RequestHead) -> bool {
    let mut claimed = false;
    if let Some((name, padded)) = &provider.payload_header {
        let padding = if *padded { (4 - token.payload.len() % 4) % 4 } else { 0 };
        let value = format!("{}{}", token.payload, "=".repeat(padding));
        head.block.append(name.as_bytes(), value.as_bytes());
    }
    for (name, path) in &provider.claims {
        if let Some(value) = token.claim(path).and_then(header_value) {
            head.block.append(name.as_bytes(), value.as_bytes());
            claimed = true;
        }
    }
    if !provider.forward {
        place.remove(head);
    }
    claimed
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
