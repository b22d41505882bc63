//! `x-forwarded-client-cert`, in every mode, with and without a client certificate.

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, terminate_tls, virtual_host,
    with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{self, Authority, Identity};
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use rcgen::DnType;
use serde_json::{Value, json};

on_both_data_planes!(clients_are_described);

const GIVEN: &str = "By=spiffe://elsewhere;Hash=00";

async fn clients_are_described(plane: DataPlane) -> Result<()> {
    let (authority, upstream) = (Authority::new()?, Upstream::start(Echo::new("a"))?);
    let server = authority.issue(&["svc", "spiffe://mesh/svc"])?;
    let friend = authority.issue_with(&["friend", "other", "spiffe://mesh/friend"], |params| {
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::OrganizationName, "Shop, \"Inc\"");
        params.distinguished_name.push(DnType::CommonName, "friend");
    })?;
    let all = json!({"subject": true, "cert": true, "chain": true, "dns": true, "uri": true});
    let some = json!({"uri": true});
    let modes = [
        ("SANITIZE", &all),
        ("FORWARD_ONLY", &all),
        ("APPEND_FORWARD", &some),
        ("SANITIZE_SET", &all),
        ("ALWAYS_FORWARD_ONLY", &all),
        ("SANITIZE_SET", &json!({})),
    ];
    let ports = modes.iter().map(|_| Port::lease()).collect::<Result<Vec<_>, _>>()?;
    let listeners = modes.iter().zip(&ports).enumerate();
    let listeners: Vec<Value> = listeners
        .map(|(at, ((mode, parts), port))| {
            listener(&format!("l{at}"), port, &server, &authority, mode, parts)
        })
        .collect();
    let _sidecar =
        plane.launch()?.start(&with_static(&listeners, &[cluster("a", &[upstream.address()])])).await?;
    let mut seen = Vec::new();
    for port in &ports {
        for identity in [Some(&friend), None] {
            seen.push(told(&authority, port, identity).await?);
        }
    }
    let hash = rustls_hash(&friend)?;
    let pem = encoded(&friend.certificate);
    let mine = format!("By=spiffe://mesh/svc;Hash={hash}");
    let subject = "Subject=\"CN=friend,O=Shop\\, \\\"Inc\\\",C=DE\"";
    let names = "URI=spiffe://mesh/friend;DNS=friend;DNS=other";
    let whole = format!("{mine};Cert=\"{pem}\";Chain=\"{pem}\";{subject};{names}");
    let given = || Some(GIVEN.to_owned());
    let want = [
        None,
        None,
        given(),
        None,
        Some(format!("{GIVEN},{mine};URI=spiffe://mesh/friend")),
        None,
        Some(whole),
        None,
        given(),
        given(),
        Some(mine),
        None,
    ];
    for (at, (seen, want)) in seen.iter().zip(&want).enumerate() {
        assert_eq!(seen, want, "{:?}, certificate {}", modes.get(at / 2), at % 2 == 0);
    }
    Ok(())
}

fn listener(
    name: &str,
    port: &Port,
    server: &Identity,
    authority: &Authority,
    mode: &str,
    parts: &Value,
) -> Value {
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
    let mut listener = http_listener(name, port.address(), inline(routes));
    let manager = manager_of(&mut listener);
    manager["forward_client_cert_details"] = json!(mode);
    manager["set_current_client_cert_details"] = parts.clone();
    let mut socket = terminate_tls(server, &["http/1.1"]);
    socket["typed_config"]["common_tls_context"]["validation_context"] =
        json!({"trusted_ca": {"inline_string": authority.certificate()}});
    listener["filter_chains"][0]["transport_socket"] = socket;
    listener
}

/// The header as the application sees it.
async fn told(authority: &Authority, port: &Port, identity: Option<&Identity>) -> Result<Option<String>> {
    let config = authority.client(&["http/1.1"], identity)?;
    let stream = tls::connect(&Place::Host, port.address(), "svc", config).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: svc\r\nX-Forwarded-Client-Cert: {GIVEN}\r\n\r\n");
    let response = Connection::over(stream).exchange(request).await?;
    let headers = response.json()?["headers"].as_array().cloned().unwrap_or_default();
    let header = headers.into_iter().find(|pair| pair[0] == "x-forwarded-client-cert");
    Ok(header.and_then(|pair| pair[1].as_str().map(str::to_owned)))
}

fn rustls_hash(identity: &Identity) -> Result<String> {
    let digest = crate::cells::sha256(&identity.der()?);
    Ok(crate::cells::hexadecimal(&digest))
}

/// As Envoy writes PEM into a header.
fn encoded(pem: &str) -> String {
    let mut text = pem.replace("\r\n", "\n");
    for (from, to) in [("+", "%2B"), ("\n", "%0A"), (" ", "%20"), ("/", "%2F"), ("=", "%3D")] {
        text = text.replace(from, to);
    }
    text
}

/// Envoy writes such names as they are; whoever was issued one would then write elements of his own.
#[tokio::test]
async fn names_forge_no_elements() -> Result<()> {
    let (authority, upstream) = (Authority::new()?, Upstream::start(Echo::new("a"))?);
    let server = authority.issue(&["svc", "spiffe://mesh/svc"])?;
    let hostile =
        authority.issue(&["spiffe://mesh/x,By=spiffe://mesh/svc;Hash=00;URI=\"spiffe://mesh/admin"])?;
    let port = Port::lease()?;
    let listener = listener("l", &port, &server, &authority, "SANITIZE_SET", &json!({"uri": true}));
    let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
    let _sidecar = DataPlane::Outrigger.launch()?.start(&bootstrap).await?;
    let told = told(&authority, &port, Some(&hostile)).await?.ok_or("no header")?;
    let hash = rustls_hash(&hostile)?;
    let name = "spiffe://mesh/x%2CBy=spiffe://mesh/svc%3BHash=00%3BURI=%22spiffe://mesh/admin";
    assert_eq!(told, format!("By=spiffe://mesh/svc;Hash={hash};URI={name}"));
    Ok(())
}
