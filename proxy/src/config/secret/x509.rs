//! What of a certificate we look at ourselves: names, validity, usage, key. RFC 5280, section 4, in DER (X.690).
//!
//! Chains are built and signatures checked by webpki; this reads what it does not tell. Input may be hostile: nothing
//! here allocates by a length that was sent, and what cannot be read is `None`.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::der::{self, Reader};

const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.14 and others: arcs below id-ce.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// 1.3.6.1.5.5.7.3.1.
pub(super) const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
/// 1.3.6.1.5.5.7.3.2.
pub(super) const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// `dNSName`.
    Dns(Cow<'a, str>),
    /// `uniformResourceIdentifier`.
    Uri(Cow<'a, str>),
    /// `rfc822Name`.
    Email(Cow<'a, str>),
    /// `iPAddress`.
    Ip(IpAddr),
}

impl Name<'_> {
    /// As matchers compare it.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Name::Dns(text) | Name::Uri(text) | Name::Email(text) => Cow::Borrowed(text),
            Name::Ip(address) => Cow::Owned(address.to_string()),
        }
    }
}

/// A certificate, taken apart.
#[derive(Clone, Debug)]
pub struct Certificate<'a> {
    /// Serial number, as encoded.
    pub serial: &'a [u8],
    /// The subject's RDN sequence.
    pub subject: &'a [u8],
    /// Issuer, likewise.
    pub issuer: &'a [u8],
    /// Subject public key info, as encoded: what SPKI pins are of.
    pub spki: &'a [u8],
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid until.
    pub not_after: SystemTime,
    /// Subject alternative names of the kinds we know.
    pub names: Vec<Name<'a>>,
    /// Texts of its `otherName`s, which no matcher compares.
    pub other_names: Vec<&'a str>,
    /// First octet of the key usage bits; `None` without the extension.
    pub key_usage: Option<u8>,
    /// Extended key usages as object identifiers; `None` without the extension.
    pub purposes: Option<Vec<&'a [u8]>>,
    /// `basicConstraints` says that it may sign certificates.
    pub is_ca: bool,
}

impl<'a> Certificate<'a> {
    /// Reads a certificate in DER.
    pub fn parse(der: &'a [u8]) -> Option<Self> {
        let mut certificate = Reader(Reader(der).expect(der::SEQUENCE)?);
        let mut body = Reader(certificate.expect(der::SEQUENCE)?);
        let _version = body.optional(VERSION);
        let serial = body.expect(der::INTEGER)?;
        let _algorithm = body.expect(der::SEQUENCE)?;
        let issuer = body.expect(der::SEQUENCE)?;
        let mut validity = Reader(body.expect(der::SEQUENCE)?);
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let subject = body.expect(der::SEQUENCE)?;
        let spki = body.whole(der::SEQUENCE)?;
        let mut parsed = Self {
            serial,
            subject,
            issuer,
            spki,
            not_before,
            not_after,
            names: Vec::new(),
            other_names: Vec::new(),
            key_usage: None,
            purposes: None,
            is_ca: false,
        };
        while let Some((tag, value)) = body.next() {
            if tag == EXTENSIONS {
                parsed.extensions(value)?;
            }
        }
        Some(parsed)
    }

    fn extensions(&mut self, extensions: &'a [u8]) -> Option<()> {
        let mut list = Reader(Reader(extensions).expect(der::SEQUENCE)?);
        while let Some((der::SEQUENCE, extension)) = list.next() {
            let mut extension = Reader(extension);
            let id = extension.expect(der::OBJECT_ID)?;
            let _critical = extension.optional(der::BOOLEAN);
            let mut value = Reader(extension.expect(der::OCTET_STRING)?);
            match id {
                SUBJECT_ALT_NAME => {
                    let mut names = Reader(value.expect(der::SEQUENCE)?);
                    while let Some(name) = names.next() {
                        self.other_names.extend(other_name(name));
                        self.names.extend(alt_name(name));
                    }
                }
                // The first octet counts unused bits.
                KEY_USAGE => {
                    self.key_usage = Some(value.expect(der::BIT_STRING)?.get(1).copied().unwrap_or(0))
                }
                BASIC_CONSTRAINTS => {
                    let mut constraints = Reader(value.expect(der::SEQUENCE)?);
                    self.is_ca = constraints.optional(der::BOOLEAN).is_some_and(|ca| ca != [0]);
                }
                EXTENDED_KEY_USAGE => {
                    let mut list = Reader(value.expect(der::SEQUENCE)?);
                    let mut purposes = Vec::new();
                    while let Some((der::OBJECT_ID, purpose)) = list.next() {
                        purposes.push(purpose);
                    }
                    self.purposes = Some(purposes);
                }
                _ => {}
            }
        }
        Some(())
    }

