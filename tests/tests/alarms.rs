//! The shipped alarms say what is: evaluated over what a sidecar tells in an outage, in ordinary traffic, in none.

use std::time::{Duration, SystemTime};

use outrigger_tests::alarms::{State, Template};
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, over_http2, prefix_route, route_config, terminate_tls, virtual_host,
    with_static,
};
use outrigger_tests::client::{h1, h2};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::mesh::request;
use outrigger_tests::ports::Port;
use outrigger_tests::requirement;
use outrigger_tests::tls::Authority;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, emf, wait, workspace};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);

/// The alarms of the node `cart` and its target `stock`.
fn alarms(given: &[(&str, Value)]) -> Result<Template> {
    let text = std::fs::read_to_string(workspace::root().join("docker/dashboards/cloudwatch-alarms.json"))?;
    let names =
        [("Mesh", json!("shop")), ("VirtualNode", json!("cart")), ("TargetVirtualNode", json!("stock"))];
    Template::parse(&text, &[names.as_slice(), given].concat())
}

/// The node `cart` that calls `stock` at some addresses.
struct Scene {
    ingress: Port,
    calls: Port,
    egress: Port,
    sidecar: Sidecar,
    _upstream: Upstream,
}

/// Where the target's hosts are.
enum Stock {
    /// They answer.
    Here,
    /// Nobody listens there.
    Dead,
    /// There are none.
    Gone,
}

impl Scene {
    /// `None`: this machine cannot.
    async fn start(stock: Stock, certificate_days: Option<u64>) -> Result<Option<Self>> {
        let Some(launch) = requirement::met(DataPlane::Outrigger.launch()) else { return Ok(None) };
        let upstream = Upstream::start(Echo::new("a"))?;
        let [ingress, calls, egress, dead] = [Port::lease()?, Port::lease()?, Port::lease()?, Port::lease()?];
        let listener = |name: &str, at: &Port, table: &str, host: &str, cluster: &str, direction: &str| {
            let hosts = [virtual_host(host, &["*"], &[prefix_route("/", cluster)])];
            let mut listener = http_listener(name, at.address(), inline(route_config(table, &hosts)));
            listener["traffic_direction"] = json!(direction);
            listener
        };
        let (app, app_calls, to_stock) = (
            "cds_ingress_shop_cart_http_8080",
            "cds_ingress_shop_cart_grpc_8081",
            "cds_egress_shop_stock_http_8080",
        );
        let mut plain = listener("ingress", &ingress, "rds_ingress_http_8080", "app", app, "INBOUND");
        if let Some(days) = certificate_days {
            let ends = SystemTime::now() + Duration::from_secs(days * 86_400);
            let identity = Authority::new()?.issue_with(&["a"], |it| it.not_after = ends.into())?;
            plain["filter_chains"][0]["transport_socket"] = terminate_tls(&identity, &["http/1.1"]);
        }
        let grpc = listener("calls", &calls, "rds_ingress_grpc_8081", "app", app_calls, "INBOUND");
        let outbound = listener("egress", &egress, "out", "stock.local", to_stock, "OUTBOUND");
        let addresses = match stock {
            Stock::Here => vec![upstream.address()],
            Stock::Dead => vec![dead.address()],
            Stock::Gone => Vec::new(),
        };
        let clusters = [
            cluster(app, &[upstream.address()]),
            over_http2(cluster(app_calls, &[upstream.address()])),
            cluster(to_stock, &addresses),
        ];
        let mut bootstrap = with_static(&[plain, grpc, outbound], &clusters);
        bootstrap["node"]["id"] = json!("mesh/shop/virtualNode/cart");
        let launch = launch.env("OUTRIGGER_EMF", "stdout");
        let sidecar = launch.start(&bootstrap).await?;
        Ok(Some(Self { ingress, calls, egress, sidecar, _upstream: upstream }))
    }

    /// What was told in the life of the sidecar.
    async fn end(mut self) -> Result<Vec<Value>> {
        self.sidecar.terminate(LIMIT).await?;
        emf::documents(&self.sidecar.process().stdout())
    }
}

/// Those of `names` that are in alarm.
fn raised(template: &Template, documents: &[Value]) -> Result<Vec<&'static str>> {
    let mut raised = Vec::new();
    for name in [
        "TargetErrors",
        "TargetLatency",
        "NoRequests",
        "ManyConnections",
        "ClientTls",
        "CertificateExpiry",
        "Restarts",
    ] {
        if template.state(name, documents)? == State::Alarm {
            raised.push(name);
        }
    }
    Ok(raised)
}

