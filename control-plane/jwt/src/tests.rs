//! Tokens and key sets, good and bad.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"thirty-two bytes of a test secret";

fn signed(header: Value, payload: Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(payload));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET);
    let signature = aws_lc_rs::hmac::sign(&key, text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn set() -> String {
    let known = json!({"kty": "oct", "kid": "a", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    json!({"keys": [known, {"kty": "new"}]}).to_string()
}

fn keys() -> Keys {
    Keys::parse(set().as_bytes()).unwrap()
}

fn check(token: &str) -> Result<(), Fault> {
    let token = Token::parse(token)?;
    token.check_time(1_000, 60)?;
    token.check_audience(&["https://svc/"])?;
    keys().verify(&token)
}

#[test]
fn a_good_token_passes_and_each_fault_has_its_name() {
    let header = || json!({"alg": "HS256", "kid": "a"});
    let body = || json!({"iss": "me", "aud": ["other", "http://svc"], "exp": 1_000, "nbf": 1_000});
    assert_eq!(check(&signed(header(), body())), Ok(()));
    let with = |name: &str, value: Value| {
        let mut body = body();
        body[name] = value;
        check(&signed(header(), body))
    };
    for (name, value, outcome) in [
        ("exp", json!(940), Ok(())),
        ("exp", json!(939), Err(Fault::Expired)),
        ("exp", json!("soon"), Err(Fault::ExpiryFormat)),
        ("exp", json!(null), Err(Fault::ExpiryFormat)),
        ("exp", json!(-1), Err(Fault::ExpiryRange)),
        ("exp", json!(1e300), Ok(())),
        ("nbf", json!(1_060), Ok(())),
        ("nbf", json!(1_061), Err(Fault::NotYetValid)),
        ("nbf", json!(-0.5), Err(Fault::StartRange)),
        ("iat", json!("x"), Err(Fault::IssuedFormat)),
        ("iat", json!(-1), Err(Fault::IssuedRange)),
        ("iss", json!(1), Err(Fault::Issuer)),
        ("sub", json!(1), Err(Fault::Subject)),
        ("jti", json!(1), Err(Fault::TokenId)),
        ("aud", json!("other"), Err(Fault::Audience)),
        ("aud", json!([1]), Err(Fault::AudienceFormat)),
    ] {
        assert_eq!(with(name, value.clone()), outcome, "{name} {value}");
    }
    for (wrong, fault) in [
        (json!({"alg": "none"}), Fault::UnknownAlgorithm),
        (json!({}), Fault::Algorithm),
        (json!({"alg": "HS256", "kid": 1}), Fault::KeyId),
        (json!({"alg": "HS256", "kid": "b"}), Fault::NoKey),
        (json!({"alg": "HS384", "kid": "a"}), Fault::Signature),
        (json!({"alg": "RS256", "kid": "a"}), Fault::Signature),
    ] {
        assert_eq!(check(&signed(wrong.clone(), body())), Err(fault), "{wrong}");
    }
}

#[test]
fn damaged_tokens_are_no_tokens() {
    let good = signed(json!({"alg": "HS256"}), json!({"iss": "me", "aud": "svc"}));
    assert_eq!(check(&good), Ok(()));
    for end in 0..good.len() {
        assert!(check(&good[..end]).is_err(), "{end}");
    }
    for text in ["", ".", "..", "...", "a.b.c", "\u{e9}.\u{e9}.\u{e9}", "e30.e30.e30"] {
        assert!(Token::parse(text).is_err(), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = format!("{}.e30.e30", URL_SAFE_NO_PAD.encode(deep));
    assert!(matches!(Token::parse(&deep), Err(Fault::HeaderJson)));
    let mut rng = fastrand::Rng::with_seed(11);
    for _ in 0..20_000 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(b' '..=b'~');
        }
        let text = String::from_utf8(bytes).unwrap();
        assert!(check(&text).is_err() || text == good, "{text}");
    }
}

#[test]
fn keys_are_never_quoted() {
    for text in ["{\"keys\": [{\"kty\": \"oct\", \"k\": secret}]}", "{\"keys\": []}", "secret"] {
        let refusal = Keys::parse(text.as_bytes()).unwrap_err();
        assert!(!refusal.contains("secret"), "{refusal}");
    }
    assert!(!format!("{:?}", keys()).contains("secret"));
}

/// Whatever a server sends in place of a set is a set or an error, and a set that is not the signer's verifies nothing.
#[test]
fn damaged_sets_are_sets_or_errors() {
    let token = signed(json!({"alg": "HS256", "kid": "a"}), json!({"iss": "me"}));
    let token = Token::parse(&token).unwrap();
    let (good, mut rng) = (set(), fastrand::Rng::with_seed(3));
    for end in 0..good.len() {
        assert!(Keys::parse(&good.as_bytes()[..end]).is_err(), "{end}");
    }
    let secret = URL_SAFE_NO_PAD.encode(SECRET);
    for _ in 0..20_000 {
        let mut bytes = good.clone().into_bytes();
        let at = rng.usize(..bytes.len());
        bytes[at] = rng.u8(..);
        let kept = String::from_utf8_lossy(&bytes).contains(&secret);
        if let Ok(keys) = Keys::parse(&bytes) {
            assert!(keys.verify(&token).is_err() || kept, "{}", String::from_utf8_lossy(&bytes));
        }
    }
    let many: Vec<Value> = (0..300).map(|_| json!({"kty": "oct", "k": "YQ"})).collect();
    assert!(Keys::parse(json!({ "keys": many }).to_string().as_bytes()).is_err());
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Keys::parse(deep.as_bytes()).is_err());
    for material in [json!({"kty": "RSA", "n": "AQ", "e": "AQAB"}), json!({"kty": "RSA", "n": "", "e": ""})] {
        let keys = Keys::parse(json!({"keys": [material]}).to_string().as_bytes()).unwrap();
        for alg in ["RS256", "PS512"] {
            let token = signed(json!({ "alg": alg }), json!({}));
            assert_eq!(keys.verify(&Token::parse(&token).unwrap()), Err(Fault::Signature));
        }
    }
}
