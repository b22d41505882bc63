//! Certificate files that are not there yet, not whole yet, or swapped by a link, as Kubernetes mounts secrets.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use outrigger_tests::bootstrap::{
    http_listener, inline, route_config, terminate_tls, virtual_host, with_ads, with_static,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{self, Authority, Identity};
use outrigger_tests::xds::{Resource, Server};
use outrigger_tests::{Result, wait};
use outrigger_xds_protos::type_url;
use outrigger_xds_protos::v3::listener::Listener;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);

fn listener(port: &Port, directory: &Path, authority: &Authority) -> Result<Value> {
    let answer = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}});
    let routes = route_config("r", &[virtual_host("v", &["*"], &[answer])]);
    let mut listener = http_listener("l", port.address(), inline(routes));
    let mut socket = terminate_tls(&authority.issue(&["svc"])?, &["http/1.1"]);
    let file = |name: &str| json!({"filename": directory.join(name).display().to_string()});
    socket["typed_config"]["common_tls_context"]["tls_certificates"] =
        json!([{"certificate_chain": file("svc.pem"), "private_key": file("svc.key")}]);
    listener["filter_chains"][0]["transport_socket"] = socket;
    Ok(listener)
}

async fn serves(port: &Port, authority: &Authority) -> Result<bool> {
    let config = authority.client(&["http/1.1"], None)?;
    let Ok(stream) = tls::connect(&Place::Host, port.address(), "svc", config).await else {
        return Ok(false);
    };
    let mut connection = h1::Connection::over(stream);
    Ok(connection.exchange("GET / HTTP/1.1\r\nHost: svc\r\n\r\n").await.is_ok_and(|r| r.status == 200))
}

/// A container that starts beside the sidecar writes the certificate, in its own time and piece by piece.
#[tokio::test]
async fn files_may_come_after_the_listener_that_names_them() -> Result<()> {
    let (authority, directory, port) = (Authority::new()?, tempfile::tempdir()?, Port::lease()?);
    let control = Server::start()?;
    let resource = Resource::of::<Listener>("l", &listener(&port, directory.path(), &authority)?)?;
    control.set_all([(type_url::CLUSTER, vec![]), (type_url::LISTENER, vec![resource])]);
    let sidecar = DataPlane::Outrigger.launch()?.start(&with_ads(control.address(), "GRPC")).await?;
    let said = control.until_rejected(type_url::LISTENER).await?;
    assert!(said.contains("certificate_chain") && said.contains("svc.pem"), "{said}");
    assert_eq!(sidecar.get("/configured").await?.status, 503);
    let Identity { certificate, key } = authority.issue(&["svc"])?;
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text);
    write("svc.pem", &certificate[..certificate.len() / 2])?;
    let judged = || std::future::ready(sidecar.said("stays refused: filter_chains[0]").then_some(()));
    wait::until("half a certificate to be judged", LIMIT, judged).await?;
    write("svc.pem", &certificate)?;
    write("svc.key", &key)?;
    let served = || async { serves(&port, &authority).await.ok().filter(|served| *served).map(drop) };
    wait::until("the listener to serve", LIMIT, served).await?;
    let ready = || async { (sidecar.get("/configured").await.ok()?.status == 200).then_some(()) };
    wait::until("nothing to be missing", LIMIT, ready).await
}

/// Version directories behind one link, which is replaced by renaming another one over it.
#[tokio::test]
async fn a_link_is_swapped_for_another() -> Result<()> {
    let (authority, directory, port) = (Authority::new()?, tempfile::tempdir()?, Port::lease()?);
    let mount = directory.path();
    let put = |version: &str| -> Result<()> {
        std::fs::create_dir(mount.join(version))?;
        authority.issue(&["svc"])?.write(&mount.join(version), "svc")?;
        symlink(version, mount.join("..data_tmp"))?;
        Ok(std::fs::rename(mount.join("..data_tmp"), mount.join("..data"))?)
    };
    put("..1")?;
    for name in ["svc.pem", "svc.key"] {
        symlink(Path::new("..data").join(name), mount.join(name))?;
    }
    let listener = listener(&port, mount, &authority)?;
    let sidecar = DataPlane::Outrigger.launch()?.start(&with_static(&[listener], &[])).await?;
    let mut serial = serial(&sidecar).await?;
    for version in ["..2", "..3"] {
        put(version)?;
        let changed = || async { self::serial(&sidecar).await.ok().filter(|now| *now != serial) };
        serial = wait::until("the other certificate", LIMIT, changed).await?;
        assert!(serves(&port, &authority).await?);
    }
    Ok(())
}

async fn serial(sidecar: &Sidecar) -> Result<Value> {
    Ok(sidecar.get("/certs").await?.json()?["certificates"][0]["cert_chain"][0]["serial_number"].clone())
}
