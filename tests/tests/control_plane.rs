//! What happens to traffic when the control plane dies, when definitions are broken or huge, and when its clients
//! misbehave: nothing.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use outrigger_tests::client::h1;
use outrigger_tests::control_plane::{ControlPlane, Launch};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::load::Load;
use outrigger_tests::mesh::{FRONT, Shop, request, upstream_of};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes, wait};
use outrigger_xds_protos::type_url::{CLUSTER, LISTENER};
use outrigger_xds_protos::v3::core::Node;
use outrigger_xds_protos::v3::discovery::{DiscoveryRequest, DiscoveryResponse};
use outrigger_xds_protos::v3::{AdsClient, Status};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

on_both_data_planes!(
    a_killed_control_plane_harms_no_request,
    what_vanished_while_it_was_down_goes_after_what_replaces_it,
    a_thousand_clusters_come_and_go_under_load,
    a_thousand_clusters_come_and_go_under_load_as_states_of_the_world,
    a_broken_edit_harms_no_request,
    a_proxy_that_cannot_be_given_an_edit_keeps_what_it_had,
);

const LIMIT: Duration = Duration::from_secs(20);

/// Requests go on while it is gone; what was edited meanwhile is picked up once it is back.
async fn a_killed_control_plane_harms_no_request(plane: DataPlane) -> Result<()> {
    let mut shop = Shop::open_with_weights(1, 0).await?;
    let _sidecar = shop.proxy(plane, FRONT, 2).await?;
    let load = Load::start(shop.egress(), "price.shop.local", 4);
    load.until_answered(100).await?;
    shop.control_plane.kill().await?;
    shop.reweigh(0, 1)?;
    load.until_answered(200).await?;
    assert_eq!(shop.price_two.counts().requests(), 0, "nobody can know of the edit yet");

    shop.control_plane.restart().await?;
    shop.control_plane.until_accepted(FRONT).await?;
    until_answering(&shop, "price-2").await?;
    load.until_answered(100).await?;
    load.end().await.map(drop)
}

/// The node that all requests go to is taken out of every route while the control plane is down, and with it its
/// cluster out of the sidecar's configuration: it must go after the routes have moved.
async fn what_vanished_while_it_was_down_goes_after_what_replaces_it(plane: DataPlane) -> Result<()> {
    let mut shop = Shop::open_with_weights(1, 0).await?;
    let sidecar = shop.proxy(plane, FRONT, 2).await?;
    let load = Load::start(shop.egress(), "price.shop.local", 8);
    load.until_answered(100).await?;
    let clusters = sidecar.stat("cluster_manager.active_clusters").await?;
    shop.control_plane.kill().await?;
    let nowhere = "              - {VirtualNode: price-2, Weight: 0}\n";
    let moved =
        shop.definitions()?.replace(nowhere, "").replace("VirtualNode: price-1", "VirtualNode: price-2");
    shop.control_plane.write("mesh.yaml", &moved)?;
    shop.control_plane.restart().await?;
    until_answering(&shop, "price-2").await?;
    sidecar.until_stat("cluster_manager.active_clusters", |count| count == clusters - 1).await?;
    load.until_answered(100).await?;
    load.end().await.map(drop)
}

async fn a_broken_edit_harms_no_request(plane: DataPlane) -> Result<()> {
    let mut shop = Shop::open_with_weights(1, 0).await?;
    let _sidecar = shop.proxy(plane, FRONT, 1).await?;
    let load = Load::start(shop.egress(), "price.shop.local", 2);
    load.until_answered(50).await?;
    let good = shop.definitions()?;
    let (line, broken) = with_unknown_target(&good)?;
    shop.control_plane.write("mesh.yaml", &broken)?;
    let finding = shop.control_plane.until_says("error[").await?;
    assert!(finding.contains(&format!("mesh.yaml:{line}:")) && finding.contains("price-9"), "{finding}");
    shop.control_plane.until_says("the last good state stays served").await?;
    let metrics = shop.control_plane.get("/metrics").await?.text();
    assert!(metrics.contains("outrigger_config_reloads_total{result=\"failure\"} 1\n"), "{metrics}");
    load.until_answered(50).await?;
    // A newcomer is given the last good state too.
    let again = shop.control_plane.node(FRONT).await?;
    assert_eq!(again.len(), 1);

    shop.control_plane.write("mesh.yaml", "Resources: [")?;
    shop.control_plane.until_says("mesh.yaml:1:").await?;
    load.until_answered(50).await?;

    shop.reweigh(0, 1)?;
    until_answering(&shop, "price-2").await?;
    load.until_answered(50).await?;
    load.end().await.map(drop)
}

