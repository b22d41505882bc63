//! Operators about TLS: `DOWNSTREAM_` or `UPSTREAM_`, then the fact.

use super::super::FormatError;
use super::super::time::TimeFormat;
use crate::tls::Fingerprint;

/// Which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe::format) enum TlsSide {
    /// The client's.
    Downstream,
    /// The host's.
    Upstream,
}

/// What TLS tells of a connection.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::observe::format) enum TlsFact {
    Version,
    Cipher,
    Group,
    /// SNI of a connection to a host.
    ServerName,
    /// Names of the peer's certificate.
    Peer(NameKind),
    /// Names of ours.
    Local(NameKind),
    PeerIssuer,
    PeerFingerprint(Fingerprint),
    PeerSerial,
    /// Of the certificate behind the leaf.
    IssuerFingerprint,
    IssuerSerial,
    ChainFingerprints(Fingerprint),
    ChainSerials,
    PeerCertificate,
    PeerValidFrom(TimeFormat),
    PeerValidUntil(TimeFormat),
}

/// Kinds of names in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe::format) enum NameKind {
    Uri,
    Dns,
    Address,
    Email,
    Other,
    Subject,
}

const NAMES: &[(&str, NameKind)] = &[
    ("URI_SAN", NameKind::Uri),
    ("DNS_SAN", NameKind::Dns),
    ("IP_SAN", NameKind::Address),
    ("EMAIL_SAN", NameKind::Email),
    ("OTHERNAME_SAN", NameKind::Other),
    ("SUBJECT", NameKind::Subject),
];

const FACTS: &[(&str, TlsFact)] = &[
    ("TLS_VERSION", TlsFact::Version),
    ("TLS_CIPHER", TlsFact::Cipher),
    ("TLS_GROUP", TlsFact::Group),
    ("PEER_ISSUER", TlsFact::PeerIssuer),
    ("PEER_SERIAL", TlsFact::PeerSerial),
    ("PEER_FINGERPRINT_1", TlsFact::PeerFingerprint(Fingerprint::Sha1)),
    ("PEER_FINGERPRINT_256", TlsFact::PeerFingerprint(Fingerprint::Sha256)),
    ("PEER_ISSUER_FINGERPRINT_256", TlsFact::IssuerFingerprint),
    ("PEER_ISSUER_SERIAL", TlsFact::IssuerSerial),
    ("PEER_CHAIN_FINGERPRINTS_1", TlsFact::ChainFingerprints(Fingerprint::Sha1)),
    ("PEER_CHAIN_FINGERPRINTS_256", TlsFact::ChainFingerprints(Fingerprint::Sha256)),
    ("PEER_CHAIN_SERIALS", TlsFact::ChainSerials),
    ("PEER_CERT", TlsFact::PeerCertificate),
];

/// The fact called `name`, if it is one of TLS. Arguments are the pattern of a time.
pub(super) fn fact(name: &str, arguments: Option<&str>) -> Result<Option<(TlsSide, TlsFact)>, FormatError> {
    let Some((side, rest)) = side(name) else { return Ok(None) };
    let valid =
        |fact: fn(TimeFormat) -> TlsFact| Ok(Some((side, fact(TimeFormat::parse(arguments.unwrap_or(""))?))));
    match (side, rest) {
        (_, "PEER_CERT_V_START") => return valid(TlsFact::PeerValidFrom),
        (_, "PEER_CERT_V_END") => return valid(TlsFact::PeerValidUntil),
        (TlsSide::Upstream, "SERVER_NAME") => return Ok(Some((side, TlsFact::ServerName))),
        _ => {}
    }
    let named = |prefix: &str, fact: fn(NameKind) -> TlsFact| {
        let rest = rest.strip_prefix(prefix)?;
        NAMES.iter().find(|(known, _)| *known == rest).map(|(_, kind)| fact(*kind))
    };
    let plain = || FACTS.iter().find(|(known, _)| *known == rest).map(|(_, fact)| fact.clone());
    let fact = plain().or_else(|| named("PEER_", TlsFact::Peer)).or_else(|| named("LOCAL_", TlsFact::Local));
    match (fact, arguments) {
        (Some(_), Some(_)) => Err(FormatError(format!("operator %{name}% takes no arguments"))),
        (fact, _) => Ok(fact.map(|fact| (side, fact))),
    }
}

fn side(name: &str) -> Option<(TlsSide, &str)> {
    let downstream = name.strip_prefix("DOWNSTREAM_").map(|rest| (TlsSide::Downstream, rest));
    downstream.or_else(|| name.strip_prefix("UPSTREAM_").map(|rest| (TlsSide::Upstream, rest)))
}
