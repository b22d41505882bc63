//! The wiring diagram: the only place that knows every module.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use outrigger_xds_protos::v3::core::Node;
use tokio::sync::{Notify, mpsc};

use super::args::ServeArgs;
use super::bootstrap::Settings;
use super::environment::ProcessSettings;
use super::log_lines::LogLines;
use super::outlets::Outlets;
use super::overload::Manager;
use super::process::Lifecycle;
use super::telemetry::{Sources, Telemetry};
use super::{admin, faults, signals, telemetry};
use crate::admin::logging::LogLevels;
use crate::admin::{Process, ServerState};
use crate::config::live::Overload;
use crate::config::publish::{self, Publisher, Subscriber};
use crate::health::Checker;
use crate::net::listener::ReusePort;
use crate::observe::collect::{Collector, Constants, Vitals};
use crate::observe::expiry;
use crate::stats::registry::Registry;
use crate::stats::scope::OwnLogStats;
use crate::upstream::{dns, outlier};
use crate::worker::{Drains, Workers};
use crate::xds::driver::{Driver, Handle, Parts};
use crate::xds::engine::InitPhase;
use crate::xds::load::Reporter;
use crate::xds::settings::{DynamicSettings, LoadSettings};
use crate::xds::translate::TracingContext;

/// How long a configured name server has for one answer: c-ares' default.
const DNS_TIMEOUT: Duration = Duration::from_secs(5);
/// Resolutions waiting for the compiler; the rest waits in the resolver.
const RESOLUTIONS: usize = 64;

/// What a server is started with and everything reads.
pub(super) struct Start<'a> {
    pub(super) args: &'a ServeArgs,
    pub(super) process: &'a ProcessSettings,
    pub(super) registry: Registry,
    pub(super) snapshots: Subscriber,
    pub(super) started: Instant,
    /// Worker threads.
    pub(super) workers: usize,
}

/// A running server.
pub(super) struct Server {
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) workers: Workers,
    pub(super) outlets: Outlets,
    pub(super) driver: Handle,
}

impl Server {
    /// Starts everything, serves, and ends: exit code 0, or why it could not start.
    pub(super) async fn run(
        args: &ServeArgs,
        process: ProcessSettings,
        mut settings: Settings,
        (levels, log): (LogLevels, &LogLines),
    ) -> Result<ExitCode, String> {
        raise_descriptor_limit();
        let (publisher, snapshots) = publish::channel();
        let (registry, workers) = (Registry::new(), worker_count(args, &process));
        log.count(OwnLogStats::register(&registry), registry.shared().clone());
        let start = Start { args, process: &process, registry, snapshots, started: Instant::now(), workers };
        let place = telemetry::place(&process);
        let outlets = Outlets::new(&start.registry, &start.snapshots, &settings, &place);
        let checked = Arc::new(Notify::new());
        let (driver, handle) = start.driver(&settings, &outlets, publisher, checked.clone())?;
        let checker = Checker::new(start.snapshots.clone(), &start.registry, checked);
        let outlier_log = settings.outlier_log.as_deref().map(|path| outlets.open_log(path)).transpose()?;
        let shared = start.registry.shared().clone();
        let outliers = outlier::run(start.snapshots.clone(), shared, outlier_log);
        let server = start.server(&mut settings, outlets, handle)?;
        let collector = server.collector(&start);
        let sources = Sources {
            registry: &start.registry,
            snapshots: &start.snapshots,
            collector: &collector,
            sinks: &server.outlets.sinks,
        };
        let telemetry = Telemetry::start(&process, &settings, &sources, place)?;
        tokio::spawn(flush(collector.clone(), settings.stats_flush));
        admin::start(&start, &server, settings, levels, collector.clone()).await?;
        tokio::spawn(checker.run());
        tokio::spawn(driver.run());
        tokio::spawn(outliers);
        tokio::spawn(expiry::run(start.snapshots));
        server.follow_start(collector);
        server.until_the_end(telemetry).await;
        Ok(ExitCode::SUCCESS)
    }

    fn collector(&self, start: &Start<'_>) -> Arc<Collector> {
        let (lifecycle, progress) = (self.lifecycle.clone(), self.workers.progress().clone());
        let published = start.snapshots.clone();
        let vitals = move || Vitals {
            state: lifecycle.state() as u8,
            connections: progress.connections(),
            until_expiry: expiry::until_first(&published.current(), SystemTime::now()),
        };
        let constants = Constants::of(start.workers);
        let snapshots = start.snapshots.clone();
        Arc::new(Collector::new(&start.registry, snapshots, start.started, constants, Box::new(vitals)))
    }

    /// Moves the server state along with the start, up to LIVE.
    fn follow_start(&self, collector: Arc<Collector>) {
        let (lifecycle, progress) = (self.lifecycle.clone(), self.workers.progress().clone());
        let mut phases = self.driver.progress();
        tokio::spawn(async move {
            if phases.wait_for(|now| now.phase >= InitPhase::Listeners).await.is_ok() {
                lifecycle.enter(ServerState::Initializing);
            }
            let done = phases.wait_for(|now| now.phase == InitPhase::Done).await.map(|now| now.generation);
            if let Ok(generation) = done {
                progress.reached(generation).await;
                lifecycle.enter(ServerState::Live);
                collector.initialized();
                tracing::info!("initialised; serving");
            }
        });
    }
}

