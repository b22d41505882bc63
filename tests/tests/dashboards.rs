//! The dashboards that are shipped: every metric they name is one that a sidecar has.

use std::collections::BTreeSet;
use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, over_http2, prefix_route, route_config, terminate_tls, virtual_host,
    with_ads, with_static,
};
use outrigger_tests::client::{h1, h2};
use outrigger_tests::data_plane::{DataPlane, Launch, Sidecar};
use outrigger_tests::mesh::request;
use outrigger_tests::ports::Port;
use outrigger_tests::requirement;
use outrigger_tests::tls::Authority;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, emf, wait, workspace};
use serde_json::{Value, json};

fn shipped(name: &str) -> Result<String> {
    Ok(std::fs::read_to_string(workspace::root().join("docker/dashboards").join(name))?)
}

/// Names that begin with `envoy_` in the queries of a Grafana dashboard; labels do so, too.
fn metrics_of(dashboard: &Value, found: &mut BTreeSet<String>) {
    match dashboard {
        Value::Object(members) => {
            for (key, value) in members {
                match value.as_str().filter(|_| ["expr", "query"].contains(&key.as_str())) {
                    Some(query) => found.extend(names_in(query)),
                    None => metrics_of(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| metrics_of(item, found)),
        _ => {}
    }
}

/// A metric stands before `{`; what stands elsewhere is a label.
fn names_in(query: &str) -> Vec<String> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let ends = query.match_indices('{').map(|(at, _)| at);
    let name = |end: usize| query[..end].rsplit(|char| !is_part(char)).next().unwrap_or_default();
    ends.map(name).filter(|name| name.starts_with("envoy_")).map(str::to_owned).collect()
}

/// Metric names of an exposition; a histogram stands for its three series.
fn exposed(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.filter_map(|line| line.split_once(' '));
    names
        .flat_map(|(name, kind)| match kind {
            "histogram" => ["_bucket", "_count", "_sum"].map(|part| format!("{name}{part}")).to_vec(),
            _ => vec![name.to_owned()],
        })
        .collect()
}

#[tokio::test]
async fn every_metric_of_the_grafana_dashboard_exists() -> Result<()> {
    let Some(launch) = requirement::met(DataPlane::Outrigger.launch()) else { return Ok(()) };
    let (port, secure, upstream) = (Port::lease()?, Port::lease()?, Upstream::start(Echo::new("a"))?);
    let authority = Authority::new()?;
    let routes = || inline(route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]));
    let plain = http_listener("ingress", port.address(), routes());
    let mut tls = http_listener("tls", secure.address(), routes());
    tls["filter_chains"][0]["transport_socket"] = terminate_tls(&authority.issue(&["a"])?, &["http/1.1"]);
    let mut target = cluster("a", &[upstream.address()]);
    target["outlier_detection"] = json!({});
    let mut secured = cluster("s", &[upstream.address()]);
    secured["transport_socket"] = json!({"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}});
    let emf = launch.env("OUTRIGGER_EMF", "stdout");
    let sidecar = emf.start(&with_static(&[plain, tls], &[target, secured])).await?;
    assert_eq!(h1::get(port.address(), "a", "/").await?.status, 200);
    let mut known = exposed(&sidecar.get("/stats/prometheus").await?.text());
    let Some(launch) = requirement::met(DataPlane::Outrigger.launch()) else { return Ok(()) };
    let dead = Port::lease()?;
    let served = launch.start_without_waiting(&with_ads(dead.address(), "DELTA_GRPC")).await?;
    let page = || async { served.get("/stats/prometheus").await.ok() };
    known.extend(exposed(&wait::until("statistics", Duration::from_secs(10), page).await?.text()));
    let mut wanted = BTreeSet::new();
    metrics_of(&serde_json::from_str(&shipped("grafana.json")?)?, &mut wanted);
    assert!(wanted.len() > 40, "{wanted:?}");
    let missing: Vec<_> = wanted.difference(&known).collect();
    assert!(missing.is_empty(), "the dashboard names what no sidecar has: {missing:?}");
    Ok(())
}

/// A metric that a CloudWatch template asks for: its name and its dimensions with their values, as far as they are said.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    metric: String,
    dimensions: BTreeSet<String>,
    values: Vec<(String, String)>,
}

const PARAMETERS: &[(&str, &str)] = &[
    ("Namespace", "Outrigger"),
    ("Mesh", "shop"),
    ("VirtualNode", "cart"),
    ("TargetVirtualNode", "stock"),
    ("AWS::Region", "eu-west-1"),
];

/// `SEARCH('{"namespace",Dimension,...} MetricName="name" Dimension="value"...', ...)`
fn of_search(expression: &str) -> Result<Wanted> {
    let inside = expression.split_once("SEARCH('").and_then(|(_, rest)| rest.split_once('\''));
    let (schema, terms) = inside.and_then(|(inside, _)| inside.split_once('}')).ok_or(expression)?;
    let mut names = schema.trim_start_matches('{').split(',');
    assert_eq!(names.next(), Some("\"Outrigger\""), "{expression}");
    let mut values: Vec<(String, String)> = terms
        .split_whitespace()
        .filter_map(|term| term.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect();
    let at = values.iter().position(|(name, _)| name == "MetricName").ok_or(expression)?;
    let (_, metric) = values.remove(at);
    Ok(Wanted { metric, dimensions: names.map(str::to_owned).collect(), values })
}

/// What the widgets of the dashboard search for.
fn of_dashboard() -> Result<Vec<Wanted>> {
    let template: Value = serde_json::from_str(&shipped("cloudwatch-dashboard.json")?)?;
    let body = &template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"];
    let mut body = body.as_str().ok_or("no body")?.to_owned();
    for (name, value) in PARAMETERS {
        body = body.replace(&format!("${{{name}}}"), value);
    }
    assert!(!body.contains("${"), "a parameter that nobody gives: {body}");
    let body: Value = serde_json::from_str(&body)?;
    let widgets = body["widgets"].as_array().ok_or("no widgets")?.iter();
    let metrics = widgets.flat_map(|widget| widget["properties"]["metrics"].as_array().into_iter().flatten());
    metrics.map(|metric| of_search(metric[0]["expression"].as_str().ok_or("no expression")?)).collect()
}

/// What the alarms watch of ours.
fn of_alarms() -> Result<Vec<Wanted>> {
    let template: Value = serde_json::from_str(&shipped("cloudwatch-alarms.json")?)?;
    let given = |value: &Value| {
        let found = PARAMETERS.iter().find(|(name, _)| value["Ref"] == *name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let resources = template["Resources"].as_object().ok_or("no resources")?.values();
    let stated = resources.flat_map(|resource| {
        let properties = &resource["Properties"];
        let listed = properties["Metrics"].as_array().into_iter().flatten();
        listed.map(|one| &one["MetricStat"]["Metric"]).chain([properties])
    });
    let ours = stated.filter(|metric| metric["Namespace"]["Ref"] == "Namespace");
    let wanted = ours.map(|metric| {
        let dimensions = metric["Dimensions"].as_array().ok_or("no dimensions")?;
        let values: Vec<_> = dimensions
            .iter()
            .map(|one| Some((one["Name"].as_str()?.to_owned(), given(&one["Value"])?)))
            .collect::<Option<_>>()
            .ok_or("a dimension without value")?;
        let metric = metric["MetricName"].as_str().ok_or("no name")?.to_owned();
        Ok(Wanted { metric, dimensions: values.iter().map(|(name, _)| name.clone()).collect(), values })
    });
    wanted.collect()
}

/// Whether one of the documents tells it, word by word, and it was ever more than nothing.
fn is_told(documents: &[Value], wanted: &Wanted) -> bool {
    documents.iter().any(|document| {
        let directive = &document["_aws"]["CloudWatchMetrics"][0];
        let sets = directive["Dimensions"].as_array().into_iter().flatten();
        let named = |set: &Value| -> BTreeSet<String> {
            set.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let declared = directive["Metrics"].as_array().into_iter().flatten();
        let value = &document[&wanted.metric];
        directive["Namespace"] == "Outrigger"
            && sets.map(named).any(|set| set == wanted.dimensions)
            && declared.into_iter().any(|one| one["Name"] == *wanted.metric)
            && wanted.values.iter().all(|(name, value)| document[name] == *value)
            && (value.as_u64().is_some_and(|value| value > 0)
                || value["Count"].as_u64().is_some_and(|count| count > 0))
    })
}

/// The node `cart` with a plain, a gRPC and a TLS listener, and calls to `stock`, plain and over TLS.
struct Node {
    ingress: Port,
    grpc: Port,
    secure: Port,
    egress: Port,
    sidecar: Sidecar,
    _upstream: Upstream,
}

impl Node {
    async fn start(launch: Launch) -> Result<Self> {
        let upstream = Upstream::start(Echo::new("a"))?;
        let [ingress, grpc, secure, egress] =
            [Port::lease()?, Port::lease()?, Port::lease()?, Port::lease()?];
        let inbound = |name: &str, at: &Port, table: &str, cluster: &str| {
            let hosts = [virtual_host("app", &["*"], &[prefix_route("/", cluster)])];
            let mut listener = http_listener(name, at.address(), inline(route_config(table, &hosts)));
            listener["traffic_direction"] = json!("INBOUND");
            listener
        };
        let plain = inbound("ingress", &ingress, "rds_ingress_http_8080", "cds_ingress_shop_cart_http_8080");
        let calls = inbound("calls", &grpc, "rds_ingress_grpc_8081", "cds_ingress_shop_cart_grpc_8081");
        let mut tls = inbound("tls", &secure, "rds_ingress_http_8443", "cds_ingress_shop_cart_http_8080");
        tls["filter_chains"][0]["transport_socket"] =
            terminate_tls(&Authority::new()?.issue(&["a"])?, &["http/1.1"]);
        let routes = [
            prefix_route("/secret", "cds_egress_shop_stock_http_8443"),
            prefix_route("/", "cds_egress_shop_stock_http_8080"),
        ];
        let hosts = [virtual_host("stock.local", &["*"], &routes)];
        let mut outbound = http_listener("egress", egress.address(), inline(route_config("out", &hosts)));
        outbound["traffic_direction"] = json!("OUTBOUND");
        let to = |name: &str| cluster(name, &[upstream.address()]);
        // The upstream speaks no TLS: the handshake fails.
        let mut secured = to("cds_egress_shop_stock_http_8443");
        secured["transport_socket"] = json!({"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}});
        let clusters = [
            to("cds_ingress_shop_cart_http_8080"),
            over_http2(to("cds_ingress_shop_cart_grpc_8081")),
            to("cds_egress_shop_stock_http_8080"),
            secured,
        ];
        let mut bootstrap = with_static(&[plain, calls, tls, outbound], &clusters);
        bootstrap["node"]["id"] = json!("mesh/shop/virtualNode/cart");
        let sidecar = launch.start(&bootstrap).await?;
        Ok(Self { ingress, grpc, secure, egress, sidecar, _upstream: upstream })
    }

    /// Something for every metric.
    async fn traffic(&self) -> Result<()> {
        request(self.ingress.address(), "cart", "/", &[]).await?;
        let mut calls = h2::Connection::open(self.grpc.address()).await?;
        calls.exchange(h2::get("cart", "/a.Service/Method")?).await?;
        for status in ["200", "302", "404", "503"] {
            request(self.egress.address(), "stock", "/", &[&format!("x-echo-status: {status}")]).await?;
        }
        assert_eq!(request(self.egress.address(), "stock", "/secret", &[]).await?.status, 503);
        // No TLS to where TLS is spoken.
        let mut wrong = h1::Connection::open(self.secure.address()).await?;
        wrong.send("GET / HTTP/1.1\r\nHost: cart\r\n\r\n").await?;
        wrong.rest().await?;
        Ok(())
    }
}

#[tokio::test]
async fn every_metric_of_the_cloudwatch_templates_has_values_under_load() -> Result<()> {
    let Some(launch) = requirement::met(DataPlane::Outrigger.launch()) else { return Ok(()) };
    let launch = launch.env("OUTRIGGER_EMF", "stdout").env("OUTRIGGER_EMF_INTERVAL_S", "1");
    let mut node = Node::start(launch).await?;
    // A gauge is told as it is when an interval ends.
    let _held = h1::Connection::open(node.ingress.address()).await?;
    let wanted: BTreeSet<Wanted> = of_dashboard()?.into_iter().chain(of_alarms()?).collect();
    assert!(wanted.len() >= 12, "{wanted:?}");
    node.traffic().await?;
    let check = || {
        let documents = emf::documents(&node.sidecar.process().stdout()).unwrap_or_default();
        let missing: Vec<_> = wanted.iter().filter(|one| !is_told(&documents, one)).collect();
        std::future::ready(missing.is_empty().then_some(()))
    };
    let told = wait::until("a value of every metric", Duration::from_secs(15), check).await;
    let documents = emf::documents(&node.sidecar.process().stdout())?;
    let missing: Vec<_> = wanted.iter().filter(|one| !is_told(&documents, one)).collect();
    assert!(told.is_ok(), "the templates ask for what no document has: {missing:?}");
    Ok(())
}
