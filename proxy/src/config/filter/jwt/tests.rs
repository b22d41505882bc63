use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;

const SECRET: &[u8] = b"thirty-two bytes of a test secret";

fn signed(header: serde_json::Value, payload: serde_json::Value) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(payload));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET);
    let signature = aws_lc_rs::hmac::sign(&key, text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn provider() -> Provider {
    let keys =
        json!({"keys": [{"kty": "oct", "kid": "a", "k": URL_SAFE_NO_PAD.encode(SECRET)}, {"kty": "new"}]});
    Provider {
        issuer: "me".into(),
        audiences: vec!["https://svc/".into()],
        keys: Keys::parse(keys.to_string().as_bytes()).unwrap(),
        headers: Vec::new(),
        parameters: Vec::new(),
        forward: false,
        payload_header: None,
        claims: Vec::new(),
        skew: 60,
    }
}

fn check(header: serde_json::Value, payload: serde_json::Value) -> Result<(), Fault> {
    let token = signed(header, payload);
    provider().check(&Token::parse(&token)?, None, 1_000)
}

#[test]
fn a_good_token_passes_and_each_fault_has_its_name() {
    let header = || json!({"alg": "HS256", "kid": "a"});
    let body = || json!({"iss": "me", "aud": ["other", "http://svc"], "exp": 1_000, "nbf": 1_000});
    assert_eq!(check(header(), body()), Ok(()));
    let with = |name: &str, value: serde_json::Value| {
        let mut body = body();
        body[name] = value;
        check(header(), body)
    };
    assert_eq!(with("exp", json!(940)), Ok(()), "within the skew");
    assert_eq!(with("exp", json!(939)), Err(Fault::Expired));
    assert_eq!(with("exp", json!("soon")), Err(Fault::ExpiryFormat));
    assert_eq!(with("nbf", json!(1_060)), Ok(()));
    assert_eq!(with("nbf", json!(1_061)), Err(Fault::NotYetValid));
    assert_eq!(with("iss", json!("you")), Err(Fault::UnknownIssuer));
    assert_eq!(with("iss", json!(1)), Err(Fault::Issuer));
    assert_eq!(with("aud", json!("other")), Err(Fault::Audience));
    assert_eq!(with("aud", json!([1])), Err(Fault::AudienceFormat));
    for (wrong, fault) in [
        (json!({"alg": "none"}), Fault::UnknownAlgorithm),
        (json!({}), Fault::Algorithm),
        (json!({"alg": "HS256", "kid": 1}), Fault::KeyId),
        (json!({"alg": "HS256", "kid": "b"}), Fault::NoKey),
        (json!({"alg": "HS384", "kid": "a"}), Fault::Signature),
        (json!({"alg": "RS256", "kid": "a"}), Fault::Signature),
    ] {
        assert_eq!(check(wrong.clone(), body()), Err(fault), "{wrong}");
    }
}

#[test]
fn damaged_tokens_are_no_tokens() {
    let good = signed(json!({"alg": "HS256"}), json!({"iss": "me", "aud": "svc"}));
    assert_eq!(provider().check(&Token::parse(&good).unwrap(), None, 0), Ok(()));
    for end in 0..good.len() {
        let cut = Token::parse(&good[..end]).and_then(|token| provider().check(&token, None, 0));
        assert!(cut.is_err(), "{end}");
    }
    for text in ["", ".", "..", "...", "a.b.c", "é.é.é", "e30.e30.e30"] {
        assert!(Token::parse(text).is_err(), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = format!("{}.e30.e30", URL_SAFE_NO_PAD.encode(deep));
    assert!(matches!(Token::parse(&deep), Err(Fault::HeaderJson)));
}

#[test]
fn what_is_tolerated() {
    for (tolerance, missing, failed) in [
        (Tolerance::Nothing, Err(Fault::Missing), Err(Fault::Expired)),
        (Tolerance::Missing, Ok(()), Err(Fault::Expired)),
        (Tolerance::Failed, Ok(()), Ok(())),
    ] {
        assert_eq!(tolerance.apply(Err(Fault::Missing)), missing);
        assert_eq!(tolerance.apply(Err(Fault::Expired)), failed);
    }
}

#[test]
fn keys_are_never_quoted() {
    for text in ["{\"keys\": [{\"kty\": \"oct\", \"k\": secret}]}", "{\"keys\": []}", "secret"] {
        let refusal = Keys::parse(text.as_bytes()).unwrap_err();
        assert!(!refusal.contains("secret"), "{refusal}");
    }
    assert!(!format!("{:?}", provider().keys).contains("secret"));
}
