//! What the connection manager does to a request's headers before routing: trust decisions,
//! `x-forwarded-*`, `x-envoy-*` from strangers, `x-request-id`. Order and rules are Envoy's
//! (HTTP header manipulation in its documentation).

use std::net::{IpAddr, SocketAddr};

use super::client_cert;
use super::head::{Method, RequestHead, Version};
use super::header_id::HeaderId;
use super::route::without_port;
use crate::base::details::Detail;
use crate::base::error::{DownstreamError, ProxyError};
use crate::config::listener::{HttpSettings, StripHostPort, Underscores};
use crate::upstream::local::Local;

/// Control headers that a client outside the mesh must not use.
const EXTERNAL_STRIPPED: &[&[u8]] = &[
    b"x-envoy-retriable-status-codes",
    b"x-envoy-retriable-header-names",
    b"x-envoy-retry-on",
    b"x-envoy-retry-grpc-on",
    b"x-envoy-max-retries",
    b"x-envoy-upstream-alt-stat-name",
    b"x-envoy-upstream-rq-timeout-ms",
    b"x-envoy-upstream-rq-per-try-timeout-ms",
    b"x-envoy-upstream-rq-timeout-alt-response",
    b"x-envoy-expected-rq-timeout-ms",
    b"x-envoy-force-trace",
    b"x-envoy-ip-tags",
    b"x-envoy-original-url",
    b"x-envoy-hedge-on-per-try-timeout",
    b"x-envoy-upstream-stream-duration-ms",
];

/// Further headers that only a trusted hop in front of an edge may set.
const EDGE_STRIPPED: &[&[u8]] = &[
    b"x-envoy-decorator-operation",
    b"x-envoy-downstream-service-cluster",
    b"x-envoy-downstream-service-node",
    b"x-envoy-original-path",
    b"x-envoy-original-host",
];

/// Who called, as far as it can be trusted.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Client address; port 0 when it comes from a header.
    pub client: SocketAddr,
    /// From inside the mesh (`x-envoy-internal`).
    pub internal: bool,
}

/// Does with names that hold `_` as `headers_with_underscores_action` says: some servers take them for `-`.
pub fn check_names(head: &mut RequestHead, action: Underscores) -> Result<(), ProxyError> {
    let odd = |name: &[u8]| name.contains(&b'_');
    match action {
        Underscores::Allow => {}
        Underscores::Drop => head.block.retain(|_, name, _| !odd(name)),
        Underscores::Reject if head.block.iter().any(|(name, _)| odd(name)) => {
            let detail = match head.version {
                Version::Http2 => Detail::H2_UNDERSCORE,
                Version::Http10 | Version::Http11 => Detail::H1_UNDERSCORE,
            };
            return Err(ProxyError::Downstream(DownstreamError { status: 400, detail }));
        }
        Underscores::Reject => {}
    }
    Ok(())
}

/// Takes the final dot off the host (`strip_trailing_host_dot`), which may have a port behind it.
pub fn strip_trailing_dot(head: &mut RequestHead) {
    let authority = head.authority();
    let host = without_port(authority);
    if let Some(bare) = host.strip_suffix(b".").filter(|bare| !bare.is_empty()) {
        let stripped = [bare, &authority[host.len()..]].concat();
        head.set_authority(&stripped);
    }
}

/// Takes the port off the authority, as `strip_matching_host_port` or `strip_any_host_port` says. That of CONNECT stays:
/// it says where to go. `own`: the port the request came to.
pub fn strip_port(head: &mut RequestHead, mode: StripHostPort, own: u16) {
    if mode == StripHostPort::Never || head.method == Method::Connect {
        return;
    }
    let authority = head.authority();
    let host = without_port(authority);
    let Some(port) = authority.get(host.len() + 1..) else { return };
    let matches = || std::str::from_utf8(port).ok().and_then(|port| port.parse().ok()) == Some(own);
    if mode == StripHostPort::Any || matches() {
        let host = host.to_vec();
        head.set_authority(&host);
    }
}

/// Removes what only callers inside may send (`internal_only_headers`).
pub fn strip_internal(head: &mut RequestHead, names: &[Box<str>]) {
    if !names.is_empty() {
        head.block.retain(|_, name, _| !names.iter().any(|internal| internal.as_bytes() == name));
    }
}

