//! Route of a virtual router.

use std::time::Duration;

use super::{Fields, FromNode, Reader};
use crate::model::{
    GrpcMatch, GrpcRetryEvent, HttpMatch, HttpRetryEvent, Kind, Protocol, RetryPolicy, RouteBody, RouteSpec,
    WeightedTarget,
};
use crate::source::node::Node;

const TYPES: [&str; 4] = ["httpRoute", "http2Route", "grpcRoute", "tcpRoute"];

impl FromNode for RouteSpec {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the route spec", cx)?;
        let priority = fields.integer("priority", 0..=1000, cx);
        let member = fields.exactly_one(&TYPES, cx);
        let retries = member.is_some_and(|m| m != "tcpRoute");
        let stray = if retries { misplaced(&mut fields, "the route spec", cx) } else { None };
        let body = member.and_then(|member| {
            fields.optional_with(member, cx, |n, cx| {
                let body = match member {
                    "httpRoute" => http(n, Protocol::Http, stray, cx),
                    "http2Route" => http(n, Protocol::Http2, stray, cx),
                    "grpcRoute" => grpc(n, stray, cx),
                    _ => tcp(n, cx),
                };
                Some((body?, n.at.clone().into()))
            })
        });
        fields.finish(cx)?;
        let (body, at) = body?;
        Some(Self { priority, body, at })
    }
}

/// A retry policy where the schema has none: taken over with a warning, for its author meant it.
fn misplaced<'n>(fields: &mut Fields<'n>, place: &str, cx: &mut Reader<'_>) -> Option<&'n Node> {
    let node = fields.lenient("retryPolicy")?;
    let message =
        format!("retryPolicy under {place} is not in the schema; it is used, move it under the route type");
    cx.report.warn(&node.at, "misplaced-retry-policy", message);
    Some(node)
}

fn http(node: &Node, protocol: Protocol, stray: Option<&Node>, cx: &mut Reader<'_>) -> Option<RouteBody> {
    let mut fields = Fields::open(node, "the route", cx)?;
    let matching: Option<HttpMatch> = fields.required("match", cx);
    let action = fields.required_with("action", cx, |n, cx| action(n, true, cx));
    let stray = action.as_ref().and_then(|(_, inner)| *inner).or(stray);
    let retry = retry(&mut fields, stray, false, cx);
    let timeout = fields.optional("timeout", cx);
    fields.finish(cx)?;
    Some(RouteBody::Http { protocol, matching: matching?, targets: action?.0, retry: retry?, timeout })
}

fn grpc(node: &Node, stray: Option<&Node>, cx: &mut Reader<'_>) -> Option<RouteBody> {
    let mut fields = Fields::open(node, "the route", cx)?;
    let matching: Option<GrpcMatch> = fields.required("match", cx);
    let action = fields.required_with("action", cx, |n, cx| action(n, true, cx));
    let stray = action.as_ref().and_then(|(_, inner)| *inner).or(stray);
    let retry = retry(&mut fields, stray, true, cx);
    let timeout = fields.optional("timeout", cx);
    fields.finish(cx)?;
    Some(RouteBody::Grpc { matching: matching?, targets: action?.0, retry: retry?, timeout })
}

fn tcp(node: &Node, cx: &mut Reader<'_>) -> Option<RouteBody> {
    let mut fields = Fields::open(node, "the route", cx)?;
    let port = fields.optional_with("match", cx, |n, cx| {
        let mut fields = Fields::open(n, "match", cx)?;
        let port = fields.port(cx);
        fields.finish(cx)?;
        Some(port)
    });
    let action = fields.required_with("action", cx, |n, cx| action(n, false, cx));
    let timeout = fields.optional("timeout", cx);
    fields.finish(cx)?;
    Some(RouteBody::Tcp { port: port.flatten(), targets: action?.0, timeout })
}

/// `action`: its targets, and a retry policy that was put there.
fn action<'n>(
    node: &'n Node,
    retries: bool,
    cx: &mut Reader<'_>,
) -> Option<(Vec<WeightedTarget>, Option<&'n Node>)> {
    let mut fields = Fields::open(node, "action", cx)?;
    let targets = fields.required_list("weightedTargets", 1..=10, cx);
    let stray = if retries { misplaced(&mut fields, "action", cx) } else { None };
    fields.finish(cx)?;
    Some((targets?, stray))
}

/// `retryPolicy`, or the one found elsewhere. The outer option is the outcome, the inner one presence.
fn retry(
    fields: &mut Fields<'_>,
    stray: Option<&Node>,
    grpc: bool,
    cx: &mut Reader<'_>,
) -> Option<Option<RetryPolicy>> {
    match fields.value("retryPolicy", cx).or(stray) {
        None => Some(None),
        Some(node) => retry_policy(node, grpc, cx).map(Some),
    }
}

impl FromNode for WeightedTarget {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the weighted target", cx)?;
        let virtual_node = fields.reference("virtualNode", Kind::VirtualNode, cx);
        let weight = fields.required_integer("weight", 0..=100, cx);
        let port = fields.port(cx);
        fields.finish(cx)?;
        Some(Self { virtual_node: virtual_node?, weight: weight?, port })
    }
}

fn retry_policy(node: &Node, grpc: bool, cx: &mut Reader<'_>) -> Option<RetryPolicy> {
    let mut fields = Fields::open(node, "retryPolicy", cx)?;
    let max_retries = fields.required_integer("maxRetries", 0..=2_147_483_647, cx);
    let per_retry_timeout: Option<Duration> = fields.required("perRetryTimeout", cx);
    let http_events: Vec<HttpRetryEvent> = fields.list("httpRetryEvents", 1..=25, cx);
    let tcp_events: Vec<ConnectionError> = fields.list("tcpRetryEvents", 1..=1, cx);
    let grpc_events: Vec<GrpcRetryEvent> =
        if grpc { fields.list("grpcRetryEvents", 1..=5, cx) } else { Vec::new() };
    fields.finish(cx)?;
    if http_events.is_empty() && tcp_events.is_empty() && grpc_events.is_empty() {
        let message =
            "retryPolicy names no event, so it never retries; add httpRetryEvents or tcpRetryEvents";
        cx.report.warn(&node.at, "retry-without-events", message);
    }
    Some(RetryPolicy {
        max_retries: max_retries?,
        per_retry_timeout: per_retry_timeout?,
        http_events,
        tcp_connection_error: !tcp_events.is_empty(),
        grpc_events,
        at: node.at.clone().into(),
    })
}

impl FromNode for HttpRetryEvent {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let words = [
            ("server-error", Self::ServerError),
            ("gateway-error", Self::GatewayError),
            ("client-error", Self::ClientError),
            ("stream-error", Self::StreamError),
        ];
        cx.keyword(node, "httpRetryEvents", &words)
    }
}

/// `tcpRetryEvents` has one member.
struct ConnectionError;

impl FromNode for ConnectionError {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        cx.keyword(node, "tcpRetryEvents", &[("connection-error", ())]).map(|()| Self)
    }
}

impl FromNode for GrpcRetryEvent {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let words = [
            ("cancelled", Self::Cancelled),
            ("deadline-exceeded", Self::DeadlineExceeded),
            ("internal", Self::Internal),
            ("resource-exhausted", Self::ResourceExhausted),
            ("unavailable", Self::Unavailable),
        ];
        cx.keyword(node, "grpcRetryEvents", &words)
    }
}
