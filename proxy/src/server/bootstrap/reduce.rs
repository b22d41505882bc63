//! Field by field: honoured, refused, or named in a warning.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use outrigger_xds_protos::any;
use outrigger_xds_protos::v3::accesslog::AccessLog;
use outrigger_xds_protos::v3::accesslog::access_log::ConfigType;
use outrigger_xds_protos::v3::bootstrap::bootstrap::{StaticResources, StatsEviction, StatsFlush};
use outrigger_xds_protos::v3::bootstrap::cluster_manager::OutlierDetection;
use outrigger_xds_protos::v3::bootstrap::{Admin, Bootstrap, ClusterManager};
use outrigger_xds_protos::v3::core::{Address, TypedExtensionConfig, address};
use outrigger_xds_protos::v3::file_log::FileAccessLog;
use outrigger_xds_protos::v3::wkt;

use super::source::Loaded;
use super::{BootstrapError, Settings, dns, overload, sinks, stats};
use crate::server::environment::AdminBind;
use crate::xds::translate::fields::{self, refuse, warn_set};
use crate::xds::translate::{Path, Rejection, TracingContext};

/// Envoy's default `stats_flush_interval`.
const STATS_FLUSH: Duration = Duration::from_secs(5);
const DEFAULT_SOCKET_INTERFACE: &str = "envoy.extensions.network.socket_interface.default_socket_interface";
const GOOGLE_RE2: &str = "envoy.extensions.regex_engines.v3.GoogleRE2";
const DEFAULT_LISTENER_MANAGER: &str = "envoy.config.bootstrap.v3.ListenerManager";

/// Collects warnings.
pub(super) struct Notes {
    warnings: Vec<String>,
}

impl Notes {
    pub(super) fn warn(&mut self, path: &Path<'_>, message: impl std::fmt::Display) {
        self.warnings.push(format!("bootstrap: {path}: {message}"));
    }
}

/// Checks the bootstrap and takes out what the server needs.
pub(super) fn reduce(loaded: Loaded) -> Result<Settings, BootstrapError> {
    let Loaded { bootstrap, source, warnings, app_mesh } = loaded;
    let mut notes = Notes { warnings };
    let fields = match honoured(&bootstrap, app_mesh, &mut notes) {
        Ok(fields) => fields,
        Err(Rejection { path, message }) => return Err(source.error(&path, message)),
    };
    Ok(Settings {
        node: bootstrap.node.clone().unwrap_or_default(),
        static_resources: fields.static_resources,
        dynamic_resources: bootstrap.dynamic_resources.clone(),
        admin: fields.admin,
        admin_logs: fields.admin_logs,
        stats: fields.stats,
        tracing: TracingContext::default(),
        stats_flush: fields.stats_flush,
        stats_sinks: fields.stats_sinks,
        dns_servers: fields.dns_servers,
        local_cluster: fields.local_cluster,
        outlier_log: fields.outlier_log,
        overload: fields.overload,
        source,
        warnings: notes.warnings,
        bootstrap,
    })
}

/// What is taken out.
struct Honoured {
    static_resources: StaticResources,
    admin: Option<AdminBind>,
    admin_logs: Vec<PathBuf>,
    stats: crate::stats::tags::StatsConfig,
    stats_flush: Duration,
    stats_sinks: Vec<crate::observe::statsd::Sink>,
    dns_servers: Vec<SocketAddr>,
    local_cluster: Option<String>,
    outlier_log: Option<PathBuf>,
    overload: Option<crate::config::overload::OverloadSettings>,
}

