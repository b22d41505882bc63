//! The whole on one machine: control plane, one sidecar process and one sample service for each virtual node.
//!
//! Owns the order of events and what is told about them. Everything listens on loopback, on ports that the system
//! chooses, without interception: services are reached by host through the explicit egress of a sidecar.
//! Invariant: nothing that the demo starts outlives it.

mod check;
mod http;
mod nodes;
mod plan;
mod probe;
pub mod service;
pub mod sidecar;
mod traces;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::diagnostics::{Report, Severity};
use crate::graph::Graph;
use crate::listen::Address;
use crate::mesh_source::MeshSource;
use crate::model::NodeId;
use crate::server::{Config, ControlPlane};
use crate::source::LoadOptions;
use crate::source::files::{self, SourceFile};
use crate::source::load;

use check::Checker;
use plan::{NodePlan, Plan};
use sidecar::Sidecar;
use traces::Traces;

/// What a step of the demo returns; the text explains the failure to the user.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const EXAMPLE: &str = include_str!("../../examples/mesh.yaml");
const READY: Duration = Duration::from_secs(30);
const SHOWN_FINDINGS: usize = 8;

/// A running demo. Dropping it kills the sidecars; [`Demo::stop`] lets them go in order.
pub struct Demo {
    plan: Plan,
    control_plane: ControlPlane,
    admin: String,
    sidecars: Vec<Sidecar>,
    services: JoinSet<()>,
    directory: Directory,
    traces: Traces,
}

/// The example mesh, or the definitions under `paths`.
///
/// # Errors
/// When they cannot be read or have errors.
pub fn definitions(paths: &[PathBuf], out: &mut impl Write) -> Result<Graph> {
    let files = if paths.is_empty() {
        vec![SourceFile { name: "examples/mesh.yaml".to_owned(), text: EXAMPLE.to_owned(), named: true }]
    } else {
        files::gather(paths)?
    };
    let loaded = load(&files, &LoadOptions::default());
    let mut report = loaded.report;
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    let names: Vec<&str> = files.iter().map(|f| f.name.as_str()).take(SHOWN_FINDINGS).collect();
    writeln!(out, "Definitions: {}", names.join(", "))?;
    print_findings(&report, out)?;
    if report.has_errors() {
        return Err("the definitions have errors; correct them (`outrigger check` lists all)".into());
    }
    Ok(graph)
}

fn print_findings(report: &Report, out: &mut impl Write) -> Result<()> {
    let sorted = report.sorted();
    let findings: Vec<_> = sorted.iter().filter(|f| f.severity != Severity::Info).collect();
    for finding in findings.iter().take(SHOWN_FINDINGS) {
        writeln!(out, "  {finding}")?;
    }
    if let Some(more) = findings.len().checked_sub(SHOWN_FINDINGS).filter(|n| *n > 0) {
        writeln!(out, "  and {more} more")?;
    }
    Ok(())
}

impl Demo {
    /// Starts everything and waits until all sidecars are live and configured.
    ///
    /// # Errors
    /// The first thing that failed, with the last words of the sidecar it concerns.
    pub async fn start(mut graph: Graph, program: &Path, out: &mut impl Write) -> Result<Self> {
        let mut plan = plan::plan(&mut graph).await?;
        for notice in &plan.notices {
            writeln!(out, "  note: {notice}")?;
        }
        let source = source(graph, &plan, out)?;
        let control_plane = ControlPlane::start(Config::ephemeral(), Arc::new(source)).await?;
        let addresses = control_plane.addresses();
        let xds = addresses.xds.first().map(Address::to_string).unwrap_or_default();
        let admin = addresses.admin.as_ref().map(Address::to_string).unwrap_or_default();
        writeln!(out, "Control plane: xDS on {xds}, admin on http://{admin}/")?;
        let services = serve(&mut plan);
        let directory = Directory::new()?;
        let traces = Traces::start().await?;
        let mut demo = Self { plan, control_plane, admin, sidecars: Vec::new(), services, directory, traces };
        demo.start_sidecars(program, &xds, out).await?;
        Ok(demo)
    }

    async fn start_sidecars(&mut self, program: &Path, xds: &str, out: &mut impl Write) -> Result<()> {
        writeln!(out, "Sidecars: {}, one for each virtual node", program.display())?;
        for node in &self.plan.nodes {
            let mut environment = environment(node, xds);
            environment.extend(self.traces.environment());
            self.sidecars.push(Sidecar::start(program, &node.name, &environment, &self.directory.0)?);
        }
        let deadline = Instant::now() + READY;
        for sidecar in &mut self.sidecars {
            sidecar.live(deadline).await?;
        }
        self.await_configured(deadline).await?;
        for (node, sidecar) in self.plan.nodes.iter().zip(&self.sidecars) {
            writeln!(out, "{}", check::addresses(node, sidecar.admin()?))?;
        }
        Ok(())
    }

    /// Waits until every node has acknowledged everything.
    async fn await_configured(&self, deadline: Instant) -> Result<()> {
        let ids: Vec<&str> = self.plan.nodes.iter().map(|node| node.id.as_str()).collect();
        loop {
            let page = nodes::fetch(&self.admin).await?;
            match nodes::pending(&page, &ids)? {
                None => return Ok(()),
                Some(why) if Instant::now() >= deadline => return Err(why.into()),
                Some(_) => tokio::time::sleep(Duration::from_millis(25)).await,
            }
        }
    }

