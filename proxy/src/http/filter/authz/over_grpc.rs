//! A service asked over gRPC, about a request or a connection. Source: `envoy.service.auth.v3.Authorization`; gRPC over HTTP/2.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::answer::{Denial, Grant, Told};
use super::apply::{Edit, How};
use super::check;
use crate::config::filter::authz::{Authz, Body, CheckSettings, GrpcService};
use crate::http::filter::{Call, Collected};
use crate::http::head::{BodyLength, HeaderBlock, Method, RequestHead, Version};
use crate::http::header_id::HeaderId;
use crate::http::subrequest::Answer;
use crate::http::{edits, grpc};
use crate::observe::protobuf::read::{Fields, Item, Unreadable, structure};
use crate::observe::record::Record;
use crate::upstream::connect::millis;

const METHOD: &[u8] = b"/envoy.service.auth.v3.Authorization/Check";

/// The call's head and body.
pub(super) fn question(
    authz: &Authz,
    service: &GrpcService,
    cluster: &str,
    levels: &[&CheckSettings],
    shown: Option<(Body, Collected<'_>)>,
    call: &Call<'_, '_>,
) -> (RequestHead, Vec<u8>) {
    let body = check::of_request(authz, levels, shown, call);
    let record = call.summary.record(Some(&*call.head));
    let mut head = head(service, cluster, call.ctx.local.own_address, &record);
    call.summary.inject_span(&mut head);
    (head, body)
}

/// The head of a call to a service in this cluster, from our own address.
pub(crate) fn head(service: &GrpcService, cluster: &str, own: IpAddr, record: &Record<'_>) -> RequestHead {
    let mut block = HeaderBlock::default();
    block.add(HeaderId::ContentType, b"application/grpc");
    block.append(b"x-forwarded-for", own.to_string().as_bytes());
    let timeout = service.callee.timeout;
    if !timeout.is_zero() {
        block.add(HeaderId::GrpcTimeout, grpc::timeout_text(timeout).as_bytes());
    }
    if !service.plain {
        block.add(HeaderId::EnvoyInternal, b"true");
        if !timeout.is_zero() {
            block.add(HeaderId::EnvoyExpectedTimeout, millis(timeout).to_string().as_bytes());
        }
    }
    let values = edits::render(&service.metadata, record);
    edits::add_to_request(&service.metadata, &values, &mut block);
    let authority = if service.authority.is_empty() { cluster } else { &service.authority };
    RequestHead {
        method: Method::Post,
        method_text: block.push_text(b"POST"),
        path: block.push_text(METHOD),
        authority: block.push_text(authority.as_bytes()),
        version: Version::Http2,
        body: BodyLength::Streamed,
        accepts_trailers: true,
        block,
        ..RequestHead::unparsed()
    }
}

/// Whether what was asked about may pass; `None`: nobody knows.
pub(crate) fn verdict(answer: &Answer) -> Option<bool> {
    match read(answer).0 {
        Told::Granted(_) => Some(true),
        Told::Denied(_) => Some(false),
        Told::Failed(_) => None,
    }
}

/// What the service says, and what it leaves for others.
pub(super) fn read(answer: &Answer) -> (Told, Option<Map<String, Value>>) {
    let status = answer.trailers.as_ref().and_then(|block| block.get(HeaderId::GrpcStatus));
    let status = status.or_else(|| answer.head.block.get(HeaderId::GrpcStatus));
    if answer.head.status != 200 || status != Some(b"0") {
        return (Told::Failed(None), None);
    }
    message(&answer.body).and_then(response).unwrap_or((Told::Failed(None), None))
}

/// The one uncompressed message in its frame.
fn message(body: &[u8]) -> Result<&[u8], Unreadable> {
    let (head, message) = body.split_at_checked(5).ok_or(Unreadable)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let whole = head[0] == 0 && usize::try_from(length) == Ok(message.len());
    if whole { Ok(message) } else { Err(Unreadable) }
}

/// `CheckResponse`
fn response(message: &[u8]) -> Result<(Told, Option<Map<String, Value>>), Unreadable> {
    let (mut code, mut ok, mut denied, mut error) = (0, None, None, None);
    let (mut metadata, mut older) = (None, None);
    let mut fields = Fields::of(message);
    while let Some((number, item)) = fields.field()? {
        match number {
            1 => code = self::code(item.bytes()?)?,
            2 => (ok, denied, error) = (None, Some(denial(item.bytes()?)?), None),
            3 => {
                let (grant, fields) = grant(item.bytes()?)?;
                (ok, denied, error, older) = (Some(grant), None, None, fields);
            }
            4 => metadata = Some(structure(item.bytes()?)?),
            5 => (ok, denied, error) = (None, None, Some(denial(item.bytes()?)?)),
            _ => {}
        }
    }
    let told = match (code, error) {
        (0, _) => Told::Granted(ok.unwrap_or_default()),
        (_, Some(error)) => Told::Failed(Some(error)),
        _ => Told::Denied(denied.unwrap_or_default()),
    };
    Ok((told, older.or(metadata)))
}

/// `google.rpc.Status.code`
fn code(message: &[u8]) -> Result<u64, Unreadable> {
    let (mut code, mut fields) = (0, Fields::of(message));
    while let Some((number, item)) = fields.field()? {
        if number == 1 {
            code = item.number()?;
        }
    }
    Ok(code)
}

/// `DeniedHttpResponse`
fn denial(message: &[u8]) -> Result<Denial, Unreadable> {
    let mut denial = Denial::default();
    let mut fields = Fields::of(message);
    while let Some((number, item)) = fields.field()? {
        match number {
            1 => denial.status = u16::try_from(code(item.bytes()?)?).ok().filter(|status| *status > 0),
            2 => denial.headers.push(option(item.bytes()?, Side::Denial)?),
            3 => denial.body = item.bytes()?.to_vec(),
            _ => {}
        }
    }
    Ok(denial)
}

/// `OkHttpResponse`, with the metadata that services of old put there.
fn grant(message: &[u8]) -> Result<(Grant, Option<Map<String, Value>>), Unreadable> {
    let (mut grant, mut metadata) = (Grant::default(), None);
    let mut fields = Fields::of(message);
    while let Some((number, item)) = fields.field()? {
        match number {
            2 => grant.request.push(option(item.bytes()?, Side::Request)?),
            3 => metadata = Some(structure(item.bytes()?)?),
            5 => grant.remove.push(item.text()?.to_owned()),
            6 => grant.response.push(option(item.bytes()?, Side::Response)?),
            7 => grant.query_set.push(pair(item.bytes()?)?),
            8 => grant.query_remove.push(item.text()?.to_owned()),
            _ => {}
        }
    }
    Ok((grant, metadata))
}

/// `QueryParameter`
fn pair(message: &[u8]) -> Result<(String, String), Unreadable> {
    let (mut pair, mut fields) = ((String::new(), String::new()), Fields::of(message));
    while let Some((number, item)) = fields.field()? {
        match number {
            1 => pair.0 = item.text()?.to_owned(),
            2 => pair.1 = item.text()?.to_owned(),
            _ => {}
        }
    }
    Ok(pair)
}

/// Where a header goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Response,
    Denial,
}

