//! `envoy.filters.http.jwt_authn` with keys of the configuration: a table of tokens, and what becomes of good ones.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use aws_lc_rs::{hmac, signature};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outrigger_tests::bootstrap::{cluster, over_http2, prefix_route};
use outrigger_tests::client::h1::Response;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::log_service::LogService;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{KeyServer, Upstream};
use outrigger_tests::{Result, on_both_data_planes, wait};
use outrigger_xds_protos::v3::wkt::value::Kind;
use serde_json::{Value, json};

use crate::scene::{Scene, Script, filter, per_filter, received, typed};

const NAME: &str = "envoy.filters.http.jwt_authn";
const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";

on_both_data_planes!(
    good_tokens_pass_and_bad_ones_are_told_why,
    good_tokens_leave_what_was_asked_for,
    requirements_combine,
    routes_have_requirements_of_their_own,
    preflights_need_no_token,
    tokens_are_found_where_they_are_expected,
    claims_are_checked_as_the_provider_says,
    tokens_tell_logs_and_failures_too,
    tokens_choose_what_is_logged,
    services_are_told_what_tokens_left,
    keys_are_fetched_once_and_follow_rotation,
    without_keys_nobody_passes,
    keys_are_fetched_before_anybody_asks,
    claims_choose_routes,
);

/// Who issues tokens, with a key of each kind.
struct Issuer {
    ec: EcdsaKeyPair,
    rsa: RsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Issuer {
    fn new() -> Result<Self> {
        let none = |_| "cannot make a key";
        Ok(Self {
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(none)?,
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).map_err(none)?,
            ed: Ed25519KeyPair::generate().map_err(none)?,
        })
    }

