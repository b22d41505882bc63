//! Our sidecar and Envoy, from one bootstrap.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, over_http2, prefix_route, route_config, tcp_listener,
    virtual_host, with_static,
};
use outrigger_tests::data_plane::{DataPlane, Launch, Sidecar};
use outrigger_tests::requirement::Missing;
use outrigger_tests::workspace;
use serde_json::{Value, json};

use super::telling::{Telling, Told};
use super::{Topology, block_on};
use crate::Result;
use crate::mutual::Mutual;
use crate::scenario::{HEADER, HOST, PREFIX, Protocol};

/// What is configured beside the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Features {
    /// Nothing.
    None,
    /// Filters, retries, breakers, outlier detection and overload, of which no request meets the limits.
    Idle,
    /// Traces, metrics or access logs.
    Telling(Told),
    /// A TCP listener in place of the HTTP one.
    Bytes,
}

/// Our binary, built as the images ship it.
pub(super) fn outrigger(built: Option<PathBuf>) -> Result<PathBuf, Missing> {
    if let Some(path) = built {
        return Ok(path);
    }
    let missing = |why: String| Missing::new("outrigger-proxy", why, "make `docker/compile.sh` pass");
    eprintln!("building outrigger-proxy as the images have it");
    let mut compile = Command::new("sh");
    compile.current_dir(workspace::root()).env("CARGO_TARGET_DIR", workspace::target_dir());
    compile.args(["docker/compile.sh", "--quiet", "--package", "outrigger-proxy"]);
    let status = compile.stdout(Stdio::null()).status().map_err(|e| missing(e.to_string()))?;
    if !status.success() {
        return Err(missing(format!("it ended with {status}")));
    }
    // One directory per target; programs compiled without a target lie elsewhere.
    let targets = std::fs::read_dir(workspace::target_dir()).map_err(|e| missing(e.to_string()))?;
    let mut programs = targets.flatten().map(|target| target.path().join("dist/outrigger-proxy"));
    programs.find(|program| program.exists()).ok_or_else(|| missing("it made no program".to_owned()))
}

/// Starts one with one worker and waits until it is ready.
pub(super) fn start(
    plane: DataPlane,
    program: &Path,
    topology: &Topology,
    features: Features,
    mutual: Option<&Mutual>,
) -> Result<(Sidecar, Option<Telling>)> {
    let telling = match features {
        Features::Telling(told) => Some(Telling::to(told)?),
        Features::None | Features::Idle | Features::Bytes => None,
    };
    let mut launch = Launch::of(plane, program).log_level("warning");
    for (name, value) in telling.iter().flat_map(Telling::variables) {
        launch = launch.env(name, value);
    }
    let bootstrap = match features {
        Features::Bytes => relaying(topology, mutual),
        _ => bootstrap(topology, features == Features::Idle, telling.as_ref(), mutual),
    };
    Ok((block_on(launch.start(&bootstrap))?, telling))
}

/// Every byte from the listener to the backend, with TLS on either side where the scenario has it.
fn relaying(topology: &Topology, mutual: Option<&Mutual>) -> Value {
    let mut cluster = cluster("backend", &[topology.backend]);
    let mut listener = tcp_listener("ingress", topology.listen, "backend");
    secure(&mut listener, &mut cluster, mutual);
    with_static(&[listener], &[cluster])
}

fn secure(listener: &mut Value, cluster: &mut Value, mutual: Option<&Mutual>) {
    if let Some(mutual) = mutual {
        cluster["transport_socket"] = mutual.upstream();
        listener["filter_chains"][0]["transport_socket"] = mutual.downstream();
    }
}

