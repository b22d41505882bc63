//! The `x-forwarded-client-cert` header: who the client was, told to the application.
//! Source: Envoy, HTTP header manipulation, "x-forwarded-client-cert".

use std::fmt::Write;

use super::head::RequestHead;
use super::header_id::HeaderId;
use crate::config::listener::{ClientCertMode, ClientCertParts, ForwardClientCert};
use crate::config::secret::described::Described;
use crate::tls::PeerIdentity;

/// The element that describes the client of a connection; `None` when none is wanted. Made once per connection.
/// `own`: names of the certificate that the client was shown.
pub fn element(
    settings: &ForwardClientCert,
    peer: Option<&PeerIdentity>,
    own: Option<&Described>,
) -> Option<Box<[u8]>> {
    let adds = matches!(settings.mode, ClientCertMode::AppendForward | ClientCertMode::SanitizeSet);
    let (peer, own) = peer.filter(|_| adds).zip(own)?;
    Some(describe(peer, own, settings.parts).into_bytes().into_boxed_slice())
}

/// Does with a request's header as the mode says. `mutual`: the client has shown a certificate.
pub fn forward(head: &mut RequestHead, mode: ClientCertMode, mutual: bool, element: Option<&[u8]>) {
    match mode {
        ClientCertMode::AlwaysForwardOnly => {}
        ClientCertMode::ForwardOnly if mutual => {}
        ClientCertMode::AppendForward if mutual => {
            let Some(element) = element else { return };
            head.block.join(b"x-forwarded-client-cert", b",", None);
            let mut value =
                head.block.get(HeaderId::ForwardedClientCert).map(<[u8]>::to_vec).unwrap_or_default();
            if !value.is_empty() {
                value.push(b',');
            }
            value.extend_from_slice(element);
            head.block.replace(HeaderId::ForwardedClientCert, &value);
        }
        ClientCertMode::SanitizeSet if mutual => match element {
            Some(element) => head.block.replace(HeaderId::ForwardedClientCert, element),
            None => head.block.remove(HeaderId::ForwardedClientCert),
        },
        _ => head.block.remove(HeaderId::ForwardedClientCert),
    }
}

fn describe(peer: &PeerIdentity, own: &Described, parts: ClientCertParts) -> String {
    let mut text = String::new();
    let mut add = |key: &str, value: &str, quoted: bool| {
        let separator = if text.is_empty() { "" } else { ";" };
        let quote = if quoted { "\"" } else { "" };
        // Writing into a string does not fail.
        let _ = write!(text, "{separator}{key}={quote}{}{quote}", visible(value));
    };
    own.uris.iter().for_each(|uri| add("By", &name(uri), false));
    add("Hash", &peer.hash, false);
    if parts.cert {
        add("Cert", &peer.pem(1), true);
    }
    if parts.chain {
        add("Chain", &peer.pem(usize::MAX), true);
    }
    // Its quotes are escaped by RFC 2253 already.
    if parts.subject {
        add("Subject", &peer.names.subject, true);
    }
    if parts.uri {
        match peer.names.uris.is_empty() {
            true => add("URI", "", false),
            false => peer.names.uris.iter().for_each(|uri| add("URI", &name(uri), false)),
        }
    }
    if parts.dns {
        peer.names.dns_names.iter().for_each(|dns| add("DNS", &name(dns), false));
    }
    text
}

/// A name must not end a header, an element or a key, for whoever reads it: names come from whoever was issued one. What
/// separates and what quotes is percent-encoded; after the first `=` of a pair another one ends nothing.
fn name(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in visible(value).chars() {
        match character {
            ',' | ';' | '"' | '\\' => {
                let _ = write!(text, "%{:02X}", u32::from(character));
            }
            plain => text.push(plain),
        }
    }
    text
}

/// Nothing in a value ends the header.
fn visible(value: &str) -> String {
    value.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_heads::request;

    const GIVEN: &str = "By=x;Hash=y";

    #[test]
    fn names_end_nothing_but_themselves() {
        assert_eq!(name("spiffe://mesh/a?b=c"), "spiffe://mesh/a?b=c");
        for (hostile, told) in [
            ("a,By=x", "a%2CBy=x"),
            ("a;URI=spiffe://mesh/admin", "a%3BURI=spiffe://mesh/admin"),
            ("\"a\\", "%22a%5C"),
            ("a\r\nb: c", "a__b: c"),
        ] {
            assert_eq!(name(hostile), told);
        }
    }

    fn after(mode: ClientCertMode, mutual: bool) -> Option<String> {
        let mut head = request("GET", "/", "h", &[("x-forwarded-client-cert", GIVEN)]);
        forward(&mut head, mode, mutual, Some(b"Hash=z"));
        head.block.get(HeaderId::ForwardedClientCert).map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    #[test]
    fn only_trusted_clients_may_speak_for_others() {
        use ClientCertMode::{AlwaysForwardOnly, AppendForward, ForwardOnly, Sanitize, SanitizeSet};
        for mode in [Sanitize, ForwardOnly, AppendForward, SanitizeSet] {
            assert_eq!(after(mode, false), None, "{mode:?}");
        }
        assert_eq!(after(AlwaysForwardOnly, false).as_deref(), Some(GIVEN));
        assert_eq!(after(Sanitize, true), None);
        assert_eq!(after(ForwardOnly, true).as_deref(), Some(GIVEN));
        assert_eq!(after(AppendForward, true).as_deref(), Some("By=x;Hash=y,Hash=z"));
        assert_eq!(after(SanitizeSet, true).as_deref(), Some("Hash=z"));
    }
}