    /// Its keys as a set; the last one says its algorithm.
    fn keys(&self) -> String {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = self.ec.public_key().as_ref();
        let rsa = self.rsa.public_key();
        let (modulus, exponent) = (rsa.modulus(), rsa.exponent());
        let keys = json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "ec", "x": text(&point[1..33]), "y": text(&point[33..])},
            {"kty": "RSA", "kid": "rsa", "n": text(modulus.big_endian_without_leading_zero()), "e": text(exponent.big_endian_without_leading_zero())},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": text(self.ed.public_key().as_ref())},
            {"kty": "oct", "kid": "hs", "alg": "HS256", "k": text(SECRET)},
        ]});
        keys.to_string()
    }

    /// A token signed as its algorithm says, whatever else its header does.
    fn sign(&self, header: &Value, claims: &Value) -> Result<String> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let (bytes, random) = (message.as_bytes(), SystemRandom::new());
        let none = |_| "cannot sign";
        let rsa = |padding: &'static dyn signature::RsaEncoding| -> Result<Vec<u8>> {
            let mut signed = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(padding, &random, bytes, &mut signed).map_err(none)?;
            Ok(signed)
        };
        let signed = match header["alg"].as_str() {
            Some("ES256") => self.ec.sign(&random, bytes).map_err(none)?.as_ref().to_vec(),
            Some("RS256") => rsa(&RSA_PKCS1_SHA256)?,
            Some("PS256") => rsa(&RSA_PSS_SHA256)?,
            Some("EdDSA") => self.ed.sign(bytes).as_ref().to_vec(),
            Some("HS256") => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), bytes).as_ref().to_vec(),
            // With the public key as secret, and with nothing at all.
            Some("HS384") => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA384, self.rsa.public_key().as_ref()), bytes)
                    .as_ref()
                    .to_vec()
            }
            _ => vec![0; 64],
        };
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signed)))
    }

    fn good(&self) -> Result<String> {
        self.sign(&json!({"alg": "ES256", "kid": "ec"}), &claims())
    }

    fn provider(&self) -> Value {
        json!({"issuer": "https://issuer.example", "audiences": ["svc"], "local_jwks": {"inline_string": self.keys()}})
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example", "sub": "me", "aud": ["svc", "other"], "exp": now() + 600, "nbf": now() - 5,
        "level": 3, "admin": true, "nested": {"team": "a b"}, "roles": ["x", "y"],
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn chain(config: Value) -> Script {
    Script::of(&[filter(NAME, "jwt_authn.v3.JwtAuthentication", config)])
}

/// Everything needs a token of this provider.
fn one(provider: Value) -> Value {
    json!({
        "providers": {"p": provider},
        "rules": [
            {"match": {"prefix": "/open"}},
            {"match": {"prefix": "/"}, "requires": {"provider_name": "p"}},
        ],
    })
}

async fn send(scene: &Scene, path: &str, token: &str) -> Result<Response> {
    scene.get(path, &[("Authorization", &format!("Bearer {token}"))]).await
}

async fn good_tokens_pass_and_bad_ones_are_told_why(plane: DataPlane) -> Result<()> {
    let (issuer, stranger) = (Issuer::new()?, Issuer::new()?);
    let scene = chain(one(issuer.provider())).start(plane).await?;
    let mut allowed = 0;
    for (algorithm, kid) in [
        ("ES256", "ec"),
        ("RS256", "rsa"),
        ("PS256", "rsa"),
        ("EdDSA", "ed"),
        ("HS256", "hs"),
        ("ES256", ""),
        ("RS256", ""),
    ] {
        let mut header = json!({"alg": algorithm});
        if !kid.is_empty() {
            header["kid"] = json!(kid);
        }
        let response = send(&scene, "/", &issuer.sign(&header, &claims())?).await?;
        assert_eq!(response.status, 200, "{header}: {}", response.text());
        allowed += 1;
    }
    let es = |kid: &str| json!({"alg": "ES256", "kid": kid});
    let good = issuer.good()?;
    let (head, rest) = good.split_once('.').ok_or("no token")?;
    let (body, signature) = rest.split_once('.').ok_or("no token")?;
    let other = URL_SAFE_NO_PAD.encode(with("sub", json!("you")).to_string());
    let oversized = issuer.sign(&es("ec"), &with("long", json!("x".repeat(20_000))))?;
    let cases = [
        ("expired", issuer.sign(&es("ec"), &with("exp", json!(now() - 120)))?, 401, "Jwt is expired"),
        ("within the skew", issuer.sign(&es("ec"), &with("exp", json!(now() - 10)))?, 200, ""),
        (
            "of the future",
            issuer.sign(&es("ec"), &with("nbf", json!(now() + 120)))?,
            401,
            "Jwt not yet valid",
        ),
        (
            "of another issuer",
            issuer.sign(&es("ec"), &with("iss", json!("https://evil.example")))?,
            401,
            "Jwt issuer is not configured",
        ),
        (
            "for others",
            issuer.sign(&es("ec"), &with("aud", json!("other")))?,
            403,
            "Audiences in Jwt are not allowed",
        ),
        (
            "for nobody",
            issuer.sign(&es("ec"), &with("aud", json!([])))?,
            403,
            "Audiences in Jwt are not allowed",
        ),
        ("by a stranger", stranger.good()?, 401, "Jwt verification fails"),
        (
            "of an unknown key",
            issuer.sign(&es("none"), &claims())?,
            401,
            "Jwks doesn't have key to match kid or alg from Jwt",
        ),
        ("with another payload", format!("{head}.{other}.{signature}"), 401, "Jwt verification fails"),
        (
            "without signature",
            format!("{head}.{body}."),
            401,
            "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        ),
        (
            "alg none",
            issuer.sign(&json!({"alg": "none"}), &claims())?,
            401,
            "Jwt header [alg] is not supported",
        ),
        (
            "no alg",
            issuer.sign(&json!({"kid": "ec"}), &claims())?,
            401,
            "Jwt header [alg] field is required and must be a string",
        ),
        (
            "public key as secret",
            issuer.sign(&json!({"alg": "HS384", "kid": "rsa"}), &claims())?,
            401,
            "Jwt verification fails",
        ),
        (
            "another algorithm of the key",
            issuer.sign(&json!({"alg": "ES256", "kid": "rsa"}), &claims())?,
            401,
            "Jwt verification fails",
        ),
        (
            "the key's own algorithm",
            issuer.sign(&json!({"alg": "HS384", "kid": "hs"}), &claims())?,
            401,
            "Jwks doesn't have key to match kid or alg from Jwt",
        ),
        (
            "two parts",
            format!("{head}.{body}"),
            401,
            "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        ),
        (
            "a broken header",
            format!("e.{body}.{signature}"),
            401,
            "Jwt header is an invalid Base64url encoded",
        ),
        (
            "no JSON",
            format!("{}.{body}.{signature}", URL_SAFE_NO_PAD.encode("x")),
            401,
            "Jwt header is an invalid JSON",
        ),
        ("oversized", oversized, 200, ""),
    ];
    let mut denied = 0;
    let mut wrong = Vec::new();
    for (case, token, status, text) in cases {
        let response = send(&scene, "/", &token).await?;
        let told = if response.status == 200 { String::new() } else { response.text() };
        if (response.status, told.as_str()) != (status, text) {
            wrong.push(format!("{case}: {} {told}", response.status));
        }
        allowed += u64::from(response.status == 200);
        denied += u64::from(response.status != 200);
    }
    assert!(wrong.is_empty(), "{plane:?}:\n{}", wrong.join("\n"));
    let missing = scene.get("/a?b=c", &[]).await?;
    assert_eq!((missing.status, missing.text().as_str()), (401, "Jwt is missing"));
    assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"http://svc/a?b=c\""));
    let invalid = send(&scene, "/a", &stranger.good()?).await?;
    let challenge = "Bearer realm=\"http://svc/a\", error=\"invalid_token\"";
    assert_eq!(invalid.header("www-authenticate"), Some(challenge));
    let lines = usize::try_from(allowed + denied)? + 2;
    assert_eq!(scene.logged(lines).await?, "401|-|jwt_authn_access_denied{Jwt_verification_fails}");
    assert_eq!(scene.get("/open/x", &[]).await?.status, 200);
    assert_eq!(scene.sidecar.stat("http.ingress.jwt_authn.allowed").await?, allowed + 1);
    assert_eq!(scene.sidecar.stat("http.ingress.jwt_authn.denied").await?, denied + 2);
    Ok(())
}

async fn good_tokens_leave_what_was_asked_for(plane: DataPlane) -> Result<()> {
    let issuer = Issuer::new()?;
    let token = issuer.good()?;
    let mut provider = issuer.provider();
    provider["forward_payload_header"] = json!("x-payload");
    provider["claim_to_headers"] = json!([
        {"header_name": "x-sub", "claim_name": "sub"},
        {"header_name": "x-level", "claim_name": "level"},
        {"header_name": "x-admin", "claim_name": "admin"},
        {"header_name": "x-team", "claim_name": "nested.team"},
        {"header_name": "x-roles", "claim_name": "roles"},
        {"header_name": "x-none", "claim_name": "none"},
    ]);
    let scene = chain(one(provider.clone())).start(plane).await?;
    let bearer = format!("Bearer {token}");
    let forged =
        [("Authorization", bearer.as_str()), ("x-sub", "root"), ("x-none", "root"), ("x-payload", "root")];
    let response = scene.get("/", &forged).await?;
    assert_eq!(response.status, 200, "{}", response.text());
    let payload = token.split('.').nth(1).unwrap_or_default();
    for (name, expected) in [
        ("authorization", &[][..]),
        ("x-payload", &[payload][..]),
        ("x-sub", &["me"][..]),
        ("x-level", &["3"][..]),
        ("x-admin", &["true"][..]),
        ("x-team", &["a b"][..]),
        ("x-roles", &["WyJ4IiwieSJd"][..]),
        ("x-none", &[][..]),
    ] {
        assert_eq!(received(&response, name)?, expected, "{name}");
    }
    provider["forward"] = json!(true);
    provider["pad_forward_payload_header"] = json!(true);
    let scene = chain(one(provider)).start(plane).await?;
    let response = scene.get("/", &forged).await?;
    assert_eq!(received(&response, "authorization")?, [bearer]);
    let padded = received(&response, "x-payload")?;
    assert_eq!(padded.len(), 1);
    assert!(padded[0].len() % 4 == 0 && padded[0].trim_end_matches('=') == payload, "{padded:?}");
    Ok(())
}

async fn requirements_combine(plane: DataPlane) -> Result<()> {
    let (one, two) = (Issuer::new()?, Issuer::new()?);
    let mut second = two.provider();
    second["issuer"] = json!("https://two.example");
    second["from_headers"] = json!([{"name": "x-two"}]);
    let (p, q) = (json!({"provider_name": "p"}), json!({"provider_name": "q"}));
    let either = json!({"requires_any": {"requirements": [p, q]}});
    let both = json!({"requires_all": {"requirements": [p, q]}});
    let missing = json!({"requires_any": {"requirements": [p, {"allow_missing": {}}]}});
    let failed = json!({"requires_any": {"requirements": [p, {"allow_missing_or_failed": {}}]}});
    let audience = json!({"provider_and_audiences": {"provider_name": "p", "audiences": ["other"]}});
    let rule = |path: &str, requires: &Value| json!({"match": {"prefix": path}, "requires": requires});
    let config = json!({
        "providers": {"p": one.provider(), "q": second},
        "rules": [
            rule("/either", &either), rule("/both", &both), rule("/missing", &missing), rule("/failed", &failed),
            rule("/audience", &audience), rule("/lenient", &json!({"allow_missing": {}})),
            rule("/any", &json!({"allow_missing_or_failed": {}})),
        ],
    });
    let scene = chain(config).start(plane).await?;
    let es = json!({"alg": "ES256", "kid": "ec"});
    let first = format!("Bearer {}", one.good()?);
    let expired = format!("Bearer {}", one.sign(&es, &with("exp", json!(now() - 600)))?);
    let narrow = format!("Bearer {}", one.sign(&es, &with("aud", json!("other")))?);
    let second = two.sign(&es, &with("iss", json!("https://two.example")))?;
    let (a, old, narrow, b) = (
        ("Authorization", first.as_str()),
        ("Authorization", expired.as_str()),
        ("Authorization", narrow.as_str()),
        ("x-two", second.as_str()),
    );
    let mut wrong = Vec::new();
    for (path, headers, status, text) in [
        ("/either", &[a][..], 200, ""),
        ("/either", &[b][..], 200, ""),
        ("/either", &[old, b][..], 200, ""),
        ("/either", &[][..], 401, "Jwt is missing"),
        ("/either", &[old][..], 401, "Jwt is expired"),
        ("/both", &[a, b][..], 200, ""),
        ("/both", &[a][..], 401, "Jwt is missing"),
        ("/both", &[old, b][..], 401, "Jwt is expired"),
        ("/missing", &[][..], 200, ""),
        ("/missing", &[a][..], 200, ""),
        ("/missing", &[old][..], 401, "Jwt is expired"),
        ("/failed", &[old][..], 200, ""),
        ("/failed", &[][..], 200, ""),
        ("/audience", &[narrow][..], 200, ""),
        ("/lenient", &[][..], 200, ""),
        ("/lenient", &[a, b][..], 200, ""),
        ("/lenient", &[old][..], 401, "Jwt is expired"),
        ("/any", &[old][..], 200, ""),
        ("/none", &[][..], 200, ""),
    ] {
        let response = scene.get(path, headers).await?;
        let told = if response.status == 200 { String::new() } else { response.text() };
        if (response.status, told.as_str()) != (status, text) {
            wrong.push(format!("{path} {headers:.40?}: {} {told}", response.status));
        }
    }
    assert!(wrong.is_empty(), "{plane:?}:\n{}", wrong.join("\n"));
    Ok(())
}

async fn routes_have_requirements_of_their_own(plane: DataPlane) -> Result<()> {
    let issuer = Issuer::new()?;
    let per_route = |config: Value| per_filter(NAME, typed("jwt_authn.v3.PerRouteConfig", config));
    let mut routes = [prefix_route("/off", "a"), prefix_route("/named", "a"), prefix_route("/wrong", "a")];
    routes[0]["typed_per_filter_config"] = per_route(json!({"disabled": true}));
    routes[1]["typed_per_filter_config"] = per_route(json!({"requirement_name": "needed"}));
    routes[2]["typed_per_filter_config"] = per_route(json!({"requirement_name": "unknown"}));
    let config = json!({
        "providers": {"p": issuer.provider()},
        "rules": [
            {"match": {"prefix": "/off"}, "requires": {"provider_name": "p"}},
            {"match": {"prefix": "/by-name"}, "requirement_name": "needed"},
        ],
        "requirement_map": {"needed": {"provider_name": "p"}},
    });
    let routes = [routes.as_slice(), &[prefix_route("/", "a")]].concat();
    let scene = chain(config).routes(&routes).start(plane).await?;
    for (path, without, good) in [
        ("/off", 200, 200),
        ("/named", 401, 200),
        ("/by-name", 401, 200),
        ("/wrong", 403, 403),
        ("/", 200, 200),
    ] {
        assert_eq!(scene.get(path, &[]).await?.status, without, "{path}");
        assert_eq!(send(&scene, path, &issuer.good()?).await?.status, good, "{path}");
    }
    Ok(())
}

async fn preflights_need_no_token(plane: DataPlane) -> Result<()> {
    let issuer = Issuer::new()?;
    let mut config = one(issuer.provider());
    config["bypass_cors_preflight"] = json!(true);
    let scene = chain(config).start(plane).await?;
    let preflight = [("Origin", "http://a"), ("Access-Control-Request-Method", "GET")];
    assert_eq!(scene.send("OPTIONS", "/", &preflight, "").await?.status, 200);
    assert_eq!(scene.send("OPTIONS", "/", &preflight[..1], "").await?.status, 401);
    assert_eq!(scene.send("GET", "/", &preflight, "").await?.status, 401);
    assert_eq!(scene.sidecar.stat("http.ingress.jwt_authn.cors_preflight_bypassed").await?, 1);
    Ok(())
}

async fn tokens_are_found_where_they_are_expected(plane: DataPlane) -> Result<()> {
    let issuer = Issuer::new()?;
    let (good, bad) =
        (issuer.good()?, issuer.sign(&json!({"alg": "ES256", "kid": "ec"}), &with("exp", json!(1)))?);
    let scene = chain(one(issuer.provider())).start(plane).await?;
    let target = async |path: String| -> Result<(u16, String)> {
        let response = scene.get(&path, &[]).await?;
        let target =
            if response.status == 200 { response.json()?["target"].to_string() } else { String::new() };
        Ok((response.status, target))
    };
    assert_eq!(target(format!("/a?access_token={good}")).await?, (200, "\"/a\"".to_owned()));
    let between = target(format!("/a?x=1&access_token={good}&y=2")).await?;
    assert_eq!(between, (200, "\"/a?x=1&y=2\"".to_owned()));
    assert_eq!(target(format!("/a?access_token={bad}")).await?.0, 401);
    // One good token excuses no bad one.
    let both = [("Authorization", &*format!("Bearer {good}"))];
    assert_eq!(scene.get(&format!("/?access_token={bad}"), &both).await?.status, 401);
    assert_eq!(scene.get("/", &[("Authorization", &*format!("Basic {good}"))]).await?.status, 401);
    let mut provider = issuer.provider();
    provider["from_headers"] = json!([{"name": "x-token"}, {"name": "x-prefixed", "value_prefix": "t="}]);
    provider["from_params"] = json!(["t"]);
    let scene = chain(one(provider)).start(plane).await?;
    assert_eq!(scene.get("/", &[("x-token", &good)]).await?.status, 200);
    let mut prefixed = Vec::new();
    for value in [
        format!("t={good}"),
        format!("a=b; t={good}"),
        format!("t= {good}"),
        format!("t={good}; c=d"),
        format!("T={good}"),
    ] {
        prefixed.push(scene.get("/", &[("x-prefixed", &value)]).await?.status);
    }
    assert_eq!(prefixed, [200, 200, 200, 401, 401]);
    assert_eq!(scene.get(&format!("/?t={good}"), &[]).await?.status, 200);
    assert_eq!(send(&scene, "/", &good).await?.status, 401);
    Ok(())
}

async fn claims_are_checked_as_the_provider_says(plane: DataPlane) -> Result<()> {
    let issuer = Issuer::new()?;
    let es = json!({"alg": "ES256", "kid": "ec"});
    let mut provider = issuer.provider();
    provider["subjects"] = json!({"prefix": "m"});
    provider["require_expiration"] = json!(true);
    provider["from_cookies"] = json!(["session"]);
    provider["from_headers"] = json!([{"name": "authorization", "value_prefix": "Bearer "}]);
    let mut short = provider.clone();
    short["max_lifetime"] = json!("700s");
    let mut config = one(provider);
    config["providers"]["q"] = short;
    config["rules"] = json!([
        {"match": {"prefix": "/short"}, "requires": {"provider_name": "q"}},
        {"match": {"prefix": "/"}, "requires": {"provider_name": "p"}},
    ]);
    let scene = chain(config).start(plane).await?;
    let endless = |mut claims: Value| {
        drop(claims.as_object_mut().map(|claims| claims.remove("exp")));
        claims
    };
    for (case, path, claims, status, text) in [
        ("good", "/", claims(), 200, ""),
        ("another subject", "/", with("sub", json!("you")), 401, "Jwt verification fails"),
        (
            "a subject that is no text",
            "/",
            with("sub", json!(1)),
            401,
            "Jwt payload [sub] field is not a string",
        ),
        ("no end", "/", endless(claims()), 401, "Jwt verification fails"),
        ("no end, limited", "/short", endless(claims()), 401, "Jwt verification fails"),
        ("short", "/short", claims(), 200, ""),
        ("long", "/short", with("exp", json!(now() + 1_000)), 401, "Jwt verification fails"),
        ("long, unlimited", "/", with("exp", json!(now() + 1_000)), 200, ""),
        ("iat", "/", with("iat", json!("x")), 401, "Jwt payload [iat] field is not an integer"),
        (
            "before time",
            "/",
            with("exp", json!(-1)),
            401,
            "Jwt payload [exp] field is not a positive 64 bit integer",
        ),
        ("jti", "/", with("jti", json!(1)), 401, "Jwt payload [jti] field is not a string"),
    ] {
        let response = send(&scene, path, &issuer.sign(&es, &claims)?).await?;
        let told = if response.status == 200 { String::new() } else { response.text() };
        assert_eq!((response.status, told.as_str()), (status, text), "{plane:?} {case}");
    }
    let good = issuer.good()?;
    for (cookie, status) in [
        (format!("a=b; session={good}"), 200),
        (format!("session=\"{good}\""), 200),
        (format!("session=x{good}"), 401),
        (format!("sessions={good}"), 401),
        ("session=".to_owned(), 401),
    ] {
        let response = scene.get("/", &[("Cookie", &cookie)]).await?;
        assert_eq!(response.status, status, "{plane:?} {cookie}");
        if status == 200 {
            assert_eq!(received(&response, "cookie")?, [cookie], "it stays");
        }
    }
    Ok(())
}

async fn tokens_tell_logs_and_failures_too(plane: DataPlane) -> Result<()> {
    let issuer = Issuer::new()?;
    let mut provider = issuer.provider();
    provider["payload_in_metadata"] = json!("payload");
    provider["header_in_metadata"] = json!("header");
    provider["failed_status_in_metadata"] = json!("failure");
    provider["normalize_payload_in_metadata"] = json!({"space_delimited_claims": ["scope"]});
    let mut config = one(provider);
    config["strip_failure_response"] = json!(true);
    let field = |path: &str| format!("DYNAMIC_METADATA(envoy.filters.http.jwt_authn:{path})");
    let operators = [
        "payload:sub",
        "payload:nested:team",
        "payload:level",
        "header:kid",
        "failure:code",
        "failure:message",
    ];
    let operators = operators.map(field);
    let operators: Vec<&str> = operators.iter().map(String::as_str).collect();
    let scene = chain(config).log(&operators).start(plane).await?;
    let es = json!({"alg": "ES256", "kid": "ec"});
    let good = issuer.sign(&es, &with("scope", json!("read write")))?;
    assert_eq!(send(&scene, "/", &good).await?.status, 200);
    assert_eq!(scene.logged(1).await?, "me|a b|3|ec|-|-");
    let expired = send(&scene, "/", &issuer.sign(&es, &with("exp", json!(5)))?).await?;
    assert_eq!(
        (expired.status, expired.text().as_str(), expired.header("www-authenticate")),
        (401, "", None)
    );
    assert_eq!(scene.logged(2).await?, "-|-|-|-|3|Jwt is expired");
    assert_eq!(scene.get("/", &[]).await?.status, 401);
    assert_eq!(scene.logged(3).await?, "-|-|-|-|1|Jwt is missing");
    Ok(())
}

/// A claim decides; without one the filter's word on missing values does, and `invert` has no say.
async fn tokens_choose_what_is_logged(plane: DataPlane) -> Result<()> {
    let issuer = Issuer::new()?;
    let mut provider = issuer.provider();
    provider["payload_in_metadata"] = json!("payload");
    let matcher = json!({"filter": NAME, "path": [{"key": "payload"}, {"key": "sub"}],
        "value": {"string_match": {"exact": "me"}}});
    let mut inverted = matcher.clone();
    inverted["invert"] = json!(true);
    let es = json!({"alg": "ES256", "kid": "ec"});
    let other = issuer.sign(&es, &with("sub", json!("you")))?;
    for (filter, expected) in [
        (json!({"matcher": matcher, "match_if_key_not_found": false}), ["/me"].as_slice()),
        (json!({"matcher": matcher}), &["/open", "/me"]),
        (json!({"matcher": inverted, "match_if_key_not_found": false}), &["/me"]),
    ] {
        let logged_if = json!({"or_filter": {"filters": [
            {"metadata_filter": filter},
            {"header_filter": {"header": {"name": ":path", "string_match": {"exact": "/open/last"}}}}]}});
        let script = chain(one(provider.clone())).log(&["REQ(:PATH)"]).logged_if(logged_if);
        let scene = script.start(plane).await?;
        assert_eq!(scene.get("/open", &[]).await?.status, 200);
        assert_eq!(send(&scene, "/you", &other).await?.status, 200);
        assert_eq!(send(&scene, "/me", &issuer.good()?).await?.status, 200);
        assert_eq!(scene.get("/open/last", &[]).await?.status, 200);
        let lines = scene.log.lines(expected.len() + 1).await?;
        assert_eq!(lines, [expected, &["/open/last"]].concat(), "{filter}");
    }
    Ok(())
}

async fn services_are_told_what_tokens_left(plane: DataPlane) -> Result<()> {
    let (issuer, logs) = (Issuer::new()?, LogService::start().await?);
    let mut provider = issuer.provider();
    provider["payload_in_metadata"] = json!("payload");
    let logger = json!({"name": "service", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        "common_config": {"log_name": "l", "transport_api_version": "V3", "buffer_flush_interval": "0.05s",
            "grpc_service": {"envoy_grpc": {"cluster_name": "logs"}}}}});
    let cluster = over_http2(cluster("logs", &[logs.address()]));
    let scene = chain(one(provider)).logger(logger).cluster(cluster).start(plane).await?;
    assert_eq!(send(&scene, "/", &issuer.good()?).await?.status, 200);
    let entries = logs.until_requests(1).await?;
    let common = entries[0].common_properties.as_ref().ok_or("no common properties")?;
    let left = common.metadata.as_ref().and_then(|metadata| metadata.filter_metadata.get(NAME));
    let payload = left.and_then(|left| left.fields.get("payload")).ok_or(format!("{common:?}"))?;
    let Some(Kind::StructValue(payload)) = &payload.kind else { return Err(format!("{payload:?}").into()) };
    let kind = |name: &str| payload.fields.get(name).and_then(|value| value.kind.clone());
    assert_eq!(kind("sub"), Some(Kind::StringValue("me".to_owned())));
    assert_eq!((kind("level"), kind("admin")), (Some(Kind::NumberValue(3.0)), Some(Kind::BoolValue(true))));
    Ok(())
}

