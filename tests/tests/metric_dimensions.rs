//! Under which names metrics are told: services of targets, the cap on them, the same dimension from two sides.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::mesh::{EDGE, FRONT, Shop, request};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, emf, on_data_plane, wait};
use serde_json::{Value, json};

on_data_plane!(
    outrigger,
    Outrigger,
    a_gateway_that_keeps_host_names_tells_their_services,
    services_that_come_to_share_a_node_are_told_apart,
    requests_that_no_route_of_a_service_brings_are_told_without_one,
    a_dimension_that_is_a_tag_as_well_is_told_once,
    targets_beyond_the_cap_are_one_and_said_to_be,
    documents_begin_on_lines_of_their_own,
);

const LIMIT: Duration = Duration::from_secs(20);

async fn proxy(plane: DataPlane, shop: &Shop, id: &str, variables: &[(&str, &str)]) -> Result<Sidecar> {
    let launch = plane.launch()?.concurrency(2).env("OUTRIGGER_EMF", "stdout");
    let launch = variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
    let sidecar = launch.start_in_mesh(id, shop.control_plane.xds()).await?;
    shop.control_plane.until_accepted(id).await?;
    Ok(sidecar)
}

/// What was told in the life of the sidecar.
async fn end(mut sidecar: Sidecar) -> Result<Vec<Value>> {
    sidecar.terminate(LIMIT).await?;
    emf::documents(&sidecar.process().stdout())
}

/// The routes of such services are in one virtual host, which is named after none of them.
async fn a_gateway_that_keeps_host_names_tells_their_services(plane: DataPlane) -> Result<()> {
    let shop = Shop::open_with_weights(1, 0).await?;
    let gateway = proxy(plane, &shop, EDGE, &[]).await?;
    for path in ["/stock/7", "/stock/8", "/prices/list"] {
        assert_eq!(request(shop.edge(), "shop.example.com", path, &[]).await?.status, 200, "{path}");
    }
    let documents = end(gateway).await?;
    for (service, node, requests) in [("stock.shop.local", "stock", 2), ("price.shop.local", "price-1", 1)] {
        let target =
            [("TargetVirtualService", service), ("TargetVirtualNode", node), ("VirtualGateway", "edge")];
        assert_eq!(emf::sum(&documents, "RequestCountPerTarget", &target), requests, "{documents:#?}");
    }
    Ok(())
}

const SPARE: &str = "
  Spare:
    Type: AWS::AppMesh::VirtualService
    Properties:
      MeshName: !GetAtt Shop.MeshName
      VirtualServiceName: spare.shop.local
      Spec: {Provider: {VirtualNode: {VirtualNodeName: !GetAtt StockNode.VirtualNodeName}}}
";
const BACKENDS: &str = "        Backends:
";
const SPARE_BACKEND: &str =
    "          - VirtualService: {VirtualServiceName: !GetAtt Spare.VirtualServiceName}
";

/// The status of a request through the sidecar of `front`.
async fn ask(shop: &Shop, host: &str, status: u16) -> Result<u16> {
    Ok(request(shop.egress(), host, "/", &[&format!("x-echo-status: {status}")]).await?.status)
}

