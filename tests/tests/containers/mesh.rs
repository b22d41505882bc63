//! Two services as tasks with a sidecar each and a control plane, all of them containers.

use std::fs;
use std::time::Duration;

use outrigger_tests::containers::engine::{Container, Engine};
use outrigger_tests::containers::images::{self, Images};
use outrigger_tests::containers::task::{self, Plan, Task};
use outrigger_tests::containers::task_definition::TaskDefinition;
use outrigger_tests::{Result, binaries, requirement, wait};

use super::{complete, example, moved, ours};

const PORT: u16 = 8080;
const SERVICE_A: &str = "microservice-a.default.svc.cluster.local";
const SERVICE_B: &str = "microservice-b.default.svc.cluster.local";
/// ECS's default between SIGTERM and SIGKILL, seconds.
const STOP_TIMEOUT: u32 = 30;
const LIMIT: Duration = Duration::from_secs(30);
/// What ECS users may switch on for a container without it noticing.
const HARDENED: &[&str] = &["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"];

#[tokio::test]
async fn two_tasks_talk_through_their_sidecars() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let Some(archive) = requirement::met(images::base_archive(directory.path())) else { return Ok(()) };
    let Some(engine) = requirement::met(Engine::connect().await) else { return Ok(()) };
    let images = Images::build(&engine, &archive).await?;
    let outcome = scenario(&engine, &images).await;
    engine.explained(outcome).await
}

async fn scenario(engine: &Engine, images: &Images) -> Result<()> {
    report_sizes(engine, images).await?;
    let network = engine.network().await?;
    let control_plane = control_plane(engine, images, &network).await?;
    let b = start(engine, images, &network, "b", SERVICE_B, &complete()?, HARDENED).await?;
    let a = start(engine, images, &network, "a", SERVICE_A, &moved()?, &[]).await?;
    for task in [&a, &b] {
        the_image_s_own_health_check_passes(&task.sidecar).await?;
        let status = task.sidecar.exec(&["grep", "^Uid:", "/proc/1/status"]).await?;
        assert_eq!(status, "Uid:\t1337\t1337\t1337\t1337");
    }
    a_request_passes_both_sidecars(&a, &b).await?;
    a_request_in_flight_survives_the_stop(&a).await?;
    assert_eq!(b.sidecar.stop(STOP_TIMEOUT).await?, 0);
    assert_eq!(control_plane.stop(STOP_TIMEOUT).await?, 0);
    Ok(())
}

async fn report_sizes(engine: &Engine, images: &Images) -> Result<()> {
    let base = engine.size(&images.base).await?;
    for (name, image) in [("sidecar", &images.proxy), ("control plane", &images.control_plane)] {
        let size = engine.size(image).await?;
        let mb = |bytes: u64| bytes as f64 / 1e6;
        eprintln!("image of the {name}: {:.1} MB, of it base {:.1} MB", mb(size), mb(base));
    }
    Ok(())
}

/// As the documents tell: an image with the definitions, made from ours, with the command of the task definition.
async fn control_plane<'e>(engine: &'e Engine, images: &Images, network: &str) -> Result<Container<'e>> {
    let context = tempfile::tempdir()?;
    fs::copy(example("mesh.yaml"), context.path().join("mesh.yaml"))?;
    let dockerfile = format!("FROM {}\nCOPY mesh.yaml /etc/outrigger/\n", images.control_plane);
    fs::write(context.path().join("Dockerfile"), dockerfile)?;
    let image = engine.build("mesh", context.path(), "Dockerfile", &[]).await?;

    let task = TaskDefinition::read(&ours("control-plane.json"))?;
    let definition = task.container("outrigger")?;
    let endpoint = moved()?.container("envoy")?.environment();
    let endpoint = endpoint.iter().find(|(name, _)| name == "APPMESH_XDS_ENDPOINT").unwrap().1.clone();
    let alias = endpoint.split(':').next().unwrap();
    let command = definition.command();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let options = [&["--network", network, "--network-alias", alias], HARDENED].concat();
    let container = engine.start("control-plane-1", &task::arguments(&options, &image, &command)).await?;
    task::until_healthy(&container, definition.health_check()?).await?;
    Ok(container)
}