/// A provider whose keys are at this server.
fn remote(more: Value) -> Value {
    let uri = json!({"uri": "http://keys.example/set?a=b", "cluster": "keys", "timeout": "5s"});
    let mut source = json!({"http_uri": uri});
    for (name, value) in more.as_object().into_iter().flatten() {
        source[name] = value.clone();
    }
    json!({"issuer": "https://issuer.example", "audiences": ["svc"], "remote_jwks": source})
}

async fn keys_are_fetched_once_and_follow_rotation(plane: DataPlane) -> Result<()> {
    let (first, second) = (Issuer::new()?, Issuer::new()?);
    let keys = KeyServer::holding(first.keys());
    let (control, server) = (keys.control(), Upstream::start(keys)?);
    let provider = remote(json!({"cache_duration": "2s"}));
    let scene = chain(one(provider)).cluster(cluster("keys", &[server.address()])).start(plane).await?;
    // Nobody's keys are fetched for a token that would be refused anyway.
    let expired = first.sign(&json!({"alg": "ES256", "kid": "ec"}), &with("exp", json!(5)))?;
    assert_eq!(send(&scene, "/", &expired).await?.status, 401);
    assert_eq!(send(&scene, "/", "a.b.c").await?.status, 401);
    assert_eq!(control.requests().len(), 0);
    for _ in 0..3 {
        assert_eq!(send(&scene, "/", &first.good()?).await?.status, 200);
    }
    assert_eq!(send(&scene, "/", &second.good()?).await?.status, 401);
    let asked = control.requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with("GET /set?a=b HTTP/1.1\r\n"), "{}", asked[0]);
    assert!(asked[0].to_ascii_lowercase().contains("\r\nhost: keys.example\r\n"), "{}", asked[0]);
    control.hold(second.keys());
    let turned = async || {
        let status = send(&scene, "/", &second.good().ok()?).await.ok()?.status;
        (status == 200).then_some(())
    };
    wait::until("the second keys", std::time::Duration::from_secs(20), turned).await?;
    assert_eq!(send(&scene, "/", &first.good()?).await?.status, 401);
    assert_eq!(scene.sidecar.stat("http.ingress.jwt_authn.jwks_fetch_success").await?, 2);
    assert_eq!(scene.sidecar.stat("cluster.keys.upstream_rq_200").await?, 2);
    Ok(())
}