/// `HeaderValueOption`. What it does by default depends on where the header goes, as in Envoy: requests know replacing
/// and `append` only.
fn option(message: &[u8], side: Side) -> Result<Edit, Unreadable> {
    let (mut name, mut value) = (String::new(), Vec::new());
    let (mut append, mut action) = (None, 0);
    let mut fields = Fields::of(message);
    while let Some((number, item)) = fields.field()? {
        match number {
            1 => (name, value) = header(item.bytes()?)?,
            2 => append = Some(code(item.bytes()?)? != 0),
            3 => action = item.number()?,
            _ => {}
        }
    }
    let how = match (side, append, action) {
        (Side::Request, Some(true), _) => How::Append,
        (Side::Request, ..) | (Side::Response, Some(false), _) => How::Set,
        (Side::Response, Some(true), _) | (Side::Response, None, 0) | (Side::Denial, ..) => How::Add,
        (Side::Response, None, 1) => How::AddIfAbsent,
        (Side::Response, None, 2) => How::Set,
        (Side::Response, None, 3) => How::SetIfPresent,
        (Side::Response, None, _) => return Err(Unreadable),
    };
    Ok(Edit { name, value, how })
}

/// `HeaderValue`: a raw value counts where there is no text.
fn header(message: &[u8]) -> Result<(String, Vec<u8>), Unreadable> {
    let (mut name, mut value, mut raw) = (String::new(), Vec::new(), Vec::new());
    let mut fields = Fields::of(message);
    while let Some((number, item)) = fields.field()? {
        match (number, item) {
            (1, item) => name = item.text()?.to_ascii_lowercase(),
            (2, item) => value = item.bytes()?.to_vec(),
            (3, Item::Bytes(bytes)) => raw = bytes.to_vec(),
            _ => {}
        }
    }
    Ok((name, if value.is_empty() { raw } else { value }))
}

#[cfg(test)]
mod tests;
