//! What AWS's services say to segments and metric documents: moto's X-Ray and CloudWatch Logs take every one, over
//! thousands of exchanges of all kinds with hostile callers among them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::xray::Daemon;
use outrigger_tests::{Result, aws, emf, on_data_plane, requirement};
use serde_json::{Value, json};

on_data_plane!(outrigger, Outrigger, every_segment_and_metric_document_is_taken);

/// Of each shape of segments.
const EXCHANGES: usize = 1500;
/// What requests differ in: fields, for the most part of callers that mean no good.
const FIELDS: &[&[u8]] = &[
    b"",
    b"User-Agent: \"quoted\\\" \xff\xfe\x80",
    b"User-Agent: \xe2\x80\xa8\xe2\x80\xa9 \xf0\x9f\x9a\xa3",
    b"X-Forwarded-For: not an address, 10.1.2.3",
    b"X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1|2",
    b"X-Amzn-Trace-Id: Root=nonsense;Parent=\"},{\";Sampled=1",
    b"Host: \xd1\x88\xd0\xbe\xd0\xbf.example:8080",
    b"x-echo-status: 404",
    b"x-echo-status: 429",
    b"x-echo-status: 500",
    b"Referer: \x1b[31m",
];
const PATHS: &[&str] = &["/", "/x?secret=\"'<>{}", "/dead", "/refused", "/%00%0a%22", "/a/very/long"];

/// As the agent of App Mesh's image writes it; every request is recorded.
fn provider(daemon: &Daemon) -> Value {
    let at = daemon.address();
    let rules = r#"{"version": 2, "default": {"fixed_target": 0, "rate": 1}}"#;
    json!({"name": "envoy.tracers.xray", "typed_config": {
        "@type": "type.googleapis.com/envoy.config.trace.v3.XRayConfig",
        "daemon_endpoint": {"protocol": "UDP", "address": at.ip().to_string(), "port_value": at.port()},
        "segment_name": "shop/cart",
        "segment_fields": {
            "origin": "AWS::AppMesh::Proxy",
            "aws": {"app_mesh": {"mesh_name": "shop", "virtual_node_name": "cart"}},
        },
        "sampling_rule_manifest": {"inline_string": rules},
    }})
}

async fn start(
    plane: DataPlane,
    port: &Port,
    upstream: &Upstream,
    daemon: &Daemon,
    shape: &str,
) -> Result<Sidecar> {
    let refused = json!({"match": {"prefix": "/refused"}, "direct_response": {"status": 503}});
    let routes =
        [refused, prefix_route("/dead", "dead"), prefix_route("/", "cds_egress_shop_stock_http_8080")];
    let hosts = [virtual_host("stock.local", &["*"], &routes)];
    let mut listener = http_listener("egress", port.address(), inline(route_config("r", &hosts)));
    listener["traffic_direction"] = json!("OUTBOUND");
    manager_of(&mut listener)["tracing"] = json!({});
    let dead = Port::lease()?;
    let clusters = [
        cluster("cds_egress_shop_stock_http_8080", &[upstream.address()]),
        cluster("dead", &[dead.address()]),
    ];
    let mut bootstrap = with_static(&[listener], &clusters);
    bootstrap["node"]["id"] = json!("mesh/shop/virtualNode/cart");
    bootstrap["tracing"] = json!({"http": provider(daemon)});
    let launch = plane.launch()?.env("OUTRIGGER_XRAY_SEGMENTS", shape);
    let launch = launch.env("OUTRIGGER_EMF", "stdout").env("OUTRIGGER_EMF_INTERVAL_S", "1");
    launch.env("OUTRIGGER_EMF_METRICS", "default,*").start(&bootstrap).await
}

/// One request, and whether it got past the codec; a head that is refused ends its connection.
async fn exchange(port: &Port, client: &mut Option<Connection>, number: usize) -> Result<bool> {
    let path = match PATHS[number % PATHS.len()] {
        "/a/very/long" => format!("/{}", "p".repeat(5000)),
        path => path.to_owned(),
    };
    let field = FIELDS[number / PATHS.len() % FIELDS.len()];
    let mut head = format!("GET {path} HTTP/1.1\r\n").into_bytes();
    if !field.starts_with(b"Host") {
        head.extend_from_slice(b"Host: stock.local\r\n");
    }
    head.extend_from_slice(field);
    head.extend_from_slice(if field.is_empty() { b"\r\n" } else { b"\r\n\r\n" });
    let mut connection = match client.take() {
        Some(connection) => connection,
        None => Connection::open(port.address()).await?,
    };
    connection.send(&head).await?;
    let taken = connection.response().await?.status != 400;
    *client = taken.then_some(connection);
    Ok(taken)
}

/// Segments that this shape gives, and documents of metrics.
async fn gather(plane: DataPlane, shape: &str) -> Result<(Vec<String>, String)> {
    let (daemon, port, upstream) = (Daemon::start().await?, Port::lease()?, Upstream::start(Echo::new("a"))?);
    let mut sidecar = start(plane, &port, &upstream, &daemon, shape).await?;
    let (mut client, mut taken) = (None, 0);
    for number in 0..EXCHANGES {
        taken += usize::from(exchange(&port, &mut client, number).await?);
    }
    assert!(taken > EXCHANGES * 2 / 3, "{taken} of {EXCHANGES} got past the codec");
    daemon.until(taken).await?;
    sidecar.terminate(Duration::from_secs(20)).await?;
    Ok((daemon.documents()?, sidecar.process().stdout()))
}

async fn every_segment_and_metric_document_is_taken(plane: DataPlane) -> Result<()> {
    let Some(python) = requirement::met(aws::python()) else { return Ok(()) };
    let (mut segments, mut events) = (Vec::new(), Vec::new());
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    for shape in ["parity", "rich"] {
        let (documents, output) = gather(plane, shape).await?;
        segments.extend(documents);
        for document in emf::documents(&output)? {
            let time = document["_aws"]["Timestamp"].as_u64().ok_or("no time")?;
            assert!(time.abs_diff(now) < 600_000, "{document}");
        }
        let lines = output.lines().filter(|line| line.starts_with("{\"_aws\""));
        for line in lines {
            let document: Value = serde_json::from_str(line)?;
            events.push((document["_aws"]["Timestamp"].as_u64().unwrap_or(now), line.to_owned()));
        }
    }
    assert!(segments.len() > 2000 && events.len() > 20, "{} and {}", segments.len(), events.len());
    let verdict = aws::accept(&python, &segments, &events)?;
    assert_eq!(verdict.refused_segments, Vec::<Value>::new());
    assert_eq!(verdict.refused_events, Vec::<Value>::new());
    assert_eq!((verdict.segments, verdict.events), (segments.len() as u64, events.len() as u64));
    Ok(())
}