impl Start<'_> {
    /// Configuration: what brings it, with the bootstrap's own resources in it.
    fn driver(
        &self,
        settings: &Settings,
        outlets: &Outlets,
        publisher: Publisher,
        checked: Arc<Notify>,
    ) -> Result<(Driver, Handle), String> {
        let dynamic = dynamic_settings(settings, Some(self.process))?;
        for warning in &dynamic.warnings {
            tracing::warn!("{warning}");
        }
        let load = dynamic.load.clone();
        let (resolve, commands) = mpsc::unbounded_channel();
        let (answers, resolutions) = mpsc::channel(RESOLUTIONS);
        tokio::spawn(dns::run(resolver(&settings.dns_servers)?, commands, answers));
        let tracers = Some(outlets.tracers.clone());
        let parts = Parts {
            dynamic,
            node: settings.node.clone(),
            local_cluster: settings.local_cluster.clone(),
            ports: Box::new(ReusePort::new(self.workers)),
            publisher,
            stats: self.registry.clone(),
            sinks: Some(outlets.sinks.clone()),
            grpc_logs: Some(outlets.grpc_logs.clone()),
            tracing: TracingContext { tracers, ..settings.tracing.clone() },
            resolve,
            resolutions,
            strict_tls: self.process.strict_tls,
            counts_services: self.process.emf.is_some() || self.process.metrics_extension,
            checked,
        };
        let (driver, handle) = Driver::new(parts, &settings.static_resources)
            .map_err(|faults| faults::describe(&faults, &settings.static_resources, &settings.source))?;
        self.report_load(load, &handle, &settings.node);
        Ok((driver, handle))
    }

    fn report_load(&self, load: Option<LoadSettings>, driver: &Handle, node: &Node) {
        if let (Some(load), Some(channels)) = (load, driver.control_plane()) {
            let (snapshots, registry) = (self.snapshots.clone(), self.registry.clone());
            tokio::spawn(Reporter::new(load, node.clone(), channels, snapshots, registry).run());
        }
    }

    /// The workers, and what watches over their load.
    fn server(&self, settings: &mut Settings, outlets: Outlets, driver: Handle) -> Result<Server, String> {
        let shed = settings.overload.take();
        let overload = shed.as_ref().map(|shed| Arc::new(Overload::of(shed, &self.registry)));
        if let (Some(shed), Some(overload)) = (shed, &overload) {
            tokio::spawn(Manager::new(shed, overload.clone(), &self.registry).run());
        }
        let drains = Drains::default();
        let drain_time = self.args.drain_time_s.map_or(self.process.drain_time, Duration::from_secs);
        let workers = Workers::start(
            self.workers,
            &self.snapshots,
            &self.registry,
            &drains,
            drain_time,
            overload.as_ref(),
        )
        .map_err(|error| format!("cannot start workers: {error}"))?;
        let runtime = tokio::runtime::Handle::current();
        let lifecycle = Lifecycle::new(drains, drain_time, outlets.sinks.clone(), runtime);
        signals::reopen_logs(&lifecycle);
        Ok(Server { lifecycle, workers, outlets, driver })
    }
}

/// The control plane, with what the environment says of us.
pub(super) fn dynamic_settings(
    settings: &Settings,
    process: Option<&ProcessSettings>,
) -> Result<DynamicSettings, String> {
    let token_file = process.and_then(|process| process.xds_token_file.as_deref());
    let aws = process.and_then(|process| process.xds_aws.as_ref());
    DynamicSettings::from_bootstrap(settings.dynamic_resources.as_ref())
        .and_then(|dynamic| dynamic.with_load_reports(settings.bootstrap.cluster_manager.as_ref()))
        .map(|dynamic| dynamic.with_identity(token_file, aws))
        .map_err(|error| error.to_string())
}

/// The resolver: the bootstrap's name servers, else the system's.
fn resolver(servers: &[SocketAddr]) -> Result<dns::Lookup, String> {
    let lookup = match servers {
        [] => dns::Lookup::system(),
        servers => dns::Lookup::with_servers(servers, DNS_TIMEOUT, "/etc/hosts".into()),
    };
    lookup.map_err(|error| format!("cannot set up the resolver: {error}"))
}

async fn flush(collector: Arc<Collector>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        collector.flush();
    }
}

/// `--concurrency`, else the environment, else the cores this process may use, at most two: a sidecar is small.
fn worker_count(args: &ServeArgs, process: &ProcessSettings) -> usize {
    let asked = args.concurrency.or(process.workers).map(|count| count as usize);
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2)))
}

/// As the image's agent does: every descriptor the kernel allows may become a connection.
fn raise_descriptor_limit() {
    if let Err(error) =
        rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.map_or(Ok(()), |maximum| {
            let limit = rustix::process::Rlimit { current: Some(maximum), maximum: Some(maximum) };
            rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)
        })
    {
        tracing::warn!(%error, "cannot raise the descriptor limit");
    }
}
