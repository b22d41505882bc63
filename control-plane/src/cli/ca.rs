//! `outrigger ca`: replaces the root of a mesh, step by step.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::dumps;
use crate::ca::{prepare, retire, switch};

/// Arguments of `ca`.
#[derive(Debug, Args)]
pub struct CaArgs {
    #[command(subcommand)]
    step: Step,
}

/// The steps. After each, wait until every proxy has accepted it (`/nodes` of the control plane).
#[derive(Debug, Subcommand)]
enum Step {
    /// Make the next root; it is trusted and does not sign yet
    Prepare(Directory),
    /// Let the next root sign; the one before stays trusted
    Switch(Directory),
    /// Trust the root before no more
    Retire(Directory),
}

#[derive(Debug, Args)]
struct Directory {
    /// What `serve --mesh-ca` was given
    #[arg(value_name = "DIRECTORY")]
    path: PathBuf,
}

/// Exit code 0: done, 1: not, with the reason on stderr.
pub fn run(args: &CaArgs) -> ExitCode {
    dumps::forbid();
    let done = match &args.step {
        Step::Prepare(directory) => prepare(&directory.path),
        Step::Switch(directory) => switch(&directory.path),
        Step::Retire(directory) => retire(&directory.path),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told.
            let _ = writeln!(std::io::stderr(), "outrigger ca: {error}");
            ExitCode::from(1)
        }
    }
}
