use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

use super::*;

const NOW: u64 = 1_800_000_000;

/// An API server: its key, and the file with its public half.
struct Issuer {
    key: EcdsaKeyPair,
    keys: tempfile::NamedTempFile,
}

impl Issuer {
    fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = key.public_key().as_ref();
        let number = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        let jwks = json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "x": number(1..33), "y": number(33..65)},
        ]});
        let keys = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(keys.path(), jwks.to_string()).unwrap();
        Self { key, keys }
    }

    fn access(&self) -> Access {
        let text = format!(
            "certificates: true\ntokens: [{{token: a-long-random-text, nodes: [mesh/shop/virtualNode/a]}}]\nkubernetes:\n\
             - {{issuer: https://k8s, audience: outrigger, keys: {:?}, accounts: [{{account: shop/front, nodes: \
             [mesh/shop/virtualNode/front]}}]}}\n",
            self.keys.path()
        );
        Access::Ruled(Box::new(Rules::parse(&text).unwrap()))
    }

    fn token(&self, header: &Value, body: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(body));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "k"})
}

fn body() -> Value {
    json!({
        "iss": "https://k8s", "sub": "system:serviceaccount:shop:front", "aud": ["outrigger"],
        "exp": NOW + 600, "nbf": NOW - 10,
    })
}

fn with(mut value: Value, name: &str, field: Value) -> Value {
    value[name] = field;
    value
}

fn ask(access: &Access, token: &str) -> Result<Principal, Denied> {
    let authorization = format!("Bearer {token}");
    let shown = Shown { authorization: Some(&authorization), ..Shown::default() };
    decide(access, shown, UNIX_EPOCH + Duration::from_secs(NOW))
}

fn decide(access: &Access, shown: Shown<'_>, now: SystemTime) -> Result<Principal, Denied> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(access.principal(shown, now))
}

#[test]
fn a_service_account_becomes_its_nodes() {
    let issuer = Issuer::new();
    let principal = ask(&issuer.access(), &issuer.token(&header(), &body())).unwrap();
    assert!(principal.nodes.include("mesh/shop/virtualNode/front"));
    assert!(!principal.nodes.include("mesh/shop/virtualNode/a"));
    assert_eq!(principal.name, "system:serviceaccount:shop:front");
}

#[test]
fn forged_expired_and_misdirected_tokens_are_refused() {
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let access = issuer.access();
    let good = issuer.token(&header(), &body());
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    let cases = [
        ("another key", other.token(&header(), &body())),
        ("no signature", unsigned),
        ("alg none", issuer.token(&json!({"alg": "none"}), &body())),
        ("alg of another kind", issuer.token(&json!({"alg": "RS256", "kid": "k"}), &body())),
        ("alg symmetric", issuer.token(&json!({"alg": "HS256", "kid": "k"}), &body())),
        ("unknown key", issuer.token(&json!({"alg": "ES256", "kid": "x"}), &body())),
        ("audience", issuer.token(&header(), &with(body(), "aud", json!("sts.amazonaws.com")))),
        ("no audience", issuer.token(&header(), &with(body(), "aud", Value::Null))),
        ("issuer", issuer.token(&header(), &with(body(), "iss", json!("https://other")))),
        ("expired", issuer.token(&header(), &with(body(), "exp", json!(NOW - 60)))),
        ("no end", issuer.token(&header(), &with(body(), "exp", Value::Null))),
        ("future", issuer.token(&header(), &with(body(), "nbf", json!(NOW + 60)))),
        ("account", issuer.token(&header(), &with(body(), "sub", json!("system:serviceaccount:shop:back")))),
        ("no account", issuer.token(&header(), &with(body(), "sub", Value::Null))),
        ("garbage", "a.b.c".to_owned()),
        ("empty", String::new()),
        ("long", "x".repeat(1 << 20)),
    ];
    for (what, token) in cases {
        assert!(ask(&access, &token).is_err(), "{what}");
    }
    assert!(ask(&access, &good).is_ok());
}