/// The edit changes weights and asks for a certificate that nobody can get: the node goes on as before, and takes the
/// next edit that it can be given.
async fn a_proxy_that_cannot_be_given_an_edit_keeps_what_it_had(plane: DataPlane) -> Result<()> {
    let shop = Shop::open_with_weights(1, 0).await?;
    let _sidecar = shop.proxy(plane, FRONT, 1).await?;
    let load = Load::start(shop.egress(), "price.shop.local", 2);
    load.until_answered(50).await?;
    shop.reweigh(0, 1)?;
    let plain = "{Port: !Ref FrontPort, Protocol: http}";
    let tls = "TLS: {Mode: STRICT, Certificate: {ACM: {CertificateArn: 'arn:aws:acm:r:1:certificate/c'}}}";
    let edited = shop.definitions()?.replace(plain, &format!("{plain}\n            {tls}"));
    shop.control_plane.write("mesh.yaml", &edited)?;
    let held_back = || async {
        let page = shop.control_plane.get("/nodes").await.ok()?.json().ok()?;
        page["held_back"].as_array()?.first().cloned()
    };
    let held_back = wait::until("a node that is held back", LIMIT, held_back).await?;
    assert_eq!((&held_back["node_id"], &held_back["served"]), (&FRONT.into(), &"last good state".into()));
    load.until_answered(50).await?;

    shop.reweigh(0, 1)?;
    until_answering(&shop, "price-2").await?;
    load.until_answered(50).await?;
    load.end().await.map(drop)
}

/// The definitions with the first target of the last route renamed, and the line where that is.
fn with_unknown_target(good: &str) -> Result<(usize, String)> {
    let target = "{VirtualNode: price-1, Weight: 1}]";
    let at = good.find(target).ok_or("no such target in the definitions")?;
    let line = good[..at].lines().count();
    Ok((line, good.replacen(target, &target.replace("price-1", "price-9"), 1)))
}

async fn until_answering(shop: &Shop, name: &str) -> Result<()> {
    let check = || async {
        let answer = shop.price("/", &[]).await.ok()?;
        upstream_of(&answer).ok().filter(|upstream| upstream == name)
    };
    wait::until(&format!("answers of {name}"), LIMIT, check).await.map(drop)
}

const MANY: usize = 1000;
const LAST: usize = MANY - 1;
/// Connections of their own, so that every worker is asked.
const ASKED: usize = 32;

async fn a_thousand_clusters_come_and_go_under_load(plane: DataPlane) -> Result<()> {
    a_thousand_clusters(plane, "DELTA_GRPC").await
}

async fn a_thousand_clusters_come_and_go_under_load_as_states_of_the_world(plane: DataPlane) -> Result<()> {
    a_thousand_clusters(plane, "GRPC").await
}

