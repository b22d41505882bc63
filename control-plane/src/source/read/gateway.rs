//! Virtual gateway and gateway route.

use super::listener::access_log;
use super::matching::path;
use super::node::backend_defaults;
use super::{Fields, FromNode, Reader};
use crate::model::{
    GatewayMatch, GatewayRewrite, GatewayRouteSpec, GatewayTarget, HostnameMatch, Kind, PathMatch,
    PathRewrite, Protocol, VirtualGatewaySpec,
};
use crate::source::node::Node;

impl FromNode for VirtualGatewaySpec {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the virtual gateway spec", cx)?;
        let listeners = fields.required_list("listeners", 1..=64, cx);
        let backend_defaults = backend_defaults(&mut fields, cx);
        let access_log = access_log(&mut fields, cx);
        fields.finish(cx)?;
        Some(Self { listeners: listeners?, backend_defaults, access_log })
    }
}

impl FromNode for GatewayRouteSpec {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the gateway route spec", cx)?;
        let priority = fields.integer("priority", 0..=1000, cx);
        let member = fields.exactly_one(&["httpRoute", "http2Route", "grpcRoute"], cx);
        let protocol = match member {
            Some("httpRoute") => Protocol::Http,
            Some("http2Route") => Protocol::Http2,
            _ => Protocol::Grpc,
        };
        let route = member.and_then(|m| fields.optional_with(m, cx, |n, cx| body(n, priority, protocol, cx)));
        fields.finish(cx)?;
        route
    }
}

fn body(
    node: &Node,
    priority: Option<u32>,
    protocol: Protocol,
    cx: &mut Reader<'_>,
) -> Option<GatewayRouteSpec> {
    let mut fields = Fields::open(node, "the gateway route", cx)?;
    let matching = fields.required_with("match", cx, |n, cx| gateway_match(n, protocol, cx));
    let action = fields.required_with("action", cx, |n, cx| action(n, protocol, cx));
    fields.finish(cx)?;
    let (target, rewrite) = action?;
    Some(GatewayRouteSpec {
        priority,
        protocol,
        matching: matching?,
        target,
        rewrite,
        at: node.at.clone().into(),
    })
}

fn gateway_match(node: &Node, protocol: Protocol, cx: &mut Reader<'_>) -> Option<GatewayMatch> {
    let mut fields = Fields::open(node, "match", cx)?;
    let mut matching = GatewayMatch::default();
    if protocol == Protocol::Grpc {
        matching.grpc_service = fields.text("serviceName", 1..=1024, cx);
        matching.headers = fields.list("metadata", 1..=10, cx);
    } else {
        matching.path = path(&mut fields, cx);
        matching.method = fields.optional("method", cx);
        matching.headers = fields.list("headers", 1..=10, cx);
        matching.query = fields.list("queryParameters", 1..=10, cx);
    }
    matching.hostname = fields.optional("hostname", cx);
    matching.port = fields.port(cx);
    fields.finish(cx)?;
    if matching.path.is_none() && matching.grpc_service.is_none() && matching.hostname.is_none() {
        let wanted =
            if protocol == Protocol::Grpc { "serviceName or hostname" } else { "prefix, path or hostname" };
        cx.report.error(&node.at, "missing-key", format!("match of a gateway route needs {wanted}; add one"));
        return None;
    }
    check_reserved(node, &matching, cx)?;
    Some(matching)
}

/// Paths and services that App Mesh kept for itself.
fn check_reserved(node: &Node, matching: &GatewayMatch, cx: &mut Reader<'_>) -> Option<()> {
    let path = match &matching.path {
        Some(PathMatch::Prefix(p) | PathMatch::Exact(p)) => p.as_str(),
        _ => "",
    };
    let service = matching.grpc_service.as_deref().unwrap_or_default();
    let reserved = ["/aws-appmesh", "/aws-app-mesh"].iter().any(|r| path.starts_with(r))
        || ["aws.app-mesh", "aws.appmesh"].iter().any(|r| service.starts_with(r));
    if reserved {
        let message = format!("match \"{path}{service}\" begins with a reserved name; choose another");
        cx.report.error(&node.at, "reserved", message);
        return None;
    }
    Some(())
}

