//! The question over gRPC: `envoy.service.auth.v3.CheckRequest`, written straight into its frame.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::matcher::StringMatch;
use crate::config::filter::authz::{Authz, Body, CheckSettings};
use crate::config::secret::described::Described;
use crate::http::filter::{Call, Collected};
use crate::http::head::{BodyLength, RequestHead, Version};
use crate::observe::protobuf::Message;
use crate::observe::protobuf::common::{address, structure, text, time};
use crate::tls::PeerIdentity;

/// Says how much of the body a service sees. Of the client it would be a lie.
pub(super) const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";

/// The two ends of a connection, as a service is told of them.
#[derive(Debug)]
pub(crate) struct Ends<'c> {
    /// Where the client connects from.
    pub(crate) peer: SocketAddr,
    /// What the client says that it is; nothing where it says nothing.
    pub(crate) service: &'c [u8],
    /// The certificate that it has shown.
    pub(crate) identity: Option<&'c PeerIdentity>,
    /// The service is shown that, too.
    pub(crate) certificate: bool,
    /// The address that the client meant.
    pub(crate) destination: SocketAddr,
    /// The certificate that the client was shown.
    pub(crate) own: Option<&'c Described>,
    /// SNI, if the service is shown it.
    pub(crate) server_name: Option<&'c str>,
}

/// A question about a connection.
pub(crate) fn of_connection(ends: &Ends<'_>) -> Vec<u8> {
    framed(|attributes| {
        ends.source_and_destination(attributes);
        ends.session(attributes);
    })
}

/// `CheckRequest` with these attributes, behind gRPC's frame head.
fn framed(write: impl FnOnce(&mut Message<'_>)) -> Vec<u8> {
    let mut out = vec![0; 5];
    Message(&mut out).message(1, write);
    let length = u32::try_from(out.len() - 5).unwrap_or(u32::MAX);
    out[1..5].copy_from_slice(&length.to_be_bytes());
    out
}

/// A question about a request.
pub(super) fn of_request(
    authz: &Authz,
    levels: &[&CheckSettings],
    shown: Option<(Body, Collected<'_>)>,
    call: &Call<'_, '_>,
) -> Vec<u8> {
    let ends = Ends {
        peer: call.ctx.connection.peer,
        service: call.head.block.get_by_name(b"x-envoy-downstream-service-cluster").unwrap_or_default(),
        identity: call.ctx.peer_identity(),
        certificate: authz.peer_certificate,
        destination: call.ctx.connection.destination,
        own: call.ctx.connection.own.as_deref(),
        server_name: authz.tls_session.then_some(&*call.ctx.connection.server_name),
    };
    framed(|attributes| {
        ends.source_and_destination(attributes);
        attributes.message(4, |request| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            time(1, now.as_secs(), now.subsec_nanos(), request);
            request.message(2, |http| http_request(authz, shown, call, http));
        });
        for (name, value) in context(levels) {
            attributes.message(10, |entry| {
                entry.bytes(1, name.as_bytes());
                entry.bytes(2, value.as_bytes());
            });
        }
        attributes.message(11, |metadata| metadata_context(authz, call, metadata));
        ends.session(attributes);
        attributes.message(13, |_| {});
    })
}

/// Settings of all levels, those of more specific ones over those of others.
fn context<'s>(levels: &[&'s CheckSettings]) -> BTreeMap<&'s str, &'s str> {
    let least_first = levels.iter().rev();
    least_first.flat_map(|level| level.context.iter().map(|(name, value)| (&**name, &**value))).collect()
}

impl Ends<'_> {
    fn source_and_destination(&self, attributes: &mut Message<'_>) {
        attributes.message(1, |peer| self.source(peer));
        attributes.message(2, |peer| {
            address(1, self.destination, peer);
            if let Some(own) = self.own {
                let name = own.uris.first().or(own.dns_names.first()).unwrap_or(&own.subject);
                text(4, name.as_bytes(), peer);
            }
        });
    }

    fn source(&self, peer: &mut Message<'_>) {
        address(1, self.peer, peer);
        text(2, self.service, peer);
        if let Some(identity) = self.identity {
            text(4, identity.name().unwrap_or(&identity.names.subject).as_bytes(), peer);
            if self.certificate {
                peer.bytes(5, identity.pem(1).as_bytes());
            }
        }
    }

    fn session(&self, attributes: &mut Message<'_>) {
        if let Some(name) = self.server_name {
            attributes.message(12, |session| text(1, name.as_bytes(), session));
        }
    }
}

