//! `outrigger`: the control plane and the operator's tool.

use clap::Parser;

fn main() -> std::process::ExitCode {
    outrigger::cli::Cli::parse().run()
}
