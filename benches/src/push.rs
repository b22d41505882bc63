//! A configuration update of 1,000 clusters with 10,000 endpoints over delta xDS, under load.
//!
//! Every cluster changes a setting and all its endpoints, which move from one port of the backend's machine to another
//! whose answers are marked otherwise. A request that the old configuration answered names the time at which some
//! worker had not applied the update yet; the last of them bounds how long all workers took.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use outrigger_tests::bootstrap::{
    eds_cluster, http_listener, load_assignment, prefix_route, rds, route_config, virtual_host, with_ads,
};
use outrigger_tests::data_plane::{Launch, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::xds::{Resource, Server};
use outrigger_xds_protos::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION};
use outrigger_xds_protos::v3;
use serde::Serialize;
use serde_json::json;

use crate::backend::Backend;
use crate::histogram::Histogram;
use crate::load::{self, Observer, Outcome, Response, Span};
use crate::measure::{self, Memory};
use crate::report::{Spread, aligned};
use crate::scenario::{HEADER, Load, PREFIX, Protocol, numbered_host};
use crate::subject::{self, Name, Subject};
use crate::{Result, cores};

const CLUSTERS: u64 = 1_000;
const ENDPOINTS: u64 = 10;
/// Clusters that get requests: enough to see stragglers, few enough for the descriptors their connections take.
const LOADED: u64 = 100;
const WORKERS: u32 = 2;
const START_LIMIT: Duration = Duration::from_secs(60);
/// Requests per second: a load, but not one that leaves no time for the update.
const RATE: u32 = 4_000;
/// Load before the update; and after its ACK.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(2);
/// The bound on the load.
const MOST: Duration = Duration::from_secs(60);
const OLD: u8 = b'a';
const NEW: u8 = b'b';

/// One run of one subject.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// From the start of the process to its being ready with everything.
    pub ready_ms: f64,
    /// From the update to the ACK of its clusters and endpoints.
    pub acked_ms: f64,
    /// From the update to the first answer by the new configuration.
    pub first_new_ms: f64,
    /// From the update to the sending of the last request that the old configuration answered.
    pub last_old_ms: f64,
    /// 99th percentile and longest of the latencies before the update.
    pub before: Latency,
    /// The same of requests sent in the second after the update.
    pub during: Latency,
    /// CPU time of the proxy from the update to a second later, or its ACK, less that of the second before.
    pub cpu_ms: f64,
    /// Responses.
    pub requests: u64,
    /// Responses that were missing or wrong.
    pub errors: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
    /// Memory with everything loaded, in KiB.
    pub memory: Memory,
}

/// What requests of a while took, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// 99th percentile.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Latency {
    fn of(histogram: &Histogram) -> Self {
        let micros = |duration: Duration| duration.as_nanos() as f64 / 1e3;
        Self { p99_us: micros(histogram.quantile(0.99)), max_us: micros(histogram.max()) }
    }
}

/// All runs of one subject.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// Who ran.
    pub subject: Name,
    /// One entry per round.
    pub runs: Vec<std::result::Result<Run, String>>,
}

/// Runs every sidecar once per round; other proxies do not speak xDS.
pub fn run(subjects: &[Subject], rounds: usize) -> Result<Vec<Series>> {
    let able: Vec<_> = subjects.iter().filter(|subject| subject.sidecar().is_some()).collect();
    let mut series: Vec<_> = able.iter().map(|s| Series { subject: s.name, runs: Vec::new() }).collect();
    for _ in 0..rounds {
        for (subject, series) in able.iter().zip(&mut series) {
            let run = once(subject).map_err(|error| error.to_string());
            eprintln!("push: {} {}", subject.name.text(), run.as_ref().err().map_or("done", |error| error));
            series.runs.push(run);
        }
    }
    Ok(series)
}

/// The control plane with its own runtime, and the two backends.
struct Scene {
    runtime: tokio::runtime::Runtime,
    xds: Server,
    old: Backend,
    new: Backend,
    port: Port,
}

