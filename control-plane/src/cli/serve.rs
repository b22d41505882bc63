//! `outrigger serve`: the control plane as a process. Reads definitions, serves them, follows their changes.
//!
//! Definitions that cannot be read, or have errors, are reported; what was served before stays served. A proxy that
//! cannot be given what its definitions ask for keeps what it had, or is refused, without holding back the others.

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

use super::identity::{Identity, IdentityArgs};
use super::listening::ListeningArgs;
use super::{SourceArgs, dumps, logging};
use crate::ads::registry::HeldBack;
use crate::diagnostics::{Diagnostic, Report, Severity};
use crate::graph::Graph;
use crate::listen::Address;
use crate::mesh_source::{MeshSource, Refused};
use crate::metrics::Reload;
use crate::server::{Addresses, Config, ControlPlane};
use crate::source::{files, load};
use crate::translate::TranslateOptions;
use crate::watch::{Pace, Watcher};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    listening: ListeningArgs,
    /// Where proxies connect: HOST:PORT or unix:/PATH; may be given several times
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:18000")]
    xds: Vec<Address>,
    /// Where /ready, /metrics and /nodes are served: HOST:PORT or unix:/PATH
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:18001")]
    admin: Address,
    /// Serve xDS to other hosts although connections are neither encrypted nor authenticated
    #[arg(long)]
    insecure_plaintext_xds: bool,
    /// Serve xDS to other hosts over TLS although any of them may be any proxy
    #[arg(long)]
    insecure_unauthenticated_xds: bool,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Let the system dump the memory of this process, and the private keys in it
    #[arg(long)]
    core_dumps: bool,
    /// Write the bound addresses to this file, as they are printed
    #[arg(long, value_name = "FILE")]
    address_file: Option<PathBuf>,
    /// What is logged, to stderr
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "OUTRIGGER_LOG_LEVEL")]
    log_level: LevelFilter,
    /// How it is logged
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Exit code 0: stopped by a signal, 1: could not start, with the reason on stderr.
pub fn run(args: &ServeArgs) -> ExitCode {
    start_logging(args);
    if args.core_dumps {
        tracing::warn!("--core-dumps: core dumps are allowed, and hold private keys");
    } else {
        dumps::forbid();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let served = runtime.map_err(Failure::from).and_then(|runtime| {
        let served = runtime.block_on(serve(args));
        // An authority elsewhere may be being asked still; nobody waits for its answer any more.
        runtime.shutdown_background();
        served
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told.
            let _ = writeln!(std::io::stderr(), "outrigger serve: {error}");
            ExitCode::from(1)
        }
    }
}

fn start_logging(args: &ServeArgs) {
    let builder = tracing_subscriber::fmt().with_max_level(args.log_level).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => builder.with_ansi(false).fmt_fields(logging::fields()).init(),
        LogFormat::Json => builder.json().init(),
    }
}

async fn serve(args: &ServeArgs) -> Result<(), Failure> {
    // Before anything is slow: a signal at start is a signal.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (serving, watcher) = tokio::select! {
        started = Serving::start(args) => started?,
        () = stopped(&mut terminate, &mut interrupt) => return Ok(()),
    };
    tokio::select! {
        () = stopped(&mut terminate, &mut interrupt) => {}
        () = serving.follow_definitions(watcher) => {}
        () = serving.follow_identities() => {}
    }
    tracing::info!("stopping");
    tokio::select! {
        () = serving.plane.shutdown() => {}
        // Asked twice.
        () = stopped(&mut terminate, &mut interrupt) => {}
    }
    Ok(())
}

