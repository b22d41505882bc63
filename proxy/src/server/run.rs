//! The wiring diagram: the only place that knows every module.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use outrigger_xds_protos::any::Typed;
use outrigger_xds_protos::json::{self, Secrets};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use super::args::{Cli, Command, Mode, ServeArgs};
use super::bootstrap::{self, Settings};
use super::config_view::DriverView;
use super::dial::Dialler;
use super::environment::{self, AdminBind, ProcessSettings, ProcessVariables};
use super::overload::Manager;
use super::process::Lifecycle;
use super::telemetry::{Sources, Telemetry};
use super::{faults, intercept, logging, ready, telemetry};
use crate::admin::logging::LogLevels;
use crate::admin::server::{AdminAddress, AdminServer};
use crate::admin::{AdminState, Process, ServerInfo, ServerState};
use crate::base::drain::DrainPhase;
use crate::config::live::Overload;
use crate::config::publish::{self, Subscriber};
use crate::health::Checker;
use crate::net::listener::{DryRun, ReusePort};
use crate::observe::access_log::grpc::GrpcLogs;
use crate::observe::access_log::sink::{Lines, Sinks};
use crate::observe::collect::{Collector, Constants, Vitals};
use crate::observe::expiry;
use crate::observe::trace::tracers::Tracers;
use crate::stats::registry::Registry;
use crate::stats::scope::AccessLogStats;
use crate::upstream::{dns, outlier};
use crate::worker::{Drains, Progress, Workers};
use crate::xds::driver::{Driver, Handle, Parts};
use crate::xds::engine::InitPhase;
use crate::xds::load::Reporter;
use crate::xds::node;
use crate::xds::settings::DynamicSettings;
use crate::xds::translate::TracingContext;

/// How long a draining process still accepts connections that were on their way.
const ACCEPT_GRACE: Duration = Duration::from_secs(1);
/// How long the last log lines may take.
const LOG_GRACE: Duration = Duration::from_secs(2);
/// How long the last spans may take.
const SPAN_GRACE: Duration = Duration::from_secs(1);
/// How long a configured name server has for one answer: c-ares' default.
const DNS_TIMEOUT: Duration = Duration::from_secs(5);
/// Resolutions waiting for the compiler; the rest waits in the resolver.
const RESOLUTIONS: usize = 64;

/// Runs the program: exit codes 0 clean, 1 bad configuration or start failure, 2 bad arguments.
pub fn main() -> ExitCode {
    // clap ends the process with 2 itself.
    let cli = Cli::parse();
    let outcome = match cli.command {
        Some(Command::Ready) => probe(),
        Some(Command::Intercept { action }) => intercept::run(action, &ProcessVariables),
        None => serve(&cli.serve),
    };
    match outcome {
        Ok(code) => code,
        Err(message) => {
            eprintln!("outrigger-proxy: {message}");
            ExitCode::FAILURE
        }
    }
}

fn probe() -> Result<ExitCode, String> {
    let process = environment::process_settings(&ProcessVariables).map_err(|error| error.to_string())?;
    let bind = environment::admin_bind(&ProcessVariables).map_err(|error| error.to_string())?;
    let address = match (process.admin_override, bind) {
        (Some(address), _) | (None, AdminBind::Tcp(address)) => address,
        (None, AdminBind::Unix(path)) => {
            return Err(format!("the admin endpoint is {}; ask it there", path.display()));
        }
    };
    match ready::is_ready(address) {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Err(format!("not ready (admin endpoint {address})")),
        Err(error) => Err(format!("no answer from the admin endpoint {address}: {error}")),
    }
}

