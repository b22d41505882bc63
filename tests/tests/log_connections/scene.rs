//! One listener with its own log and that of its terminal filter.

use std::net::SocketAddr;

use outrigger_tests::Result;
use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, tcp_listener, terminate_tls, virtual_host,
    with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{Authority, Identity};
use outrigger_tests::upstream::{Echo, TcpEcho, Upstream};
use serde_json::{Value, json};

pub const LOGGED: &[&str] = &[
    "RESPONSE_FLAGS",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "CONNECTION_TERMINATION_DETAILS",
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "PROTOCOL",
    "ACCESS_LOG_TYPE",
    "LISTENER_NAME",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
];
pub const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// One listener with its own log and that of its terminal filter.
pub struct Scene {
    pub at: SocketAddr,
    pub listener: AccessLog,
    durations: AccessLog,
    pub filter: AccessLog,
    _port: Port,
    pub sidecar: Sidecar,
}

impl Scene {
    pub async fn start(
        plane: DataPlane,
        mut listener: Value,
        port: Port,
        hosts: &[SocketAddr],
    ) -> Result<Self> {
        let (own, filter) = (AccessLog::of(LOGGED)?, AccessLog::of(LOGGED)?);
        let durations = AccessLog::of(&["DURATION"])?;
        listener["access_log"] = json!([durations.config()[0], own.config()[0]]);
        terminal(&mut listener)["access_log"] = filter.config();
        let sidecar = plane.launch()?.start(&with_static(&[listener], &[cluster("a", hosts)])).await?;
        Ok(Self { at: port.address(), listener: own, durations, filter, _port: port, sidecar })
    }

    pub async fn connect(&self) -> Result<Connection> {
        Connection::open(self.at).await
    }

    /// Connects, sends nothing and waits for the end.
    pub async fn wait_for_end(&self) -> Result<()> {
        let _ = self.connect().await?.rest().await;
        Ok(())
    }

    /// Milliseconds that the listener's first line tells.
    pub fn duration(&self) -> Result<u64> {
        let text = self.durations.lines_now().first().cloned().ok_or("no line")?;
        Ok(text.parse()?)
    }

    /// The listener's first line. What Envoy would print in BoringSSL's words is cut to its beginning.
    pub async fn line(&self) -> Result<String> {
        let lines = self.listener.lines(1).await?;
        let fields: Vec<_> = lines[0].splitn(LOGGED.len(), '|').collect();
        let (reason, before) = fields.split_last().ok_or("no fields")?;
        assert!(!reason.contains(' '), "{reason}");
        Ok(format!("{}|{}", before.join("|"), reason.split(':').next().unwrap_or_default()))
    }
}

/// The last filter of the only chain.
pub fn terminal(listener: &mut Value) -> &mut Value {
    let filters = listener["filter_chains"][0]["filters"].as_array_mut().into_iter().flatten();
    filters.last().map(|filter| &mut filter["typed_config"]).unwrap_or_else(|| unreachable!("no filter"))
}

/// Which listener a case is about.
#[derive(Clone, Copy)]
pub enum Kind {
    Http,
    Tcp,
}

impl Kind {
    pub fn listener(self, at: SocketAddr) -> Value {
        let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
        match self {
            Kind::Http => http_listener("in", at, inline(routes)),
            Kind::Tcp => tcp_listener("in", at, "a"),
        }
    }

    /// A running listener, changed beforehand, before one host.
    pub async fn scene(self, plane: DataPlane, change: impl FnOnce(&mut Value)) -> Result<(Scene, Upstream)> {
        let upstream = match self {
            Kind::Http => Upstream::start(Echo::new("a"))?,
            Kind::Tcp => Upstream::start(TcpEcho)?,
        };
        let port = Port::lease()?;
        let mut listener = self.listener(port.address());
        change(&mut listener);
        Ok((Scene::start(plane, listener, port, &[upstream.address()]).await?, upstream))
    }
}

/// Terminates TLS; with an authority clients must show a certificate of it.
pub fn secured(listener: &mut Value, identity: &Identity, authority: Option<&Authority>) {
    let mut socket = terminate_tls(identity, &["http/1.1"]);
    if let Some(authority) = authority {
        let config = &mut socket["typed_config"];
        config["require_client_certificate"] = json!(true);
        config["common_tls_context"]["validation_context"] =
            json!({"trusted_ca": {"inline_string": authority.certificate()}});
    }
    listener["filter_chains"][0]["transport_socket"] = socket;
}
