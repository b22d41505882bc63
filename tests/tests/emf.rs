//! Metrics as CloudWatch documents: every count arrives once, on every way out, up to the end of the process.

use std::net::UdpSocket;
use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, emf, on_data_plane, wait};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

on_data_plane!(
    outrigger,
    Outrigger,
    every_request_is_told_once_on_stdout,
    the_agent_is_told_over_tcp,
    the_agent_is_told_over_udp,
    a_metadata_endpoint_that_hangs_delays_nothing,
    a_pod_of_a_cluster_is_named_and_seconds_are_kept,
);

const LIMIT: Duration = Duration::from_secs(20);

/// The node `cart` of the mesh `shop`, whose service `stock.local` is the virtual node `stock`.
fn bootstrap(ingress: &Port, egress: &Port, upstream: &Upstream) -> Value {
    let host = |name: &str, cluster: &str| {
        inline(route_config("r", &[virtual_host(name, &["*"], &[prefix_route("/", cluster)])]))
    };
    let mut inbound =
        http_listener("ingress", ingress.address(), host("app", "cds_ingress_shop_cart_http_8080"));
    inbound["traffic_direction"] = json!("INBOUND");
    let mut outbound =
        http_listener("egress", egress.address(), host("stock.local", "cds_egress_shop_stock_http_8080"));
    outbound["traffic_direction"] = json!("OUTBOUND");
    let clusters = ["cds_ingress_shop_cart_http_8080", "cds_egress_shop_stock_http_8080"]
        .map(|name| cluster(name, &[upstream.address()]));
    let mut bootstrap = with_static(&[inbound, outbound], &clusters);
    bootstrap["node"]["id"] = json!("mesh/shop/virtualNode/cart");
    bootstrap
}

struct Scene {
    ingress: Port,
    egress: Port,
    sidecar: Sidecar,
    _upstream: Upstream,
}

impl Scene {
    async fn start(plane: DataPlane, variables: &[(&str, &str)]) -> Result<Self> {
        let (ingress, egress, upstream) = (Port::lease()?, Port::lease()?, Upstream::start(Echo::new("a"))?);
        let bootstrap = bootstrap(&ingress, &egress, &upstream);
        let launch = plane.launch()?.concurrency(2).env("OUTRIGGER_EMF_INTERVAL_S", "1");
        let launch = variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        let sidecar = launch.start(&bootstrap).await?;
        Ok(Self { ingress, egress, sidecar, _upstream: upstream })
    }

    async fn requests(&self, inbound: usize, outbound: usize) -> Result<()> {
        for (port, count) in [(&self.ingress, inbound), (&self.egress, outbound)] {
            for _ in 0..count {
                assert_eq!(h1::get(port.address(), "a", "/").await?.status, 200);
            }
        }
        Ok(())
    }
}

fn holds(documents: &[Value], inbound: u64, outbound: u64) {
    let (node, target) = ([("VirtualNode", "cart")], [("TargetVirtualNode", "stock")]);
    assert_eq!(emf::sum(documents, "RequestCount", &node), inbound);
    assert_eq!(emf::sum(documents, "NewConnectionCount", &node), inbound);
    assert_eq!(emf::last(documents, "ActiveConnectionCount"), Some(0));
    for metric in ["RequestCountPerTarget", "HTTPCode_Target_2XX_Count", "TargetResponseTime"] {
        assert_eq!(emf::sum(documents, metric, &target), outbound, "{metric}");
    }
    assert_eq!(
        emf::sum(documents, "RequestCountPerTarget", &[("TargetVirtualService", "stock.local")]),
        outbound
    );
}

async fn every_request_is_told_once_on_stdout(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane, &[("OUTRIGGER_EMF", "stdout")]).await?;
    scene.requests(5, 7).await?;
    let told = |scene: &mut Scene| {
        let documents = emf::documents(&scene.sidecar.process().stdout()).unwrap_or_default();
        emf::sum(&documents, "RequestCountPerTarget", &[]) > 0
    };
    wait::until("a flush", LIMIT, || std::future::ready(told(&mut scene).then_some(()))).await?;
    scene.sidecar.post("/reset_counters").await?;
    // What happens after the last boundary is told at the end.
    scene.requests(2, 3).await?;
    scene.sidecar.terminate(LIMIT).await?;
    let documents = emf::documents(&scene.sidecar.process().stdout())?;
    holds(&documents, 7, 10);
    let units = emf::units(&documents);
    assert_eq!(
        (units["TargetResponseTime"].as_str(), units["ProcessedBytes"].as_str()),
        ("Milliseconds", "Bytes")
    );
    assert!(emf::sum(&documents, "ProcessedBytes", &[]) > 0);
    emf::hold_against_schema(&documents)
}

async fn the_agent_is_told_over_tcp(plane: DataPlane) -> Result<()> {
    let agent = TcpListener::bind("127.0.0.1:0").await?;
    let target = format!("tcp://{}", agent.local_addr()?);
    let lines = tokio::spawn(async move {
        let (stream, _) = agent.accept().await?;
        let mut lines = String::new();
        BufReader::new(stream).read_to_string(&mut lines).await?;
        Ok::<String, std::io::Error>(lines)
    });
    let variables = [("OUTRIGGER_EMF", target.as_str()), ("OUTRIGGER_EMF_LOG_GROUP", "/mesh/shop")];
    let mut scene = Scene::start(plane, &variables).await?;
    scene.requests(3, 4).await?;
    scene.sidecar.terminate(LIMIT).await?;
    let documents = emf::documents(&lines.await??)?;
    holds(&documents, 3, 4);
    assert!(documents.iter().all(|document| document["_aws"]["LogGroupName"] == "/mesh/shop"));
    emf::hold_against_schema(&documents)
}

