//! Arbitrary proofs of an AWS identity: whatever passes goes to STS of the region that is meant, for a short while.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

const STS: &str = "https://sts.eu-west-1.amazonaws.com";
const NUMBER: &str = "0123456789abcdef0123456789abcdef";

/// A proof as it is shown, or, after a `?`, the URL in it; or, after a `:`, the ARN that STS names.
pub fn proofs(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(arn) = text.strip_prefix(':') {
        return roles(arn);
    }
    let coded = text.strip_prefix('?').map(|url| format!("{PREFIX}{}.{NUMBER}", URL_SAFE_NO_PAD.encode(url)));
    let token = coded.as_deref().unwrap_or(text);
    // 2027-01-15T08:00:00Z
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let Ok(passed) = proof(token, &[STS.to_owned()], now) else { return };
    assert!(Callers::recognise(token));
    let Proof { url, number, until } = passed;
    assert!(number.len() == 32 && number.bytes().all(|digit| digit.is_ascii_hexdigit()), "{number:?}");
    let query = url.strip_prefix("https://sts.eu-west-1.amazonaws.com/?");
    assert!(query.is_some(), "{url}");
    assert!(now < until && until <= now + SKEW + LIFETIME, "{until:?}");
    let uri = url.parse::<http::Uri>();
    let host = uri.as_ref().ok().and_then(|uri| uri.authority()).map(|authority| authority.as_str());
    assert_eq!(host, Some("sts.eu-west-1.amazonaws.com"), "{url}");
    // Once, whatever STS would make of it said twice.
    let query = query.unwrap_or_default().to_ascii_lowercase();
    for once in
        ["action=getcalleridentity", "action=", "x-amz-signedheaders=", "x-amz-date=", "x-amz-expires="]
    {
        assert_eq!(query.matches(once).count(), 1, "{once} in {url}");
    }
    assert!(query.contains("x-amz-signedheaders=host%3bx-outrigger-audience%3bx-outrigger-number"), "{url}");
}

fn roles(arn: &str) {
    let role = "arn:aws:iam::111122223333:role/teams/shop/front";
    if is_role(role, arn) && arn != role {
        let session = arn.strip_prefix("arn:aws:sts::111122223333:assumed-role/front");
        assert!(session.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')), "{arn}");
    }
    // What STS says is told from XML.
    let answer = format!("<GetCallerIdentityResult><Arn>{arn}</Arn></GetCallerIdentityResult>");
    if let Some(read) = arn_of(&answer) {
        assert!(answer.contains(read) && !read.contains('<'), "{read}");
    }
}
