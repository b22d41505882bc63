//! `outrigger check`: validate definitions.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::SourceArgs;
use crate::diagnostics::{self, Severity};
use crate::graph::Graph;
use crate::source::{files, load};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Exit code 0: all good (warnings allowed), 1: errors found, 2: could not run.
pub fn run(args: &CheckArgs) -> ExitCode {
    match check(args, &mut std::io::stdout().lock()) {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::from(1),
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "outrigger check: {e}");
            ExitCode::from(2)
        }
    }
}

/// Whether errors were found.
fn check(args: &CheckArgs, out: &mut impl Write) -> Result<bool, Box<dyn std::error::Error>> {
    let files = files::gather(&args.source.paths)?;
    let loaded = load(&files, &args.source.options(Severity::Warning));
    let counts = loaded.definitions.counts();
    let mut report = loaded.report;
    Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    let text = match args.format {
        Format::Text => diagnostics::to_text(&report, &counts),
        Format::Json => diagnostics::to_json(&report, &counts)? + "\n",
    };
    out.write_all(text.as_bytes())?;
    Ok(report.has_errors())
}
