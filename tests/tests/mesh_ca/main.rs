//! Certificates that the mesh issues by itself: for what definitions have in AWS Certificate Manager, short-lived, renewed
//! under load, with the root replaced in between. Our sidecar keeps its keys.

mod own_keys;
mod private_ca;
mod scene;

use std::path::Path;
use std::time::Duration;

use outrigger_tests::client::h1::{self, Connection};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::load::Load;
use outrigger_tests::netns::Place;
use outrigger_tests::tls::{self, Authority};
use outrigger_tests::{Result, on_both_data_planes, wait};
use scene::{CALLEE, Scene};

on_both_data_planes!(
    acm_certificates_come_from_the_mesh,
    certificates_and_roots_are_renewed_under_load,
    traffic_goes_on_without_a_control_plane,
);

async fn acm_certificates_come_from_the_mesh(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane, "1h").await?;
    let response = h1::get(scene.egress, "callee.shop", "/").await?;
    assert_eq!(response.status, 200, "{}", response.text());
    let certs = scene.callee.get("/certs").await?.text();
    assert!(certs.contains("spiffe://shop/virtualNode/callee"), "{certs}");

    // Nobody else gets in: not without a certificate, not with one of another authority, not in plain text.
    let foreign = Authority::new()?;
    let identity = foreign.issue(&["spiffe://shop/virtualNode/caller"])?;
    let root = std::fs::read_to_string(scene.directory().join("root.pem"))?;
    for identity in [None, Some(&identity)] {
        let config = tls::client_of(&root, &[], identity)?;
        let stream = tls::connect(&Place::Host, scene.ingress, &CALLEE.to_string(), config).await;
        let answer = match stream {
            Ok(stream) => {
                Connection::over(stream).exchange("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.map(drop)
            }
            Err(error) => Err(error),
        };
        assert!(answer.is_err());
    }
    assert!(h1::get(scene.ingress, "callee.shop", "/").await.is_err());

    // Keys are where they are needed, and nowhere else.
    let mut said = vec![scene.planes[0].process().stderr(), scene.planes[1].process().stderr()];
    for sidecar in [&mut scene.caller, &mut scene.callee] {
        said.push(sidecar.get("/config_dump").await?.text());
        said.push(sidecar.get("/certs").await?.text());
        said.push(sidecar.process().stderr());
    }
    for plane in &scene.planes {
        said.push(plane.get("/nodes").await?.text());
    }
    let key = std::fs::read_to_string(scene.directory().join("root.key"))?;
    let key: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
    for text in said {
        assert!(!text.contains("PRIVATE KEY"), "{text}");
        assert!(key.iter().all(|line| !text.contains(line)), "{text}");
    }
    assert!(mode(&scene.directory().join("root.key"))? == 0o600);
    Ok(())
}

fn mode(path: &Path) -> Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}

async fn certificates_and_roots_are_renewed_under_load(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane, "2s").await?;
    let load = Load::start(scene.egress, "callee.shop", 4);
    load.until_answered(20).await?;
    scene.until_renewed(2).await?;
    let before = [descriptors(&mut scene.caller)?, descriptors(&mut scene.callee)?];
    let (first, second) = if plane == DataPlane::Outrigger { (8, 2) } else { (3, 1) };
    scene.until_renewed(first).await?;
    for step in ["prepare", "switch", "retire"] {
        scene.step(step).await?;
        scene.until_renewed(second).await?;
        load.until_answered(50).await?;
    }
    let after = [descriptors(&mut scene.caller)?, descriptors(&mut scene.callee)?];
    assert!(load.end().await? > 200);
    // Connections of the generation before may still be closing.
    for (before, after) in before.into_iter().zip(after) {
        assert!(after <= before + 16, "{before} descriptors, then {after}");
    }
    Ok(())
}

fn descriptors(sidecar: &mut Sidecar) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{}/fd", sidecar.process().id()))?.count())
}

async fn traffic_goes_on_without_a_control_plane(plane: DataPlane) -> Result<()> {
    let life = Duration::from_secs(12);
    let mut scene = Scene::start(plane, "12s").await?;
    let load = Load::start(scene.egress, "callee.shop", 2);
    load.until_answered(20).await?;
    for plane in &mut scene.planes {
        plane.kill().await?;
    }
    // As long as the certificates of the start are valid, with some room: more than half of their life.
    tokio::time::sleep(life * 6 / 10).await;
    load.until_answered(20).await?;
    // New connections too.
    let response = h1::get(scene.egress, "callee.shop", "/").await?;
    assert_eq!(response.status, 200, "{}", response.text());
    load.end().await?;
    for sidecar in [&scene.caller, &scene.callee] {
        // Envoy's gauge counts days, of which none is left, and its log is silent; `/certs` has the moment.
        let days = sidecar.stat("server.days_until_first_cert_expiring").await?;
        let shown = sidecar.get("/certs").await?.text();
        assert!(days == 0 && shown.contains("expiration_time"), "{days}: {shown}");
        if plane == DataPlane::Envoy {
            continue;
        }
        // What will happen when, in our gauge and in our log.
        let left = sidecar.stat("server.seconds_until_first_cert_expiring").await?;
        assert!(left < life.as_secs() / 2, "{left}");
        let told = || {
            let whole = ["gives no new certificate", "the one in use ends in ", "handshakes fail"];
            std::future::ready(whole.iter().all(|text| sidecar.said(text)).then_some(()))
        };
        wait::until("the log to say what will happen", life, told).await?;
    }
    Ok(())
}
