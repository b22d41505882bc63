//! Heads across the seam: `http` types of the `h2` crate to ours and back.
//!
//! The crate has already refused malformed field blocks (RFC 9113, 8.2 and 8.3: pseudo-header rules,
//! connection-specific fields, upper case). What it lets pass and a proxy must not is refused here.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};

use super::super::StreamError;
use super::{BAD_FIELD, MALFORMED, TOO_MANY_HEADERS};
use crate::base::details::Detail;
use crate::http::head::{BodyLength, HeaderBlock, Method, RequestHead, ResponseHead, Version};
use crate::http::header_id::HeaderId;

/// A request as the server half received it. `ended`: END_STREAM came with the head.
pub fn request_head(
    request: http::request::Parts,
    ended: bool,
    max_fields: usize,
) -> Result<RequestHead, StreamError> {
    let malformed = Err(StreamError::Protocol(MALFORMED));
    if request.headers.len() > max_fields {
        return Err(StreamError::Protocol(TOO_MANY_HEADERS));
    }
    let mut block = HeaderBlock::default();
    let authority = authority_of(&request)?;
    let authority = block.push_text(&authority);
    let path = request.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let protocol = request.extensions.get::<h2::ext::Protocol>();
    let is_tunnel = request.method == http::Method::CONNECT && protocol.is_none();
    let is_path = path.starts_with('/') || (path == "*" && request.method == http::Method::OPTIONS);
    if !is_tunnel && !is_path {
        return malformed;
    }
    let path = block.push_text(if is_tunnel { b"" } else { path.as_bytes() });
    // An upgrade is a GET in HTTP/1 and an extended CONNECT here (RFC 8441): above the seam it is the former.
    let method_name: &[u8] = if protocol.is_some() { b"GET" } else { request.method.as_str().as_bytes() };
    let method = block.push_text(method_name);
    let upgrade = protocol.map(|protocol| block.push_text(protocol.as_str().to_ascii_lowercase().as_bytes()));
    let mut head = RequestHead {
        method: Method::of(method_name),
        method_text: method,
        path,
        authority,
        https: request.uri.scheme() == Some(&Scheme::HTTPS),
        version: Version::Http2,
        body: body_length(&request.headers, ended)?,
        upgrade,
        expects_continue: request.headers.get(http::header::EXPECT).is_some(),
        accepts_trailers: request.headers.get(http::header::TE).is_some(),
        block,
    };
    fill(&mut head.block, &request.headers)?;
    Ok(head)
}

/// `:authority`, else `Host`; both only when they agree. Userinfo is refused.
fn authority_of(request: &http::request::Parts) -> Result<Vec<u8>, StreamError> {
    let malformed = || StreamError::Protocol(BAD_FIELD);
    let pseudo = request.uri.authority().map(Authority::as_str);
    let mut hosts = request.headers.get_all(http::header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(malformed());
    }
    let authority = match (pseudo, host) {
        (Some(pseudo), Some(host)) if !pseudo.as_bytes().eq_ignore_ascii_case(host) => {
            return Err(malformed());
        }
        (Some(pseudo), _) => pseudo.as_bytes(),
        (None, Some(host)) => host,
        (None, None) => return Err(StreamError::Protocol(MALFORMED)),
    };
    let legal = !authority.is_empty()
        && authority.iter().all(|byte| byte.is_ascii_graphic() && !b"/?#@,".contains(byte));
    if legal { Ok(authority.to_vec()) } else { Err(malformed()) }
}

fn body_length(headers: &HeaderMap, ended: bool) -> Result<BodyLength, StreamError> {
    let declared = headers.get(http::header::CONTENT_LENGTH).map(content_length).transpose()?;
    match declared {
        Some(length) if ended && length > 0 => Ok(BodyLength::Fixed(length)),
        _ if ended => Ok(BodyLength::None),
        Some(length) => Ok(BodyLength::Fixed(length)),
        None => Ok(BodyLength::Streamed),
    }
}

fn content_length(value: &HeaderValue) -> Result<u64, StreamError> {
    let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or(StreamError::Protocol(BAD_FIELD))
}

/// Copies fields, leaving out what the codec itself speaks for; cookie crumbs become one field (RFC 9113, 8.2.3).
fn fill(block: &mut HeaderBlock, headers: &HeaderMap) -> Result<(), StreamError> {
    let mut cookies: Vec<u8> = Vec::new();
    for (name, value) in headers {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        let padded = value.first().is_some_and(u8::is_ascii_whitespace)
            || value.last().is_some_and(u8::is_ascii_whitespace);
        if padded {
            return Err(StreamError::Protocol(BAD_FIELD));
        }
        match HeaderId::of(name) {
            HeaderId::Host | HeaderId::ContentLength | HeaderId::Te | HeaderId::Expect => {}
            HeaderId::Connection
            | HeaderId::TransferEncoding
            | HeaderId::Upgrade
            | HeaderId::KeepAlive
            | HeaderId::ProxyConnection
            | HeaderId::Http2Settings => {
                return Err(StreamError::Protocol(BAD_FIELD));
            }
            HeaderId::Cookie => {
                if !cookies.is_empty() {
                    cookies.extend_from_slice(b"; ");
                }
                cookies.extend_from_slice(value);
            }
            _ => block.append(name, value),
        }
    }
    if !cookies.is_empty() {
        block.append(b"cookie", &cookies);
    }
    Ok(())
}

