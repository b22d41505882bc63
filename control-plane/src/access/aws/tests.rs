use std::time::UNIX_EPOCH;

use super::*;

const STS: &str = "https://sts.eu-west-1.amazonaws.com";

fn now() -> SystemTime {
    // 2027-01-15T08:00:00Z
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn query(change: &[(&str, &str)]) -> String {
    let mut parameters = vec![
        ("Action", "GetCallerIdentity"),
        ("Version", "2011-06-15"),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", "AKID%2F20270115%2Feu-west-1%2Fsts%2Faws4_request"),
        ("X-Amz-Date", "20270115T080000Z"),
        ("X-Amz-Expires", "60"),
        ("X-Amz-SignedHeaders", "host%3Bx-outrigger-audience"),
        ("X-Amz-Signature", "00"),
    ];
    for (name, value) in change {
        parameters.retain(|(known, _)| known != name);
        parameters.extend((!value.is_empty()).then_some((*name, *value)));
    }
    parameters.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn token(url: &str) -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(url))
}

fn check(url: &str, seconds: i64) -> Result<Proof, &'static str> {
    let at = now().checked_add_signed(seconds).unwrap();
    proof(&token(url), &[STS.to_owned()], at)
}

trait Shift: Sized {
    fn checked_add_signed(self, seconds: i64) -> Option<Self>;
}

impl Shift for SystemTime {
    fn checked_add_signed(self, seconds: i64) -> Option<Self> {
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { self.checked_sub(by) } else { self.checked_add(by) }
    }
}

#[test]
fn a_proof_is_for_sts_and_a_short_while() {
    let url = format!("{STS}/?{}", query(&[]));
    let proof = check(&url, 0).unwrap();
    assert_eq!((proof.url.as_str(), proof.until), (url.as_str(), now() + Duration::from_secs(60)));
    assert!(check(&url, 59).is_ok() && check(&url, -59).is_ok());
    assert_eq!(check(&url, 61), Err("an expired proof"));
    assert_eq!(check(&url, -61), Err("a proof of the future"));
    assert!(check(&format!("{STS}/?{}", query(&[("X-Amz-Security-Token", "t")])), 0).is_ok());
}

#[test]
fn nothing_else_is_called() {
    let good = query(&[]);
    for base in [
        "http://sts.eu-west-1.amazonaws.com/?",
        "https://sts.us-east-1.amazonaws.com/?",
        "https://sts.eu-west-1.amazonaws.com.evil.example/?",
        "https://sts.eu-west-1.amazonaws.com@evil.example/?",
        "https://sts.eu-west-1.amazonaws.com:8443/?",
        "https://sts.eu-west-1.amazonaws.com/other?",
        "https://sts.eu-west-1.amazonaws.com/?x#",
        "https://STS.eu-west-1.amazonaws.com/?",
        "http://169.254.169.254/?",
        "file:///?",
        "",
    ] {
        assert!(check(&format!("{base}{good}"), 0).is_err(), "{base}");
    }
    for change in [
        ("Action", "AssumeRole"),
        ("Action", ""),
        ("Version", "2010"),
        ("X-Amz-Expires", "604800"),
        ("X-Amz-Expires", ""),
        ("X-Amz-Date", "2027"),
        ("X-Amz-SignedHeaders", "host"),
        ("X-Amz-SignedHeaders", "host%3Bx-other"),
        ("RoleArn", "x"),
        ("X-Amz-Date", "20270115T080000Z&Action=GetCallerIdentity"),
        ("X-Amz-Signature", "0 0"),
        ("X-Amz-Signature", "0\r\nHost:x"),
    ] {
        assert!(check(&format!("{STS}/?{}", query(&[change])), 0).is_err(), "{change:?}");
    }
}

#[test]
fn damaged_and_random_proofs_are_answered() {
    let whole = token(&format!("{STS}/?{}", query(&[])));
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..20_000 {
        let mut bytes = whole.clone().into_bytes();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(b' '..=b'~');
        }
        bytes.truncate(random.usize(..=bytes.len()));
        // Whatever still passes goes to STS of that region.
        if let Ok(passed) = proof(&String::from_utf8(bytes).unwrap(), &[STS.to_owned()], now()) {
            assert!(passed.url.starts_with("https://sts.eu-west-1.amazonaws.com/?"), "{}", passed.url);
            assert!(passed.until <= now() + LONGEST + SKEW);
        }
    }
}

#[test]
fn sessions_are_their_roles() {
    let role = "arn:aws:iam::111122223333:role/teams/shop/front";
    assert!(is_role(role, "arn:aws:sts::111122223333:assumed-role/front/task-1"));
    for other in [
        "arn:aws:sts::999922223333:assumed-role/front/task-1",
        "arn:aws-cn:sts::111122223333:assumed-role/front/task-1",
        "arn:aws:sts::111122223333:assumed-role/front2/task-1",
        "arn:aws:sts::111122223333:assumed-role/back/front",
        "arn:aws:sts::111122223333:federated-user/front",
        "arn:aws:iam::111122223333:user/front",
        "front",
        "",
    ] {
        assert!(!is_role(role, other), "{other}");
    }
    assert!(is_role("arn:aws:iam::1:user/ci", "arn:aws:iam::1:user/ci"));
    assert!(!is_role("arn:aws:iam::1:role/", "arn:aws:sts::1:assumed-role//x"));
}

#[test]
fn proofs_are_remembered_while_they_last() {
    let section = "{audience: shop, regions: [eu-west-1], roles: []}";
    let callers = Callers::new(yaml_serde::from_str(section).unwrap()).unwrap();
    let until = now() + Duration::from_secs(60);
    callers.remember([1; 32], "arn:x", until, now());
    assert_eq!(callers.remembered(&[1; 32], now()).as_deref(), Some("arn:x"));
    assert_eq!(callers.remembered(&[1; 32], until), None);
    for number in 0..2 * REMEMBERED as u64 {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        callers.remember(hash, "arn:x", until, now());
    }
    assert!(callers.known.lock().unwrap().len() <= REMEMBERED);
}