async fn start<'e>(
    engine: &'e Engine,
    images: &Images,
    network: &str,
    name: &str,
    alias: &str,
    task: &TaskDefinition,
    options: &[&str],
) -> Result<Task<'e>> {
    let complete = complete()?;
    let (node, port) = (format!("microservice-{name}"), PORT.to_string());
    let backend = format!("{SERVICE_B}:{PORT}");
    let calls: &[&str] = if alias == SERVICE_A { &[&backend] } else { &[] };
    let program = binaries::path(binaries::SAMPLE_SERVICE)?;
    let plan = Plan {
        name,
        network,
        alias,
        port: PORT,
        // The example's task has no proxyConfiguration; both listen on the same port.
        interception: &complete.interception()?,
        sidecar: task.container("envoy")?,
        options,
        health_check: complete.container("envoy")?.health_check()?,
        application: (&program, &[&[node.as_str(), &port], calls].concat()),
    };
    Task::start(engine, images, &plan).await
}

async fn the_image_s_own_health_check_passes(sidecar: &Container<'_>) -> Result<()> {
    let status = || async {
        let status = sidecar.inspect("{{.State.Health.Status}}").await.ok()?;
        (status == "healthy").then_some(())
    };
    wait::until("the image's health check", LIMIT, status).await
}

/// Client, sidecar A, application A, sidecar A again, sidecar B, application B; nobody knows of the mesh.
async fn a_request_passes_both_sidecars(a: &Task<'_>, b: &Task<'_>) -> Result<()> {
    let path = format!("/call/{SERVICE_B}:{PORT}/hello");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {SERVICE_A}\r\nConnection: close\r\n\r\n");
    let response = a.connect(PORT).await?.exchange(request).await?;
    assert_eq!(response.status, 200, "{response:?}");
    let said = response.json()?;
    assert_eq!(said["node"], "microservice-a", "{said}");
    assert_eq!(said["answer"]["body"]["node"], "microservice-b", "{said}");
    assert_eq!(said["answer"]["body"]["path"], "/hello", "{said}");
    for (task, stat) in [
        (a, "http.ingress.downstream_rq_2xx"),
        (a, "cluster.cds_ingress_cloud-native-mesh_microservice-a_http_8080.upstream_rq_200"),
        (a, "http.egress.downstream_rq_2xx"),
        (a, "cluster.cds_egress_cloud-native-mesh_microservice-b_http_8080.upstream_rq_200"),
        (b, "http.ingress.downstream_rq_2xx"),
        (b, "cluster.cds_ingress_cloud-native-mesh_microservice-b_http_8080.upstream_rq_200"),
    ] {
        until_stat(task, stat, 1).await?;
    }
    assert_eq!(b.stat("http.egress.downstream_rq_total").await?, 0);
    Ok(())
}

/// The application hangs while the task is stopped: the sidecar waits for it, answers, and ends by itself.
async fn a_request_in_flight_survives_the_stop(a: &Task<'_>) -> Result<()> {
    a.application.pause().await?;
    let mut client = a.connect(PORT).await?;
    client.send(format!("GET /slow HTTP/1.1\r\nHost: {SERVICE_A}\r\n\r\n")).await?;
    until_stat(a, "http.ingress.downstream_rq_active", 1).await?;
    let answered = async {
        let draining = || async { a.sidecar.logs().await.ok()?.contains("draining").then_some(()) };
        wait::until("the drain", LIMIT, draining).await?;
        a.application.unpause().await?;
        client.response().await
    };
    let (code, response) = tokio::try_join!(a.sidecar.stop(STOP_TIMEOUT), answered)?;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("connection"), Some("close"), "{response:?}");
    assert_eq!(code, 0);
    Ok(())
}

async fn until_stat(task: &Task<'_>, name: &str, value: u64) -> Result<()> {
    let check = || async { (task.stat(name).await.ok()? == value).then_some(()) };
    match wait::until(name, LIMIT, check).await {
        Ok(()) => Ok(()),
        Err(error) => Err(format!("{error}: it is {}, not {value}", task.stat(name).await?).into()),
    }
}