/// Requests that no host takes are answered by the sidecar and sent to nobody.
async fn outage(stock: Stock) -> Result<()> {
    let Some(scene) = Scene::start(stock, None).await? else { return Ok(()) };
    assert_eq!(h1::get(scene.ingress.address(), "cart", "/").await?.status, 200);
    for _ in 0..10 {
        assert_eq!(h1::get(scene.egress.address(), "stock.local", "/").await?.status, 503);
    }
    let documents = scene.end().await?;
    assert_eq!(raised(&alarms(&[])?, &documents)?, ["TargetErrors"]);
    // What users of App Mesh's extension have: the share of all requests to the target.
    let target = [("TargetVirtualNode", "stock")];
    assert_eq!(emf::sum(&documents, "RequestCountPerTarget", &target), 10);
    assert_eq!(emf::sum(&documents, "HTTPCode_Target_5XX_Count", &target), 10);
    Ok(())
}

#[tokio::test]
async fn a_target_where_nobody_listens_is_an_alarm() -> Result<()> {
    outage(Stock::Dead).await
}

#[tokio::test]
async fn a_target_without_hosts_is_an_alarm() -> Result<()> {
    outage(Stock::Gone).await
}

#[tokio::test]
async fn ordinary_traffic_is_none() -> Result<()> {
    let Some(scene) = Scene::start(Stock::Here, None).await? else { return Ok(()) };
    assert_eq!(h1::get(scene.ingress.address(), "cart", "/").await?.status, 200);
    for _ in 0..39 {
        assert_eq!(h1::get(scene.egress.address(), "stock.local", "/").await?.status, 200);
    }
    request(scene.egress.address(), "stock.local", "/", &["x-echo-status: 500"]).await?;
    let documents = scene.end().await?;
    assert_eq!(raised(&alarms(&[])?, &documents)?, [""; 0]);
    let strict = alarms(&[("ErrorPercent", json!(2))])?;
    assert_eq!(raised(&strict, &documents)?, ["TargetErrors"], "one of 40 is above two in a hundred");
    Ok(())
}

#[tokio::test]
async fn silence_is_the_nodes_alarm_and_not_the_targets() -> Result<()> {
    let Some(scene) = Scene::start(Stock::Here, None).await? else { return Ok(()) };
    assert_eq!(raised(&alarms(&[])?, &scene.end().await?)?, ["NoRequests"]);
    assert_eq!(raised(&alarms(&[])?, &[])?, ["NoRequests"], "nor is a sidecar that tells nothing");
    Ok(())
}

#[tokio::test]
async fn a_node_that_is_only_called_over_grpc_is_not_silent() -> Result<()> {
    let Some(scene) = Scene::start(Stock::Here, None).await? else { return Ok(()) };
    let mut calls = h2::Connection::open(scene.calls.address()).await?;
    calls.exchange(h2::get("cart", "/a.Service/Method")?).await?;
    drop(calls);
    let documents = scene.end().await?;
    let node = [("VirtualNode", "cart")];
    let counts = ["RequestCount", "GrpcRequestCount"].map(|metric| emf::sum(&documents, metric, &node));
    assert_eq!(counts, [0, 1], "gRPC calls are counted apart, as by App Mesh");
    assert_eq!(raised(&alarms(&[])?, &documents)?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_an_alarm() -> Result<()> {
    for (days, expected) in [(3, ["CertificateExpiry", "NoRequests"].as_slice()), (300, &["NoRequests"])] {
        let Some(scene) = Scene::start(Stock::Here, Some(days)).await? else { return Ok(()) };
        let mut raised = raised(&alarms(&[])?, &scene.end().await?)?;
        raised.sort_unstable();
        assert_eq!(raised, expected, "{days}");
    }
    Ok(())
}

#[tokio::test]
async fn a_sidecar_that_starts_again_and_again_is_an_alarm() -> Result<()> {
    let (template, mut documents) = (alarms(&[("Starts", json!(1))])?, Vec::new());
    for expected in [["NoRequests"].as_slice(), &["NoRequests", "Restarts"]] {
        let Some(mut scene) = Scene::start(Stock::Here, None).await? else { return Ok(()) };
        // Gone before its first interval has ended.
        let told = || {
            let documents = emf::documents(&scene.sidecar.process().stdout()).unwrap_or_default();
            std::future::ready((!documents.is_empty()).then_some(()))
        };
        wait::until("the start", LIMIT, told).await?;
        documents.extend(emf::documents(&scene.sidecar.process().stdout())?);
        assert_eq!(raised(&template, &documents)?, expected);
    }
    Ok(())
}
