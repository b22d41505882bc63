//! Matchers for subject alternative names, and the pins of certificates and keys.
//! Source: `envoy.extensions.transport_sockets.tls.v3.{SubjectAltNameMatcher,CertificateValidationContext}`.

use aws_lc_rs::digest::{SHA256, digest};

use super::x509::{Certificate, Name};
use crate::base::matcher::StringMatch;

/// One `match_typed_subject_alt_names` entry.
#[derive(Clone, Debug)]
pub struct SanMatch {
    /// Which kind of name it looks at.
    pub kind: SanKind,
    /// What the name must be.
    pub matcher: StringMatch,
}

/// Kinds of subject alternative names. A name of one kind never satisfies a matcher of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanKind {
    /// DNS names. An exact matcher ignores case and accepts a wildcard of the certificate that covers it.
    Dns,
    /// URIs (SPIFFE identities).
    Uri,
    /// IP addresses, compared as text.
    Ip,
    /// Mail addresses.
    Email,
    /// All of them (`match_subject_alt_names`).
    Any,
}

impl SanMatch {
    /// Whether one of the names matches.
    pub fn accepts(&self, names: &[Name<'_>]) -> bool {
        names.iter().any(|name| self.covers(name) && self.matches(name))
    }

    fn covers(&self, name: &Name<'_>) -> bool {
        match self.kind {
            SanKind::Any => true,
            SanKind::Dns => matches!(name, Name::Dns(_)),
            SanKind::Uri => matches!(name, Name::Uri(_)),
            SanKind::Ip => matches!(name, Name::Ip(_)),
            SanKind::Email => matches!(name, Name::Email(_)),
        }
    }

    fn matches(&self, name: &Name<'_>) -> bool {
        match (name, exact(&self.matcher)) {
            (Name::Dns(presented), Some(want)) => dns_matches(want, presented.as_bytes()),
            _ => self.matcher.matches(name.text().as_bytes()),
        }
    }
}

fn exact(matcher: &StringMatch) -> Option<&[u8]> {
    match matcher {
        StringMatch::Exact(want) => Some(want),
        StringMatch::IgnoreCase(inner) => exact(inner),
        _ => None,
    }
}

/// Whether the `presented` name of a certificate, which may hold a wildcard in its first label, stands for `want`.
/// RFC 6125, 6.4.3, as Envoy reads it: `b*.example` is a wildcard, one in an A-label is none.
fn dns_matches(want: &[u8], presented: &[u8]) -> bool {
    let (want, presented) = (want.to_ascii_lowercase(), presented.to_ascii_lowercase());
    if want == presented {
        return true;
    }
    let (Some((label, rest)), Some((pattern, domain))) = (split_label(&want), split_label(&presented)) else {
        return false;
    };
    let wildcard = !domain.contains(&b'*') && !pattern.starts_with(b"xn--");
    wildcard && rest == domain && label_matches(label, pattern)
}

fn split_label(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let dot = name.iter().position(|byte| *byte == b'.')?;
    Some((name.get(..dot)?, name.get(dot + 1..)?))
}

/// A label against a pattern with exactly one `*`.
fn label_matches(label: &[u8], pattern: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let (Some(before), Some(after), None) = (parts.next(), parts.next(), parts.next()) else { return false };
    !label.is_empty()
        && label.len() >= before.len() + after.len()
        && label.starts_with(before)
        && label.ends_with(after)
}

/// `verify_certificate_spki` and `verify_certificate_hash`: any one suffices.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    /// SHA-256 of the subject public key info.
    pub keys: Vec<[u8; 32]>,
    /// SHA-256 of the certificate.
    pub certificates: Vec<[u8; 32]>,
}

impl Pins {
    /// Whether nothing is pinned.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.certificates.is_empty()
    }

    /// Whether this leaf is pinned.
    pub fn accept(&self, der: &[u8], parsed: &Certificate<'_>) -> bool {
        let listed = |list: &[[u8; 32]], bytes: &[u8]| {
            !list.is_empty() && list.iter().any(|pin| pin == digest(&SHA256, bytes).as_ref())
        };
        listed(&self.certificates, der) || listed(&self.keys, parsed.spki)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_cover_one_label() {
        for (want, presented, verdict) in [
            ("a.mesh", "A.Mesh", true),
            ("a.mesh", "*.mesh", true),
            ("a.b.mesh", "*.mesh", false),
            ("mesh", "*", false),
            (".mesh", "*.mesh", false),
            ("bar.mesh", "b*r.mesh", true),
            ("br.mesh", "b*r.mesh", true),
            ("b.mesh", "b*b.mesh", false),
            ("xn--a.mesh", "xn--*.mesh", false),
            ("a.b.mesh", "a.*.mesh", false),
            ("ab.mesh", "**.mesh", false),
            ("a.mesh", "*.*", false),
        ] {
            assert_eq!(dns_matches(want.as_bytes(), presented.as_bytes()), verdict, "{want} {presented}");
        }
    }

    #[test]
    fn kinds_are_never_mixed() {
        let exact = |kind, text: &str| SanMatch { kind, matcher: StringMatch::Exact(text.into()) };
        let names = [
            Name::Dns("spiffe://mesh/a".into()),
            Name::Uri("10.0.0.1".into()),
            Name::Ip("10.0.0.2".parse().unwrap()),
        ];
        assert!(!exact(SanKind::Uri, "spiffe://mesh/a").accepts(&names));
        assert!(!exact(SanKind::Ip, "10.0.0.1").accepts(&names));
        assert!(exact(SanKind::Ip, "10.0.0.2").accepts(&names));
        assert!(exact(SanKind::Any, "10.0.0.1").accepts(&names));
        assert!(!exact(SanKind::Dns, "10.0.0.2").accepts(&names));
        let part = SanMatch { kind: SanKind::Dns, matcher: StringMatch::Prefix(b"Spiffe".to_vec()) };
        assert!(!part.accepts(&names), "only exact matchers of DNS names ignore case");
    }

    /// Names of a few characters, so that they often come close to one another.
    #[test]
    fn a_wildcard_never_covers_more_than_one_label() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut text = |characters: &[u8]| -> Vec<u8> {
            let length = random.usize(..8);
            std::iter::repeat_with(|| characters[random.usize(..characters.len())]).take(length).collect()
        };
        let mut matched = 0;
        for _ in 0..200_000 {
            let (want, presented) = (text(b"aAb.\0"), text(b"ab*.\0"));
            if !dns_matches(&want, &presented) || want.eq_ignore_ascii_case(&presented) {
                continue;
            }
            matched += 1;
            let labels = |name: &[u8]| -> Vec<Vec<u8>> {
                name.to_ascii_lowercase().split(|byte| *byte == b'.').map(<[u8]>::to_vec).collect()
            };
            let (want, presented) = (labels(&want), labels(&presented));
            let stars = |label: &[u8]| label.iter().filter(|byte| **byte == b'*').count();
            assert_eq!(want.len(), presented.len(), "{want:?} {presented:?}");
            assert_eq!(want[1..], presented[1..]);
            assert!(
                !want[0].is_empty()
                    && stars(&presented[0]) == 1
                    && presented[1..].iter().all(|l| stars(l) == 0)
            );
        }
        assert!(matched > 100, "{matched}");
    }
}