#[test]
fn join_tokens_and_certificates_are_taken_where_rules_say_so() {
    let issuer = Issuer::new();
    let access = issuer.access();
    assert!(ask(&access, "a-long-random-text").unwrap().nodes.include("mesh/shop/virtualNode/a"));
    assert!(ask(&access, "a-long-random-texx").is_err());
    let uris = ["spiffe://shop/virtualNode/b".to_owned()];
    let shown = Shown { uris: &uris, ..Shown::default() };
    let principal = decide(&access, shown, UNIX_EPOCH).unwrap();
    assert!(
        principal.nodes.include("mesh/shop/virtualNode/b")
            && !principal.nodes.include("mesh/shop/virtualNode/a")
    );
    let without = Access::Ruled(Box::new(Rules::parse("{}").unwrap()));
    assert!(decide(&without, shown, UNIX_EPOCH).is_err());
    assert!(decide(&access, Shown::default(), UNIX_EPOCH).is_err());
    assert!(decide(&Access::Open, Shown::default(), UNIX_EPOCH).unwrap().nodes.include("anything"));
}

#[test]
fn a_join_token_may_have_an_end() {
    // 2027-01-15T08:00:00Z is NOW.
    let rules = |until: &str| {
        let text = format!("tokens: [{{token: a-long-random-text, nodes: [], until: {until}}}]");
        Access::Ruled(Box::new(Rules::parse(&text).unwrap()))
    };
    assert!(ask(&rules("20270115T080001Z"), "a-long-random-text").is_ok());
    let Denied(reason) = ask(&rules("20270115T080000Z"), "a-long-random-text").unwrap_err();
    assert_eq!(reason, "an expired join token");
}

#[test]
fn rules_without_a_meaning_are_refused_and_not_quoted() {
    for (text, said) in [
        ("tokens: [{token: short-secret, nodes: []}]", "16 characters"),
        ("tokens: [{token: a-long-random-text, nodes: [front]}]", "not a node id"),
        (
            "tokens: [{token: a-long-random-text, nodes: ['arn:aws:appmesh:r:1:mesh/m/virtualNode/a']}]",
            "not an ARN",
        ),
        ("tokens: [{token: a-long-random-text, nodes: [], until: tomorrow}]", "tokens[0].until"),
        ("tokens: [{secret: a-long-random-text}]", "not as rules are written"),
        ("unknown: 1", "not as rules are written"),
        ("kubernetes: [{issuer: i, audience: '', keys: k, accounts: []}]", "audience"),
        (
            "kubernetes: [{issuer: i, audience: a, keys: k, accounts: [{account: front, nodes: []}]}]",
            "namespace/name",
        ),
        ("kubernetes: [{issuer: i, audience: a, accounts: []}]", "either keys or review"),
        (
            "kubernetes: [{issuer: i, audience: a, review: {server: 'http://k', token: t}, accounts: []}]",
            "https://",
        ),
        ("aws: {audience: '', regions: [r], roles: []}", "audience"),
        ("aws: {audience: a, regions: [], roles: []}", "regions"),
        ("aws: {audience: a, regions: ['evil.example/'], roles: []}", "no region"),
        ("aws: {audience: a, regions: [r], roles: [{role: front, nodes: []}]}", "no ARN"),
        ("aws: {audience: a, regions: [r], roles: [{role: 'a:a:a:a:a:a', nodes: [front]}]}", "not a node id"),
    ] {
        let error = Rules::parse(text).unwrap_err();
        assert!(
            error.contains(said) && !error.contains("secret") && !error.contains("random"),
            "{text}: {error}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn tokens_of_all_kinds_are_answered(token in "[ -~]{0,200}") {
        let issuer = Issuer::new();
        proptest::prop_assert!(ask(&issuer.access(), &token).is_err());
    }

    #[test]
    fn a_damaged_token_is_no_token(at in 0usize..400, byte in b' '..b'~') {
        let issuer = Issuer::new();
        let good = issuer.token(&header(), &body());
        let mut damaged = good.clone().into_bytes();
        let at = at % damaged.len();
        damaged[at] = byte;
        let damaged = String::from_utf8(damaged).unwrap();
        // The last character of a part holds bits that mean nothing.
        let same = |text: &str| text.split('.').map(|p| URL_SAFE_NO_PAD.decode(p).ok()).collect::<Vec<_>>();
        proptest::prop_assert!(ask(&issuer.access(), &damaged).is_err() || same(&damaged) == same(&good));
    }
}
