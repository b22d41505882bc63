//! `outrigger demo`: the whole on one machine.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::demo::{self, Demo, Result, sidecar};

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Send the requests, print what was seen and end: 0 when all was well
    #[arg(long)]
    exit_after_check: bool,
    /// Files or directories with definitions; absent: the example
    #[arg(long, value_name = "PATH", num_args = 1..)]
    mesh: Vec<PathBuf>,
}

/// Arguments of the program that becomes a sidecar.
#[derive(Debug, Args)]
pub struct SidecarArgs {
    parent: u32,
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Exit code 0: checked, or stopped by the user; 1: something failed.
pub fn run(args: &DemoArgs) -> ExitCode {
    // One thread: the kernel ties the sidecars' lives to the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(demonstrate(args)),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail("demo", &*error),
    }
}

/// Becomes a sidecar.
pub fn become_sidecar(args: &SidecarArgs) -> ExitCode {
    fail("demo-sidecar", &sidecar::enter(args.parent, &args.program, &args.arguments))
}

fn fail(command: &str, error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "outrigger {command}: {error}");
    ExitCode::from(1)
}

async fn demonstrate(args: &DemoArgs) -> Result<()> {
    let mut stop = Stop::new()?;
    let mut out = std::io::stdout();
    let prepared = tokio::select! {
        prepared = prepare(args, &mut out) => prepared?,
        () = stop.asked() => return interrupted(args),
    };
    let Some(mut demo) = prepared else { return Ok(()) };
    demo.print_commands(&mut out)?;
    writeln!(out, "\nRunning; Ctrl-C stops it.")?;
    let ended = tokio::select! {
        error = demo.watch() => Err(error),
        () = stop.asked() => Ok(()),
    };
    demo.stop().await;
    ended
}

/// The demo, checked; none when it was to end after that.
async fn prepare(args: &DemoArgs, out: &mut std::io::Stdout) -> Result<Option<Demo>> {
    let program = sidecar::find()?;
    let graph = demo::definitions(&args.mesh, out)?;
    let mut demo = Demo::start(graph, &program, out).await?;
    let checked = demo.check(out).await;
    if checked.is_ok() && !args.exit_after_check {
        return Ok(Some(demo));
    }
    demo.stop().await;
    checked?;
    writeln!(out, "\nAll checks passed.")?;
    Ok(None)
}

fn interrupted(args: &DemoArgs) -> Result<()> {
    if args.exit_after_check { Err("interrupted before the check was over".into()) } else { Ok(()) }
}

/// Ctrl-C and SIGTERM.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