/// From one service to a thousand, each with a cluster, endpoints and a virtual host, and back.
async fn a_thousand_clusters(plane: DataPlane, variant: &str) -> Result<()> {
    let (upstream, egress) = (Upstream::start(Echo::new("all"))?, Port::lease()?);
    let launch = Launch::of(&services(1, upstream.address()))?;
    launch.write("instances.yaml", &instances())?;
    let launch = launch.args(["--no-interception", "--bind", "127.0.0.2"]);
    let launch = launch.args(["--egress-port".to_owned(), egress.number().to_string()]);
    let control_plane = launch.start().await?;
    let (id, egress) = ("mesh/many/virtualNode/caller", SocketAddr::from(([127, 0, 0, 2], egress.number())));
    let mut sidecar = plane.launch()?.concurrency(2).start_as(id, control_plane.xds(), variant).await?;
    control_plane.until_accepted(id).await?;

    let load = Load::start(egress, "service-0.many.local", 4);
    let changes = async {
        load.until_answered(100).await?;
        for (count, status) in [(MANY, 200), (1, 404)] {
            let start = Instant::now();
            control_plane.write("mesh.yaml", &services(count, upstream.address()))?;
            until_every_worker_says(egress, status).await?;
            eprintln!("{plane:?}, {variant}: {count} services reached all workers in {:?}", start.elapsed());
            load.until_answered(100).await?;
            control_plane.until_accepted(id).await?;
        }
        load.end().await
    };
    // A sidecar that ended, ended with words.
    changes.await.map_err(|error| sidecar.process().failure(&error.to_string()))?;
    assert_eq!(sidecar.stat("cluster_manager.cds.update_rejected").await?, 0);
    Ok(())
}

/// Waits for this status of the last service, and then for nothing else on connections of their own.
async fn until_every_worker_says(egress: SocketAddr, status: u16) -> Result<()> {
    let name = format!("service-{LAST}.many.local");
    let all = || async {
        for _ in 0..ASKED {
            (status_of(egress, &name).await? == status).then_some(())?;
        }
        Some(())
    };
    wait::until(&format!("{status} of {name} from every worker"), LIMIT, all).await
}

async fn status_of(at: SocketAddr, host: &str) -> Option<u16> {
    Some(request(at, host, "/", &[]).await.ok()?.status)
}

/// A caller of so many services, every one a node found by Cloud Map at the address.
fn services(count: usize, at: SocketAddr) -> String {
    let mut text =
        "- {meshName: many, spec: {}}\n- meshName: many\n  virtualNodeName: caller\n  spec:\n    backends:\n"
            .to_owned();
    for number in 0..count {
        let _ = writeln!(text, "      - virtualService: {{virtualServiceName: service-{number}.many.local}}");
    }
    for number in 0..count {
        let port = at.port();
        let _ = writeln!(
            text,
            "- {{meshName: many, virtualServiceName: service-{number}.many.local, spec: {{provider: {{virtualNode: \
             {{virtualNodeName: node-{number}}}}}}}}}\n\
             - meshName: many\n  virtualNodeName: node-{number}\n  spec:\n    \
             listeners: [{{portMapping: {{port: {port}, protocol: http}}}}]\n    \
             serviceDiscovery: {{awsCloudMap: {{namespaceName: many.local, serviceName: node-{number}}}}}"
        );
    }
    text
}

fn instances() -> String {
    let one = |number| {
        format!(
            "  - {{namespaceName: many.local, serviceName: node-{number}, attributes: {{AWS_INSTANCE_IPV4: 127.0.0.1}}}}\n"
        )
    };
    "cloudMapInstances:\n".to_owned() + &(0..MANY).map(one).collect::<String>()
}

/// A discovery client that does what a test says.
struct Client {
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
}

impl Client {
    async fn open(control_plane: &ControlPlane, id: &str, types: &[&str]) -> Result<Self> {
        let channel = Endpoint::try_from(format!("http://{}", control_plane.xds()))?
            // Little enough that a client which does not read is felt.
            .initial_stream_window_size(1024)
            .connect()
            .await?;
        let (requests, receiver) = mpsc::channel(16);
        for type_url in types {
            let node = Some(Node { id: id.to_owned(), ..Node::default() });
            requests
                .send(DiscoveryRequest {
                    node,
                    type_url: (*type_url).to_owned(),
                    ..DiscoveryRequest::default()
                })
                .await?;
        }
        let mut stub = AdsClient::new(channel);
        let stream = stub.stream_aggregated_resources(ReceiverStream::new(receiver)).await?;
        Ok(Self { requests, responses: stream.into_inner() })
    }
}