/// What the client of a connection has shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientCertificate<'c> {
    /// A certificate at all.
    pub shown: bool,
    /// As `x-forwarded-client-cert` describes it.
    pub element: Option<&'c [u8]>,
}

/// Applies the rules. `own_port`: the port the request came to.
pub fn prepare(
    head: &mut RequestHead,
    settings: &HttpSettings,
    local: &Local,
    peer: SocketAddr,
    own_port: u16,
    tls: bool,
    certificate: ClientCertificate<'_>,
) -> Caller {
    head.block.join(b"x-forwarded-for", b",", None);
    check_referer(head);
    let trust = Trust::decide(head, settings, peer);
    forwarded_for(head, settings, peer.ip().to_canonical(), local.own_address);
    forwarded_port(head, settings, own_port);
    forwarded_proto(head, settings, tls);
    strip_control_headers(head, settings, &trust);
    client_cert::forward(head, settings.client_cert.mode, certificate.shown, certificate.element);
    request_id(head, settings, local, &trust);
    if let Some(via) = &settings.via {
        head.block.append(b"via", via.as_bytes());
        head.block.join(b"via", b", ", None);
    }
    let port = if trust.client == peer.ip() { peer.port() } else { 0 };
    Caller { client: SocketAddr::new(trust.client, port), internal: trust.internal }
}

/// Who sent this request, as far as headers may be believed.
struct Trust {
    client: IpAddr,
    internal: bool,
    edge: bool,
}

impl Trust {
    fn decide(head: &RequestHead, settings: &HttpSettings, peer: SocketAddr) -> Self {
        let forwarded = head.block.get(HeaderId::ForwardedFor);
        let is_internal = |ip: IpAddr| settings.internal_ranges.iter().any(|net| net.contains(&ip));
        let hops = settings.xff_num_trusted_hops as usize;
        if settings.use_remote_address {
            let internal = forwarded.is_none() && is_internal(peer.ip());
            let trusted = hops.checked_sub(1).and_then(|back| nth_from_right(forwarded, back));
            return Self { client: trusted.unwrap_or(peer.ip()), internal, edge: !internal };
        }
        let client = nth_from_right(forwarded, hops);
        let single = forwarded.is_some_and(|value| !value.contains(&b','));
        let internal = single && client.is_some_and(is_internal);
        Self { client: client.unwrap_or(peer.ip()), internal, edge: false }
    }
}

/// The `back`-th address from the right of `x-forwarded-for`, zero being the last.
fn nth_from_right(forwarded: Option<&[u8]>, back: usize) -> Option<IpAddr> {
    let entry = forwarded?.rsplit(|byte| *byte == b',').nth(back)?;
    std::str::from_utf8(entry.trim_ascii()).ok()?.parse().ok()
}

/// Appends the peer; one on loopback goes by the address that this machine has elsewhere.
fn forwarded_for(head: &mut RequestHead, settings: &HttpSettings, peer: IpAddr, own: IpAddr) {
    if !settings.use_remote_address || settings.skip_xff_append {
        return;
    }
    let mut value = head.block.get(HeaderId::ForwardedFor).map(<[u8]>::to_vec).unwrap_or_default();
    if !value.is_empty() {
        value.extend_from_slice(b",");
    }
    let client = if peer.is_loopback() { own } else { peer };
    value.extend_from_slice(client.to_string().as_bytes());
    head.block.set(b"x-forwarded-for", &value);
}

/// `append_x_forwarded_port`: the port the client came to, unless a proxy in front said so.
fn forwarded_port(head: &mut RequestHead, settings: &HttpSettings, port: u16) {
    let is_first = settings.use_remote_address && settings.xff_num_trusted_hops == 0;
    let given = head.block.get_by_name(b"x-forwarded-port").is_some();
    if settings.append_x_forwarded_port && (is_first || !given) {
        let mut text = itoa::Buffer::new();
        head.block.set(b"x-forwarded-port", text.format(port).as_bytes());
    }
}

fn forwarded_proto(head: &mut RequestHead, settings: &HttpSettings, tls: bool) {
    let transport: &[u8] = if tls { b"https" } else { b"http" };
    if settings.use_remote_address && settings.xff_num_trusted_hops == 0 {
        head.block.replace(HeaderId::ForwardedProto, transport);
        return;
    }
    match head.block.get(HeaderId::ForwardedProto) {
        Some(proto) => head.https = proto.eq_ignore_ascii_case(b"https"),
        None => head.block.add(HeaderId::ForwardedProto, transport),
    }
}

