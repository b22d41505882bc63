//! What `/certs` says of a certificate: serial number, names, validity. RFC 5280, section 4.1, in DER (X.690).
//!
//! Reads certificates that rustls has already accepted. What cannot be read here is left out, never a failure.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::admin::{CertificateDetails, CertificatePair};
use crate::config::secret::{Shown, ShownCertificate};

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
const IP_ADDRESS: u8 = 0x87;
/// 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// The entry of one TLS context.
pub(super) fn pair(shown: &Shown) -> CertificatePair {
    let list = |certificates: &[ShownCertificate]| certificates.iter().filter_map(details).collect();
    CertificatePair { ca_cert: list(&shown.authorities), cert_chain: list(&shown.own) }
}

fn details(shown: &ShownCertificate) -> Option<CertificateDetails> {
    let mut certificate = Reader(Reader(&shown.der).expect(SEQUENCE)?);
    let mut body = Reader(certificate.expect(SEQUENCE)?);
    let _version = body.optional(VERSION);
    let serial = body.expect(INTEGER)?;
    let _algorithm = body.expect(SEQUENCE)?;
    let _issuer = body.expect(SEQUENCE)?;
    let mut validity = Reader(body.expect(SEQUENCE)?);
    let (valid_from, expiration_time) = (time(validity.next()?)?, time(validity.next()?)?);
    let mut subject_alt_names = Vec::new();
    while let Some((tag, value)) = body.next() {
        if tag == EXTENSIONS {
            subject_alt_names = alt_names(value).unwrap_or_default();
        }
    }
    Some(CertificateDetails {
        path: shown.path.to_string(),
        serial_number: hexadecimal(serial),
        subject_alt_names,
        valid_from,
        expiration_time,
    })
}

/// Without the zero that keeps a serial number positive.
fn hexadecimal(serial: &[u8]) -> String {
    let digits = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial);
    digits.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn alt_names(extensions: &[u8]) -> Option<Vec<(&'static str, String)>> {
    let mut list = Reader(Reader(extensions).expect(SEQUENCE)?);
    while let Some((SEQUENCE, extension)) = list.next() {
        let mut extension = Reader(extension);
        if extension.expect(OBJECT_ID)? != SUBJECT_ALT_NAME {
            continue;
        }
        let _critical = extension.optional(BOOLEAN);
        let mut names = Reader(Reader(extension.expect(OCTET_STRING)?).expect(SEQUENCE)?);
        return Some(std::iter::from_fn(|| names.next()).filter_map(alt_name).collect());
    }
    None
}

fn alt_name((tag, value): (u8, &[u8])) -> Option<(&'static str, String)> {
    let text = || String::from_utf8_lossy(value).into_owned();
    match tag {
        DNS_NAME => Some(("dns", text())),
        URI => Some(("uri", text())),
        IP_ADDRESS => {
            let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()?;
            Some(("ip_address", address.to_string()))
        }
        _ => None,
    }
}

/// `YYMMDDHHMMSSZ`, where years below 50 are of this century, or `YYYYMMDDHHMMSSZ`.
fn time((tag, value): (u8, &[u8])) -> Option<SystemTime> {
    let digits = std::str::from_utf8(value.strip_suffix(b"Z")?).ok()?;
    let number = |range: std::ops::Range<usize>| digits.get(range)?.parse::<u64>().ok();
    let (year, rest) = match tag {
        UTC_TIME => {
            let year = number(0..2)?;
            (year + if year < 50 { 2000 } else { 1900 }, 2)
        }
        GENERALIZED_TIME => (number(0..4)?, 4),
        _ => return None,
    };
    let field = |index: usize| number(rest + 2 * index..rest + 2 * index + 2);
    let (month, day) = (field(0)?, field(1)?);
    let seconds = field(2)? * 3600 + field(3)? * 60 + field(4)?;
    let days = days_since_epoch(year, month, day)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(days * 86_400 + seconds))
}

/// Days from 1970-01-01 in the Gregorian calendar; `None` before that.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(1970..=9999).contains(&year) {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    before.checked_sub(719_468)
}

/// Tags and values one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next tag with its value; `None` at the end or where the encoding is broken.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Lengths of up to four bytes.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }

    fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) { self.expect(tag) } else { None }
    }
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
        assert_eq!(at(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(at(UTC_TIME, "240229123456Z"), Some(1_709_210_096));
        assert_eq!(at(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        assert_eq!(at(GENERALIZED_TIME, "40960101000000Z"), Some(67_090_118_400));
        for broken in ["", "Z", "2402291234Z", "241329123456Z", "24022912345é"] {
            assert_eq!(at(UTC_TIME, broken), None, "{broken}");
        }
    }

    #[test]
    fn broken_encodings_end_the_reading() {
        for broken in
            [&[][..], &[0x30], &[0x30, 0x85, 1, 1, 1, 1, 1], &[0x30, 2, 0], &[0x30, 0x84, 255, 255, 255, 255]]
        {
            assert!(Reader(broken).next().is_none(), "{broken:?}");
            let der = broken.to_vec().into();
            assert!(details(&ShownCertificate { path: "x".into(), der }).is_none());
        }
        assert_eq!(hexadecimal(&[0, 0x9f, 1]), "9f01");
        assert_eq!(hexadecimal(&[0]), "00");
    }
}