    /// The subject in RFC 2253 form, as Envoy prints it: the last attribute first.
    pub fn subject_text(&self) -> String {
        name_text(self.subject)
    }

    /// The issuer in the same form.
    pub fn issuer_text(&self) -> String {
        name_text(self.issuer)
    }
}

/// A distinguished name in RFC 2253 form.
fn name_text(name: &[u8]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut sets = Reader(name);
    while let Some((der::SET, set)) = sets.next() {
        let mut attributes = Reader(set);
        let texts: Vec<String> =
            std::iter::from_fn(|| attributes.expect(der::SEQUENCE)).filter_map(attribute).collect();
        parts.push(texts.join("+"));
    }
    parts.reverse();
    parts.join(",")
}

/// Without the zero that keeps a serial number positive.
pub fn serial_text(serial: &[u8]) -> String {
    let digits = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial);
    hexadecimal(digits)
}

/// Lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A name with a NUL or text that is no ASCII (IA5String) is no name: comparing parts of it would be guessing.
fn alt_name((tag, value): (u8, &[u8])) -> Option<Name<'_>> {
    let text = || {
        let clean = value.is_ascii() && !value.contains(&0);
        std::str::from_utf8(value).ok().filter(|_| clean).map(Cow::Borrowed)
    };
    match tag {
        0x81 => text().map(Name::Email),
        0x82 => text().map(Name::Dns),
        0x86 => text().map(Name::Uri),
        0x87 => {
            let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok().map(Name::Ip)
        }
        _ => None,
    }
}

/// The text of an `otherName` that is one.
fn other_name((tag, value): (u8, &[u8])) -> Option<&str> {
    const OTHER_NAME: u8 = 0xa0;
    const EXPLICIT: u8 = 0xa0;
    const UTF8_STRING: u8 = 0x0c;
    const PRINTABLE_STRING: u8 = 0x13;
    const IA5_STRING: u8 = 0x16;
    let mut name = Reader(Some(value).filter(|_| tag == OTHER_NAME)?);
    name.expect(der::OBJECT_ID)?;
    let (kind, text) = Reader(name.expect(EXPLICIT)?).next()?;
    let is_text = matches!(kind, UTF8_STRING | PRINTABLE_STRING | IA5_STRING);
    std::str::from_utf8(Some(text).filter(|_| is_text)?).ok()
}

/// `CN=value` with RFC 2253 escapes.
fn attribute(pair: &[u8]) -> Option<String> {
    let mut pair = Reader(pair);
    let kind = pair.expect(der::OBJECT_ID)?;
    let encoded = pair.0;
    let (_, value) = pair.next()?;
    let encoded = &encoded[..encoded.len() - pair.0.len()];
    let short = match kind {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 4] => "SN",
        [0x55, 4, 5] => "serialNumber",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "street",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x55, 4, 12] => "title",
        [0x55, 4, 13] => "description",
        [0x55, 4, 15] => "businessCategory",
        [0x55, 4, 17] => "postalCode",
        [0x55, 4, 41] => "name",
        [0x55, 4, 42] => "GN",
        [0x55, 4, 43] => "initials",
        [0x55, 4, 44] => "generationQualifier",
        [0x55, 4, 46] => "dnQualifier",
        [0x55, 4, 65] => "pseudonym",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "emailAddress",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        // What has no name is told as it was encoded.
        _ => return Some(format!("{}=#{}", der::dotted(kind), hexadecimal(encoded).to_ascii_uppercase())),
    };
    Some(format!("{short}={}", escaped(value)))
}

fn escaped(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.iter().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b' ' | b'#' if at == 0 => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b' ' if at == last => text.push_str("\\ "),
            0x20..=0x7e => text.push(char::from(*byte)),
            other => {
                let _ = write!(text, "\\{other:02X}");
            }
        }
    }
    text
}