/// A referer that is repeated, or no URI without user information and fragment, is none (RFC 9110, 10.1.3).
fn check_referer(head: &mut RequestHead) {
    let Some(value) = head.block.get(HeaderId::Referer) else { return };
    let repeated = head.block.fields_named(b"referer").nth(1).is_some();
    if repeated || !is_referer(value) {
        head.block.remove(HeaderId::Referer);
    }
}

fn is_referer(value: &[u8]) -> bool {
    if value.iter().any(|byte| !byte.is_ascii_graphic() || *byte == b'#') {
        return false;
    }
    let Some(at) = memchr::memmem::find(value, b"://") else {
        // Relative: what stands before a colon in its first segment would be a scheme.
        let first = memchr::memchr(b'/', value).map_or(value, |end| &value[..end]);
        return !first.contains(&b':');
    };
    let rest = &value[at + 3..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    at > 0 && end > 0 && !rest[..end].contains(&b'@')
}

fn strip_control_headers(head: &mut RequestHead, settings: &HttpSettings, trust: &Trust) {
    const PREFIX: &[u8] = b"x-envoy-";
    let has_control = head.block.iter().any(|(name, _)| name.starts_with(PREFIX));
    if has_control {
        let (internal, edge) = (trust.internal, trust.edge);
        head.block.retain(|id, name, _| {
            let stripped = id == HeaderId::EnvoyInternal
                || (!internal && EXTERNAL_STRIPPED.contains(&name))
                || (edge && EDGE_STRIPPED.contains(&name));
            !stripped
        });
    }
    if trust.internal {
        head.block.add(HeaderId::EnvoyInternal, b"true");
    }
    if trust.edge && settings.use_remote_address {
        head.block.set(b"x-envoy-external-address", trust.client.to_string().as_bytes());
    }
}

fn request_id(head: &mut RequestHead, settings: &HttpSettings, local: &Local, trust: &Trust) {
    if !settings.generate_request_id {
        return;
    }
    let given = head.block.get(HeaderId::RequestId).is_some_and(|id| !id.is_empty());
    let replace = trust.edge && !settings.preserve_external_request_id;
    if !given || replace {
        let id = uuid_v4(local.random(|rng| rng.u128(..)));
        head.block.replace(HeaderId::RequestId, &id);
    }
}

/// Text of a version 4 UUID (RFC 9562) made from random bits.
fn uuid_v4(random: u128) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = random.to_be_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_heads::request;

    #[test]
    fn uuids_have_version_and_variant() {
        let text = uuid_v4(u128::MAX);
        assert_eq!(&text, b"ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn referers_name_a_place_and_nobody() {
        for good in ["https://a.test", "http://a.test/b?c=@", "android-app://a/", "/a", "a/b:c"] {
            assert!(is_referer(good.as_bytes()), "{good}");
        }
        for bad in ["http://me@a.test/", "http://a.test/#b", "not a uri", "about:blank", "http://", "://a"] {
            assert!(!is_referer(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn xff_entries_count_from_the_right() {
        let xff = Some(&b"1.1.1.1, 2.2.2.2,garbage , 3.3.3.3"[..]);
        assert_eq!(nth_from_right(xff, 0), "3.3.3.3".parse().ok());
        assert_eq!(nth_from_right(xff, 1), None);
        assert_eq!(nth_from_right(xff, 2), "2.2.2.2".parse().ok());
        assert_eq!(nth_from_right(xff, 9), None);
        assert_eq!(nth_from_right(None, 0), None);
    }

    #[test]
    fn external_callers_lose_control_headers() {
        let headers =
            [("x-envoy-retry-on", "5xx"), ("x-envoy-original-path", "/a"), ("x-envoy-internal", "true")];
        let mut head = request("GET", "/", "h", &headers);
        let trust = Trust { client: IpAddr::from([10, 0, 0, 1]), internal: false, edge: false };
        strip_control_headers(&mut head, &crate::http::test_heads::settings(), &trust);
        assert_eq!(head.block.get_by_name(b"x-envoy-retry-on"), None);
        assert_eq!(head.block.get_by_name(b"x-envoy-internal"), None);
        assert!(head.block.get_by_name(b"x-envoy-original-path").is_some());
    }
}
