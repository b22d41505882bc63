//! What TLS tells of the client's and the host's connection.

use super::super::Out;
use super::super::operator::{NameKind, TlsFact, TlsSide};
use super::super::time::Zone;
use super::text;
use crate::config::secret::described::Described;
use crate::observe::record::Record;
use crate::tls::{Agreed, Fingerprint, PeerIdentity};

/// One side of an exchange.
struct Side<'a> {
    agreed: Option<Agreed>,
    peer: Option<&'a PeerIdentity>,
    own: Option<&'a Described>,
    sni: Option<String>,
}

impl<'a> Side<'a> {
    fn of(record: &Record<'a>, side: TlsSide) -> Self {
        match side {
            TlsSide::Downstream => Self {
                agreed: record.tls,
                peer: record.peer,
                own: record.downstream.and_then(|downstream| downstream.own.as_deref()),
                sni: None,
            },
            TlsSide::Upstream => {
                let tls = record.upstream.and_then(|upstream| upstream.tls.as_ref());
                Self {
                    agreed: tls.map(|tls| tls.agreed),
                    peer: tls.and_then(|tls| tls.peer.as_deref()),
                    own: tls.map(|tls| &tls.settings.own),
                    sni: tls.and_then(|tls| Some(tls.settings.sni.as_ref()?.to_str().into_owned())),
                }
            }
        }
    }
}

/// Missing without TLS, or where the peer has shown no certificate.
pub(super) fn tls(record: &Record<'_>, side: TlsSide, fact: &TlsFact, out: &mut Out<'_>) -> bool {
    let side = Side::of(record, side);
    match fact {
        TlsFact::Version => text(side.agreed.map_or("", Agreed::version), out),
        TlsFact::Cipher => text(side.agreed.map_or("", Agreed::cipher), out),
        TlsFact::Group => text(side.agreed.map_or("", Agreed::group), out),
        TlsFact::ServerName => text(side.sni.as_deref().unwrap_or_default(), out),
        TlsFact::Local(kind) => side.own.is_some_and(|own| names(own, *kind, out)),
        fact => side.peer.is_some_and(|peer| of_peer(peer, fact, out)),
    }
}

fn names(names: &Described, kind: NameKind, out: &mut Out<'_>) -> bool {
    let list = match kind {
        NameKind::Uri => &names.uris,
        NameKind::Dns => &names.dns_names,
        NameKind::Address => &names.addresses,
        NameKind::Email => &names.emails,
        NameKind::Other => &names.other_names,
        NameKind::Subject => return text(&names.subject, out),
    };
    text(&list.join(","), out)
}

fn of_peer(peer: &PeerIdentity, fact: &TlsFact, out: &mut Out<'_>) -> bool {
    let list = |all: Vec<String>, out: &mut Out<'_>| text(&all.join(","), out);
    match fact {
        TlsFact::Peer(kind) => names(&peer.names, *kind, out),
        TlsFact::PeerIssuer => text(&peer.issuer, out),
        TlsFact::PeerSerial => text(&peer.serial, out),
        TlsFact::PeerFingerprint(Fingerprint::Sha256) => text(&peer.hash, out),
        TlsFact::PeerFingerprint(kind) => text(&peer.fingerprints(*kind).next().unwrap_or_default(), out),
        TlsFact::IssuerFingerprint => {
            text(&peer.fingerprints(Fingerprint::Sha256).nth(1).unwrap_or_default(), out)
        }
        TlsFact::IssuerSerial => text(&peer.serials().nth(1).unwrap_or_default(), out),
        TlsFact::ChainFingerprints(kind) => list(peer.fingerprints(*kind).collect(), out),
        TlsFact::ChainSerials => list(peer.serials().collect(), out),
        TlsFact::PeerCertificate => text(&peer.pem(1), out),
        TlsFact::PeerValidFrom(format) => {
            format.write(peer.not_before, &Zone::utc(), out);
            true
        }
        TlsFact::PeerValidUntil(format) => {
            format.write(peer.not_after, &Zone::utc(), out);
            true
        }
        TlsFact::Version | TlsFact::Cipher | TlsFact::Group | TlsFact::ServerName | TlsFact::Local(_) => {
            false
        }
    }
}
