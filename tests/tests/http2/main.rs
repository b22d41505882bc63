//! HTTP/2 as no client should speak it: requests that are refused, and floods of frames.

mod floods;
mod refused;

use outrigger_tests::Result;
use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Slow, Upstream};
use serde_json::json;

/// A sidecar that answers `/`, and forwards `/slow` to somebody who takes a minute.
struct Scene {
    port: Port,
    log: AccessLog,
    sidecar: Sidecar,
    _slow: Upstream,
}

impl Scene {
    async fn start(plane: DataPlane) -> Result<Self> {
        let minute = std::time::Duration::from_secs(60);
        let slow = Upstream::start(Slow { before_head: minute, between_bytes: minute })?;
        let operators = ["REQ(:METHOD)", "PROTOCOL", "RESPONSE_FLAGS", "RESPONSE_CODE_DETAILS"];
        let (port, log) = (Port::lease()?, AccessLog::of(&operators)?);
        let routes = [
            prefix_route("/slow", "slow"),
            json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}}),
        ];
        let routes = route_config("r", &[virtual_host("v", &["*"], &routes)]);
        let mut listener = http_listener("ingress", port.address(), inline(routes));
        let manager = manager_of(&mut listener);
        manager["access_log"] = log.config();
        // As we always do: a malformed request ends its stream, not its connection.
        if plane == DataPlane::Envoy {
            manager["http2_protocol_options"] =
                json!({"override_stream_error_on_invalid_http_message": true});
        }
        let to = cluster("slow", &[slow.address()]);
        let sidecar = plane.launch()?.start(&with_static(&[listener], &[to])).await?;
        Ok(Self { port, log, sidecar, _slow: slow })
    }

    async fn count(&self, name: &str) -> Result<u64> {
        self.sidecar.stat(&format!("http.ingress.{name}")).await
    }
}