#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
fn honoured(bootstrap: &Bootstrap, app_mesh: bool, notes: &mut Notes) -> Result<Honoured, Rejection> {
    let Bootstrap {
        node: _, // The caller takes it: flags may override it.
        node_context_params,
        static_resources,
        dynamic_resources: _, // `xds::settings` decides on it.
        cluster_manager,
        hds_config,
        flags_path,
        stats_sinks,
        deferred_stat_options: _, // Saves memory in Envoy; ours are small from the start.
        stats_config,
        stats_flush_interval,
        watchdog,
        watchdogs,
        tracing: _, // Decided on when the node's name is known.
        layered_runtime,
        admin,
        overload_manager,
        enable_dispatcher_stats,
        header_prefix,
        stats_server_version_override,
        use_tcp_for_dns_lookups,
        dns_resolution_config,
        typed_dns_resolver_config,
        bootstrap_extensions,
        fatal_actions,
        config_sources,
        default_config_source,
        default_socket_interface,
        certificate_provider_instances,
        inline_headers,
        perf_tracing_file_path,
        default_regex_engine,
        xds_delegate_extension,
        xds_config_tracker_extension,
        listener_manager,
        application_log_config,
        grpc_async_client_manager_config: _, // Tunes a cache of Envoy's.
        memory_allocator_manager: _,         // Tunes Envoy's allocator.
        enable_worker_cpu_affinity,
        stats_flush,
        stats_eviction,
    } = bootstrap;
    let path = &Path::ROOT;
    refuse!(path; header_prefix, use_tcp_for_dns_lookups, xds_delegate_extension);
    warn_set!(notes, path, "has no effect: there is no runtime, defaults hold"; layered_runtime);
    warn_set!(notes, path, "is not in effect: hosts are not checked for others"; hds_config);
    warn_set!(notes, path, "is not in effect"; flags_path, watchdog, watchdogs, enable_dispatcher_stats,
        stats_server_version_override, fatal_actions, inline_headers, perf_tracing_file_path,
        xds_config_tracker_extension, enable_worker_cpu_affinity, certificate_provider_instances);
    warn_set!(notes, path, "is not in effect: xdstp names are not supported";
        config_sources, default_config_source, node_context_params);
    warn_set!(notes, path, "is not in effect; use --log-format"; application_log_config);
    if let Some(StatsFlush::StatsFlushOnAdmin(true)) = stats_flush {
        notes.warn(&path.field("stats_flush_on_admin"), "is not in effect: stats_flush_interval applies");
    }
    if let Some(StatsEviction::StatsEvictionInterval(_)) = stats_eviction {
        notes.warn(&path.field("stats_eviction_interval"), "is not in effect");
    }
    name_extensions(bootstrap_extensions, notes);
    only(default_regex_engine, GOOGLE_RE2, &path.field("default_regex_engine"))?;
    only(listener_manager, DEFAULT_LISTENER_MANAGER, &path.field("listener_manager"))?;
    if !default_socket_interface.is_empty() && default_socket_interface != DEFAULT_SOCKET_INTERFACE {
        return Err(path.field("default_socket_interface").unsupported());
    }
    let (local_cluster, outlier_log) =
        check_cluster_manager(cluster_manager, &path.field("cluster_manager"), notes)?;
    Ok(Honoured {
        static_resources: named(
            static_resources.clone().unwrap_or_default(),
            &path.field("static_resources"),
        )?,
        admin: admin_endpoint(admin, &path.field("admin"), notes)?,
        admin_logs: admin_logs(admin, &path.field("admin"), notes),
        stats: stats::compile(stats_config, app_mesh, &path.field("stats_config"), notes)?,
        stats_sinks: sinks::compile(stats_sinks, &path.field("stats_sinks"), notes)?,
        stats_flush: flush_interval(stats_flush_interval, &path.field("stats_flush_interval"))?,
        overload: overload::compile(overload_manager, &path.field("overload_manager"), notes)?,
        dns_servers: dns::servers(dns_resolution_config, typed_dns_resolver_config, path, notes)?,
        local_cluster,
        outlier_log,
    })
}

/// Extensions are a list of foreign things: each is named.
fn name_extensions(extensions: &[TypedExtensionConfig], notes: &mut Notes) {
    let list = Path::ROOT.field("bootstrap_extensions");
    for (i, TypedExtensionConfig { name, typed_config: _ }) in extensions.iter().enumerate() {
        notes.warn(&list.index(i), format_args!("{name:?} is not in effect"));
    }
}

/// Accepts an extension point only in the form that changes nothing.
fn only(extension: &Option<TypedExtensionConfig>, name: &str, path: &Path<'_>) -> Result<(), Rejection> {
    match extension.as_ref().and_then(|extension| extension.typed_config.as_ref()) {
        Some(config) if any::type_name(&config.type_url) != Some(name) => Err(path.unsupported()),
        _ => Ok(()),
    }
}

