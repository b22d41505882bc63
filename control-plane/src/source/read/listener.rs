//! What listeners of nodes and gateways have: checks, pools, timeouts, access logs.

use std::time::Duration;

use super::syntax::{command_string, request_path};
use super::{Fields, FromNode, Reader};
use crate::model::{
    AccessLog, ConnectionPool, GatewayListener, HealthCheck, HttpTimeout, ListenerTimeout, LogFormat,
    NodeListener, OutlierDetection, Protocol, TcpTimeout,
};
use crate::source::node::Node;

/// Largest value of the API's integers that the proxy also takes.
const MAX: i64 = 2_147_483_647;

impl FromNode for NodeListener {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the node listener", cx)?;
        let port_mapping = fields.required("portMapping", cx);
        let tls = fields.optional("tls", cx);
        let health_check = fields.optional("healthCheck", cx);
        let outlier_detection = fields.optional("outlierDetection", cx);
        let connection_pool = fields.optional("connectionPool", cx);
        let timeout = fields.optional("timeout", cx);
        fields.finish(cx)?;
        Some(Self {
            port_mapping: port_mapping?,
            tls,
            health_check,
            outlier_detection,
            connection_pool,
            timeout,
            at: node.at.clone().into(),
        })
    }
}

impl FromNode for GatewayListener {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the gateway listener", cx)?;
        let port_mapping = fields.required("portMapping", cx);
        let tls = fields.optional("tls", cx);
        let connection_pool = fields.optional("connectionPool", cx);
        let health_check = fields.optional("healthCheck", cx);
        fields.finish(cx)?;
        Some(Self {
            port_mapping: port_mapping?,
            tls,
            connection_pool,
            health_check,
            at: node.at.clone().into(),
        })
    }
}

impl FromNode for HealthCheck {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "healthCheck", cx)?;
        let protocol = fields.required("protocol", cx);
        let healthy_threshold = fields.required_integer("healthyThreshold", 2..=10, cx);
        let unhealthy_threshold = fields.required_integer("unhealthyThreshold", 2..=10, cx);
        let interval = fields.required_integer("intervalMillis", 5_000..=300_000, cx);
        let timeout = fields.required_integer("timeoutMillis", 2_000..=60_000, cx);
        let is_asked = matches!(protocol, Some(Protocol::Http | Protocol::Http2));
        let path = fields.optional_with("path", cx, |n, cx| health_check_path(n, is_asked, cx));
        let port = fields.port(cx);
        fields.finish(cx)?;
        Some(Self {
            protocol: protocol?,
            healthy_threshold: healthy_threshold?,
            unhealthy_threshold: unhealthy_threshold?,
            interval: Duration::from_millis(interval?),
            timeout: Duration::from_millis(timeout?),
            path,
            port,
            at: node.at.clone().into(),
        })
    }
}

impl FromNode for OutlierDetection {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "outlierDetection", cx)?;
        let max_server_errors = fields.required_integer("maxServerErrors", 1..=MAX, cx);
        let interval = fields.required_with("interval", cx, |n, cx| some_time(n, "interval", cx));
        let base_ejection_duration = fields
            .required_with("baseEjectionDuration", cx, |n, cx| some_time(n, "baseEjectionDuration", cx));
        let max_ejection_percent = fields.required_integer("maxEjectionPercent", 0..=100, cx);
        fields.finish(cx)?;
        Some(Self {
            max_server_errors: max_server_errors?,
            interval: interval?,
            base_ejection_duration: base_ejection_duration?,
            max_ejection_percent: max_ejection_percent?,
        })
    }
}

/// A path without its slash is meant to have it; checks by other protocols ask for none.
fn health_check_path(node: &Node, is_asked: bool, cx: &mut Reader<'_>) -> Option<String> {
    let mut path = cx.text(node, "path")?;
    if !is_asked || !cx.is_known(node) {
        return Some(path);
    }
    if !path.starts_with('/') {
        let message =
            format!("path \"{path}\" does not begin with a slash; \"/{path}\" is requested, write it so");
        cx.report.warn(&node.at, "health-check-path", message);
        path.insert(0, '/');
    }
    if let Err(fault) = request_path(&path) {
        cx.report.error(&node.at, "bad-value", format!("path \"{path}\" {fault}"));
        return None;
    }
    Some(path)
}

/// A duration that sidecars do not take as zero.
fn some_time(node: &Node, what: &str, cx: &mut Reader<'_>) -> Option<Duration> {
    let time = Duration::from_node(node, cx)?;
    if time.is_zero() {
        cx.report.error(&node.at, "out-of-range", format!("{what} is zero; write a longer time"));
        return None;
    }
    Some(time)
}

