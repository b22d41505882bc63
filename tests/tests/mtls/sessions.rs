//! Sessions that are resumed, and tickets under keys that are replaced.

use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, terminate_tls, virtual_host, with_ads,
    with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{self, Authority, Identity};
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::xds::{Resource, Server};
use outrigger_tests::{Result, on_both_data_planes, wait};
use outrigger_xds_protos::type_url;
use outrigger_xds_protos::v3::cluster::Cluster;
use outrigger_xds_protos::v3::listener::Listener;
use outrigger_xds_protos::v3::tls::Secret;
use rustls::{ClientConfig, HandshakeKind};
use serde_json::{Value, json};

on_both_data_planes!(
    sessions_are_resumed_unless_that_is_forbidden,
    ticket_keys_are_replaced,
    other_names_end_resumption,
);

const LIMIT: Duration = Duration::from_secs(20);

fn listener(name: &str, port: &Port, authority: &Authority, more: Value) -> Result<Value> {
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
    let mut listener = http_listener(name, port.address(), inline(routes));
    let mut socket = terminate_tls(&authority.issue(&["svc"])?, &["http/1.1"]);
    for (field, value) in more.as_object().into_iter().flatten() {
        socket["typed_config"][field] = value.clone();
    }
    listener["filter_chains"][0]["transport_socket"] = socket;
    Ok(listener)
}

/// Makes a request on a new connection, and with it takes the tickets that come.
async fn resumed(port: &Port, config: &ClientConfig) -> Result<bool> {
    // A copy has the same memory of sessions.
    let stream = tls::connect(&Place::Host, port.address(), "svc", config.clone()).await?;
    let kind = stream.get_ref().1.handshake_kind();
    let response = Connection::over(stream).exchange("GET / HTTP/1.1\r\nHost: svc\r\n\r\n").await?;
    assert_eq!(response.status, 200);
    Ok(kind == Some(HandshakeKind::Resumed))
}

fn until(authority: &Authority, version: &'static rustls::SupportedProtocolVersion) -> Result<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = authority.certificate();
    roots.add(rustls_pki_types::pem::PemObject::from_pem_slice(pem.as_bytes())?)?;
    let builder = ClientConfig::builder_with_provider(std::sync::Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ));
    Ok(builder.with_protocol_versions(&[version])?.with_root_certificates(roots).with_no_client_auth())
}

async fn sessions_are_resumed_unless_that_is_forbidden(plane: DataPlane) -> Result<()> {
    let (authority, upstream) = (Authority::new()?, Upstream::start(Echo::new("a"))?);
    let forbidden = json!({
        "disable_stateless_session_resumption": true, "disable_stateful_session_resumption": true,
    });
    let (open, closed) = (Port::lease()?, Port::lease()?);
    let listeners = [
        listener("open", &open, &authority, json!({}))?,
        listener("closed", &closed, &authority, forbidden)?,
    ];
    let bootstrap = with_static(&listeners, &[cluster("a", &[upstream.address()])]);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (port, resumes) in [(&open, true), (&closed, false)] {
            let config = until(&authority, version)?;
            assert!(!resumed(port, &config).await?, "nothing is known yet");
            assert_eq!(resumed(port, &config).await?, resumes, "{version:?}");
        }
    }
    Ok(())
}

fn secrets(keys: &[u8]) -> Result<Vec<Resource>> {
    let key = |byte: &u8| json!({"inline_bytes": STANDARD.encode([*byte; 80])});
    let keys: Vec<Value> = keys.iter().map(key).collect();
    let message = json!({"name": "tickets", "session_ticket_keys": {"keys": keys}});
    Ok(vec![Resource::of::<Secret>("tickets", &message)?])
}

/// A new key makes tickets and the one before still opens its own; without it they are worth nothing, and whoever
/// shows one makes a full handshake.
async fn ticket_keys_are_replaced(plane: DataPlane) -> Result<()> {
    let (server, port, authority) = (Server::start()?, Port::lease()?, Authority::new()?);
    let upstream = Upstream::start(Echo::new("a"))?;
    let sds = json!({"name": "tickets", "sds_config": {"ads": {}, "resource_api_version": "V3"}});
    let listener = listener("l", &port, &authority, json!({"session_ticket_keys_sds_secret_config": sds}))?;
    server.set_all([
        (type_url::CLUSTER, vec![Resource::of::<Cluster>("a", &cluster("a", &[upstream.address()]))?]),
        (type_url::LISTENER, vec![Resource::of::<Listener>("l", &listener)?]),
        (type_url::SECRET, secrets(&[1])?),
    ]);
    let _sidecar = plane.launch()?.start(&with_ads(server.address(), "GRPC")).await?;
    let client = || until(&authority, &rustls::version::TLS13);
    let mut holders = Vec::new();
    for _ in 0..40 {
        let config = client()?;
        assert!(!resumed(&port, &config).await?);
        holders.push(config);
    }
    let holders = Mutex::new(holders);
    let next = || holders.lock().ok().and_then(|mut holders| holders.pop()).ok_or("no more tickets");
    server.set(type_url::SECRET, secrets(&[2, 1])?);
    server.until_accepted(type_url::SECRET).await?;
    assert!(resumed(&port, &next()?).await?, "the key before still opens");
    server.set(type_url::SECRET, secrets(&[2])?);
    server.until_accepted(type_url::SECRET).await?;
    let forgotten = || async {
        let config = next().ok()?;
        resumed(&port, &config).await.ok().filter(|resumed| !resumed).map(drop)
    };
    wait::until("tickets of the first key to be worth nothing", LIMIT, forgotten).await?;
    // Those of the key in use are.
    let config = client()?;
    assert!(!resumed(&port, &config).await?);
    assert!(resumed(&port, &config).await?);
    Ok(())
}

