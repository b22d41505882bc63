//! Weighted targets: 100,000 requests over HTTP/1, HTTP/2 and gRPC fall to them as their weights say, which change
//! under way, and none fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use outrigger_tests::bootstrap::{
    cluster, http_listener, over_http2, prefix_route, rds, route_config, virtual_host, with_ads,
};
use outrigger_tests::client::{h1, h2};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Tally, Upstream};
use outrigger_tests::xds::{Resource, Server};
use outrigger_tests::{Result, on_data_plane, wait};
use outrigger_xds_protos::type_url::{CLUSTER, LISTENER, ROUTE_CONFIGURATION};
use outrigger_xds_protos::v3;
use serde_json::{Value, json};
use tokio::task::JoinSet;

on_data_plane!(outrigger, Outrigger, requests_fall_as_weights_say);

/// Weights of the targets `a` and `b`, one pair after the other.
const WEIGHTS: [[u64; 2]; 5] = [[90, 10], [1, 2], [50, 50], [999, 1], [3, 7]];
/// Answers of each format under each pair: together they are 100,000 and some.
const QUOTA: u64 = 6_667;
/// Connections of HTTP/1, and streams of each HTTP/2 connection.
const CONNECTIONS: usize = 8;
/// For one pair of weights, on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(120);

/// How a request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Format {
    Http1,
    Http2,
    Grpc,
}

const FORMATS: [Format; 3] = [Format::Http1, Format::Http2, Format::Grpc];

/// What the clients share.
struct Shared {
    at: SocketAddr,
    stop: AtomicBool,
    tallies: Mutex<Tallies>,
}

/// By format and weights in force: answers of `a` and of `b`.
type Tallies = BTreeMap<(Format, usize), [u64; 2]>;

impl Shared {
    fn tallies(&self) -> Tallies {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Files an answer by what it says: who gave it, under which weights. How many there are of its kind.
    fn file<'a>(&self, format: Format, status: u16, header: impl Fn(&str) -> Option<&'a str>) -> Result<u64> {
        let grpc_failed = format == Format::Grpc && header("grpc-status") != Some("0");
        let upstream = ["a", "b"].iter().position(|name| header("x-upstream") == Some(name));
        let weights = header("x-weights").and_then(|text| text.parse().ok());
        match (status, upstream, weights) {
            (200, Some(upstream), Some(weights)) if !grpc_failed => {
                let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
                let tally = tallies.entry((format, weights)).or_default();
                tally[upstream] += 1;
                Ok(tally.iter().sum())
            }
            _ => {
                Err(format!("{format:?}: status {status}, upstream {upstream:?}, weights {weights:?}").into())
            }
        }
    }
}