/// Checks the message; the cluster it names as ours, and where ejections are told (`outlier_detection.event_log_path`).
fn check_cluster_manager(
    message: &Option<ClusterManager>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<(Option<String>, Option<PathBuf>), Rejection> {
    let Some(message) = message else { return Ok((None, None)) };
    let ClusterManager {
        local_cluster_name,
        outlier_detection,
        upstream_bind_config,
        load_stats_config: _,                // `xds::settings` decides on it.
        enable_deferred_cluster_creation: _, // Saves memory in Envoy; ours are small from the start.
    } = message;
    refuse!(path; upstream_bind_config);
    let outlier_path = path.field("outlier_detection");
    let event_log = outlier_detection.as_ref().map(|OutlierDetection { event_log_path, event_service }| {
        warn_set!(notes, &outlier_path, "is not in effect: events are told in the event log alone"; event_service);
        event_log_path
    });
    let local_cluster = (!local_cluster_name.is_empty()).then(|| local_cluster_name.clone());
    Ok((local_cluster, event_log.filter(|path| !path.is_empty()).map(PathBuf::from)))
}

/// Gives every listener a name and refuses names that occur twice.
fn named(mut resources: StaticResources, path: &Path<'_>) -> Result<StaticResources, Rejection> {
    for (i, listener) in resources.listeners.iter_mut().enumerate() {
        if listener.name.is_empty() {
            // Envoy makes one up as well.
            listener.name = format!("static_listener_{i}");
        }
    }
    let StaticResources { listeners, clusters, secrets } = &resources;
    distinct(listeners.iter().map(|listener| &listener.name), &path.field("listeners"))?;
    distinct(clusters.iter().map(|cluster| &cluster.name), &path.field("clusters"))?;
    distinct(secrets.iter().map(|secret| &secret.name), &path.field("secrets"))?;
    Ok(resources)
}

fn distinct<'m>(names: impl Iterator<Item = &'m String>, path: &Path<'_>) -> Result<(), Rejection> {
    let mut seen = HashSet::new();
    for (i, name) in names.enumerate() {
        if !seen.insert(name) {
            return Err(path.index(i).field("name").reject(format_args!("{name:?} occurs twice")));
        }
    }
    Ok(())
}

#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
fn admin_endpoint(
    message: &Option<Admin>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Option<AdminBind>, Rejection> {
    let Some(message) = message else { return Ok(None) };
    let Admin {
        access_log: _, // See `admin_logs`.
        access_log_path: _,
        profile_path,
        address,
        socket_options,
        ignore_global_conn_limit: _, // Admin connections never count.
        allow_paths,
    } = message;
    refuse!(path; socket_options, allow_paths);
    warn_set!(notes, path, "is not in effect"; profile_path);
    address.as_ref().map(|address| admin_address(address, &path.field("address"))).transpose()
}

/// Files that requests to admin are logged to: `access_log_path`, and plain files among `access_log`.
#[allow(deprecated, reason = "App Mesh users have it")]
fn admin_logs(message: &Option<Admin>, path: &Path<'_>, notes: &mut Notes) -> Vec<PathBuf> {
    let Some(Admin { access_log, access_log_path, .. }) = message else { return Vec::new() };
    let mut files = vec![access_log_path.clone()];
    for (at, log) in access_log.iter().enumerate() {
        match plain_file(log) {
            Some(file) => files.push(file),
            None => notes.warn(
                &path.field("access_log").index(at),
                "is not in effect: requests to admin are logged to files, in the default format and without a filter",
            ),
        }
    }
    files.retain(|file| !file.is_empty() && file != "/dev/null");
    files.into_iter().map(PathBuf::from).collect()
}

/// The file of a logger that says nothing else.
fn plain_file(message: &AccessLog) -> Option<String> {
    let AccessLog { name: _, filter: None, config_type: Some(ConfigType::TypedConfig(config)) } = message
    else {
        return None;
    };
    let file = any::unpack::<FileAccessLog>(config).ok()?;
    file.access_log_format.is_none().then_some(file.path)
}

fn admin_address(message: &Address, path: &Path<'_>) -> Result<AdminBind, Rejection> {
    match &message.address {
        Some(address::Address::Pipe(pipe)) => {
            let path = path.field("pipe");
            Ok(AdminBind::Unix(PathBuf::from(fields::required(&pipe.path, &path.field("path"))?)))
        }
        Some(address::Address::SocketAddress(socket)) => {
            fields::ip_port(socket, &path.field("socket_address")).map(AdminBind::Tcp)
        }
        _ => Err(path.reject("needs a socket_address or a pipe")),
    }
}

fn flush_interval(value: &Option<wkt::Duration>, path: &Path<'_>) -> Result<Duration, Rejection> {
    let interval = fields::positive_duration(value, path)?.unwrap_or(STATS_FLUSH);
    if (Duration::from_millis(1)..Duration::from_secs(300)).contains(&interval) {
        Ok(interval)
    } else {
        Err(path.reject("must be at least 1ms and below 5 minutes"))
    }
}