/// `YYMMDDHHMMSSZ`, where years below 50 are of this century, or `YYYYMMDDHHMMSSZ`. Before 1970 is 1970.
pub(super) fn time((tag, value): (u8, &[u8])) -> Option<SystemTime> {
    let digits = std::str::from_utf8(value.strip_suffix(b"Z")?).ok()?;
    let number = |range: std::ops::Range<usize>| digits.get(range)?.parse::<u64>().ok();
    let (year, rest) = match tag {
        der::UTC_TIME => {
            let year = number(0..2)?;
            (year + if year < 50 { 2000 } else { 1900 }, 2)
        }
        der::GENERALIZED_TIME => (number(0..4)?, 4),
        _ => return None,
    };
    let field = |index: usize| number(rest + 2 * index..rest + 2 * index + 2);
    let (month, day) = (field(0)?, field(1)?);
    let seconds = field(2)? * 3600 + field(3)? * 60 + field(4)?;
    let days = days_since_epoch(year, month, day)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(days * 86_400 + seconds))
}

/// Days from 1970-01-01 in the Gregorian calendar, none before that.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year > 9999 {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let before = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some(before.saturating_sub(719_468))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_kinds_are_read() {
        let at = |tag, text: &str| {
            let time = time((tag, text.as_bytes()))?;
            Some(time.duration_since(UNIX_EPOCH).unwrap().as_secs())
        };
        assert_eq!(at(der::UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(at(der::UTC_TIME, "500101000000Z"), Some(0), "1950");
        assert_eq!(at(der::UTC_TIME, "240229123456Z"), Some(1_709_210_096));
        assert_eq!(at(der::GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        assert_eq!(at(der::GENERALIZED_TIME, "40960101000000Z"), Some(67_090_118_400));
        for broken in ["", "Z", "2402291234Z", "241329123456Z", "24022912345é"] {
            assert_eq!(at(der::UTC_TIME, broken), None, "{broken}");
        }
    }

    #[test]
    fn a_certificate_is_taken_apart() {
        let mut params =
            rcgen::CertificateParams::new(vec!["a.mesh".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI("spiffe://mesh/a".try_into().unwrap()));
        params.subject_alt_names.push(rcgen::SanType::Rfc822Name("a@mesh".try_into().unwrap()));
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Shop, Inc");
        params.distinguished_name.push(rcgen::DnType::CommonName, "a");
        params.distinguished_name.remove(rcgen::DnType::CommonName);
        params.distinguished_name.push(rcgen::DnType::CommonName, "a");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let parsed = Certificate::parse(certificate.der()).unwrap();
        assert_eq!(crate::config::secret::described::Described::of(&parsed).dns_names, ["a.mesh"]);
        assert_eq!(crate::config::secret::described::Described::of(&parsed).uris, ["spiffe://mesh/a"]);
        assert!(parsed.names.contains(&Name::Email("a@mesh".into())));
        assert!(parsed.names.contains(&Name::Ip(IpAddr::from([10, 0, 0, 1]))));
        assert_eq!(parsed.subject_text(), "CN=a,O=Shop\\, Inc");
        assert_eq!(parsed.purposes, Some(vec![SERVER_AUTH]));
        assert_eq!(parsed.key_usage, Some(0x80));
        assert!(!parsed.is_ca);
    }

    #[test]
    fn names_with_a_nul_are_no_names() {
        assert_eq!(alt_name((0x82, b"a.mesh\0.evil")), None);
        assert_eq!(alt_name((0x82, "ä.mesh".as_bytes())), None);
        assert_eq!(alt_name((0x87, b"abc")), None);
        assert_eq!(serial_text(&[0, 0x9f, 1]), "9f01");
        assert_eq!(serial_text(&[0]), "00");
    }

    proptest::proptest! {
        #[test]
        fn damaged_certificates_are_read_or_not(at in 0usize..600, byte in proptest::num::u8::ANY) {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec!["a.mesh".to_owned()]).unwrap();
            let mut der = params.self_signed(&key).unwrap().der().to_vec();
            let at = at % der.len();
            der[at] = byte;
            let _ = Certificate::parse(&der).map(|parsed| parsed.subject_text());
            let _ = Certificate::parse(&der[..at]);
        }
    }
}
