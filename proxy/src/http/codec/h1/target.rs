//! Request targets and authorities. RFC 9112 section 3.2, RFC 9110 sections 4 and 7.2, RFC 3986.
//!
//! Decides which of the four forms a target has, whether it may be used with its method, and what path
//! and authority it names. Does not normalise paths: that is policy.

use std::net::Ipv6Addr;

use super::parse::bad;
use crate::base::details::Detail;
use crate::base::error::DownstreamError;
use crate::http::head::{Method, Span};

/// Longest host, bytes: the longest DNS name.
const MAX_HOST: usize = 253;

const INVALID_URL: DownstreamError = bad(Detail::H1_INVALID_URL);
const INVALID_SCHEME: DownstreamError = bad(Detail::H1_INVALID_SCHEME);
const ABSOLUTE_REFUSED: DownstreamError =
    DownstreamError { status: 404, detail: Detail::ABSOLUTE_PATH_REJECTED };

/// What a target says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Where the path lies.
    pub path: Path,
    /// Authority of absolute-form and of CONNECT: replaces `host`.
    pub authority: Option<Span>,
    /// Scheme of absolute-form.
    pub https: Option<bool>,
}

/// Path of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// As written.
    Written(Span),
    /// Absolute-form left the path out: `/`, before the query that lies here.
    Root(Span),
    /// Absolute-form of `OPTIONS *`.
    Asterisk,
}

/// Reads the target at `span` of `text`, which is visible ASCII.
pub(super) fn read(
    text: &[u8],
    span: Span,
    method: Method,
    allow_absolute: bool,
) -> Result<Target, DownstreamError> {
    let target = span.of(text);
    if memchr::memchr(b'#', target).is_some() {
        return Err(INVALID_URL);
    }
    if method == Method::Connect {
        check_authority(target, Port::Required).map_err(|_| INVALID_URL)?;
        let path = Path::Written(Span::default());
        return Ok(Target { path, authority: Some(span), https: None });
    }
    let plain = Target { path: Path::Written(span), authority: None, https: None };
    match target {
        [b'/', ..] => Ok(plain),
        b"*" if method == Method::Options => Ok(plain),
        _ if !allow_absolute && has_scheme(target) => Err(ABSOLUTE_REFUSED),
        _ => absolute(target, span, method),
    }
}

/// A path that has one. Elsewhere a `#` is no part of any form.
pub(super) fn has_fragment(target: &[u8]) -> bool {
    target.starts_with(b"/") && memchr::memchr(b'#', target).is_some()
}

fn has_scheme(target: &[u8]) -> bool {
    memchr::memmem::find(target, b"://").is_some()
}

/// Takes absolute-form apart.
fn absolute(target: &[u8], span: Span, method: Method) -> Result<Target, DownstreamError> {
    let colon = memchr::memmem::find(target, b"://").ok_or(INVALID_URL)?;
    let https = match &target[..colon] {
        scheme if scheme.eq_ignore_ascii_case(b"http") => false,
        scheme if scheme.eq_ignore_ascii_case(b"https") => true,
        _ => return Err(INVALID_SCHEME),
    };
    let start = colon + 3;
    let rest = &target[start..];
    let end = start + rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    check_authority(&target[start..end], Port::Optional).map_err(|_| INVALID_URL)?;
    let at = span.start as usize;
    let behind = Span::new(at + end, at + target.len());
    let path = match target.get(end) {
        Some(b'/') => Path::Written(behind),
        None if method == Method::Options => Path::Asterisk,
        _ => Path::Root(behind),
    };
    Ok(Target { path, authority: Some(Span::new(at + start, at + end)), https: Some(https) })
}

/// Whether an authority names a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// It may.
    Optional,
    /// It must.
    Required,
}

/// An authority that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidAuthority;

/// Checks `host [":" port]`: a name, an IPv4 or a bracketed IPv6 address; no user information.
pub(super) fn check_authority(authority: &[u8], port: Port) -> Result<(), InvalidAuthority> {
    let (host_is_valid, host_end) = match authority {
        [b'[', rest @ ..] => {
            let end = memchr::memchr(b']', rest).ok_or(InvalidAuthority)?;
            (is_ipv6(&rest[..end]), end + 2)
        }
        _ => {
            let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
            (is_name(&authority[..end]), end)
        }
    };
    let port_is_valid = match &authority[host_end..] {
        [] => port == Port::Optional,
        [b':', digits @ ..] => is_port(digits),
        _ => false,
    };
    if host_is_valid && port_is_valid { Ok(()) } else { Err(InvalidAuthority) }
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// A registered name: RFC 3986 without percent escapes and comma.
fn is_name(name: &[u8]) -> bool {
    (1..=MAX_HOST).contains(&name.len()) && name.iter().all(|byte| HOST[*byte as usize])
}

fn is_port(digits: &[u8]) -> bool {
    (1..=5).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_digit)
        && digits.iter().fold(0_u32, |port, digit| port * 10 + u32::from(digit - b'0')) <= 65535
}

/// Bytes of a registered name.
static HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let this = byte as u8;
        let mark = matches!(
            this,
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
        );
        table[byte] = mark || this.is_ascii_alphanumeric();
        byte += 1;
    }
    table
};