    /// Sends requests along every way that the definitions have, and shows what came back.
    ///
    /// # Errors
    /// The first thing that was not as it should be.
    pub async fn check(&mut self, out: &mut impl Write) -> Result<()> {
        let checker = Checker { nodes: &self.plan.nodes, sidecars: &self.sidecars, traces: &self.traces };
        let result = run_checks(&checker, out).await;
        if let Err(error) = result {
            for sidecar in &mut self.sidecars {
                if let Some(status) = sidecar.ended()? {
                    return Err(
                        format!("{error}; {}", sidecar.failure(&format!("ended with {status}"))).into()
                    );
                }
            }
            return Err(error);
        }
        writeln!(out, "\nGET http://{}/nodes", self.admin)?;
        write!(out, "{}", nodes::table(&nodes::fetch(&self.admin).await?))?;
        Ok(())
    }

    /// Prints what to do with the running demo.
    ///
    /// # Errors
    /// When the output is closed.
    pub fn print_commands(&self, out: &mut impl Write) -> Result<()> {
        writeln!(out, "\nTo go on:")?;
        for (node, sidecar) in self.plan.nodes.iter().zip(&self.sidecars) {
            if let Some((_, address)) = node.http() {
                writeln!(out, "  curl -i http://{address}/hello")?;
                for service in node.backends.keys() {
                    writeln!(out, "  curl -i http://{address}/call/{service}/hello")?;
                }
            }
            for (service, backend) in &node.backends {
                writeln!(out, "  curl -i -H 'Host: {service}' http://{}/hello", backend.address)?;
            }
            let admin = sidecar.admin()?;
            writeln!(
                out,
                "  curl -s http://{admin}/server_info | grep state | grep -q LIVE && echo {} is live",
                node.name
            )?;
            for page in ["stats?usedonly", "clusters", "config_dump"] {
                writeln!(out, "  curl -s 'http://{admin}/{page}'")?;
            }
        }
        writeln!(out, "  curl -s http://{}/nodes", self.admin)?;
        Ok(())
    }

    /// Waits for the end of a sidecar, which nobody but a user can cause.
    pub async fn watch(&mut self) -> Box<dyn std::error::Error + Send + Sync> {
        loop {
            for sidecar in &mut self.sidecars {
                match sidecar.ended() {
                    Ok(None) => {}
                    Ok(Some(status)) => return sidecar.failure(&format!("ended with {status}")),
                    Err(error) => return error,
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Stops sidecars, services and control plane.
    pub async fn stop(self) {
        let mut stopping: JoinSet<()> = self.sidecars.into_iter().map(Sidecar::stop).collect();
        while stopping.join_next().await.is_some() {}
        drop(self.services);
        drop(self.control_plane);
    }
}

async fn run_checks(checker: &Checker<'_>, out: &mut impl Write) -> Result<()> {
    writeln!(out, "\nRequests:")?;
    let mut sent = 0;
    for node in checker.nodes {
        match checker.ingress(node).await? {
            Some(text) => {
                writeln!(out, "  ok  {text}")?;
                sent += 1;
            }
            None => writeln!(out, "  --  {} has no HTTP listener of its own", node.name)?,
        }
    }
    let mut calls = 0;
    for node in checker.nodes {
        for (service, probe) in &node.calls {
            writeln!(out, "  ok  {}", checker.call(node, service, probe).await?)?;
            calls += 1;
        }
    }
    if calls == 0 {
        writeln!(
            out,
            "  No virtual node has a backend that can be called: {sent} ingress(es) were checked alone."
        )?;
    }
    Ok(())
}

/// The nodes of the plan as they are served; what the plan leaves out is not.
fn source(graph: Graph, plan: &Plan, out: &mut impl Write) -> Result<MeshSource> {
    let options = |id: &NodeId| {
        let id = id.to_string();
        plan.nodes.iter().find(|node| node.id == id).map(|node| node.options.clone())
    };
    let mut report = Report::default();
    let source = MeshSource::new(graph, options, None, &mut report);
    print_findings(&report, out)?;
    let source = source.ok_or("the definitions have errors")?;
    match source.refused().first_key_value() {
        Some((id, why)) => {
            Err(format!("{id} cannot be given what its definitions ask for: {}", why.reason).into())
        }
        None => Ok(source),
    }
}

/// Starts the sample services.
fn serve(plan: &mut Plan) -> JoinSet<()> {
    let mut services = JoinSet::new();
    for node in &mut plan.nodes {
        let sample = service::Service { node: node.name.clone(), backends: node.backends.clone() };
        let sample = Arc::new(sample);
        for listener in node.applications.drain(..) {
            services.spawn(service::serve(listener, Arc::clone(&sample)));
        }
    }
    services
}

/// What the App Mesh image is given in a task definition.
fn environment(node: &NodePlan, xds: &str) -> Vec<(String, String)> {
    let pairs = [
        ("APPMESH_RESOURCE_ARN", node.id.as_str()),
        ("APPMESH_XDS_ENDPOINT", xds),
        ("ENVOY_ADMIN_ACCESS_PORT", "0"),
        ("ENVOY_LOG_LEVEL", "info"),
        ("OUTRIGGER_WORKERS", "1"),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A directory of one's own, removed with all in it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("outrigger-demo-{}", std::process::id()));
        // One that a killed demo of the same process id left behind.
        let _ = std::fs::remove_dir_all(&path);
        let created = std::fs::DirBuilder::new().mode(0o700).create(&path);
        created.map_err(|e| format!("cannot create {}: {e}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Nothing depends on it; the system clears its temporary directory in the end.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