/// Alarms on a service go on when another one leads to its node, too.
async fn services_that_come_to_share_a_node_are_told_apart(plane: DataPlane) -> Result<()> {
    let shop = Shop::open().await?;
    let variables = [("OUTRIGGER_EMF_INTERVAL_S", "1"), ("APPMESH_METRIC_EXTENSION_VERSION", "1")];
    let sidecar = proxy(plane, &shop, FRONT, &variables).await?;
    for _ in 0..3 {
        assert_eq!(ask(&shop, "stock.shop.local", 200).await?, 200);
    }
    let definitions = shop.definitions()?;
    assert_eq!(definitions.matches(BACKENDS).count(), 1);
    let edited = definitions.replace(BACKENDS, &format!("{BACKENDS}{SPARE_BACKEND}"));
    let (head, tail) = edited.split_once("\n  PriceRouter:").ok_or("no router")?;
    shop.control_plane.write("mesh.yaml", &format!("{head}{SPARE}\n  PriceRouter:{tail}"))?;
    let reached = || async { (ask(&shop, "spare.shop.local", 200).await.ok()? == 200).then_some(()) };
    wait::until("the new service", LIMIT, reached).await?;
    for status in [200, 404, 200, 200] {
        assert_eq!(ask(&shop, "stock.shop.local", status).await?, status);
    }
    for _ in 0..2 {
        assert_eq!(ask(&shop, "spare.shop.local", 200).await?, 200);
    }
    let page = sidecar.get("/stats/prometheus?filter=appmesh").await?.text();
    let documents = end(sidecar).await?;
    let told = |metric: &str, dimensions: &[(&str, &str)]| emf::sum(&documents, metric, dimensions);
    for (service, requests, refused) in [("stock.shop.local", 7, 1), ("spare.shop.local", 3, 0)] {
        let target = [("TargetVirtualService", service), ("TargetVirtualNode", "stock")];
        assert_eq!(told("RequestCountPerTarget", &target), requests, "{service} {documents:#?}");
        assert_eq!(told("HTTPCode_Target_4XX_Count", &target), refused);
        assert_eq!(told("TargetResponseTime", &target), requests);
        let series = page.lines().find(|line| {
            line.starts_with("envoy_appmesh_RequestCountPerTarget{")
                && line.contains(&format!("TargetVirtualService=\"{service}\""))
                && line.contains("TargetVirtualNode=\"stock\"")
        });
        assert!(series.is_some_and(|line| line.ends_with(&format!(" {requests}"))), "{page}");
    }
    let node = [("TargetVirtualNode", "stock")];
    assert_eq!((told("RequestCountPerTarget", &node), told("HTTPCode_Target_2XX_Count", &node)), (10, 9));
    let stats = page.lines().filter(|line| line.contains('\u{1f}'));
    assert_eq!(stats.count(), 0, "what is counted by service is no statistic");
    Ok(())
}

/// The metrics extension puts `Mesh` and `VirtualNode` on every statistic; they are the node's dimensions, too.
async fn a_dimension_that_is_a_tag_as_well_is_told_once(plane: DataPlane) -> Result<()> {
    let shop = Shop::open().await?;
    let variables = [
        ("APPMESH_METRIC_EXTENSION_VERSION", "1"),
        ("OUTRIGGER_EMF_METRICS", "default,envoy_cluster_upstream_rq_total"),
    ];
    let sidecar = proxy(plane, &shop, FRONT, &variables).await?;
    assert_eq!(request(shop.egress(), "stock.shop.local", "/", &[]).await?.status, 200);
    // The checks of `emf` refuse a name that is in a set twice.
    let documents = end(sidecar).await?;
    let of_cluster: Vec<_> =
        documents.iter().filter(|one| one.get("envoy_cluster_upstream_rq_total").is_some()).collect();
    assert!(!of_cluster.is_empty());
    for document in of_cluster {
        let set = &document["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0];
        assert_eq!(*set, json!(["Mesh", "VirtualNode", "envoy_cluster_name"]));
    }
    Ok(())
}

/// Listens at `port` and forwards `/<node>` to that node of the mesh `shop`.
fn to_nodes(port: &Port, nodes: &[&str], upstream: &Upstream) -> Value {
    let name = |node: &str| format!("cds_egress_shop_{node}_http_8080");
    let routes: Vec<_> = nodes.iter().map(|node| prefix_route(&format!("/{node}"), &name(node))).collect();
    let hosts = [virtual_host("shop.local", &["*"], &routes)];
    let mut listener = http_listener("egress", port.address(), inline(route_config("r", &hosts)));
    listener["traffic_direction"] = json!("OUTBOUND");
    let clusters: Vec<_> = nodes.iter().map(|node| cluster(&name(node), &[upstream.address()])).collect();
    let mut bootstrap = with_static(&[listener], &clusters);
    bootstrap["node"]["id"] = json!("mesh/shop/virtualNode/cart");
    bootstrap
}

/// Copies, requests whose header names the cluster and those that reach it as a member of an aggregate are told beside
/// those of the service whose route names it: together they are what the cluster counts.
async fn requests_that_no_route_of_a_service_brings_are_told_without_one(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let mut bootstrap = to_nodes(&port, &["a", "b", "chosen", "every"], &upstream);
    let name = |node: &str| format!("cds_egress_shop_{node}_http_8080");
    let found = &mut bootstrap["static_resources"];
    found["clusters"][3] = json!({
        "name": name("every"),
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig",
            "clusters": [name("b")]}}});
    let manager = manager_of(&mut found["listeners"][0]);
    let routes = &mut manager["route_config"]["virtual_hosts"][0]["routes"];
    routes[0]["route"]["request_mirror_policies"] = json!([{"cluster": name("b")}]);
    routes[2]["route"] = json!({"cluster_header": "x-to"});
    let launch = plane.launch()?.env("OUTRIGGER_EMF", "stdout");
    let sidecar = launch.start(&bootstrap).await?;
    for (path, requests) in [("/a", 3), ("/b", 1), ("/chosen", 4), ("/every", 5)] {
        for _ in 0..requests {
            let to = format!("x-to: {}", name("b"));
            assert_eq!(request(port.address(), "shop.local", path, &[&to]).await?.status, 200, "{path}");
        }
    }
    let counter = format!("cluster.{}.upstream_rq_completed", name("b"));
    sidecar.until_stat(&counter, |completed| completed == 13).await?;
    let documents = end(sidecar).await?;
    let told = |metric: &str, more: &[(&str, &str)]| {
        let target = [&[("TargetVirtualNode", "b")], more].concat();
        emf::sum(&documents, metric, &target)
    };
    let of_service = [("TargetVirtualService", "shop.local")];
    for (metric, all, by_service) in [
        ("RequestCountPerTarget", 13, 1),
        ("HTTPCode_Target_2XX_Count", 13, 1),
        ("TargetResponseTime", 10, 1),
    ] {
        assert_eq!((told(metric, &[]), told(metric, &of_service)), (all, by_service), "{documents:#?}");
    }
    Ok(())
}

