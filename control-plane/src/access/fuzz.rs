//! Arbitrary tokens: nobody comes in whom the rules do not name.

#![allow(clippy::unwrap_used, reason = "what does not hold is a finding")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outrigger_jwt::Token;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

pub use super::aws::fuzz::proofs;
use super::{Access, Denied, MAX_TOKEN, Principal, Rules, Shown};

/// 2027-01-15T08:00:00Z
const NOW: u64 = 1_800_000_000;
const SKEW: f64 = 5.0;
const JOIN_TOKEN: &str = "a-long-random-text";
const ACCOUNT: &str = "system:serviceaccount:shop:front";
/// All that the key behind `public.json` has ever signed.
const SIGNED: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.\
    eyJpc3MiOiJodHRwczovL2s4cyIsInN1YiI6InN5c3RlbTpzZXJ2aWNlYWNjb3VudDpzaG9wOmZyb250IiwiYXVkIjpbIm91dHJpZ2dlciJdLC\
    JleHAiOjE4MDAwMDA2MDAsIm5iZiI6MTc5OTk5OTk5MH0";
/// What `shared.json` has.
const SECRET: &[u8] = b"no secret at all, for the fuzzer";

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().build().unwrap();
    static ACCESS: Access = Access::Ruled(Box::new(rules()));
}

fn rules() -> Rules {
    let cluster = |issuer: &str, file: &str| {
        let keys = format!("{}/src/access/fuzz/{file}", env!("CARGO_MANIFEST_DIR"));
        let account = "{account: shop/front, nodes: [mesh/shop/virtualNode/front]}";
        format!("- {{issuer: {issuer}, audience: outrigger, keys: {keys:?}, accounts: [{account}]}}\n")
    };
    let text = format!(
        "tokens: [{{token: {JOIN_TOKEN}, nodes: [mesh/shop/virtualNode/a]}}]\nkubernetes:\n{}{}",
        cluster("https://k8s", "public.json"),
        cluster("https://claims", "shared.json")
    );
    Rules::parse(&text).unwrap()
}

/// A token, after `t`; what `authorization` says, after `a`; claims for which there is a signature, after `c`.
pub fn tokens(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match kind {
        b't' => token(text),
        b'a' => authorization(text),
        b'c' => claims(text),
        _ => {}
    }
}

fn ask(authorization: &str) -> Result<Principal, Denied> {
    let shown = Shown { authorization: Some(authorization), ..Shown::default() };
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    ACCESS.with(|access| RUNTIME.with(|runtime| runtime.block_on(access.principal(shown, now))))
}

fn token(token: &str) {
    if let Ok(parsed) = Token::parse(token) {
        assert!(token.starts_with(parsed.signed) && parsed.signed.ends_with(parsed.payload));
        assert!(!parsed.algorithm.eq_ignore_ascii_case("none"));
    }
    let Ok(principal) = ask(&format!("Bearer {token}")) else { return };
    let token = token.trim();
    if principal.nodes.include("mesh/shop/virtualNode/a") {
        assert_eq!(token, JOIN_TOKEN);
    } else {
        assert_eq!(token.rsplit_once('.').map(|(signed, _)| signed), Some(SIGNED));
    }
}

fn authorization(text: &str) {
    if ask(text).is_ok() {
        let (scheme, token) = text.split_once(' ').unwrap();
        assert!(scheme.eq_ignore_ascii_case("bearer") && token.len() <= MAX_TOKEN);
        assert!(token.trim() == JOIN_TOKEN || token.contains(SIGNED));
    }
}

fn claims(payload: &str) {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part("{\"alg\":\"HS256\"}"), part(payload));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    let Ok(principal) = ask(&format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature))) else {
        return;
    };
    let claims: Value = serde_json::from_str(payload).unwrap();
    let is_us = |audience: &Value| audience == "outrigger";
    let audience = &claims["aud"];
    assert!(is_us(audience) || audience.as_array().is_some_and(|all| all.iter().any(is_us)), "{audience}");
    assert_eq!((&claims["iss"], &claims["sub"]), (&"https://claims".into(), &ACCOUNT.into()));
    let (now, end) = (NOW as f64, claims["exp"].as_f64().unwrap());
    assert!(end.floor() + SKEW >= now, "{end}");
    assert!(claims.get("nbf").is_none_or(|start| start.as_f64().unwrap().floor() <= now + SKEW));
    assert!(principal.nodes.include("mesh/shop/virtualNode/front"));
    assert!(!principal.nodes.include("mesh/shop/virtualNode/a"));
    let until = principal.until.unwrap();
    assert!(until >= UNIX_EPOCH + Duration::from_secs(NOW) && until <= latest(end), "{until:?}");
}

/// When a token with this end is over at the latest.
fn latest(end: f64) -> SystemTime {
    let end = UNIX_EPOCH.checked_add(Duration::from_secs(end as u64));
    end.map_or(UNIX_EPOCH + Duration::from_secs(i64::MAX as u64), |end| end + Duration::from_secs_f64(SKEW))
}