fn once(subject: &Subject) -> Result<Run> {
    let scene = cores::on(cores::LOAD, Scene::set)?;
    let start = Instant::now();
    let mut sidecar = cores::on(cores::PROXY, || start_sidecar(subject, &scene))?;
    let ready_ms = millis(start.elapsed());
    let pid = sidecar.process().id();
    let memory = measure::memory(pid)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (load, update) = std::thread::scope(|scope| {
        let load = scope.spawn(|| cores::on(cores::LOAD, || under_load(scene.port.address(), stop.clone())));
        let update = cores::on(cores::LOAD, || update(&scene, pid));
        stop.store(true, Ordering::Relaxed);
        (load.join(), update)
    });
    let ((load, responses), update) = (load.map_err(|_| "the generator panicked")??, update?);
    let (first_new_ms, last_old_ms) = switch(&responses, update.at)?;
    subject::end(sidecar.process())?;
    Ok(Run {
        ready_ms,
        acked_ms: millis(update.acked),
        first_new_ms,
        last_old_ms,
        before: latency(&responses, update.at - Duration::from_secs(1)),
        during: latency(&responses, update.at),
        cpu_ms: millis(update.cpu.saturating_sub(update.cpu_before)),
        requests: load.requests,
        errors: load.errors,
        first_error: load.first_error,
        memory,
    })
}

fn start_sidecar(subject: &Subject, scene: &Scene) -> Result<Sidecar> {
    let (plane, program) = subject.sidecar().ok_or("not a sidecar")?;
    let launch = Launch::of(plane, program).log_level("error").concurrency(WORKERS);
    let bootstrap = with_ads(scene.xds.address(), "DELTA_GRPC");
    subject::block_on(async {
        let mut sidecar = launch.start_without_waiting(&bootstrap).await?;
        sidecar.until_ready(START_LIMIT).await?;
        Ok(sidecar)
    })
}

impl Scene {
    fn set() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (old, new) = (
            Backend::start(Protocol::Http1, &[OLD; 100], None)?,
            Backend::start(Protocol::Http1, &[NEW; 100], None)?,
        );
        let port = Port::lease()?;
        let xds = runtime.block_on(async { Server::start() })?;
        let scene = Self { runtime, xds, old, new, port };
        let listener = http_listener("ingress", scene.port.address(), rds("routes"));
        let mut types = scene.clusters(scene.old.address(), "1s")?;
        types.push((LISTENER, vec![Resource::of::<v3::listener::Listener>("ingress", &listener)?]));
        types.push((ROUTE_CONFIGURATION, vec![routes()?]));
        scene.xds.set_all(types);
        Ok(scene)
    }

    /// All clusters with their endpoints, each endpoint an address of its own on loopback.
    fn clusters(
        &self,
        backend: SocketAddr,
        connect_timeout: &str,
    ) -> Result<Vec<(&'static str, Vec<Resource>)>> {
        let (mut clusters, mut assignments) = (Vec::new(), Vec::new());
        for number in 0..CLUSTERS {
            let name = format!("cluster-{number}");
            let mut cluster = eds_cluster(&name);
            cluster["connect_timeout"] = connect_timeout.into();
            let endpoints: Vec<_> =
                (0..ENDPOINTS).map(|index| endpoint(number, index, backend.port())).collect();
            clusters.push(Resource::of::<v3::cluster::Cluster>(&name, &cluster)?);
            let assignment = load_assignment(&name, &endpoints);
            assignments.push(Resource::of::<v3::endpoint::ClusterLoadAssignment>(&name, &assignment)?);
        }
        Ok(vec![(CLUSTER, clusters), (CLUSTER_LOAD_ASSIGNMENT, assignments)])
    }
}

fn endpoint(cluster: u64, index: u64, port: u16) -> SocketAddr {
    let address = Ipv4Addr::new(127, 1 + index as u8, (cluster / 250) as u8, (cluster % 250) as u8 + 1);
    (address, port).into()
}

fn routes() -> Result<Resource> {
    let hosts = (0..CLUSTERS).map(|number| {
        let mut route = prefix_route(PREFIX, &format!("cluster-{number}"));
        route["match"]["headers"] = json!([{"name": HEADER.0, "string_match": {"exact": HEADER.1}}]);
        virtual_host(&format!("host-{number}"), &[&numbered_host(number)], &[route])
    });
    let table = route_config("routes", &hosts.collect::<Vec<_>>());
    Resource::of::<v3::route::RouteConfiguration>("routes", &table)
}

