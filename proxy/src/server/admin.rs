//! The admin endpoint of a running server: where it listens, and what it is shown.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outrigger_xds_protos::json::{self, Secrets};
use serde_json::json;

use super::bootstrap::Settings;
use super::config_view::DriverView;
use super::environment::AdminBind;
use super::serve::{Server, Start};
use super::telemetry;
use crate::admin::logging::LogLevels;
use crate::admin::server::{AdminAddress, AdminServer};
use crate::admin::{AdminState, ServerInfo};
use crate::base::drain::DrainPhase;
use crate::observe::access_log::sink::Lines;
use crate::observe::collect::Collector;

/// Binds and serves, if there is to be one.
pub(super) async fn start(
    start: &Start<'_>,
    server: &Server,
    settings: Settings,
    levels: LogLevels,
    collector: Arc<Collector>,
) -> Result<(), String> {
    let bind = start.process.admin_override.map(AdminBind::Tcp).or_else(|| settings.admin.clone());
    let Some(bind) = bind else { return Ok(()) };
    let address = match bind {
        AdminBind::Tcp(address) => AdminAddress::Tcp(address),
        AdminBind::Unix(path) => AdminAddress::Unix(path),
    };
    let mut admin = AdminServer::bind(&address, &[])
        .await
        .map_err(|error| format!("cannot bind the admin endpoint {address:?}: {error}"))?
        .log_to(logs(&settings.admin_logs, server));
    let on_loopback = admin.local_addr().filter(|bound| bound.ip() == Ipv4Addr::LOCALHOST);
    if let Some(bound) = on_loopback.filter(|_| start.process.admin_ipv6) {
        let other = (Ipv6Addr::LOCALHOST, bound.port()).into();
        if let Err(error) = admin.answer_on(other).await {
            tracing::warn!("the admin endpoint does not answer on {other}: {error}");
        }
    }
    if let (Some(path), Some(bound)) = (&start.args.admin_address_path, admin.local_addr()) {
        write_address(path, &bound.to_string())?;
    }
    let state = state(start, server, settings, levels, collector);
    let drains = server.lifecycle.drains().clone();
    tokio::spawn(async move {
        admin.serve(Arc::new(state), async move { drains.all.reached(DrainPhase::Terminating).await }).await;
    });
    Ok(())
}

/// Where requests are logged. One that cannot be written to is no reason not to serve.
fn logs(paths: &[PathBuf], server: &Server) -> Vec<Lines> {
    let open = |path: &PathBuf| {
        let log = server.outlets.open_log(path);
        log.inspect_err(|error| tracing::warn!("requests to admin are not logged: {error}")).ok()
    };
    paths.iter().filter_map(open).collect()
}

/// What the pages read, and what they command.
fn state(
    start: &Start<'_>,
    server: &Server,
    settings: Settings,
    levels: LogLevels,
    collector: Arc<Collector>,
) -> AdminState {
    let mesh = telemetry::mesh_totals(start.process, &settings, &start.registry, &start.snapshots);
    let snapshots = start.snapshots.clone();
    let config = DriverView::new(settings.bootstrap, snapshots.clone(), server.driver.clone());
    let info = ServerInfo {
        version: concat!("0/", env!("CARGO_PKG_VERSION"), "/Clean/RELEASE/outrigger").to_owned(),
        started: start.started,
        command_line_options: json!({
            "concurrency": start.workers,
            "drain_time": format!("{}s", server.lifecycle.drain_time().as_secs()),
            "mode": "Serve",
        }),
        node: json::print(&settings.node, Secrets::Redact),
    };
    AdminState {
        mesh,
        registry: start.registry.clone(),
        stats_config: Arc::new(settings.stats),
        collector,
        snapshots,
        info,
        process: server.lifecycle.clone(),
        config: Arc::new(config),
        logging: levels,
    }
}

fn write_address(path: &Path, address: &str) -> Result<(), String> {
    std::fs::write(path, address).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