/// Nobody listens, nobody answers in time, an error, no set, and far too much of one.
async fn without_keys_nobody_passes(plane: DataPlane) -> Result<()> {
    let issuer = Issuer::new()?;
    let nobody = Port::lease()?;
    let servers = [
        ("hangs", KeyServer::hanging()),
        ("fails", KeyServer::failing(503)),
        ("redirects", KeyServer::failing(302)),
        ("is no set", KeyServer::holding("garbage".to_owned())),
        ("is endless", KeyServer::holding(format!("{{\"keys\": [{}\"", "\"x\",".repeat(1 << 20)))),
    ];
    let mut provider = remote(json!({}));
    provider["remote_jwks"]["http_uri"]["timeout"] = json!("0.5s");
    provider["remote_jwks"]["http_uri"]["cluster"] = json!("nobody");
    let scene =
        chain(one(provider.clone())).cluster(cluster("nobody", &[nobody.address()])).start(plane).await?;
    let denied = send(&scene, "/", &issuer.good()?).await?;
    assert_eq!((denied.status, denied.text().as_str()), (401, "Jwks remote fetch is failed"));
    assert_eq!(scene.logged(1).await?, "401|-|jwt_authn_access_denied{Jwks_remote_fetch_is_failed}");
    for (case, server) in servers {
        let server = Upstream::start(server)?;
        provider["remote_jwks"]["http_uri"]["cluster"] = json!("keys");
        let scene =
            chain(one(provider.clone())).cluster(cluster("keys", &[server.address()])).start(plane).await?;
        let denied = send(&scene, "/", &issuer.good()?).await?;
        assert_eq!((denied.status, denied.text().as_str()), (401, "Jwks remote fetch is failed"), "{case}");
        assert_eq!(scene.sidecar.stat("http.ingress.jwt_authn.jwks_fetch_failed").await?, 1, "{case}");
        assert_eq!(scene.get("/open/a", &[]).await?.status, 200, "{case}");
    }
    Ok(())
}

