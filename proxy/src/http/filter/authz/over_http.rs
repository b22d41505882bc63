//! A service asked over HTTP: the request's own method, path and host, and what headers it is to see. 200 is yes, 5xx
//! is an error, anything else is no. Source: `ext_authz.v3.HttpService`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::answer::{Denial, Grant, Told};
use super::apply::{Edit, How};
use super::check::{PARTIAL_BODY, any, joined};
use crate::base::matcher::StringMatch;
use crate::config::filter::authz::{Authz, Body, HttpService, ServicePath};
use crate::http::edits;
use crate::http::filter::{Call, Collected};
use crate::http::head::{BodyLength, HeaderBlock, RequestHead, Version};
use crate::http::header_id::HeaderId;
use crate::http::subrequest::Answer;
use crate::upstream::connect::millis;

/// A good answer lists here what the request loses.
const REMOVED: &str = "x-envoy-auth-headers-to-remove";

/// The question's head and body. Not for CONNECT, which has no such request.
pub(super) fn question(
    authz: &Authz,
    service: &HttpService,
    shown: Option<(Body, Collected<'_>)>,
    call: &Call<'_, '_>,
) -> (RequestHead, Vec<u8>) {
    let original = &*call.head;
    let mut block = headers(authz, original);
    let body = shown.map_or_else(Vec::new, |(_, collected)| {
        let partial: &[u8] = if collected.whole { b"false" } else { b"true" };
        block.append(PARTIAL_BODY.as_bytes(), partial);
        collected.bytes.to_vec()
    });
    let values = edits::render(&service.add, &call.summary.record(Some(original)));
    edits::add_to_request(&service.add, &values, &mut block);
    block.replace(HeaderId::EnvoyInternal, b"true");
    let timeout = service.callee.timeout;
    if !timeout.is_zero() {
        block.replace(HeaderId::EnvoyExpectedTimeout, millis(timeout).to_string().as_bytes());
    }
    let path = match &service.path {
        ServicePath::Prefixed(prefix) => Cow::Owned([prefix.as_bytes(), original.path_and_query()].concat()),
        ServicePath::Fixed(path) => Cow::Borrowed(path.as_bytes()),
    };
    let mut head = RequestHead {
        method: original.method,
        method_text: block.push_text(original.method_text()),
        path: block.push_text(&path),
        authority: block.push_text(original.authority()),
        https: original.https,
        version: Version::Http11,
        // Without a body it says so, as in Envoy.
        body: BodyLength::Fixed(body.len() as u64),
        block,
        ..RequestHead::unparsed()
    };
    call.summary.inject_span(&mut head);
    (head, body)
}

/// What is shown of a request's headers.
fn headers(authz: &Authz, original: &RequestHead) -> HeaderBlock {
    let shown = |name: &[u8]| {
        let allowed = name == b"authorization" || authz.allowed.as_ref().is_some_and(|list| any(list, name));
        allowed && name != PARTIAL_BODY.as_bytes() && !any(&authz.disallowed, name)
    };
    let lines = original.block.iter().filter(|(name, _)| shown(name));
    let mut block = HeaderBlock::default();
    if authz.raw_headers {
        lines.for_each(|(name, value)| block.append(name, value));
    } else {
        joined(lines).iter().for_each(|(name, value)| block.append(name, value));
    }
    block
}

/// What the service says, and what it leaves for others.
pub(super) fn read(service: &HttpService, answer: Answer) -> (Told, Option<Map<String, Value>>) {
    let Answer { head, body, .. } = answer;
    if head.status >= 500 {
        return (Told::Failed(None), None);
    }
    let metadata = metadata(service, &head.block);
    let told = match head.status {
        200 => Told::Granted(grant(service, &head.block)),
        status => Told::Denied(denial(service, status, &head.block, body)),
    };
    (told, metadata)
}

fn edit(name: &[u8], value: &[u8], how: How) -> Edit {
    Edit { name: String::from_utf8_lossy(name).into_owned(), value: value.to_vec(), how }
}

fn chosen(block: &HeaderBlock, list: &[StringMatch], how: How) -> impl Iterator<Item = Edit> {
    block.iter().filter(move |(name, _)| any(list, name)).map(move |(name, value)| edit(name, value, how))
}

fn grant(service: &HttpService, block: &HeaderBlock) -> Grant {
    let mut request: Vec<Edit> = chosen(block, &service.upstream, How::Set).collect();
    request.extend(chosen(block, &service.upstream_append, How::AppendOrAdd));
    let listed = block.fields_named(REMOVED.as_bytes()).map(|field| block.bytes(field.value));
    let removed = listed.flat_map(|value| value.split(|byte| *byte == b','));
    let removed = removed.map(|name| String::from_utf8_lossy(name.trim_ascii()).into_owned());
    Grant {
        request,
        remove: removed.filter(|name| !name.is_empty()).collect(),
        response: chosen(block, &service.client_on_success, How::Add).collect(),
        ..Grant::default()
    }
}

fn denial(service: &HttpService, status: u16, block: &HeaderBlock, body: Vec<u8>) -> Denial {
    const ALWAYS: &[&[u8]] = &[b"content-type", b"location", b"www-authenticate"];
    let shown = |name: &[u8]| {
        let kept = |list: &Vec<StringMatch>| any(list, name) || ALWAYS.contains(&name);
        name != REMOVED.as_bytes() && service.client.as_ref().is_none_or(kept)
    };
    let headers = block.iter().filter(|(name, _)| shown(name));
    let headers = headers.map(|(name, value)| edit(name, value, How::Add)).collect();
    Denial { status: Some(status), headers, body }
}

fn metadata(service: &HttpService, block: &HeaderBlock) -> Option<Map<String, Value>> {
    if service.metadata.is_empty() {
        return None;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let chosen = block.iter().filter(|(name, _)| any(&service.metadata, name));
    Some(chosen.map(|(name, value)| (text(name), Value::String(text(value)))).collect())
}