/// A format that has its quota goes on, but leaves the machine to those that do not.
async fn pace(filed: u64) {
    if filed > QUOTA {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn requests_fall_as_weights_say(plane: DataPlane) -> Result<()> {
    let (server, port) = (Server::start()?, Port::lease()?);
    let upstreams = [Upstream::start(Tally("a"))?, Upstream::start(Tally("b"))?];
    let listener = http_listener("ingress", port.address(), rds("routes"));
    let clusters = [("a", &upstreams[0]), ("b", &upstreams[1])].into_iter().map(|(name, upstream)| {
        Resource::of::<v3::cluster::Cluster>(name, &over_http2(cluster(name, &[upstream.address()])))
    });
    server.set_all([
        (CLUSTER, clusters.collect::<Result<_>>()?),
        (LISTENER, vec![Resource::of::<v3::listener::Listener>("ingress", &listener)?]),
        (ROUTE_CONFIGURATION, vec![routes(0)?]),
    ]);
    let sidecar = plane.launch()?.concurrency(2).start(&with_ads(server.address(), "DELTA_GRPC")).await?;
    let shared =
        Arc::new(Shared { at: port.address(), stop: AtomicBool::new(false), tallies: Mutex::default() });
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        clients.spawn(over_http1(shared.clone()));
    }
    for format in [Format::Http2, Format::Grpc] {
        let connection = h2::Connection::open(port.address()).await?;
        let connection = Arc::new(tokio::sync::Mutex::new(connection));
        for _ in 0..CONNECTIONS {
            clients.spawn(over_http2_stream(shared.clone(), format, connection.clone()));
        }
    }
    for index in 0..WEIGHTS.len() {
        server.set(ROUTE_CONFIGURATION, vec![routes(index)?]);
        tokio::select! {
            filled = until_filled(&shared, index) => filled?,
            failed = clients_failed(&mut clients) => failed?,
        }
    }
    shared.stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let tallies = shared.tallies();
    let answered: u64 = tallies.values().flatten().sum();
    let reached: u64 = upstreams.iter().map(|upstream| upstream.counts().requests()).sum();
    assert_eq!(reached, answered, "each request reaches one upstream once");
    assert!(answered >= 100_000, "{tallies:?}");
    drop(sidecar);
    check(&tallies)
}

/// Waits until each format has its quota of answers under the weights at `index`.
async fn until_filled(shared: &Shared, index: usize) -> Result<()> {
    let check = || {
        let tallies = shared.tallies();
        let filled =
            |format| tallies.get(&(format, index)).is_some_and(|tally| tally.iter().sum::<u64>() >= QUOTA);
        std::future::ready(FORMATS.into_iter().all(filled).then_some(()))
    };
    let waited =
        wait::until(&format!("the answers under the weights {:?}", WEIGHTS[index]), LIMIT, check).await;
    waited.map_err(|error| format!("{error}: {:?}", shared.tallies()).into())
}

/// A client that ends before it is told to has failed.
async fn clients_failed(clients: &mut JoinSet<Result<()>>) -> Result<()> {
    match clients.join_next().await {
        Some(ended) => ended?.and(Err("a client ended early".into())),
        None => Err("there are no clients".into()),
    }
}

/// The table with the pair of weights at `index`; its answers say so.
fn routes(index: usize) -> Result<Resource> {
    let mut route = prefix_route("/", "a");
    let entry = |name: &str, weight: u64| json!({"name": name, "weight": weight});
    let [a, b] = WEIGHTS[index];
    route["route"] = json!({"weighted_clusters": {"clusters": [entry("a", a), entry("b", b)]}});
    route["response_headers_to_add"] = json!([{"header": {"key": "x-weights", "value": index.to_string()}}]);
    let table: Value = route_config("routes", &[virtual_host("all", &["*"], &[route])]);
    Resource::of::<v3::route::RouteConfiguration>("routes", &table)
}

async fn over_http1(shared: Arc<Shared>) -> Result<()> {
    let mut client = h1::Connection::open(shared.at).await?;
    while shared.goes_on() {
        let response = client.exchange("GET / HTTP/1.1\r\nHost: svc\r\n\r\n").await?;
        pace(shared.file(Format::Http1, response.status, |name| response.header(name))?).await;
    }
    Ok(())
}

/// One stream after the other on a connection that others use too.
async fn over_http2_stream(
    shared: Arc<Shared>,
    format: Format,
    connection: Arc<tokio::sync::Mutex<h2::Connection>>,
) -> Result<()> {
    while shared.goes_on() {
        let request = match format {
            Format::Grpc => Request::post("http://svc/s.S/M").header("content-type", "application/grpc"),
            Format::Http1 | Format::Http2 => Request::get("http://svc/"),
        };
        let (response, _) = connection.lock().await.start(request.body(())?, true).await?;
        let response = h2::read(response).await?;
        let header = |name: &str| response.headers.get(name)?.to_str().ok();
        pace(shared.file(format, response.status.as_u16(), header)?).await;
    }
    Ok(())
}

/// How far `a`'s answers are from what the weights say, in standard deviations, over all the tallies that `counts`.
fn deviation(tallies: &Tallies, counts: impl Fn(Format) -> bool) -> f64 {
    let (mut surplus, mut variance) = (0.0, 0.0);
    for ((_, index), [a, b]) in tallies.iter().filter(|((format, _), _)| counts(*format)) {
        let [weight_a, weight_b] = WEIGHTS[*index].map(|weight| weight as f64);
        let (share, total) = (weight_a / (weight_a + weight_b), (a + b) as f64);
        surplus += *a as f64 - total * share;
        variance += total * share * (1.0 - share);
    }
    surplus / variance.sqrt()
}

fn check(tallies: &Tallies) -> Result<()> {
    /// Two-sided bounds of the normal distribution at 99.9 % and, as there are three of them, at 99.999 %.
    const ALL: f64 = 3.291;
    const EACH: f64 = 4.417;
    for format in FORMATS {
        let off = deviation(tallies, |of| of == format);
        assert!(off.abs() < EACH, "{format:?} is {off} standard deviations off: {tallies:?}");
    }
    let off = deviation(tallies, |_| true);
    assert!(off.abs() < ALL, "all together are {off} standard deviations off: {tallies:?}");
    Ok(())
}