async fn keys_are_fetched_before_anybody_asks(plane: DataPlane) -> Result<()> {
    let issuer = Issuer::new()?;
    let keys = KeyServer::holding(issuer.keys());
    let (control, server) = (keys.control(), Upstream::start(keys)?);
    let provider =
        remote(json!({"async_fetch": {"failed_refetch_duration": "0.2s"}, "cache_duration": "6s"}));
    for by_default in [false, true] {
        let cluster = cluster("keys", &[server.address()]);
        let script = chain(one(provider.clone())).cluster(cluster).by_default(by_default);
        let (before, scene) = (control.requests().len(), script.start(plane).await?);
        let asked = |count: usize| {
            let control = control.clone();
            wait::until("fetches", std::time::Duration::from_secs(20), move || {
                std::future::ready((control.requests().len() >= before + count).then_some(()))
            })
        };
        asked(1).await?;
        assert_eq!(send(&scene, "/", &issuer.good()?).await?.status, 200, "default: {by_default}");
        // A server that is away takes no keys away.
        control.fail(503);
        asked(3).await?;
        assert_eq!(send(&scene, "/", &issuer.good()?).await?.status, 200, "default: {by_default}");
        control.hold(issuer.keys());
    }
    Ok(())
}

async fn claims_choose_routes(plane: DataPlane) -> Result<()> {
    let issuer = Issuer::new()?;
    let mut provider = issuer.provider();
    provider["claim_to_headers"] = json!([{"header_name": "x-level", "claim_name": "level"}]);
    let routes = [
        json!({"match": {"prefix": "/", "headers": [{"name": "x-level", "string_match": {"exact": "3"}}]},
            "direct_response": {"status": 200, "body": {"inline_string": "level three"}}}),
        prefix_route("/", "a"),
    ];
    for (clears, expected) in [(true, "level three"), (false, "a")] {
        provider["clear_route_cache"] = json!(clears);
        let scene = chain(one(provider.clone())).routes(&routes).start(plane).await?;
        let response = send(&scene, "/", &issuer.good()?).await?;
        let served = match response.json() {
            Ok(echo) => echo["upstream"].as_str().unwrap_or_default().to_owned(),
            Err(_) => response.text(),
        };
        assert_eq!((response.status, served.as_str()), (200, expected), "{clears}");
    }
    Ok(())
}
