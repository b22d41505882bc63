//! `outrigger-benches SCENARIO...`: runs load scenarios, prints tables and writes JSON.

#![allow(clippy::print_stdout, reason = "tables are this program's output")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use outrigger_benches::load::Span;
use outrigger_benches::micro::{self, Operation};
use outrigger_benches::rounds::{Plan, Run};
use outrigger_benches::scenario::Scenario;
use outrigger_benches::subject::{self, Name, Subject};
use outrigger_benches::{Result, cores, idle, instructions, push, report, rounds};
use outrigger_tests::netns::Namespace;
use serde_json::{Value, json};

/// Load tests of the sidecar against its peers on this machine.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// What to run.
    #[arg(value_enum, required = true)]
    scenarios: Vec<Scenario>,
    /// How often each proxy runs.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measured seconds of each run.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Seconds of load before measuring starts.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// What to compare with.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Name::Envoy, Name::Haproxy, Name::Nginx])]
    peers: Vec<Name>,
    /// Whose ratios to print.
    #[arg(long, value_enum, default_value_t = Name::Outrigger)]
    of: Name,
    /// Our binary; without it the dist profile is built.
    #[arg(long)]
    outrigger: Option<PathBuf>,
    /// Where to write all figures of all rounds.
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(subcommand)]
    internal: Option<Internal>,
}

/// Parts of the harness that run as processes of their own.
#[derive(Debug, Subcommand)]
enum Internal {
    /// Relays bytes: the floor.
    #[command(hide = true)]
    Relay { listen: SocketAddr, backend: SocketAddr },
    /// Repeats an operation: what is counted.
    #[command(hide = true)]
    Repeat { operation: Operation, times: u64 },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.internal {
        Some(Internal::Relay { listen, backend }) => subject::relay(*listen, *backend),
        Some(Internal::Repeat { operation, times }) => operation.repeat(*times),
        None => run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let files = cores::raise_file_limit()?;
    let subjects = find_subjects(arguments);
    let _network = own_network();
    let mut results = BTreeMap::new();
    for scenario in wanted(&arguments.scenarios) {
        let result = run_scenario(scenario, arguments, &subjects, files)?;
        results.insert(scenario.name(), result);
    }
    if let Some(path) = &arguments.json {
        let document = json!({"machine": machine(), "scenarios": results});
        std::fs::write(path, serde_json::to_string_pretty(&document)?)?;
    }
    Ok(())
}

fn wanted(scenarios: &[Scenario]) -> Vec<Scenario> {
    if scenarios.contains(&Scenario::All) { Scenario::each() } else { scenarios.to_vec() }
}

/// A network of our own: the machine's packet filters and connection tracking would be charged to every proxy.
fn own_network() -> Option<Arc<Namespace>> {
    let entered = Namespace::create().map_err(|missing| missing.to_string()).and_then(|namespace| {
        namespace.move_in().map_err(|error| error.to_string())?;
        Ok(namespace)
    });
    entered
        .inspect_err(|why| eprintln!("in the machine's own network, whose filters count for all: {why}"))
        .ok()
}

/// Whoever this machine cannot have is left out, by name.
fn find_subjects(arguments: &Arguments) -> Vec<Subject> {
    let names =
        std::iter::once(arguments.of).chain(arguments.peers.iter().copied().filter(|p| *p != arguments.of));
    let found = names.map(|name| Subject::find(name, arguments.outrigger.clone()));
    found.filter_map(|subject| subject.inspect_err(|missing| eprintln!("left out: {missing}")).ok()).collect()
}

fn run_scenario(
    scenario: Scenario,
    arguments: &Arguments,
    subjects: &[Subject],
    files: u64,
) -> Result<Value> {
    match scenario {
        Scenario::Idle => {
            let series = idle::run(subjects, arguments.rounds, files)?;
            println!("{}", idle::table(arguments.of, &series));
            Ok(json!({"series": series}))
        }
        Scenario::Push => {
            let series = push::run(subjects, arguments.rounds)?;
            println!("{}", push::table(&series));
            Ok(json!({"series": series}))
        }
        Scenario::Micro => {
            let costs = micro::run()?;
            println!("{}", micro::table(&costs));
            Ok(json!({"costs": costs}))
        }
        Scenario::Instructions => {
            let costs = instructions::run(subjects)?;
            println!("{}", instructions::table(&costs));
            Ok(json!({"costs": costs}))
        }
        _ => run_load(scenario, arguments, subjects),
    }
}

fn run_load(scenario: Scenario, arguments: &Arguments, subjects: &[Subject]) -> Result<Value> {
    let load = scenario.load().ok_or("a scenario without a load")?;
    let seconds = |value| Duration::try_from_secs_f64(value).map_err(|e| e.to_string());
    let span = Span { warm_up: seconds(arguments.warm_up)?, measured: seconds(arguments.seconds)? };
    let plan = Plan { rounds: arguments.rounds, span };
    let series = rounds::run(subjects, &load, plan, |round, subject, run| {
        eprintln!("{} round {}: {} {}", scenario.name(), round + 1, subject.name.text(), brief(run));
    })?;
    println!("{}", report::table(&scenario.name(), arguments.of, &series));
    Ok(json!({"series": series, "ratios": report::ratios(arguments.of, &series)}))
}

fn brief(run: &std::result::Result<Run, String>) -> String {
    match run {
        Ok(run) => format!("{:.0} req/s, {:.2} us, {} errors", run.requests_per_s, run.cpu_us, run.errors),
        Err(error) => error.clone(),
    }
}

fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu =
        read("/proc/cpuinfo").lines().find_map(|line| Some(line.strip_prefix("model name")?.to_owned()));
    json!({
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "cpu": cpu.unwrap_or_default().trim_start_matches(['\t', ' ', ':']),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
    })
}