fn metadata_context(authz: &Authz, call: &Call<'_, '_>, metadata: &mut Message<'_>) {
    let Some(known) = &call.summary.metadata else { return };
    for name in &authz.namespaces {
        if let Some(fields) = known.namespace(name) {
            metadata.message(1, |entry| {
                entry.bytes(1, name.as_bytes());
                entry.message(2, |out| structure(fields, out));
            });
        }
    }
}

fn http_request(
    authz: &Authz,
    shown: Option<(Body, Collected<'_>)>,
    call: &Call<'_, '_>,
    http: &mut Message<'_>,
) {
    let head = &*call.head;
    let id = call.ctx.local.random(|rng| rng.u64(..));
    http.bytes(1, id.to_string().as_bytes());
    text(2, head.method_text(), http);
    let partial = shown.map(|(_, collected)| if collected.whole { "false" } else { "true" });
    headers(authz, head, partial, http);
    text(4, head.path_and_query(), http);
    text(5, head.authority(), http);
    text(6, head.scheme().as_bytes(), http);
    let protocol = match head.version {
        Version::Http2 => "HTTP/2",
        other => other.as_str(),
    };
    text(10, protocol.as_bytes(), http);
    match shown {
        Some((Body { as_bytes: true, .. }, collected)) => http.bytes(12, collected.bytes),
        Some((_, collected)) => text(11, collected.bytes, http),
        None => {}
    }
}

/// Headers with pseudo-headers: a map of joined values, or raw and line by line.
fn headers(authz: &Authz, head: &RequestHead, partial: Option<&str>, http: &mut Message<'_>) {
    let length = match head.body {
        BodyLength::Fixed(length) => Some(length.to_string()),
        BodyLength::None | BodyLength::Streamed => None,
    };
    let pseudo: [(&[u8], &[u8]); 4] = [
        (b":method", head.method_text()),
        (b":path", head.path_and_query()),
        (b":authority", head.authority()),
        (b":scheme", head.scheme().as_bytes()),
    ];
    let length = length.iter().map(|length| (&b"content-length"[..], length.as_bytes()));
    let lines = pseudo.into_iter().chain(length).chain(head.block.iter());
    let lines = lines.filter(|(name, _)| {
        *name != PARTIAL_BODY.as_bytes() && is_shown(name, authz.allowed.as_deref(), &authz.disallowed)
    });
    let own = partial.map(|partial| (PARTIAL_BODY.as_bytes(), partial.as_bytes()));
    if authz.raw_headers {
        return http.message(13, |map| {
            for (name, value) in lines.chain(own) {
                map.message(1, |header| {
                    text(1, name, header);
                    header.bytes(3, value);
                });
            }
        });
    }
    for (name, value) in joined(lines.chain(own)) {
        http.message(3, |entry| {
            text(1, name, entry);
            text(2, &value, entry);
        });
    }
}

/// Whether a service is shown a header.
fn is_shown(name: &[u8], allowed: Option<&[StringMatch]>, disallowed: &[StringMatch]) -> bool {
    allowed.is_none_or(|allowed| any(allowed, name)) && !any(disallowed, name)
}

/// Whether one of these matches.
pub(super) fn any(matchers: &[StringMatch], name: &[u8]) -> bool {
    matchers.iter().any(|matcher| matcher.matches(name))
}

/// Values of the same name behind each other, in the order of the names' first lines.
pub(super) fn joined<'h>(lines: impl Iterator<Item = (&'h [u8], &'h [u8])>) -> Vec<(&'h [u8], Vec<u8>)> {
    let mut all: Vec<(&[u8], Vec<u8>)> = Vec::new();
    for (name, value) in lines {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => {
                values.push(b',');
                values.extend_from_slice(value);
            }
            None => all.push((name, value.to_vec())),
        }
    }
    all
}
