//! The program's commands: what `main` does with each.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::sync::mpsc;

use super::args::{Cli, Command, Mode, ServeArgs};
use super::bootstrap::{self, Settings};
use super::environment::{self, AdminBind, ProcessVariables};
use super::log_lines::LogLines;
use super::ready::Readiness;
use super::serve::{Server, dynamic_settings};
use super::{dumps, faults, intercept, logging, ready};
use crate::config::publish;
use crate::net::listener::DryRun;
use crate::stats::registry::Registry;
use crate::xds::driver::{Driver, Parts};

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
    let admin = process.admin_override.map_or(bind, AdminBind::Tcp);
    match ready::ask(&admin) {
        Ok(Readiness::Ready) => Ok(ExitCode::SUCCESS),
        Ok(Readiness::Not(reasons)) => Err(format!("not ready: {reasons}")),
        Err(error) => Err(format!("no answer from the admin endpoint {admin}: {error}")),
    }
}

fn serve(args: &ServeArgs) -> Result<ExitCode, String> {
    if args.hot_restart_version {
        // Envoy's word for it.
        println_out("disabled");
        return Ok(ExitCode::SUCCESS);
    }
    let process = environment::process_settings(&ProcessVariables).map_err(|error| error.to_string())?;
    let log = LogLines::to(std::io::stderr());
    // Before anything secret is read.
    let dumps = dumps::forbid(process.core_dumps);
    let level = args.log_level.as_deref().or(process.log_level.as_deref());
    let (levels, unknown_level) = logging::install(level, args.log_format, log.lines());
    let settings = bootstrap::load(args, &ProcessVariables).map_err(|error| error.to_string())?;
    let ignored = args.ignored.given();
    if !ignored.is_empty() {
        tracing::warn!("flags without a meaning here: {}", ignored.join(" "));
    }
    for warning in unknown_level.iter().chain(&dumps).chain(&process.warnings).chain(&settings.warnings) {
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
        Mode::Serve => runtime.block_on(Server::run(args, process, settings, (levels, &log))),
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
        counts_services: false,
        checked: Arc::default(),
    };
    Driver::new(parts, &settings.static_resources)
        .map_err(|faults| faults::describe(&faults, &settings.static_resources, &settings.source))?;
    println_out("configuration OK");
    Ok(ExitCode::SUCCESS)
}

/// The verdict of a command belongs on stdout; a closed one is nobody's loss.
fn println_out(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
