//! The bootstrap that the image's agent would write, as JSON.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::identity::Identity;
use super::{
    AdminBind, VariableError, Variables, admin_bind, boolean, control_plane, endpoint, integer, known, merge,
    tracing,
};
use crate::xds::settings::SDS_CLUSTER;

/// Where a StatsD agent listens.
const STATSD_PORT: i64 = 8125;

/// [`Found::name`] of a bootstrap that was made from variables.
pub const GENERATED: &str = "environment";

/// A bootstrap out of the environment.
#[derive(Debug)]
pub struct Found {
    /// The file's name, or [`GENERATED`]: for error texts.
    pub name: String,
    /// YAML or JSON.
    pub text: String,
    /// What has no effect.
    pub warnings: Vec<String>,
    /// Generated here, and without a `stats_config` of the user's: the image's listener tags apply.
    pub generated: bool,
}

/// The bootstrap: `ENVOY_CONFIG_FILE` untouched, else one made from the variables and the user's files.
pub fn bootstrap_text(variables: &dyn Variables) -> Result<Found, VariableError> {
    if let Some(found) = own_file(variables)? {
        return Ok(found);
    }
    let mut warnings = Vec::new();
    let identity = Identity::find(variables, &mut warnings)?;
    let target = endpoint::find(variables)?;
    let secure = control_plane::find(variables, &target)?;
    let to = match &secure {
        Some(_) => json!({ "envoy_grpc": { "cluster_name": control_plane::CLUSTER } }),
        None => json!({ "google_grpc": { "target_uri": target, "stat_prefix": "ads" } }),
    };
    known::check(variables, &mut warnings)?;
    let mut root = Map::new();
    root.insert("node".to_owned(), identity.node(variables));
    root.insert("admin".to_owned(), admin(&admin_bind(variables)?, variables));
    root.insert("dynamic_resources".to_owned(), dynamic_resources(&to, fetch_timeout(variables)?));
    root.insert("cluster_manager".to_owned(), cluster_manager(variables, stream("GRPC", &to)));
    let mut clusters: Vec<Value> = sds_cluster(variables).into_iter().chain(secure).collect();
    if let Some(interval) = variables.get("ENVOY_STATS_FLUSH_INTERVAL") {
        root.insert("stats_flush_interval".to_owned(), Value::String(flush_interval(&interval)?));
    }
    if let Some(tracing::Generated { provider, cluster }) = tracing::bootstrap(variables, &identity)? {
        root.insert("tracing".to_owned(), provider);
        clusters.extend(cluster);
    }
    root.insert("static_resources".to_owned(), json!({ "clusters": clusters }));
    if let Some(tags) = stats_tags(variables, &identity)? {
        root.insert("stats_config".to_owned(), tags);
    }
    if let Some(sink) = dog_statsd(variables)? {
        root.insert("stats_sinks".to_owned(), json!([sink]));
    }
    let own_stats = merge::files(&mut root, variables, &mut warnings)?;
    Ok(Found {
        name: GENERATED.to_owned(),
        text: Value::Object(root).to_string(),
        warnings,
        generated: !own_stats,
    })
}

/// `ENVOY_CONFIG_FILE`; an empty one is no bootstrap.
fn own_file(variables: &dyn Variables) -> Result<Option<Found>, VariableError> {
    const NAME: &str = "ENVOY_CONFIG_FILE";
    let Some(path) = variables.get(NAME) else { return Ok(None) };
    let text = std::fs::read_to_string(&path)
        .map_err(|error| VariableError::new(NAME, format!("{path}: cannot be read: {error}")))?;
    let found = Found { name: path, text, warnings: Vec::new(), generated: false };
    Ok(Some(found).filter(|found| !found.text.trim().is_empty()))
}

/// Seconds; 0 waits for ever.
fn fetch_timeout(variables: &dyn Variables) -> Result<String, VariableError> {
    const NAME: &str = "ENVOY_INITIAL_FETCH_TIMEOUT";
    match integer(variables, NAME)?.unwrap_or(0) {
        seconds @ 0.. => Ok(format!("{seconds}s")),
        seconds => Err(VariableError::new(NAME, format!("{seconds} is below 0; 0 waits for ever"))),
    }
}

/// Requests are logged where `ENVOY_ADMIN_ACCESS_LOG_FILE` says; unlike the image's, nowhere unless it does.
fn admin(bind: &AdminBind, variables: &dyn Variables) -> Value {
    let address = match bind {
        AdminBind::Tcp(address) => json!({ "socket_address": {
            "address": address.ip().to_string(), "port_value": address.port() } }),
        AdminBind::Unix(path) => json!({ "pipe": { "path": path.to_string_lossy(), "mode": 0o600 } }),
    };
    let log = variables.get("ENVOY_ADMIN_ACCESS_LOG_FILE").unwrap_or_default();
    json!({ "address": address, "access_log_path": log })
}