async fn the_agent_is_told_over_udp(plane: DataPlane) -> Result<()> {
    let agent = UdpSocket::bind("127.0.0.1:0")?;
    let mut scene =
        Scene::start(plane, &[("OUTRIGGER_EMF", &format!("udp://{}", agent.local_addr()?))]).await?;
    scene.requests(2, 2).await?;
    scene.sidecar.terminate(LIMIT).await?;
    let (mut documents, mut datagram) = (Vec::new(), vec![0; 65536]);
    // All that was sent is here: the process has ended.
    agent.set_nonblocking(true)?;
    while let Ok(length) = agent.recv(&mut datagram) {
        documents.push(emf::check(std::str::from_utf8(&datagram[..length])?)?);
    }
    holds(&documents, 2, 2);
    emf::hold_against_schema(&documents)
}

/// Answers every further request.
async fn answer_all(metadata: &TcpListener, reply: &str) -> Result<()> {
    loop {
        let (mut asked, _) = metadata.accept().await?;
        // Closed before all is read, a connection is reset, and the answer may be lost. One may be given up meanwhile.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && asked.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
        let _ = asked.write_all(reply.as_bytes()).await;
    }
}

/// The dimensions of the platform come when it answers; until then everything else is told without them.
async fn a_metadata_endpoint_that_hangs_delays_nothing(plane: DataPlane) -> Result<()> {
    let metadata = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}/v4/id", metadata.local_addr()?);
    let variables = [
        ("OUTRIGGER_EMF", "stdout"),
        ("OUTRIGGER_EMF_DIMENSIONS", "mesh,container-insights"),
        ("ECS_CONTAINER_METADATA_URI_V4", endpoint.as_str()),
    ];
    // Nobody answers before the sidecar is LIVE and has told its first metrics.
    let mut scene = Scene::start(plane, &variables).await?;
    scene.requests(1, 0).await?;
    let (mut asked, _) = metadata.accept().await?;
    let documents = |scene: &mut Scene| emf::documents(&scene.sidecar.process().stdout()).unwrap_or_default();
    wait::until("metrics", LIMIT, || std::future::ready((!documents(&mut scene).is_empty()).then_some(())))
        .await?;
    assert!(documents(&mut scene).iter().all(|document| document.get("ClusterName").is_none()));
    let mut request = String::new();
    BufReader::new(&mut asked).read_line(&mut request).await?;
    assert_eq!(request, "GET /v4/id/task HTTP/1.0\r\n");
    let answer = r#"{"Cluster":"arn:aws:ecs:eu-west-1:1:cluster/prod","Family":"cart-task","TaskARN":"arn:aws:ecs:eu-west-1:1:task/prod/77"}"#;
    let reply = format!("HTTP/1.1 200 OK\r\n\r\n{answer}");
    // The first attempt may have been given up meanwhile; then the next one is answered.
    if asked.write_all(reply.as_bytes()).await.is_ok() {
        drop(asked);
    }
    let named = wait::until("the platform's names", LIMIT, || {
        let named = documents(&mut scene).into_iter().find(|document| document["ClusterName"] == "prod");
        std::future::ready(named)
    });
    let named = tokio::select! {
        named = named => named?,
        ended = answer_all(&metadata, &reply) => return Err(format!("the metadata endpoint ended: {ended:?}").into()),
    };
    assert_eq!((&named["TaskDefinitionFamily"], &named["TaskId"]), (&"cart-task".into(), &"77".into()));
    Ok(())
}

/// On EKS nothing is asked: the pod's variables and the operator's name of the cluster say it.
async fn a_pod_of_a_cluster_is_named_and_seconds_are_kept(plane: DataPlane) -> Result<()> {
    let variables = [
        ("OUTRIGGER_EMF", "stdout"),
        ("OUTRIGGER_EMF_DIMENSIONS", "mesh,container-insights"),
        ("OUTRIGGER_EMF_RESOLUTION", "1"),
        ("OUTRIGGER_CLUSTER_NAME", "prod"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("POD_NAMESPACE", "shop"),
        ("HOSTNAME", "cart-7d9f"),
    ];
    let mut scene = Scene::start(plane, &variables).await?;
    scene.requests(2, 1).await?;
    scene.sidecar.terminate(LIMIT).await?;
    let documents = emf::documents(&scene.sidecar.process().stdout())?;
    assert!(documents.iter().all(|document| document["PodName"] == "cart-7d9f"), "{documents:#?}");
    let set = json!(["ClusterName", "Namespace"]);
    let of_pods = documents.iter().filter(|document| {
        let sets = document["_aws"]["CloudWatchMetrics"][0]["Dimensions"].as_array();
        sets.is_some_and(|sets| sets.contains(&set))
    });
    let of_pods: Vec<_> = of_pods.cloned().collect();
    let place = [("ClusterName", "prod"), ("Namespace", "shop")];
    assert_eq!(emf::sum(&of_pods, "RequestCount", &place), 2, "{documents:#?}");
    let metrics = documents.iter().flat_map(|document| document["_aws"]["CloudWatchMetrics"].as_array());
    let metrics: Vec<&Value> =
        metrics.flatten().filter_map(|set| set["Metrics"].as_array()).flatten().collect();
    assert!(
        !metrics.is_empty() && metrics.iter().all(|metric| metric["StorageResolution"] == 1),
        "{metrics:?}"
    );
    emf::hold_against_schema(&documents)
}