impl FromNode for HostnameMatch {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "hostname", cx)?;
        let hostname = match fields.exactly_one(&["exact", "suffix"], cx) {
            Some("exact") => fields.text("exact", 1..=253, cx).map(Self::Exact),
            Some(_) => fields.text("suffix", 1..=253, cx).map(Self::Suffix),
            None => None,
        };
        fields.finish(cx)?;
        hostname
    }
}

fn action(node: &Node, protocol: Protocol, cx: &mut Reader<'_>) -> Option<(GatewayTarget, GatewayRewrite)> {
    let mut fields = Fields::open(node, "action", cx)?;
    let target = fields.required("target", cx);
    let rewrite = fields.optional_with("rewrite", cx, |n, cx| rewrite(n, protocol, cx));
    fields.finish(cx)?;
    Some((target?, rewrite.unwrap_or_default()))
}

impl FromNode for GatewayTarget {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "target", cx)?;
        let virtual_service = fields.required_with("virtualService", cx, |n, cx| {
            let mut fields = Fields::open(n, "virtualService", cx)?;
            let reference = fields.reference("virtualServiceName", Kind::VirtualService, cx);
            fields.finish(cx)?;
            reference
        });
        let port = fields.port(cx);
        fields.finish(cx)?;
        Some(Self { virtual_service: virtual_service?, port })
    }
}

fn rewrite(node: &Node, protocol: Protocol, cx: &mut Reader<'_>) -> Option<GatewayRewrite> {
    let mut fields = Fields::open(node, "rewrite", cx)?;
    let hostname = fields.optional_with("hostname", cx, |n, cx| {
        let mut fields = Fields::open(n, "hostname", cx)?;
        let key = "defaultTargetHostname";
        let enabled = fields.optional_with(key, cx, |n, cx| cx.keyword(n, key, &ENABLED));
        fields.finish(cx)?;
        Some(enabled.unwrap_or(true))
    });
    let members: &[&'static str] = if protocol == Protocol::Grpc { &[] } else { &["prefix", "path"] };
    let path = match fields.at_most_one(members, cx) {
        Some("prefix") => fields.optional_with("prefix", cx, prefix_rewrite),
        Some(_) => fields.optional_with("path", cx, exact_rewrite),
        None => None,
    };
    fields.finish(cx)?;
    Some(GatewayRewrite { hostname: hostname.unwrap_or(true), path: path.unwrap_or_default() })
}

const ENABLED: [(&str, bool); 2] = [("ENABLED", true), ("DISABLED", false)];

fn prefix_rewrite(node: &Node, cx: &mut Reader<'_>) -> Option<PathRewrite> {
    let mut fields = Fields::open(node, "prefix", cx)?;
    let rewrite = match fields.exactly_one(&["defaultPrefix", "value"], cx) {
        Some("defaultPrefix") => {
            let enabled =
                fields.optional_with("defaultPrefix", cx, |n, cx| cx.keyword(n, "defaultPrefix", &ENABLED));
            enabled.map(|on| if on { PathRewrite::Default } else { PathRewrite::Keep })
        }
        Some(_) => fields.optional_with("value", cx, prefix_value),
        None => None,
    };
    fields.finish(cx)?;
    rewrite
}

fn prefix_value(node: &Node, cx: &mut Reader<'_>) -> Option<PathRewrite> {
    let value = cx.bounded_text(node, "value", 1..=255)?;
    if cx.is_known(node) && !(value.starts_with('/') && value.ends_with('/')) {
        let message = format!("prefix value \"{value}\" must begin and end with a slash; add it");
        cx.report.error(&node.at, "bad-value", message);
        return None;
    }
    Some(PathRewrite::Prefix(value))
}

fn exact_rewrite(node: &Node, cx: &mut Reader<'_>) -> Option<PathRewrite> {
    let mut fields = Fields::open(node, "path", cx)?;
    let exact = fields.required_text("exact", 1..=255, cx);
    fields.finish(cx)?;
    exact.map(PathRewrite::Exact)
}
