//! Certificates in files that are written anew: noticed, never half, never at the cost of a request.

use std::path::Path;
use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, terminate_tls, virtual_host, with_static,
};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::load::Load;
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{self, Authority, Identity};
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, wait};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);

/// A server and a client sidecar whose certificates and trust are files of one directory.
struct Scene {
    directory: tempfile::TempDir,
    served: Port,
    entry: Port,
    _upstream: Upstream,
    server: Sidecar,
    _client: Sidecar,
}

impl Scene {
    async fn start(authority: &Authority) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        authority.issue(&["svc"])?.write(directory.path(), "server")?;
        authority.issue(&["caller"])?.write(directory.path(), "client")?;
        std::fs::write(directory.path().join("roots.pem"), authority.certificate())?;
        let (served, entry, upstream) = (Port::lease()?, Port::lease()?, Upstream::start(Echo::new("a"))?);
        let mut socket = terminate_tls(&authority.issue(&["svc"])?, &[]);
        socket["typed_config"]["require_client_certificate"] = json!(true);
        socket["typed_config"]["common_tls_context"] = context(directory.path(), "server", "caller");
        let mut listener = routed("ingress", &served, "a");
        listener["filter_chains"][0]["transport_socket"] = socket;
        let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
        let server = DataPlane::Outrigger.launch()?.start(&bootstrap).await?;
        let mut there = cluster("there", &[served.address()]);
        there["transport_socket"] = json!({"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": context(directory.path(), "client", "svc"),
        }});
        let bootstrap = with_static(&[routed("egress", &entry, "there")], &[there]);
        let client =
            DataPlane::Outrigger.launch()?.env("OUTRIGGER_STRICT_TLS", "1").start(&bootstrap).await?;
        Ok(Self { directory, served, entry, _upstream: upstream, server, _client: client })
    }

    /// Whether a client of this authority, with an identity of it, is served and sees a certificate of it.
    async fn trusts(&self, authority: &Authority) -> Result<bool> {
        let config = authority.client(&[], Some(&authority.issue(&["caller"])?))?;
        let Ok(stream) = tls::connect(&Place::Host, self.served.address(), "svc", config).await else {
            return Ok(false);
        };
        let mut connection = outrigger_tests::client::h1::Connection::over(stream);
        Ok(connection.exchange("GET / HTTP/1.1\r\nHost: svc\r\n\r\n").await.is_ok_and(|r| r.status == 200))
    }

    async fn serial(&self) -> Result<Value> {
        Ok(self.server.get("/certs").await?.json()?["certificates"][0]["cert_chain"][0]["serial_number"]
            .clone())
    }

    async fn until_serial_is_not(&self, old: &Value) -> Result<()> {
        let changed = || async { self.serial().await.ok().filter(|serial| serial != old).map(drop) };
        wait::until("another certificate to be shown", LIMIT, changed).await
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.directory.path().join(name), text)?)
    }
}

fn context(directory: &Path, own: &str, peer: &str) -> Value {
    let file = |name: &str| json!({"filename": directory.join(name).display().to_string()});
    json!({
        "tls_certificates": [{
            "certificate_chain": file(&format!("{own}.pem")),
            "private_key": file(&format!("{own}.key")),
        }],
        "validation_context": {
            "trusted_ca": file("roots.pem"),
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": peer}}],
        },
    })
}

fn routed(name: &str, port: &Port, to: &str) -> Value {
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", to)])]);
    http_listener(name, port.address(), inline(routes))
}

#[tokio::test]
async fn a_new_pair_is_served_and_half_of_one_never() -> Result<()> {
    let authority = Authority::new()?;
    let scene = Scene::start(&authority).await?;
    let load = Load::start(scene.entry.address(), "svc", 2);
    load.until_answered(20).await?;
    let first = scene.serial().await?;
    let Identity { certificate, key } = authority.issue(&["svc"])?;
    // The certificate alone does not fit the key: noticed (the log says so), not taken.
    scene.write("server.pem", &certificate)?;
    let told = || std::future::ready(scene.server.said("keeps its old TLS settings").then_some(()));
    wait::until("the half-written pair to be refused", LIMIT, told).await?;
    assert_eq!(scene.serial().await?, first);
    load.until_answered(20).await?;
    scene.write("server.key", &key)?;
    scene.until_serial_is_not(&first).await?;
    assert!(scene.trusts(&authority).await?);
    load.until_answered(20).await?;
    load.end().await.map(drop)
}

#[tokio::test]
async fn an_authority_is_replaced_with_both_trusted_in_between() -> Result<()> {
    let (old, new) = (Authority::new()?, Authority::new()?);
    let scene = Scene::start(&old).await?;
    let load = Load::start(scene.entry.address(), "svc", 2);
    load.until_answered(20).await?;
    assert!(scene.trusts(&old).await? && !scene.trusts(&new).await?);
    scene.write("roots.pem", &format!("{}{}", old.certificate(), new.certificate()))?;
    // Clients of the new authority cannot verify the server yet, but the load can tell when its own side follows.
    load.until_answered(50).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = scene.serial().await?;
    new.issue(&["svc"])?.write(scene.directory.path(), "server")?;
    new.issue(&["caller"])?.write(scene.directory.path(), "client")?;
    scene.until_serial_is_not(&before).await?;
    load.until_answered(50).await?;
    scene.write("roots.pem", &new.certificate())?;
    let alone = || async { scene.trusts(&old).await.ok().filter(|trusts| !trusts).map(drop) };
    wait::until("the old authority to be forgotten", LIMIT, alone).await?;
    assert!(scene.trusts(&new).await?);
    load.until_answered(50).await?;
    load.end().await.map(drop)
}

#[tokio::test]
async fn unverified_servers_are_an_error_where_that_is_wanted() -> Result<()> {
    let mut there = cluster("there", &[([127, 0, 0, 1], 1).into()]);
    there["transport_socket"] = json!({"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    }});
    let file = tempfile::tempdir()?.keep().join("bootstrap.json");
    std::fs::write(&file, with_static(&[], &[there]).to_string())?;
    let arguments = ["-c", &file.display().to_string(), "--mode", "validate"];
    for (strict, code) in [("0", 0), ("1", 1)] {
        let launch = DataPlane::Outrigger.launch()?.env("OUTRIGGER_STRICT_TLS", strict);
        let (status, said) = launch.run_to_end(&arguments, LIMIT).await?;
        assert_eq!(status.code(), Some(code), "{said}");
        let told = if code == 0 { "NOT VERIFIED, anyone can impersonate it" } else { "OUTRIGGER_STRICT_TLS" };
        assert!(said.contains(told) && said.contains("common_tls_context"), "{said}");
    }
    Ok(())
}