/// Tickets under a key that stays the same, and clients that must show a certificate.
fn mutual(authority: &Authority, more: Value) -> Value {
    let mut validation = json!({"trusted_ca": {"inline_string": authority.certificate()}});
    for (field, value) in more.as_object().into_iter().flatten() {
        validation[field] = value.clone();
    }
    json!({
        "require_client_certificate": true,
        "session_ticket_keys": {"keys": [{"inline_bytes": STANDARD.encode([7_u8; 80])}]},
        "validation": validation,
    })
}

fn demanding(port: &Port, authority: &Authority, more: Value) -> Result<Value> {
    let mut fields = mutual(authority, more);
    let validation = fields["validation"].take();
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("validation");
    }
    let mut listener = listener("l", port, authority, fields)?;
    let common = &mut listener["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"];
    common["validation_context"] = validation;
    Ok(listener)
}

/// A client that was let in and has tickets.
async fn holder(port: &Port, authority: &Authority, identity: &Identity) -> Result<ClientConfig> {
    let config = authority.client(&["http/1.1"], Some(identity))?;
    assert!(!resumed(port, &config).await?);
    assert!(resumed(port, &config).await?, "its tickets are good");
    Ok(config)
}

async fn other_names_end_resumption(plane: DataPlane) -> Result<()> {
    let (server, port, authority) = (Server::start()?, Port::lease()?, Authority::new()?);
    let upstream = Upstream::start(Echo::new("a"))?;
    let named = |name: &str| -> Result<Vec<Resource>> {
        let names = json!([{"san_type": "URI", "matcher": {"exact": name}}]);
        let listener = demanding(&port, &authority, json!({"match_typed_subject_alt_names": names}))?;
        Ok(vec![Resource::of::<Listener>("l", &listener)?])
    };
    server.set_all([
        (type_url::CLUSTER, vec![Resource::of::<Cluster>("a", &cluster("a", &[upstream.address()]))?]),
        (type_url::LISTENER, named("spiffe://mesh/a")?),
    ]);
    let _sidecar = plane.launch()?.start(&with_ads(server.address(), "GRPC")).await?;
    let (a, b) = (authority.issue(&["spiffe://mesh/a"])?, authority.issue(&["spiffe://mesh/b"])?);
    let config = holder(&port, &authority, &a).await?;
    server.set(type_url::LISTENER, named("spiffe://mesh/b")?);
    server.until_accepted(type_url::LISTENER).await?;
    let fresh =
        || async { resumed(&port, &authority.client(&["http/1.1"], Some(&b)).ok()?).await.ok().map(drop) };
    wait::until("the other name to be let in", LIMIT, fresh).await?;
    assert!(resumed(&port, &config).await.is_err(), "a ticket is no way round the name");
    Ok(())
}

/// The list is in a file, of which the configuration tells only the name.
#[tokio::test]
async fn revocation_ends_resumption() -> Result<()> {
    let (port, authority, directory) = (Port::lease()?, Authority::new()?, tempfile::tempdir()?);
    let upstream = Upstream::start(Echo::new("a"))?;
    let file = directory.path().join("crl.pem");
    std::fs::write(&file, authority.revocation_list(&[], 2090)?)?;
    let listener = demanding(&port, &authority, json!({"crl": {"filename": file.display().to_string()}}))?;
    let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
    let _sidecar = DataPlane::Outrigger.launch()?.start(&bootstrap).await?;
    let numbered = |serial: u64| {
        authority.issue_with(&["a"], |params| params.serial_number = Some(rcgen::SerialNumber::from(serial)))
    };
    let (seven, eight) = (numbered(7)?, numbered(8)?);
    let revoked = holder(&port, &authority, &seven).await?;
    holder(&port, &authority, &eight).await?;
    std::fs::write(&file, authority.revocation_list_of(&[7], 2020..2090)?)?;
    let refused = || async {
        let config = authority.client(&["http/1.1"], Some(&seven)).ok()?;
        resumed(&port, &config).await.is_err().then_some(())
    };
    wait::until("the new list to count", LIMIT, refused).await?;
    assert!(resumed(&port, &revoked).await.is_err(), "a ticket is no way round the list");
    holder(&port, &authority, &eight).await.map(drop)
}
