//! `outrigger show`: the xDS resources that a proxy would receive.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use outrigger_xds_protos::any::{self, Typed};
use outrigger_xds_protos::json::{self, Secrets};
use serde_json::{Value, json};

use super::SourceArgs;
use super::listening::ListeningArgs;
use crate::diagnostics::Severity;
use crate::graph::Graph;
use crate::source::{files, load};
use crate::translate::{Resources, translate};

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    listening: ListeningArgs,
    /// The proxy: `mesh/<mesh>[@<owner>]/virtualNode/<name>`, `.../virtualGateway/<name>`, an ARN, or a name that only
    /// one of them has
    #[arg(long, value_name = "NODE_ID")]
    node: String,
    /// How resources are printed
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    output: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Yaml,
    Json,
}

/// Exit code 0: printed, 1: errors in the definitions or no such proxy, 2: could not run.
pub fn run(args: &ShowArgs) -> ExitCode {
    match show(args) {
        Ok(Ok(text)) => match std::io::stdout().lock().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(2),
        },
        Ok(Err(text)) => fail(1, &text),
        Err(e) => fail(2, &e.to_string()),
    }
}

fn fail(code: u8, text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "outrigger show: {text}");
    ExitCode::from(code)
}

/// The text to print, or why there is none.
fn show(args: &ShowArgs) -> Result<Result<String, String>, Box<dyn std::error::Error>> {
    let files = files::gather(&args.source.paths)?;
    let loaded = load(&files, &args.source.options(Severity::Warning));
    let mut report = loaded.report;
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    if report.has_errors() {
        super::print_findings(report.sorted());
        return Ok(Err("the definitions have errors; correct them".to_owned()));
    }
    let proxy = match graph.resolve(&args.node) {
        Ok(proxy) => proxy,
        Err(why) => return Ok(Err(why)),
    };
    let resources = translate(&graph, &proxy, &args.listening.options(), &mut report);
    super::print_findings(report.sorted());
    let Some(resources) = resources else {
        return Ok(Err(format!("{} cannot be given what its definitions ask for", proxy.id())));
    };
    let value = to_json(&resources);
    Ok(Ok(match args.output {
        Format::Yaml => json::to_yaml(&value),
        Format::Json => serde_json::to_string_pretty(&value)? + "\n",
    }))
}

/// The resources by kind, each with its `@type`, as an aggregated stream would carry them. Nothing is hidden: TLS
/// material stands in them by file or secret name only.
pub fn to_json(resources: &Resources) -> Value {
    json!({
        "listeners": list(resources.listeners.values()),
        "routes": list(resources.routes.values()),
        "clusters": list(resources.clusters.values()),
        "endpoints": list(resources.endpoints.values()),
    })
}

fn list<'r, M: Typed + 'r>(messages: impl Iterator<Item = &'r M>) -> Vec<Value> {
    messages.map(|m| json::print_any(&any::pack(m), Secrets::Show)).collect()
}
