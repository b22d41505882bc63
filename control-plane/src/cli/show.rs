//! `outrigger show`: the xDS resources that a proxy would receive.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use outrigger_xds_protos::any::{self, Typed};
use outrigger_xds_protos::json::{self, Secrets};
use serde_json::{Value, json};

use super::SourceArgs;
use super::listening::ListeningArgs;
use crate::diagnostics::{Report, Severity};
use crate::graph::{Graph, Proxy};
use crate::source::{files, load};
use crate::translate::{Resources, TranslateOptions, grpc_client, translate};

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
    /// What a gRPC client without a proxy would receive as that virtual node
    #[arg(long)]
    grpc_client: bool,
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
    let resources = match args.grpc_client {
        true => for_grpc_client(&graph, &proxy, &args.listening.options()),
        false => for_proxy(&graph, &proxy, &args.listening.options(), &mut report),
    };
    super::print_findings(report.sorted());
    let value = match resources {
        Ok(resources) => to_json(&resources),
        Err(why) => return Ok(Err(why)),
    };
    Ok(Ok(match args.output {
        Format::Yaml => json::to_yaml(&value),
        Format::Json => serde_json::to_string_pretty(&value)? + "\n",
    }))
}

fn for_proxy(
    graph: &Graph,
    proxy: &Proxy<'_>,
    options: &TranslateOptions,
    report: &mut Report,
) -> Result<Resources, String> {
    let resources = translate(graph, proxy, options, report);
    resources.ok_or_else(|| format!("{} cannot be given what its definitions ask for", proxy.id()))
}

/// What the client is not given is told on stderr.
fn for_grpc_client(
    graph: &Graph,
    proxy: &Proxy<'_>,
    options: &TranslateOptions,
) -> Result<Resources, String> {
    let Proxy::Node(mesh, node) = proxy else {
        return Err(format!("{} is no virtual node, which a gRPC client without a proxy is", proxy.id()));
    };
    let client = grpc_client(graph, mesh, node, options);
    for what in client.left_out {
        // Nobody is left to be told.
        let _ = writeln!(std::io::stderr(), "outrigger show: not given to gRPC clients: {what}");
    }
    Ok(client.resources)
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