fn bootstrap(
    topology: &Topology,
    guarded: bool,
    telling: Option<&Telling>,
    mutual: Option<&Mutual>,
) -> Value {
    let cluster = cluster("backend", &[topology.backend]);
    let mut cluster = match topology.protocol {
        Protocol::Http1 => cluster,
        Protocol::Http2 => over_http2(cluster),
    };
    let mut listener = http_listener("ingress", topology.listen, inline(routes()));
    secure(&mut listener, &mut cluster, mutual);
    let manager = manager_of(&mut listener);
    manager["generate_request_id"] = json!(false);
    if let Some(telling) = telling {
        telling.configure(manager);
    }
    if !guarded {
        return with_static(&[listener], &[cluster]);
    }
    let mut filters = idle_filters();
    filters.extend(manager["http_filters"].as_array().cloned().unwrap_or_default());
    manager["http_filters"] = Value::Array(filters);
    let host = &mut manager["route_config"]["virtual_hosts"][0];
    host["routes"][0]["route"]["retry_policy"] = json!({"retry_on": "5xx,reset", "num_retries": 2});
    host["typed_per_filter_config"] = json!({"cors": typed(
        "filters.http.cors.v3.CorsPolicy",
        json!({"allow_origin_string_match": [{"exact": "https://app.example"}]}),
    )});
    cluster["outlier_detection"] = json!({"consecutive_5xx": 5, "max_ejection_percent": 50});
    let limits = json!({"max_connections": 10_000, "max_pending_requests": 10_000, "max_requests": 10_000});
    cluster["circuit_breakers"] = json!({"thresholds": [limits]});
    let mut bootstrap = with_static(&[listener], &[cluster]);
    bootstrap["overload_manager"] = idle_overload();
    bootstrap
}

/// A message inside an `Any`; `kind` follows `envoy.extensions.`.
fn typed(kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.{kind}"));
    config
}

/// Every filter that protects, with limits that the load does not reach.
fn idle_filters() -> Vec<Value> {
    let all = json!({"default_value": {"numerator": 100}});
    let rate = json!({
        "stat_prefix": "bench",
        "token_bucket": {"max_tokens": 100_000_000, "tokens_per_fill": 100_000_000, "fill_interval": "1s"},
        "filter_enabled": all,
        "filter_enforced": all,
    });
    let fault = json!({
        "abort": {"http_status": 503, "percentage": {"numerator": 100}},
        "headers": [{"name": "x-fault", "present_match": true}],
    });
    let anyone = json!({"permissions": [{"any": true}], "principals": [{"any": true}]});
    let rules = json!({"rules": {"action": "ALLOW", "policies": {"anyone": anyone}}});
    let gradient = json!({"gradient_controller_config": {
        "concurrency_limit_params": {"concurrency_update_interval": "1s", "max_concurrency_limit": 10_000},
        "min_rtt_calc_params": {"interval": "3600s", "min_concurrency": 10_000},
    }});
    let filters = [
        ("local_ratelimit", "local_ratelimit.v3.LocalRateLimit", rate),
        ("fault", "fault.v3.HTTPFault", fault),
        ("cors", "cors.v3.Cors", json!({})),
        ("rbac", "rbac.v3.RBAC", rules),
        ("concurrency", "adaptive_concurrency.v3.AdaptiveConcurrency", gradient),
    ];
    let filter = |(name, kind, config)| json!({"name": name, "typed_config": typed(&format!("filters.http.{kind}"), config)});
    filters.map(filter).to_vec()
}

/// Memory that is never used up.
fn idle_overload() -> Value {
    let heap =
        typed("resource_monitors.fixed_heap.v3.FixedHeapConfig", json!({"max_heap_size_bytes": 1_u64 << 40}));
    let name = "envoy.resource_monitors.fixed_heap";
    let stop = "envoy.overload_actions.stop_accepting_requests";
    json!({
        "resource_monitors": [{"name": name, "typed_config": heap}],
        "actions": [{"name": stop, "triggers": [{"name": name, "threshold": {"value": 0.95}}]}],
    })
}

/// The host, the prefix and the header of the scenario; whatever else gets 404.
fn routes() -> Value {
    let mut route = prefix_route(PREFIX, "backend");
    route["match"]["headers"] = json!([{"name": HEADER.0, "string_match": {"exact": HEADER.1}}]);
    route_config("routes", &[virtual_host("mesh", &[HOST], &[route])])
}