fn serve(args: &ServeArgs) -> Result<ExitCode, String> {
    let process = environment::process_settings(&ProcessVariables).map_err(|error| error.to_string())?;
    let level = args.log_level.as_deref().or(process.log_level.as_deref());
    let (levels, unknown_level) = logging::install(level, args.log_format);
    let settings = bootstrap::load(args, &ProcessVariables).map_err(|error| error.to_string())?;
    let ignored = args.ignored.given();
    if !ignored.is_empty() {
        tracing::warn!("flags without a meaning here: {}", ignored.join(" "));
    }
    for warning in unknown_level.iter().chain(&process.warnings).chain(&settings.warnings) {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("main")
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start a runtime: {error}"))?;
    match args.mode {
        Mode::Validate => runtime.block_on(validate(settings, process.strict_tls)),
        Mode::Serve => runtime.block_on(Server::run(args, process, settings, levels)),
    }
}

/// Loads everything, opens nothing.
async fn validate(settings: Settings, strict_tls: bool) -> Result<ExitCode, String> {
    let dynamic = dynamic_settings(&settings, None)?;
    let (publisher, _snapshots) = publish::channel();
    let (resolve, _commands) = mpsc::unbounded_channel();
    let (_answers, resolutions) = mpsc::channel(1);
    let parts = Parts {
        dynamic,
        node: settings.node,
        local_cluster: settings.local_cluster,
        ports: Box::new(DryRun),
        publisher,
        stats: Registry::new(),
        sinks: None,
        grpc_logs: None,
        tracing: settings.tracing,
        resolve,
        resolutions,
        strict_tls,
        checked: Arc::default(),
    };
    Driver::new(parts, &settings.static_resources)
        .map_err(|faults| faults::describe(&faults, &settings.static_resources, &settings.source))?;
    println_out("configuration OK");
    Ok(ExitCode::SUCCESS)
}

fn dynamic_settings(
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

/// A log of events.
fn open_log(sinks: &Sinks, path: &Path) -> Result<Lines, String> {
    let sink = sinks.open(path);
    sink.map(Lines::new).map_err(|error| format!("cannot open the event log {}: {error}", path.display()))
}

/// The verdict of a command belongs on stdout; a closed one is nobody's loss.
fn println_out(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A running server.
struct Server {
    lifecycle: Arc<Lifecycle>,
    workers: Workers,
    sinks: Arc<Sinks>,
    grpc_logs: Arc<GrpcLogs>,
    tracers: Arc<Tracers>,
    driver: Handle,
}

impl Server {
    async fn run(
        args: &ServeArgs,
        process: ProcessSettings,
        mut settings: Settings,
        levels: LogLevels,
    ) -> Result<ExitCode, String> {
        let started = Instant::now();
        raise_descriptor_limit();
        let registry = Registry::new();
        let (publisher, snapshots) = publish::channel();
        let sinks = Arc::new(Sinks::new(AccessLogStats::register(&registry), registry.shared().clone()));
        let dialler = Arc::new(Dialler { snapshots: snapshots.clone() });
        let place = telemetry::place(&process, &settings);
        let runtime = tokio::runtime::Handle::current();
        let who = node::complete(settings.node.clone()).to_wire().into();
        let grpc_logs = Arc::new(GrpcLogs::new(&registry, runtime.clone(), dialler.clone(), who));
        let tracers = Arc::new(Tracers::new(&registry, runtime, dialler, place.clone()));
        let count = worker_count(args, &process);
        let dynamic = dynamic_settings(&settings, Some(&process))?;
        let load = dynamic.load.clone();
        for warning in &dynamic.warnings {
            tracing::warn!("{warning}");
        }
        let (resolve, commands) = mpsc::unbounded_channel();
        let (answers, resolutions) = mpsc::channel(RESOLUTIONS);
        tokio::spawn(dns::run(resolver(&settings.dns_servers)?, commands, answers));
        let checked = Arc::new(Notify::new());
        let parts = Parts {
            dynamic,
            node: settings.node.clone(),
            local_cluster: settings.local_cluster.clone(),
            ports: Box::new(ReusePort::new(count)),
            publisher,
            stats: registry.clone(),
            sinks: Some(sinks.clone()),
            grpc_logs: Some(grpc_logs.clone()),
            tracing: TracingContext { tracers: Some(tracers.clone()), ..settings.tracing.clone() },
            resolve,
            resolutions,
            strict_tls: process.strict_tls,
            checked: checked.clone(),
        };
        let (driver, handle) = Driver::new(parts, &settings.static_resources)
            .map_err(|faults| faults::describe(&faults, &settings.static_resources, &settings.source))?;
        if let (Some(load), Some(channels)) = (load, handle.control_plane()) {
            let node = settings.node.clone();
            tokio::spawn(Reporter::new(load, node, channels, snapshots.clone(), registry.clone()).run());
        }
        let checker = Checker::new(snapshots.clone(), &registry, checked);
        let drains = Drains::default();
        let drain_time = args.drain_time_s.map_or(process.drain_time, Duration::from_secs);
        let lifecycle =
            Lifecycle::new(drains.clone(), drain_time, sinks.clone(), tokio::runtime::Handle::current());
        let outlier_log = settings.outlier_log.as_deref().map(|path| open_log(&sinks, path)).transpose()?;
        let outliers = outlier::run(snapshots.clone(), registry.shared().clone(), outlier_log);
        let shed = settings.overload.take();
        let overload = shed.as_ref().map(|shed| Arc::new(Overload::new(shed.max_connections)));
        if let (Some(shed), Some(overload)) = (shed, &overload) {
            tokio::spawn(Manager::new(shed, overload.clone(), &registry).run());
        }
        let workers = Workers::start(count, &snapshots, &registry, &drains, drain_time, overload.as_ref())
            .map_err(|error| format!("cannot start workers: {error}"))?;
        let server = Self { lifecycle, workers, sinks, grpc_logs, tracers, driver: handle };
        let collector = server.collector(&registry, snapshots.clone(), started, count);
        let sources = Sources {
            registry: &registry,
            snapshots: &snapshots,
            collector: &collector,
            sinks: &server.sinks,
        };
        let telemetry = Telemetry::start(&process, &settings, &sources, place)?;
        server
            .start_admin(
                args,
                &process,
                settings,
                levels,
                &registry,
                snapshots.clone(),
                started,
                count,
                collector.clone(),
            )
            .await?;
        tokio::spawn(checker.run());
        tokio::spawn(driver.run());
        tokio::spawn(outliers);
        tokio::spawn(expiry::run(snapshots));
        server.follow_start(collector);
        server.until_the_end(telemetry).await;
        Ok(ExitCode::SUCCESS)
    }

    #[allow(clippy::too_many_arguments, reason = "called once; each is a part of the wiring")]
    async fn start_admin(
        &self,
        args: &ServeArgs,
        process: &ProcessSettings,
        settings: Settings,
        levels: LogLevels,
        registry: &Registry,
        snapshots: Subscriber,
        started: Instant,
        workers: usize,
        collector: Arc<Collector>,
    ) -> Result<(), String> {
        tokio::spawn(flush(collector.clone(), settings.stats_flush));
        let mesh = telemetry::mesh_totals(process, &settings, registry, &snapshots);
        let Some(bind) = process.admin_override.map(AdminBind::Tcp).or(settings.admin) else { return Ok(()) };
        let address = match bind {
            AdminBind::Tcp(address) => AdminAddress::Tcp(address),
            AdminBind::Unix(path) => AdminAddress::Unix(path),
        };
        let admin = AdminServer::bind(&address, &[])
            .await
            .map_err(|error| format!("cannot bind the admin endpoint {address:?}: {error}"))?;
        if let (Some(path), Some(bound)) = (&args.admin_address_path, admin.local_addr()) {
            write_address(path, &bound.to_string())?;
        }
        let config = Arc::new(DriverView::new(settings.bootstrap, snapshots.clone(), self.driver.clone()));
        let state = AdminState {
            mesh,
            registry: registry.clone(),
            stats_config: Arc::new(settings.stats),
            collector,
            snapshots,
            info: ServerInfo {
                version: concat!("0/", env!("CARGO_PKG_VERSION"), "/Clean/RELEASE/outrigger").to_owned(),
                started,
                command_line_options: json!({
                    "concurrency": workers,
                    "drain_time": format!("{}s", self.lifecycle.drain_time().as_secs()),
                    "mode": "Serve",
                }),
                node: json::print(&settings.node, Secrets::Redact),
            },
            process: self.lifecycle.clone(),
            config,
            logging: levels,
        };
        let drains = self.lifecycle.drains().clone();
        tokio::spawn(async move {
            admin
                .serve(Arc::new(state), async move { drains.all.reached(DrainPhase::Terminating).await })
                .await;
        });
        Ok(())
    }

    fn collector(
        &self,
        registry: &Registry,
        snapshots: Subscriber,
        started: Instant,
        workers: usize,
    ) -> Arc<Collector> {
        let (lifecycle, progress) = (self.lifecycle.clone(), self.workers.progress().clone());
        let published = snapshots.clone();
        let vitals = move || Vitals {
            state: lifecycle.state() as u8,
            connections: progress.connections(),
            until_expiry: expiry::until_first(&published.current(), SystemTime::now()),
        };
        Arc::new(Collector::new(registry, snapshots, started, Constants::of(workers), Box::new(vitals)))
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

    /// Waits for a reason to end, drains if there is time, and stops the workers.
    async fn until_the_end(self, telemetry: Telemetry) {
        let graceful = self.reason_to_end().await;
        self.lifecycle.enter(ServerState::Draining);
        let progress = self.workers.progress().clone();
        if graceful {
            let mut again = signal(SignalKind::terminate()).ok();
            tokio::select! {
                () = drain(self.lifecycle.clone(), progress) => {}
                () = interrupted(&mut again) => tracing::info!("second signal: ending at once"),
            }
        }
        self.lifecycle.drains().all.advance(DrainPhase::Terminating);
        let (workers, sinks) = (self.workers, self.sinks);
        // Threads and files: off the runtime, bounded by what they wait for.
        let _ = tokio::task::spawn_blocking(move || workers.join()).await;
        // Workers count to their end, and the last metrics may be lines of a sink.
        telemetry.finish().await;
        tokio::join!(self.tracers.shutdown(SPAN_GRACE), self.grpc_logs.shutdown(SPAN_GRACE));
        let _ = tokio::task::spawn_blocking(move || sinks.shutdown(LOG_GRACE)).await;
    }

    /// True for SIGTERM, false for SIGINT and `/quitquitquit`.
    async fn reason_to_end(&self) -> bool {
        let mut term = signal(SignalKind::terminate()).ok();
        let mut quit = signal(SignalKind::quit()).ok();
        let mut int = signal(SignalKind::interrupt()).ok();
        // A closed terminal must not end a sidecar.
        let _hangup = signal(SignalKind::hangup());
        tokio::select! {
            () = interrupted(&mut term) => true,
            () = interrupted(&mut quit) => true,
            () = interrupted(&mut int) => false,
            () = self.lifecycle.quit_requested() => false,
        }
    }
}

async fn interrupted(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Asks connections to end, then stops accepting, and waits for the last one within the drain time.
async fn drain(lifecycle: Arc<Lifecycle>, progress: Arc<Progress>) {
    let deadline = tokio::time::Instant::now() + lifecycle.drain_time();
    tracing::info!(connections = progress.connections(), "draining");
    lifecycle.drains().all.advance(DrainPhase::Draining);
    let grace = ACCEPT_GRACE.min(lifecycle.drain_time() / 2);
    // With nobody connected there is nobody whose next connection is on its way.
    if progress.connections() > 0 {
        tokio::time::sleep(grace).await;
    }
    lifecycle.drains().all.advance(DrainPhase::Closing);
    if tokio::time::timeout_at(deadline, progress.drained()).await.is_err() {
        tracing::warn!(connections = progress.connections(), "drain time is over; cutting what remains");
    }
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

fn write_address(path: &Path, address: &str) -> Result<(), String> {
    std::fs::write(path, address).map_err(|error| format!("cannot write {}: {error}", path.display()))
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