async fn stopped(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// What is served, and what it is made of. What follows one of its sources waits for none of the others.
struct Serving {
    reading: Arc<Reading>,
    identity: Identity,
    plane: ControlPlane,
    source: Mutex<Arc<MeshSource>>,
}

impl Serving {
    async fn start(args: &ServeArgs) -> Result<(Self, Watcher), Failure> {
        let watcher = Watcher::new(args.source.paths.clone(), Pace::default()).await;
        let reading = Arc::new(Reading::of(args));
        let source = reading.read(None).await?;
        let mut config = Config::new(args.xds.clone(), Some(args.admin.clone()));
        config.insecure_plaintext = args.insecure_plaintext_xds;
        config.insecure_unauthenticated = args.insecure_unauthenticated_xds;
        let identity = Identity::open(&args.identity, &mut config).await?;
        let plane = ControlPlane::start(config, identity.secured(&source)).await?;
        report(&source, &plane);
        announce(plane.addresses(), args.address_file.as_deref())?;
        tracing::info!(proxies = source.node_ids().count(), "the definitions are served");
        Ok((Self { reading, identity, plane, source: Mutex::new(source) }, watcher))
    }

    async fn follow_definitions(&self, mut watcher: Watcher) {
        loop {
            watcher.changed().await;
            self.reload().await;
        }
    }

    async fn follow_identities(&self) {
        loop {
            self.identity.changed().await;
            self.plane.update(self.identity.secured(&self.current()));
        }
    }

    fn current(&self) -> Arc<MeshSource> {
        Arc::clone(&self.source.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn reload(&self) {
        match self.reading.read(Some(self.current())).await {
            Ok(source) => {
                report(&source, &self.plane);
                let proxies = source.node_ids().count();
                self.plane.update(self.identity.secured(&source));
                *self.source.lock().unwrap_or_else(PoisonError::into_inner) = source;
                tracing::info!(proxies, "the definitions have changed and are served");
            }
            Err(error) => {
                self.plane.metrics().reloaded(Reload::Failure);
                tracing::error!("the definitions have changed: {error}; the last good state stays served");
            }
        }
    }
}

/// Tells metrics and `/nodes` what became of a state of the definitions.
fn report(source: &MeshSource, plane: &ControlPlane) {
    let held_back: Vec<HeldBack> = source.refused().iter().map(held_back).collect();
    plane.metrics().reloaded(if held_back.is_empty() { Reload::Success } else { Reload::Partial });
    plane.registry().hold_back(held_back);
}

fn held_back((id, refused): (&String, &Refused)) -> HeldBack {
    HeldBack { node_id: id.clone(), reason: refused.reason.clone(), kept: refused.kept }
}

/// Code and text of a warning: an edit moves what comes after it.
type Said = (&'static str, String);

/// Reads, checks and translates the definitions. Findings go to stderr: errors each time, warnings when they are new.
struct Reading {
    source: SourceArgs,
    listening: ListeningArgs,
    mesh_ca: bool,
    private_ca: bool,
    /// Warnings of the last time, wherever they were.
    told: Mutex<HashSet<Said>>,
}

impl Reading {
    fn of(args: &ServeArgs) -> Self {
        Self {
            source: args.source.clone(),
            listening: args.listening.clone(),
            mesh_ca: args.identity.has_ca(),
            private_ca: args.identity.has_private_ca(),
            told: Mutex::default(),
        }
    }

    /// Reads on a thread that may block. Proxies that cannot be translated keep their part of `before`.
    async fn read(self: &Arc<Self>, before: Option<Arc<MeshSource>>) -> Result<Arc<MeshSource>, Failure> {
        let reading = Arc::clone(self);
        tokio::task::spawn_blocking(move || reading.read_blocking(before.as_deref())).await?
    }

    fn read_blocking(&self, before: Option<&MeshSource>) -> Result<Arc<MeshSource>, Failure> {
        let files = files::gather(&self.source.paths)?;
        let loaded = load(&files, &self.source.options(Severity::Error));
        let mut report = loaded.report;
        let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
        let source = MeshSource::new(graph, |_| Some(self.options()), before, &mut report);
        self.tell(&report);
        let Some(source) = source else {
            return Err(format!("{} errors in the definitions", report.count(Severity::Error)).into());
        };
        for (id, refused) in source.refused() {
            let fate = if refused.kept { "it keeps its last good state" } else { "it is refused" };
            tracing::error!("{id} cannot be given what its definitions ask for, {fate}: {}", refused.reason);
        }
        Ok(Arc::new(source))
    }

    fn options(&self) -> TranslateOptions {
        TranslateOptions { mesh_ca: self.mesh_ca, private_ca: self.private_ca, ..self.listening.options() }
    }

    fn tell(&self, report: &Report) {
        let said = |finding: &Diagnostic| (finding.code, finding.message.clone());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let sorted = report.sorted();
        // With an authority of the mesh's own another finding says what becomes of the certificate.
        let answered = |finding: &Diagnostic| {
            self.mesh_ca && finding.code == "tls-acm" && finding.severity == Severity::Warning
        };
        let news = sorted.iter().copied().filter(|finding| !told.contains(&said(finding)));
        super::print_findings(news.filter(|finding| !answered(finding)));
        let warnings = sorted.into_iter().filter(|finding| finding.severity == Severity::Warning);
        *told = warnings.map(said).collect();
    }
}

/// One line per address, on stdout and, if wanted, in a file that appears complete.
fn announce(addresses: &Addresses, file: Option<&std::path::Path>) -> Result<(), Failure> {
    let xds = addresses.xds.iter().map(|address| format!("xds: {address}\n"));
    let admin = addresses.admin.iter().map(|address| format!("admin: {address}\n"));
    let lines: String = xds.chain(admin).collect();
    // A closed stdout is no reason not to serve.
    let _ = std::io::stdout().lock().write_all(lines.as_bytes());
    if let Some(file) = file {
        let staged = file.with_added_extension("tmp");
        let written = std::fs::write(&staged, lines).and_then(|()| std::fs::rename(&staged, file));
        written.map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    Ok(())
}
