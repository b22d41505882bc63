//! Our sidecar and Envoy, from one bootstrap.

use std::path::{Path, PathBuf};
use std::process::Command;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, over_http2, prefix_route, route_config, virtual_host,
    with_static,
};
use outrigger_tests::data_plane::{DataPlane, Launch, Sidecar};
use outrigger_tests::requirement::Missing;
use outrigger_tests::workspace;
use serde_json::{Value, json};

use super::{Topology, block_on};
use crate::Result;
use crate::scenario::{HEADER, HOST, PREFIX, Protocol};

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
    let output = compile.output().map_err(|e| missing(e.to_string()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(missing(text.lines().last().unwrap_or("no message").to_owned()));
    }
    // One directory per target; programs compiled without a target lie elsewhere.
    let targets = std::fs::read_dir(workspace::target_dir()).map_err(|e| missing(e.to_string()))?;
    let mut programs = targets.flatten().map(|target| target.path().join("dist/outrigger-proxy"));
    programs.find(|program| program.exists()).ok_or_else(|| missing("it made no program".to_owned()))
}

/// Starts one with one worker and waits until it is ready.
pub(super) fn start(plane: DataPlane, program: &Path, topology: &Topology) -> Result<Sidecar> {
    let launch = Launch::of(plane, program).log_level("warning");
    block_on(launch.start(&bootstrap(topology)))
}

fn bootstrap(topology: &Topology) -> Value {
    let cluster = cluster("backend", &[topology.backend]);
    let cluster = match topology.protocol {
        Protocol::Http1 => cluster,
        Protocol::Http2 => over_http2(cluster),
    };
    let mut listener = http_listener("ingress", topology.listen, inline(routes()));
    manager_of(&mut listener)["generate_request_id"] = json!(false);
    with_static(&[listener], &[cluster])
}

/// The host, the prefix and the header of the scenario; whatever else gets 404.
fn routes() -> Value {
    let mut route = prefix_route(PREFIX, "backend");
    route["match"]["headers"] = json!([{"name": HEADER.0, "string_match": {"exact": HEADER.1}}]);
    route_config("routes", &[virtual_host("mesh", &[HOST], &[route])])
}