/// Loads until told to stop, and returns every response with the outcome.
fn under_load(target: SocketAddr, stop: Arc<AtomicBool>) -> Result<(Outcome, Vec<Response>)> {
    let load = Load {
        protocol: Protocol::Http1,
        connections: 64,
        streams: 1,
        body: 100,
        varying: false,
        hosts: LOADED,
        rate: Some(RATE),
        mutual: false,
        fresh: false,
    };
    let span = Span { warm_up: Duration::from_secs(1), measured: MOST };
    let (seen, heard) = mpsc::channel();
    let each = move |response| {
        // The receiver outlives the load.
        let _ = seen.send(response);
    };
    let observer = Observer { each: Box::new(each), stop };
    let outcome = load::run_observed(target, &load, span, || Ok(()), Some(observer))?;
    Ok((outcome, heard.into_iter().collect()))
}

struct Update {
    at: Instant,
    acked: Duration,
    cpu_before: Duration,
    cpu: Duration,
}

/// Waits until the load runs steadily, then changes everything at once.
fn update(scene: &Scene, pid: u32) -> Result<Update> {
    let second = Duration::from_secs(1);
    let types = scene.clusters(scene.new.address(), "2s")?;
    std::thread::sleep(BEFORE - second);
    let before = measure::scheduled(pid)?.ran;
    std::thread::sleep(second);
    let (at, start) = (Instant::now(), measure::scheduled(pid)?.ran);
    scene.xds.set_all(types);
    scene.runtime.block_on(async {
        scene.xds.until_accepted(CLUSTER).await?;
        scene.xds.until_accepted(CLUSTER_LOAD_ASSIGNMENT).await
    })?;
    let acked = at.elapsed();
    std::thread::sleep(second.saturating_sub(acked));
    let cpu = measure::scheduled(pid)?.ran - start;
    std::thread::sleep(AFTER);
    Ok(Update { at, acked, cpu_before: start - before, cpu })
}

/// When the first request was answered anew, and when the last one that was not had been sent.
fn switch(responses: &[Response], at: Instant) -> Result<(f64, f64)> {
    let after = |instant: Instant| millis(instant.saturating_duration_since(at));
    let first_new = responses.iter().filter(|r| r.mark == NEW).map(|r| r.received).min();
    let last_old = responses.iter().filter(|r| r.mark == OLD).map(|r| r.sent).max();
    let first_new = first_new.ok_or("the update never took effect")?;
    Ok((after(first_new), last_old.map_or(0.0, after)))
}

/// Latencies of the requests sent in the second from `start`.
fn latency(responses: &[Response], start: Instant) -> Latency {
    let mut histogram = Histogram::default();
    let within = |r: &&Response| r.sent >= start && r.sent < start + Duration::from_secs(1);
    responses.iter().filter(within).for_each(|r| histogram.record(r.received - r.sent));
    Latency::of(&histogram)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A column's name and figure.
type Column = (&'static str, fn(&Run) -> f64);

/// The table.
pub fn table(series: &[Series]) -> String {
    let columns: [Column; 11] = [
        ("ready ms", |run| run.ready_ms),
        ("ACK ms", |run| run.acked_ms),
        ("first new ms", |run| run.first_new_ms),
        ("last old ms", |run| run.last_old_ms),
        ("p99 us before", |run| run.before.p99_us),
        ("p99 us during", |run| run.during.p99_us),
        ("max us before", |run| run.before.max_us),
        ("max us during", |run| run.during.max_us),
        ("extra cpu ms", |run| run.cpu_ms),
        ("errors", |run| run.errors as f64),
        ("RSS MiB", |run| run.memory.rss as f64 / 1024.0),
    ];
    let mut rows = vec![
        std::iter::once("push").chain(columns.iter().map(|c| c.0)).map(str::to_owned).collect::<Vec<_>>(),
    ];
    for one in series {
        let cell = |(_, figure): &Column| {
            let values: Vec<_> = one.runs.iter().flatten().map(figure).collect();
            Spread::of(&values).map_or_else(|| "-".into(), |spread| spread.text(0))
        };
        rows.push(std::iter::once(one.subject.text()).chain(columns.iter().map(cell)).collect());
    }
    aligned(&rows) + &series.iter().filter_map(failure).collect::<String>()
}

fn failure(series: &Series) -> Option<String> {
    let error = series.runs.iter().find_map(|run| match run {
        Ok(run) => run.first_error.clone(),
        Err(error) => Some(error.clone()),
    })?;
    Some(format!("{}: first error: {error}\n", series.subject.text()))
}
