//! AWS signature version 4: requests signed in their headers, and URLs that carry their signature.
//! Source: AWS, "Create a signed AWS API request".

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, Tag, sign};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::credentials::Credentials;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is signed, of a request with path `/`.
#[derive(Debug, Clone, Copy)]
pub struct Signable<'r> {
    /// `GET` or `POST`.
    pub method: &'r str,
    /// Headers that are signed, `host` among them: lower-case names in order, values without spaces around them.
    pub headers: &'r [(&'r str, &'r str)],
    /// The body.
    pub body: &'r [u8],
    /// Region and service, as the signature names them.
    pub scope: (&'r str, &'r str),
    /// When.
    pub now: SystemTime,
}

/// The headers to be added to a request: date, token if there is one, and signature. `headers` must not have them.
pub fn headers(request: Signable<'_>, credentials: &Credentials) -> Vec<(&'static str, Zeroizing<String>)> {
    let stamp = stamp(request.now);
    let mut signed: Vec<(&str, &str)> = request.headers.to_vec();
    signed.push(("x-amz-date", &stamp));
    if let Some(token) = credentials.token() {
        signed.push(("x-amz-security-token", token));
    }
    signed.sort_unstable();
    let names = names(&signed);
    let signature = signature(&Signable { headers: &signed, ..request }, "", &stamp, credentials);
    let scope = scope(&stamp, request.scope);
    let id = credentials.access_key_id();
    let authorization =
        format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
    let mut added =
        vec![("x-amz-date", Zeroizing::new(stamp.clone())), ("authorization", Zeroizing::new(authorization))];
    added.extend(credentials.token().map(|token| ("x-amz-security-token", Zeroizing::new(token.to_owned()))));
    added
}

/// The query of a URL that carries its signature, for `lifetime` from now on. `parameters` are the request's own.
pub fn presigned_query(
    request: Signable<'_>,
    parameters: &[(&str, &str)],
    lifetime: Duration,
    credentials: &Credentials,
) -> String {
    let stamp = stamp(request.now);
    let credential = format!("{}/{}", credentials.access_key_id(), scope(&stamp, request.scope));
    let (names, lifetime) = (names(request.headers), lifetime.as_secs().to_string());
    let mut all: Vec<(&str, &str)> = parameters.to_vec();
    all.extend([
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", &stamp),
        ("X-Amz-Expires", &lifetime),
        ("X-Amz-SignedHeaders", &names),
    ]);
    all.extend(credentials.token().map(|token| ("X-Amz-Security-Token", token)));
    let mut all: Vec<String> =
        all.into_iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    all.sort_unstable();
    let query = all.join("&");
    let signature = signature(&request, &query, &stamp, credentials);
    format!("{query}&X-Amz-Signature={signature}")
}

fn signature(request: &Signable<'_>, query: &str, stamp: &str, credentials: &Credentials) -> String {
    let headers: String =
        request.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical = Zeroizing::new(format!(
        "{}\n/\n{query}\n{headers}\n{}\n{}",
        request.method,
        names(request.headers),
        hex(digest(&SHA256, request.body).as_ref())
    ));
    let scope = scope(stamp, request.scope);
    let text =
        format!("{ALGORITHM}\n{stamp}\n{scope}\n{}", hex(digest(&SHA256, canonical.as_bytes()).as_ref()));
    let secret = Zeroizing::new(format!("AWS4{}", credentials.secret_key()));
    let mut key = Key::new(HMAC_SHA256, secret.as_bytes());
    for part in scope.split('/') {
        let next: Tag = sign(&key, part.as_bytes());
        key = Key::new(HMAC_SHA256, next.as_ref());
    }
    hex(sign(&key, text.as_bytes()).as_ref())
}

fn names(headers: &[(&str, &str)]) -> String {
    headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";")
}

fn scope(stamp: &str, (region, service): (&str, &str)) -> String {
    format!("{}/{region}/{service}/aws4_request", stamp.get(..8).unwrap_or(stamp))
}

/// `20260131T120000Z`.
fn stamp(now: SystemTime) -> String {
    let now = OffsetDateTime::from(now);
    let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", now.hour(), now.minute(), now.second())
}

/// The moment that a request was signed at, out of its `X-Amz-Date`.
pub fn moment_of(stamp: &str) -> Option<SystemTime> {
    let number = |range: std::ops::Range<usize>| stamp.get(range)?.parse::<u8>().ok();
    let shaped = stamp.len() == 16 && stamp.as_bytes().get(8) == Some(&b'T') && stamp.ends_with('Z');
    let digits = stamp.bytes().filter(u8::is_ascii_digit).count() == 14;
    let year = stamp.get(..4).filter(|_| shaped && digits)?.parse().ok()?;
    let date = time::Date::from_calendar_date(year, number(4..6)?.try_into().ok()?, number(6..8)?).ok()?;
    let moment = date.with_hms(number(9..11)?, number(11..13)?, number(13..15)?).ok()?;
    Some(moment.assume_utc().into())
}

/// Everything but unreserved characters as `%XX` (RFC 3986).
pub fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            // Writing to a string does not fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The credentials of AWS's published signature test suite, and its moment.
    fn suite() -> (Credentials, SystemTime) {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        (Credentials::new("AKIDEXAMPLE".to_owned(), secret, None, None), now)
    }

    #[test]
    fn signatures_are_those_of_the_published_suite() {
        let (credentials, now) = suite();
        let request = Signable {
            method: "GET",
            headers: &[("host", "example.amazonaws.com")],
            body: b"",
            scope: ("us-east-1", "service"),
            now,
        };
        let value = |request| {
            let added = headers(request, &credentials);
            added.iter().find(|(name, _)| *name == "authorization").unwrap().1.to_string()
        };
        // `get-vanilla` and `post-vanilla`.
        assert!(value(request).ends_with("5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"));
        let post = Signable { method: "POST", ..request };
        assert!(value(post).ends_with("5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"));
    }

    #[test]
    fn moments_come_back() {
        let (_, now) = suite();
        assert_eq!(moment_of(&stamp(now)), Some(now));
        for odd in ["", "20150830T123600", "20151330T123600Z", "20150830 123600Z", "2015083OT123600Z", "é"] {
            assert_eq!(moment_of(odd), None, "{odd}");
        }
    }

    #[test]
    fn tokens_are_signed_and_queries_are_in_order() {
        let (_, now) = suite();
        let token = Some("t/+=".to_owned());
        let credentials = Credentials::new("A".to_owned(), "s".to_owned(), token, None);
        let headers = &[("host", "h"), ("x-audience", "a")];
        let request = Signable { method: "GET", headers, body: b"", scope: ("r", "sts"), now };
        let query = presigned_query(
            request,
            &[("Version", "1"), ("Action", "X")],
            Duration::from_secs(60),
            &credentials,
        );
        let names: Vec<&str> = query.split('&').filter_map(|pair| pair.split('=').next()).collect();
        assert!(names[..names.len() - 1].is_sorted() && names.ends_with(&["X-Amz-Signature"]), "{query}");
        assert!(query.contains("X-Amz-Security-Token=t%2F%2B%3D&"), "{query}");
        assert!(query.contains("X-Amz-SignedHeaders=host%3Bx-audience&"), "{query}");
        let added = super::headers(request, &credentials);
        assert!(added.iter().any(|(name, value)| *name == "x-amz-security-token" && **value == "t/+="));
    }
}