/// The client's words are in `/nodes`; it is not sent the same again, and no other client minds.
#[tokio::test]
async fn a_client_that_refuses_is_shown_with_its_words() -> Result<()> {
    const OTHER: &str = "mesh/shop/virtualNode/price-1";
    let shop = Shop::open_with_weights(1, 0).await?;
    let _sidecar = shop.proxy(DataPlane::Outrigger, FRONT, 1).await?;
    let mut client = Client::open(&shop.control_plane, OTHER, &[CLUSTER]).await?;
    let first = client.responses.message().await?.ok_or("the stream ended")?;
    let error_detail = Some(Status { message: "no such cluster type".to_owned(), ..Status::default() });
    let refusal = DiscoveryRequest {
        type_url: CLUSTER.to_owned(),
        response_nonce: first.nonce,
        error_detail,
        ..DiscoveryRequest::default()
    };
    client.requests.send(refusal).await?;
    let shown = || async {
        let node = shop.control_plane.node(OTHER).await.ok()?.pop()?;
        (node["types"]["CDS"]["status"] == "NACK").then_some(node["types"]["CDS"].clone())
    };
    let shown = wait::until("the NACK in /nodes", LIMIT, shown).await?;
    assert_eq!(shown["error"], "no such cluster type");
    assert_eq!(
        (&shown["accepted_version"], &shown["version"]),
        (&serde_json::Value::Null, &first.version_info.into())
    );
    assert_eq!(upstream_of(&shop.price("/", &[]).await?)?, "price-1");
    shop.reweigh(0, 1)?;
    until_answering(&shop, "price-2").await
}

/// Clients that subscribe and never read cost neither the others nor the end of the process anything.
#[tokio::test]
async fn clients_that_never_read_hold_up_nobody() -> Result<()> {
    let mut shop = Shop::open_with_weights(1, 0).await?;
    let _sidecar = shop.proxy(DataPlane::Outrigger, FRONT, 1).await?;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(Client::open(&shop.control_plane, FRONT, &[CLUSTER, LISTENER]).await?);
    }
    for round in 0..10 {
        let (one, two, name) = if round % 2 == 0 { (0, 1, "price-2") } else { (1, 0, "price-1") };
        shop.reweigh(one, two)?;
        until_answering(&shop, name).await?;
    }
    assert_eq!(shop.control_plane.node(FRONT).await?.len(), 1 + silent.len());
    shop.control_plane.process().signal(Signal::TERM)?;
    let status = shop.control_plane.process().wait(LIMIT).await?;
    assert!(status.success(), "{status}");
    Ok(())
}

/// What is no gRPC is answered or cut, and nobody else notices.
#[tokio::test]
async fn garbage_on_the_discovery_port_is_cut() -> Result<()> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let shop = Shop::open_with_weights(1, 0).await?;
    let frame =
        |head: [u8; 9], payload: &[u8]| [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], &head, payload].concat();
    let garbage: [Vec<u8>; 6] = [
        (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc][..], &[0x55; 508]].concat(),
        frame([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], &[0; 64]),
        frame([0, 0, 8, 1, 4, 0, 0, 0, 1], &[0xff; 8]),
        PREFACE.repeat(3),
    ];
    for bytes in &garbage {
        let mut stream = TcpStream::connect(shop.control_plane.xds()).await?;
        // It may be cut before all is written.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let cut = wait::within("the end of the connection", LIMIT, stream.read_to_end(&mut answer)).await?;
        assert!(cut.is_err() || answer.len() < 1024, "{} bytes in answer to garbage", answer.len());
    }
    assert_eq!(shop.control_plane.get("/ready").await?.status, 200);
    let _sidecar = shop.proxy(DataPlane::Outrigger, FRONT, 1).await?;
    assert_eq!(upstream_of(&h1::get(shop.egress(), "price.shop.local", "/").await?)?, "price-1");
    Ok(())
}