fn dynamic_resources(target: &Value, fetch_timeout: String) -> Value {
    let list = json!({ "ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": fetch_timeout });
    json!({
        "ads_config": stream("DELTA_GRPC", target),
        "lds_config": list,
        "cds_config": list,
    })
}

/// Load reports, and where ejections are told: standard output, unless told otherwise.
fn cluster_manager(variables: &dyn Variables, load_stats: Value) -> Value {
    let path = variables.get("ENVOY_OUTLIER_DETECTION_EVENT_LOG_PATH");
    let path = path.unwrap_or_else(|| "/dev/stdout".to_owned());
    json!({ "load_stats_config": load_stats, "outlier_detection": { "event_log_path": path } })
}

/// A stream to the control plane.
fn stream(api_type: &str, target: &Value) -> Value {
    json!({
        "api_type": api_type,
        "transport_api_version": "V3",
        "grpc_services": [target],
    })
}

/// The local secret server, at `APPMESH_SDS_SOCKET_PATH`.
fn sds_cluster(variables: &dyn Variables) -> Option<Value> {
    let path = variables.get("APPMESH_SDS_SOCKET_PATH")?;
    Some(json!({
        "name": SDS_CLUSTER,
        "connect_timeout": "1s",
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} },
        } },
        "load_assignment": { "cluster_name": SDS_CLUSTER, "endpoints": [{ "lb_endpoints": [{ "endpoint": {
            "address": { "pipe": { "path": path } } } }] }] },
    }))
}

/// `ENABLE_ENVOY_STATS_TAGS` and the metrics extension: every statistic says whose it is.
fn stats_tags(variables: &dyn Variables, identity: &Identity) -> Result<Option<Value>, VariableError> {
    let mut tags = Vec::new();
    if boolean(variables, "ENABLE_ENVOY_STATS_TAGS")? == Some(true) {
        tags.extend(identity.tags().into_iter().flatten());
    }
    if super::metrics_extension(variables) {
        tags.extend(identity.extension_tags().into_iter().flatten());
    }
    let tags: Vec<Value> =
        tags.into_iter().map(|(name, value)| json!({ "tag_name": name, "fixed_value": value })).collect();
    Ok((!tags.is_empty()).then(|| json!({ "stats_tags": tags })))
}

/// `ENABLE_ENVOY_DOG_STATSD`: to `STATSD_SOCKET_PATH`, else `STATSD_ADDRESS:STATSD_PORT`. Sinks of the user's take
/// its place.
fn dog_statsd(variables: &dyn Variables) -> Result<Option<Value>, VariableError> {
    const ADDRESS: &str = "STATSD_ADDRESS";
    const PORT: &str = "STATSD_PORT";
    if boolean(variables, "ENABLE_ENVOY_DOG_STATSD")? != Some(true)
        || variables.get("ENVOY_STATS_SINKS_CFG_FILE").is_some()
    {
        return Ok(None);
    }
    let ip = variables.get(ADDRESS).unwrap_or_else(|| "127.0.0.1".to_owned());
    let ip: IpAddr = ip.parse().map_err(|_| {
        VariableError::new(ADDRESS, format!("{ip:?} is not an IP address, as Envoy needs one"))
    })?;
    let given = integer(variables, PORT)?.unwrap_or(STATSD_PORT);
    let port = u16::try_from(given).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| VariableError::new(PORT, format!("{given} is not a port")))?;
    let address = match variables.get("STATSD_SOCKET_PATH") {
        Some(path) => json!({ "pipe": { "path": path } }),
        None => json!({ "socket_address": {
            "address": ip.to_string(), "port_value": port, "protocol": "UDP" } }),
    };
    Ok(Some(json!({
        "name": "envoy.stat_sinks.dog_statsd",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.metrics.v3.DogStatsdSink",
            "address": address,
        },
    })))
}

/// A Go duration as a protobuf one: `5000ms`, `5s`, `1m30s`.
fn flush_interval(text: &str) -> Result<String, VariableError> {
    let fail = || {
        let message = format!("{text:?} is not a duration; write it like 5s or 500ms");
        VariableError::new("ENVOY_STATS_FLUSH_INTERVAL", message)
    };
    let mut rest = text;
    let mut millis = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(fail)?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let scale = match unit {
            "ns" => 1e-6,
            "us" | "µs" => 1e-3,
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 60e3,
            "h" => 3600e3,
            _ => return Err(fail()),
        };
        millis += number.parse::<f64>().map_err(|_| fail())? * scale;
        rest = after;
    }
    if millis > 0.0 { Ok(format!("{}s", millis / 1e3)) } else { Err(fail()) }
}
