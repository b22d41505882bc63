//! The commands of `outrigger`, one file each.
//!
//! Owns arguments, exit codes and where output goes. It does not know formats or the mesh.

pub mod ca;
pub mod check;
pub mod demo;
mod dumps;
mod identity;
mod listening;
mod logging;
pub mod serve;
pub mod show;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::diagnostics::{Diagnostic, Severity};
use crate::source::LoadOptions;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "outrigger",
    version,
    about = "Control plane for meshes that are defined as in AWS App Mesh"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replace the root of a mesh that issues its own certificates
    Ca(ca::CaArgs),
    /// Validate definitions
    Check(check::CheckArgs),
    /// Run control plane, sidecars and sample services on loopback
    Demo(demo::DemoArgs),
    /// What the demo starts its sidecars with
    #[command(hide = true)]
    DemoSidecar(demo::SidecarArgs),
    /// Serve definitions to proxies over xDS, and follow their changes
    Serve(Box<serve::ServeArgs>),
    /// Print the xDS resources that a proxy would receive
    Show(show::ShowArgs),
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Ca(args) => ca::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Demo(args) => demo::run(&args),
            Command::DemoSidecar(args) => demo::become_sidecar(&args),
            Command::Serve(args) => serve::run(&args),
            Command::Show(args) => show::run(&args),
        }
    }
}

/// Where definitions come from; the same for every command.
#[derive(Debug, Clone, Args)]
pub struct SourceArgs {
    /// Files or directories with definitions
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Value of a CloudFormation parameter; AWS::StackName and attributes such as Balancer.DNSName work too
    #[arg(long = "parameter", value_name = "KEY=VALUE", value_parser = key_value)]
    pub parameters: Vec<(String, String)>,
    /// Value of another stack's export
    #[arg(long = "import", value_name = "EXPORT=VALUE", value_parser = key_value)]
    pub imports: Vec<(String, String)>,
    /// Value of $NAME or ${NAME} in App Mesh JSON and task definitions
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = key_value)]
    pub variables: Vec<(String, String)>,
    /// Account that the definitions belong to
    #[arg(long, value_name = "NUMBER", value_parser = account)]
    pub account: Option<String>,
    /// Region that the definitions belong to
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
}

impl SourceArgs {
    /// The values as the loader takes them; `missing` says how bad a value is that nobody gives.
    pub fn options(&self, missing: Severity) -> LoadOptions {
        let map = |pairs: &[(String, String)]| pairs.iter().cloned().collect::<BTreeMap<_, _>>();
        LoadOptions {
            parameters: map(&self.parameters),
            imports: map(&self.imports),
            account: self.account.clone(),
            region: self.region.clone(),
            variables: map(&self.variables),
            missing,
        }
    }
}

/// Prints errors and warnings to stderr, each in one write: whoever collects lines sees whole ones.
fn print_findings<'f>(findings: impl IntoIterator<Item = &'f Diagnostic>) {
    let mut stderr = std::io::LineWriter::new(std::io::stderr().lock());
    for finding in findings {
        if finding.severity != Severity::Info {
            // Nobody is left to be told.
            let _ = writeln!(stderr, "{finding}");
        }
    }
}

/// `KEY=VALUE`; the key may hold colons, the value anything.
fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

fn account(text: &str) -> Result<String, String> {
    let valid = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    if valid { Ok(text.to_owned()) } else { Err("an account number has 12 digits".to_owned()) }
}
