use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::access::{Access, Denied, Principal, Rules, Shown};

/// A token that says to come from the API server; what it is signed with is the API server's affair.
fn token(audience: &str, end: SystemTime) -> String {
    let end = end.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let body = serde_json::json!({"iss": "https://k8s", "aud": [audience], "exp": end});
    format!(
        "{}.{}.c2ln",
        URL_SAFE_NO_PAD.encode("{\"alg\":\"RS256\"}"),
        URL_SAFE_NO_PAD.encode(body.to_string())
    )
}

fn good() -> String {
    token("outrigger", SystemTime::now() + Duration::from_secs(600))
}

/// An API server on loopback that gives one answer; the rules that lead to it, and what it is asked.
async fn server(directory: &Path, status: &str, answer: Value) -> (Access, mpsc::UnboundedReceiver<String>) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(directory.join("ca.crt"), certificate.pem()).unwrap();
    std::fs::write(directory.join("token"), "token-of-ours\n").unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rules = format!(
        "kubernetes:\n- issuer: https://k8s\n  audience: outrigger\n  review: {{server: 'https://{}', roots: {:?}, \
         token: {:?}}}\n  accounts: [{{account: shop/front, nodes: [mesh/shop/virtualNode/front]}}]\n",
        listener.local_addr().unwrap(),
        directory.join("ca.crt"),
        directory.join("token"),
    );
    let reply = answer.to_string();
    let reply = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{reply}", reply.len());
    let (asked, questions) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut question = String::new();
            while !question.ends_with("}}") {
                let mut part = vec![0; 4096];
                let length = stream.read(&mut part).await.unwrap();
                question.push_str(std::str::from_utf8(&part[..length]).unwrap());
            }
            stream.write_all(reply.as_bytes()).await.unwrap();
            asked.send(question).unwrap();
        }
    });
    (Access::Ruled(Box::new(Rules::parse(&rules).unwrap())), questions)
}

async fn ask(access: &Access, token: &str) -> Result<Principal, Denied> {
    let authorization = format!("Bearer {token}");
    let shown = Shown { authorization: Some(&authorization), ..Shown::default() };
    access.principal(shown, SystemTime::now()).await
}

fn review(authenticated: bool, username: &str, audience: &str) -> Value {
    serde_json::json!({"status": {
        "authenticated": authenticated, "user": {"username": username}, "audiences": [audience],
    }})
}

const FRONT: &str = "system:serviceaccount:shop:front";

#[tokio::test]
async fn the_api_server_says_whose_a_token_is() {
    let directory = tempfile::tempdir().unwrap();
    let (access, mut asked) = server(directory.path(), "201 Created", review(true, FRONT, "outrigger")).await;
    let token = good();
    let principal = ask(&access, &token).await.unwrap();
    assert!(principal.nodes.include("mesh/shop/virtualNode/front") && principal.name == FRONT);
    let asked = asked.recv().await.unwrap();
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /apis/authentication.k8s.io/v1/tokenreviews HTTP/1.1"), "{head}");
    assert!(head.contains("Bearer token-of-ours"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["spec"], serde_json::json!({"token": token, "audiences": ["outrigger"]}));
}

#[tokio::test]
async fn whatever_else_it_says_is_a_refusal() {
    for (status, answer) in [
        ("201 Created", review(false, FRONT, "outrigger")),
        ("201 Created", review(true, "system:serviceaccount:shop:back", "outrigger")),
        ("201 Created", review(true, FRONT, "another")),
        ("201 Created", serde_json::json!({"status": {"authenticated": true, "user": {"username": FRONT}}})),
        ("201 Created", serde_json::json!([])),
        ("401 Unauthorized", review(true, FRONT, "outrigger")),
        ("500 Oops", review(true, FRONT, "outrigger")),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (access, _asked) = server(directory.path(), status, answer.clone()).await;
        let token = good();
        let Denied(reason) = ask(&access, &token).await.unwrap_err();
        assert!(!reason.contains("token-of-ours") && !reason.contains(&token), "{reason}");
    }
}

#[tokio::test]
async fn an_api_server_that_cannot_be_verified_is_told_nothing() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (access, mut asked) = server(one.path(), "201 Created", review(true, FRONT, "outrigger")).await;
    let (_, _other) = server(other.path(), "201 Created", Value::Null).await;
    let own = std::fs::read(one.path().join("ca.crt")).unwrap();
    std::fs::copy(other.path().join("ca.crt"), one.path().join("ca.crt")).unwrap();
    assert!(ask(&access, &good()).await.is_err());
    assert!(asked.try_recv().is_err(), "the handshake failed");
    // Roots that are replaced are followed, by the same reviewer.
    std::fs::write(one.path().join("ca.crt"), own).unwrap();
    assert!(ask(&access, &good()).await.is_ok());
    assert!(asked.recv().await.is_some());
}

#[tokio::test]
async fn what_the_token_itself_says_need_not_be_asked() {
    let directory = tempfile::tempdir().unwrap();
    let (access, mut asked) = server(directory.path(), "201 Created", review(true, FRONT, "outrigger")).await;
    let now = SystemTime::now();
    for (token, said) in [
        (token("outrigger", now - Duration::from_secs(60)), "expired"),
        (token("another", now + Duration::from_secs(600)), "another audience"),
    ] {
        let Denied(reason) = ask(&access, &token).await.unwrap_err();
        assert!(reason.contains(said), "{reason}");
    }
    assert!(asked.try_recv().is_err(), "the API server heard nothing of them");
}

#[tokio::test]
async fn a_token_that_was_refused_is_not_shown_again() {
    let directory = tempfile::tempdir().unwrap();
    let (access, mut asked) = server(directory.path(), "201 Created", review(false, "", "outrigger")).await;
    let token = good();
    for said in ["does not accept", "a moment ago", "a moment ago"] {
        let Denied(reason) = ask(&access, &token).await.unwrap_err();
        assert!(reason.contains(said), "{reason}");
    }
    assert!(asked.recv().await.is_some() && asked.try_recv().is_err(), "once");
}