async fn targets_beyond_the_cap_are_one_and_said_to_be(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let bootstrap = to_nodes(&port, &["a", "b", "c", "d"], &upstream);
    let launch = plane.launch()?.env("OUTRIGGER_EMF", "stdout").env("OUTRIGGER_EMF_INTERVAL_S", "1");
    // Statistics have places of their own: they take none of these.
    let launch = launch.env("OUTRIGGER_EMF_METRICS", "default,envoy_cluster_upstream_rq_total");
    let mut sidecar = launch.env("OUTRIGGER_EMF_MAX_SERIES", "2").start(&bootstrap).await?;
    for node in ["a", "b", "c", "d", "c"] {
        assert_eq!(h1::get(port.address(), "shop.local", &format!("/{node}")).await?.status, 200);
    }
    // Two targets, and two clusters' statistics.
    sidecar.until_stat("emf.series_folded", |folded| folded == 4).await?;
    sidecar.terminate(LIMIT).await?;
    let documents = emf::documents(&sidecar.process().stdout())?;
    let mut told = BTreeMap::new();
    for document in &documents {
        if let Some(node) = document["TargetVirtualNode"].as_str() {
            *told.entry(node).or_insert(0) += document["RequestCountPerTarget"].as_u64().unwrap_or(0);
        }
    }
    assert_eq!(told, BTreeMap::from([("a", 1), ("b", 1), ("other", 3)]));
    assert_eq!(emf::sum(&documents, "envoy_cluster_upstream_rq_total", &[]), 5);
    let log = sidecar.process().stderr();
    for folded in ["c", "d"] {
        let said = |line: &&str| {
            line.contains(r#"published as "other""#) && line.contains(&format!("\"{folded} shop.local\""))
        };
        assert_eq!(log.lines().filter(said).count(), 1, "{folded} in {log}");
    }
    Ok(())
}

/// An access log without newlines is legal, and its lines go where the documents go.
async fn documents_begin_on_lines_of_their_own(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let mut bootstrap = to_nodes(&port, &["a"], &upstream);
    let manager = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
    manager["typed_config"]["access_log"] = json!([{"name": "stdout", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": "/dev/stdout",
        "log_format": {"text_format_source": {"inline_string": "code=%RESPONSE_CODE%;"}}}}]);
    let launch = plane.launch()?.env("OUTRIGGER_EMF", "stdout").env("OUTRIGGER_EMF_INTERVAL_S", "1");
    let mut sidecar = launch.start(&bootstrap).await?;
    for round in 1..=3 {
        assert_eq!(h1::get(port.address(), "shop.local", "/a").await?.status, 200);
        // Its line stands without an end, and then a document follows.
        let followed = || {
            let output = sidecar.process().stdout();
            let after = output.match_indices("code=200;").nth(round - 1).map(|(at, _)| &output[at..]);
            std::future::ready(after.filter(|after| after.contains("\"_aws\"")).map(|_| ()))
        };
        wait::until("a document behind a line", LIMIT, followed).await?;
    }
    sidecar.terminate(LIMIT).await?;
    let output = sidecar.process().stdout();
    assert_eq!(output.matches("code=200;").count(), 3);
    assert_eq!(output.matches("\"_aws\"").count(), emf::documents(&output)?.len(), "{output}");
    let requests =
        emf::sum(&emf::documents(&output)?, "RequestCountPerTarget", &[("TargetVirtualNode", "a")]);
    assert_eq!(requests, 3);
    Ok(())
}