/// A response as the client half received it.
pub fn response_head(
    response: http::response::Parts,
    ended: bool,
    bodiless: bool,
    max_fields: usize,
) -> Result<ResponseHead, StreamError> {
    if response.headers.len() > max_fields {
        return Err(StreamError::Protocol(TOO_MANY_HEADERS));
    }
    let mut block = HeaderBlock::default();
    fill(&mut block, &response.headers)?;
    let declared = response.headers.get(http::header::CONTENT_LENGTH).map(content_length).transpose()?;
    let body = match declared {
        Some(length) if bodiless || !ended => BodyLength::Fixed(length),
        Some(length) if length > 0 => return Err(StreamError::Protocol(Detail::H2_LENGTH_MISMATCH)),
        _ if ended => BodyLength::None,
        _ => BodyLength::Streamed,
    };
    Ok(ResponseHead { block, status: response.status.as_u16(), version: Version::Http2, body, upgrade: None })
}

/// Trailers as received.
pub fn trailers(headers: &HeaderMap) -> HeaderBlock {
    let mut block = HeaderBlock::default();
    for (name, value) in headers {
        if trailer_is_allowed(HeaderId::of(name.as_str().as_bytes())) {
            block.append(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    block
}

/// Framing, routing and authentication fields have no place in trailers (RFC 9110, 6.5.1).
fn trailer_is_allowed(id: HeaderId) -> bool {
    !matches!(
        id,
        HeaderId::ContentLength
            | HeaderId::TransferEncoding
            | HeaderId::Host
            | HeaderId::Authorization
            | HeaderId::Connection
            | HeaderId::Te
            | HeaderId::Trailer
            | HeaderId::Upgrade
    )
}

/// Our block as a header map. Fields that cannot be HTTP/2 fields are an error: they were checked when they came in.
pub fn header_map(block: &HeaderBlock) -> Result<HeaderMap, StreamError> {
    let mut map = HeaderMap::with_capacity(block.len() + 2);
    for (name, value) in block.iter() {
        let name =
            HeaderName::from_lowercase(name).map_err(|_| StreamError::Protocol(Detail::H2_INVALID_NAME))?;
        let value =
            HeaderValue::from_bytes(value).map_err(|_| StreamError::Protocol(Detail::H2_INVALID_VALUE))?;
        map.append(name, value);
    }
    Ok(map)
}

/// Our request head for the client half.
pub fn request(head: &RequestHead, body: BodyLength) -> Result<http::Request<()>, StreamError> {
    let malformed = |_| StreamError::Protocol(Detail::H2_INVALID_REQUEST);
    let scheme = if head.https { Scheme::HTTPS } else { Scheme::HTTP };
    let tunnel = head.upgrade.is_some() || head.method == Method::Connect;
    let method = if tunnel { http::Method::CONNECT } else { method_of(head)? };
    let mut uri = http::uri::Parts::default();
    uri.authority = Some(Authority::try_from(head.authority()).map_err(malformed)?);
    if head.upgrade.is_some() || !tunnel {
        uri.scheme = Some(scheme);
        uri.path_and_query = Some(PathAndQuery::try_from(head.path_and_query()).map_err(malformed)?);
    }
    let uri = http::Uri::from_parts(uri).map_err(|_| StreamError::Protocol(Detail::H2_INVALID_REQUEST))?;
    let mut request = http::Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = header_map(&head.block)?;
    if head.accepts_trailers {
        request.headers_mut().insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    if let BodyLength::Fixed(length) = body {
        request.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Some(upgrade) = head.upgrade {
        let protocol = String::from_utf8_lossy(head.block.bytes(upgrade)).into_owned();
        request.extensions_mut().insert(h2::ext::Protocol::from(protocol.as_str()));
    }
    Ok(request)
}

fn method_of(head: &RequestHead) -> Result<http::Method, StreamError> {
    http::Method::from_bytes(head.method_text()).map_err(|_| StreamError::Protocol(Detail::H2_INVALID_METHOD))
}

/// Our response head for the server half. A tunnel is a 200 here, whatever HTTP/1 called it.
pub fn response(head: &ResponseHead) -> Result<http::Response<()>, StreamError> {
    let status = if head.upgrade.is_some() { 200 } else { head.status };
    let mut response = http::Response::new(());
    *response.status_mut() =
        http::StatusCode::from_u16(status).map_err(|_| StreamError::Protocol(Detail::H2_INVALID_STATUS))?;
    *response.headers_mut() = header_map(&head.block)?;
    if let (BodyLength::Fixed(length), None) = (head.body, head.upgrade) {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}
