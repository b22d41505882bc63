//! Arbitrary certificates, and matchers for their names.

use webpki::EndEntityCert;

use super::names::{SanKind, SanMatch};
use super::x509::{Certificate, Name};
use crate::base::matcher::StringMatch;

/// Kind of name, kind of matcher, the length of what it wants, that, and a certificate in DER, or else a name of that kind.
pub fn certificates(data: &[u8]) {
    let [kind, how, length, rest @ ..] = data else { return };
    let (want, der) = rest.split_at(usize::from(*length).min(rest.len()));
    let kind = [SanKind::Dns, SanKind::Uri, SanKind::Ip, SanKind::Email, SanKind::Any][usize::from(kind % 5)];
    let matcher = match how % 6 {
        0 => StringMatch::Exact(want.to_vec()),
        1 => StringMatch::Prefix(want.to_vec()),
        2 => StringMatch::Suffix(want.to_vec()),
        3 => StringMatch::Contains(want.to_vec()),
        4 => StringMatch::IgnoreCase(Box::new(StringMatch::Exact(want.to_ascii_lowercase()))),
        _ => match outrigger_grammar::regex::full_match(&String::from_utf8_lossy(want)) {
            Ok(regex) => StringMatch::Regex(regex),
            Err(_) => return,
        },
    };
    let matcher = SanMatch { kind, matcher };
    match Certificate::parse(der) {
        Some(parsed) => {
            as_webpki_reads_it(der, &parsed);
            texts(&parsed);
            matched(&matcher, want, &parsed.names);
        }
        None => {
            let name = String::from_utf8_lossy(der);
            let name = match kind {
                SanKind::Uri => Name::Uri(name),
                SanKind::Email => Name::Email(name),
                _ => Name::Dns(name),
            };
            matched(&matcher, want, &[name]);
        }
    }
}

/// What webpki takes for the names of a certificate, we do: which name a peer has is no matter of who reads it.
fn as_webpki_reads_it(der: &[u8], parsed: &Certificate<'_>) {
    let der = der.into();
    let Ok(theirs) = EndEntityCert::try_from(&der) else { return };
    let of_dns: Vec<&str> = theirs.valid_dns_names().collect();
    let of_uris: Vec<&str> = theirs.valid_uri_names().collect();
    for name in of_dns {
        assert!(parsed.names.contains(&Name::Dns(name.into())), "{name:?} is missing in {:?}", parsed.names);
    }
    for name in of_uris.into_iter().filter(|name| name.is_ascii() && !name.contains('\0')) {
        assert!(parsed.names.contains(&Name::Uri(name.into())), "{name:?} is missing in {:?}", parsed.names);
    }
    let wanted = parsed.names.iter().filter_map(|name| match name {
        Name::Dns(name) => Some(name),
        _ => None,
    });
    // The other way round: whoever has a name for us has it for webpki.
    for name in wanted {
        let Ok(server) = rustls_pki_types::ServerName::try_from(&**name) else { continue };
        let verdict = theirs.verify_is_valid_for_subject_name(&server);
        assert!(verdict.is_ok(), "{name:?} is ours alone: {verdict:?}");
    }
}

/// Subject and issuer go into headers and logs.
fn texts(parsed: &Certificate<'_>) {
    for text in [parsed.subject_text(), parsed.issuer_text()] {
        assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{text:?}");
    }
    for name in &parsed.names {
        assert!(name.text().is_ascii() && !name.text().contains('\0'), "{name:?}");
    }
}

fn matched(matcher: &SanMatch, want: &[u8], names: &[Name<'_>]) {
    let accepted = matcher.accepts(names);
    // One name decides, and only one of the kind that is asked for.
    let one = names.iter().find(|name| matcher.accepts(std::slice::from_ref(*name)));
    assert_eq!(accepted, one.is_some());
    let Some(name) = one else { return };
    let of_kind = matches!(
        (matcher.kind, name),
        (SanKind::Any, _)
            | (SanKind::Dns, Name::Dns(_))
            | (SanKind::Uri, Name::Uri(_))
            | (SanKind::Ip, Name::Ip(_))
            | (SanKind::Email, Name::Email(_))
    );
    assert!(of_kind, "{:?} accepts {name:?}", matcher.kind);
    let exact = match &matcher.matcher {
        StringMatch::Exact(_) => true,
        StringMatch::IgnoreCase(_) => false,
        _ => return,
    };
    match name {
        Name::Dns(presented) => covers(want, presented.as_bytes()),
        other if exact => assert_eq!(want, other.text().as_bytes()),
        other => assert!(want.eq_ignore_ascii_case(other.text().as_bytes()), "{other:?}"),
    }
}

/// A name of a certificate stands for itself, or, with one `*` in its first label, for as many labels as it has.
fn covers(want: &[u8], presented: &[u8]) {
    if want.eq_ignore_ascii_case(presented) {
        return;
    }
    let labels = |name: &[u8]| -> Vec<Vec<u8>> {
        name.to_ascii_lowercase().split(|byte| *byte == b'.').map(<[u8]>::to_vec).collect()
    };
    let (want, presented) = (labels(want), labels(presented));
    let stars = |label: &[u8]| label.iter().filter(|byte| **byte == b'*').count();
    assert!(presented.len() > 1 && want[1..] == presented[1..], "{want:?} by {presented:?}");
    assert!(!want[0].is_empty() && stars(&presented[0]) == 1, "{want:?} by {presented:?}");
    assert!(presented[1..].iter().all(|label| stars(label) == 0), "{want:?} by {presented:?}");
}
