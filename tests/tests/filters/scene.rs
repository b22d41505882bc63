//! One sidecar with filters before its router, one echo behind it, and its access log.

use outrigger_tests::Result;
use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, over_http2, prefix_route, route_config, virtual_host,
    with_static,
};
use outrigger_tests::client::h1::{Connection, Response};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use serde_json::{Value, json};

/// See the module.
pub struct Scene {
    pub port: Port,
    pub log: AccessLog,
    pub sidecar: Sidecar,
    pub upstream: Upstream,
}

/// A filter of the chain.
pub fn filter(name: &str, kind: &str, config: Value) -> Value {
    json!({"name": name, "typed_config": typed(kind, config)})
}

/// A message inside an `Any`; `kind` follows `envoy.extensions.filters.http.`.
pub fn typed(kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.http.{kind}"));
    config
}

/// `typed_per_filter_config` with one entry.
pub fn per_filter(name: &str, config: Value) -> Value {
    json!({name: config})
}

/// The wrapper that switches a filter on or off.
pub fn switched(disabled: bool, config: Option<Value>) -> Value {
    let kind = "type.googleapis.com/envoy.config.route.v3.FilterConfig";
    let mut wrapper = json!({"@type": kind, "disabled": disabled});
    if let Some(config) = config {
        wrapper["config"] = config;
    }
    wrapper
}

/// What every part of the scene is built from.
pub struct Script {
    /// Filters before the router.
    pub filters: Vec<Value>,
    /// Routes of the one virtual host.
    pub routes: Vec<Value>,
    /// Fields of the virtual host.
    pub host: Value,
    /// Worker threads.
    pub workers: u32,
    /// The transport socket; null is plaintext.
    pub transport: Value,
    /// Network filters before the connection manager.
    pub guards: Vec<Value>,
    /// Clusters beside those of every scene.
    pub clusters: Vec<Value>,
    /// In the chain for connections that no other matches.
    pub by_default: bool,
    /// What the access log tells, by its operators.
    pub operators: Vec<String>,
    /// Which requests it tells of.
    pub logged_if: Value,
    /// Loggers beside it.
    pub loggers: Vec<Value>,
    /// Further fields of the bootstrap.
    pub further: Value,
}

impl Script {
    /// These filters, and everything to cluster `a`.
    pub fn of(filters: &[Value]) -> Self {
        Self {
            filters: filters.to_vec(),
            routes: vec![prefix_route("/", "a")],
            host: json!({}),
            workers: 1,
            transport: Value::Null,
            guards: Vec::new(),
            clusters: Vec::new(),
            by_default: false,
            operators: ["RESPONSE_CODE", "RESPONSE_FLAGS", "RESPONSE_CODE_DETAILS"]
                .map(str::to_owned)
                .to_vec(),
            logged_if: Value::Null,
            loggers: Vec::new(),
            further: json!({}),
        }
    }

    /// These routes instead.
    pub fn routes(mut self, routes: &[Value]) -> Self {
        self.routes = routes.to_vec();
        self
    }

    /// A field of the virtual host.
    pub fn host(mut self, field: &str, value: Value) -> Self {
        self.host[field] = value;
        self
    }

    /// That many worker threads.
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// Over this transport socket.
    pub fn transport(mut self, socket: Value) -> Self {
        self.transport = socket;
        self
    }

    /// Behind this network filter.
    pub fn guard(mut self, guard: Value) -> Self {
        self.guards.push(guard);
        self
    }

    /// Whether in `default_filter_chain`.
    pub fn by_default(mut self, by_default: bool) -> Self {
        self.by_default = by_default;
        self
    }

    /// With one more cluster.
    pub fn cluster(mut self, cluster: Value) -> Self {
        self.clusters.push(cluster);
        self
    }

    /// A field of the bootstrap.
    pub fn bootstrap(mut self, field: &str, value: Value) -> Self {
        self.further[field] = value;
        self
    }

    /// With these operators in the access log instead.
    pub fn log(mut self, operators: &[&str]) -> Self {
        self.operators = operators.iter().map(|one| (*one).to_owned()).collect();
        self
    }

    /// With this filter of the access log.
    pub fn logged_if(mut self, filter: Value) -> Self {
        self.logged_if = filter;
        self
    }

    /// With one more access logger.
    pub fn logger(mut self, logger: Value) -> Self {
        self.loggers.push(logger);
        self
    }

    /// Starts.
    pub async fn start(self, plane: DataPlane) -> Result<Scene> {
        let operators: Vec<&str> = self.operators.iter().map(String::as_str).collect();
        let (port, log) = (Port::lease()?, AccessLog::of(&operators)?);
        let upstream = Upstream::start(Echo::new("a"))?;
        let mut host = virtual_host("host", &["*"], &self.routes);
        for (field, value) in self.host.as_object().into_iter().flatten() {
            host[field] = value.clone();
        }
        let mut listener = http_listener("ingress", port.address(), inline(route_config("routes", &[host])));
        let manager = manager_of(&mut listener);
        manager["access_log"] = log.config();
        if !self.logged_if.is_null() {
            manager["access_log"][0]["filter"] = self.logged_if;
        }
        manager["access_log"].as_array_mut().into_iter().for_each(|all| all.extend(self.loggers.clone()));
        let mut chain = self.filters;
        chain.extend(manager["http_filters"].as_array().cloned().unwrap_or_default());
        manager["http_filters"] = Value::Array(chain);
        let network = &mut listener["filter_chains"][0];
        if !self.transport.is_null() {
            network["transport_socket"] = self.transport;
        }
        let mut filters = self.guards;
        filters.extend(network["filters"].as_array().cloned().unwrap_or_default());
        network["filters"] = Value::Array(filters);
        if self.by_default {
            listener["default_filter_chain"] = network.take();
            listener["filter_chains"] = json!([]);
        }
        let mut grpc = over_http2(cluster("grpc", &[upstream.address()]));
        grpc["name"] = json!("grpc");
        let mut clusters = vec![cluster("a", &[upstream.address()]), grpc];
        clusters.extend(self.clusters);
        let launch = plane.launch()?.concurrency(self.workers);
        let mut bootstrap = with_static(&[listener], &clusters);
        for (field, value) in self.further.as_object().into_iter().flatten() {
            bootstrap[field] = value.clone();
        }
        let sidecar = launch.start(&bootstrap).await?;
        Ok(Scene { port, log, sidecar, upstream })
    }
}

impl Scene {
    /// A `GET` on a connection of its own, with further header lines.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
        self.send("GET", path, headers, "").await
    }

    /// Any request on a connection of its own.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Response> {
        let mut connection = Connection::open(self.port.address()).await?;
        connection.exchange(request(method, path, headers, body)).await
    }

    /// The last of `count` lines of the access log.
    pub async fn logged(&self, count: usize) -> Result<String> {
        Ok(self.log.lines(count).await?.swap_remove(count - 1))
    }
}

/// The text of a request.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: svc\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text
}

/// The value of a header as the upstream got it.
pub fn received(response: &Response, name: &str) -> Result<Vec<String>> {
    let body = response.json()?;
    let pairs = body["headers"].as_array().cloned().unwrap_or_default();
    let named = pairs.iter().filter(|pair| pair[0] == name);
    Ok(named.filter_map(|pair| pair[1].as_str().map(str::to_owned)).collect())
}