impl FromNode for ConnectionPool {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "connectionPool", cx)?;
        let member = fields.exactly_one(&["http", "http2", "grpc", "tcp"], cx);
        let pool = member.and_then(|m| fields.optional_with(m, cx, |n, cx| pool(n, m, cx)));
        fields.finish(cx)?;
        pool
    }
}

fn pool(node: &Node, member: &str, cx: &mut Reader<'_>) -> Option<ConnectionPool> {
    let mut fields = Fields::open(node, "the connection pool", cx)?;
    let mut limit = |key, cx: &mut Reader<'_>| fields.required_integer(key, 1..=MAX, cx);
    let pool = match member {
        "http2" => limit("maxRequests", cx).map(|max_requests| ConnectionPool::Http2 { max_requests }),
        "grpc" => limit("maxRequests", cx).map(|max_requests| ConnectionPool::Grpc { max_requests }),
        "tcp" => limit("maxConnections", cx).map(|max_connections| ConnectionPool::Tcp { max_connections }),
        _ => {
            let max_connections = limit("maxConnections", cx);
            let max_pending_requests = fields.integer("maxPendingRequests", 1..=MAX, cx);
            max_connections
                .map(|max_connections| ConnectionPool::Http { max_connections, max_pending_requests })
        }
    };
    fields.finish(cx)?;
    pool
}

impl FromNode for ListenerTimeout {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "timeout", cx)?;
        let timeout = match fields.exactly_one(&["http", "http2", "grpc", "tcp"], cx) {
            Some("http") => fields.optional("http", cx).map(|t| Self::Http(Protocol::Http, t)),
            Some("http2") => fields.optional("http2", cx).map(|t| Self::Http(Protocol::Http2, t)),
            Some("grpc") => fields.optional("grpc", cx).map(|t| Self::Http(Protocol::Grpc, t)),
            Some(_) => fields.optional("tcp", cx).map(Self::Tcp),
            None => None,
        };
        fields.finish(cx)?;
        timeout
    }
}

impl FromNode for HttpTimeout {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "timeout", cx)?;
        let idle = fields.optional("idle", cx);
        let per_request = fields.optional("perRequest", cx);
        fields.finish(cx)?;
        Some(Self { idle, per_request })
    }
}

impl FromNode for TcpTimeout {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "timeout", cx)?;
        let idle = fields.optional("idle", cx);
        fields.finish(cx)?;
        Some(Self { idle })
    }
}

/// `logging`.
pub(super) fn access_log(fields: &mut Fields<'_>, cx: &mut Reader<'_>) -> Option<AccessLog> {
    let log = fields.optional_with("logging", cx, |node, cx| {
        let mut fields = Fields::open(node, "logging", cx)?;
        let log = fields.optional_with("accessLog", cx, |node, cx| {
            let mut fields = Fields::open(node, "accessLog", cx)?;
            let file = fields.optional("file", cx);
            fields.finish(cx)?;
            Some(file)
        });
        fields.finish(cx)?;
        Some(log.flatten())
    });
    log.flatten()
}

impl FromNode for AccessLog {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the access log file", cx)?;
        let path = fields.required_text("path", 1..=255, cx);
        let format = fields.optional("format", cx);
        fields.finish(cx)?;
        Some(Self { path: path?, format })
    }
}

impl FromNode for LogFormat {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "format", cx)?;
        let format = match fields.exactly_one(&["json", "text"], cx) {
            Some("json") => {
                let pairs: Vec<LogField> = fields.list("json", 1..=1000, cx);
                Some(Self::Json(pairs.into_iter().map(|LogField(key, value)| (key, value)).collect()))
            }
            Some(_) => fields.checked_text("text", 1..=1000, command_string, cx).map(Self::Text),
            None => None,
        };
        fields.finish(cx)?;
        format
    }
}

/// One field of a JSON log.
struct LogField(String, String);

impl FromNode for LogField {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let (key, value) = pair(node, cx, |_, node, cx| match node.as_scalar() {
            Some(_) => cx.checked_text(node, "value", 0..=usize::MAX, command_string),
            None => cx.text_or_empty(node, "value"),
        })?;
        Some(Self(key, value))
    }
}

/// `{key, value}` as lists of pairs are written; `read` is told the key.
pub(super) fn pair(
    node: &Node,
    cx: &mut Reader<'_>,
    read: impl FnOnce(Option<&str>, &Node, &mut Reader<'_>) -> Option<String>,
) -> Option<(String, String)> {
    let mut fields = Fields::open(node, "the pair", cx)?;
    let key = fields.required_text("key", 1..=255, cx);
    let value = fields.required_with("value", cx, |node, cx| read(key.as_deref(), node, cx));
    fields.finish(cx)?;
    Some((key?, value?))
}
