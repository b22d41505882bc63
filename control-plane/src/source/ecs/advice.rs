//! What a task definition leaves out or writes in a way that the image's agent did not take.

use super::{Task, identity, named_value, text, variable};
use crate::model::NodeId;
use crate::source::node::{Node, Origin};
use crate::source::read::Reader;

/// Reports everything about one proxy container.
pub fn advise(task: &Task<'_>, envoy: &Node, cx: &mut Reader<'_>) {
    let gateway = is_gateway(envoy);
    variable_name(envoy, cx);
    image(envoy, cx);
    tracing(task, envoy, cx);
    if task.whole && !gateway {
        interception(task, envoy, cx);
        user(task, envoy, cx);
    }
    if task.whole {
        start_order(task, envoy, gateway, cx);
    }
}

fn is_gateway(envoy: &Node) -> bool {
    identity(envoy).and_then(|(_, v)| v.as_text()).is_some_and(|v| v.contains("virtualGateway/"))
}

/// Deprecated names of the variable.
fn variable_name(envoy: &Node, cx: &mut Reader<'_>) {
    let Some((name, value)) = identity(envoy) else { return };
    if name != "APPMESH_RESOURCE_ARN" {
        let message = format!("{name} is deprecated and still read; rename it to APPMESH_RESOURCE_ARN");
        cx.report.warn(&value.at, "ecs-deprecated-variable", message);
    }
    let known = value.as_scalar().filter(|s| !matches!(s.origin, Origin::Missing(_)));
    let fault = known.map(|s| s.text.trim()).filter(|t| t.contains('/')).and_then(|t| NodeId::parse(t).err());
    if let Some(fault) = fault {
        cx.report.error(&value.at, "bad-node-id", fault);
    }
}

/// Without redirection the proxy sees no traffic.
fn interception(task: &Task<'_>, envoy: &Node, cx: &mut Reader<'_>) {
    if task.proxy.is_some() {
        return;
    }
    let ports: Vec<&str> = task
        .containers
        .iter()
        .filter(|c| !std::ptr::eq(**c, envoy))
        .filter_map(|c| c.get_ignore_case("portMappings")?.as_list())
        .flatten()
        .filter_map(|m| text(m, "containerPort"))
        .collect();
    let message = format!(
        "the task has no proxyConfiguration, so no traffic is redirected to {}; add one of type APPMESH with \
         IgnoredUID 1337, ProxyIngressPort 15000, ProxyEgressPort 15001, AppPorts {} and EgressIgnoredIPs \
         169.254.170.2,169.254.169.254",
        text(envoy, "name").unwrap_or("the proxy"),
        if ports.is_empty() { "(the application's ports)".to_owned() } else { ports.join(",") },
    );
    cx.report.warn(&task.root.at, "ecs-no-proxy-configuration", message);
}

/// A user of its own only helps when redirection leaves that user out.
fn user(task: &Task<'_>, envoy: &Node, cx: &mut Reader<'_>) {
    let Some(user) = envoy.get_ignore_case("user") else { return };
    let Some(id) = user.as_text() else { return };
    let properties = task.proxy.and_then(|p| {
        p.get_ignore_case("properties").or_else(|| p.get_ignore_case("proxyConfigurationProperties"))
    });
    let ignored = properties.and_then(|list| named_value(list, "IgnoredUID")).and_then(Node::as_text);
    if ignored != Some(id) {
        let message = format!(
            "the proxy runs as user {id}, but no IgnoredUID of that value keeps its own traffic out of the \
             redirection; set IgnoredUID to {id} in proxyConfiguration"
        );
        cx.report.warn(&user.at, "ecs-ignored-uid", message);
    }
}

/// The published image cannot be pulled without its registry.
fn image(envoy: &Node, cx: &mut Reader<'_>) {
    let Some(node) = envoy.get_ignore_case("image") else { return };
    let Some(scalar) = node.as_scalar().filter(|s| !matches!(s.origin, Origin::Missing(_))) else { return };
    let host = scalar.text.split_once('/').map(|(host, _)| host).unwrap_or_default();
    if scalar.text.starts_with("aws-appmesh-envoy") && !host.contains(['.', ':']) {
        let message =
            format!("image \"{}\" has no registry and cannot be pulled; write its registry", scalar.text);
        cx.report.warn(&node.at, "ecs-image-registry", message);
    }
}

/// The application should start when the proxy is ready.
fn start_order(task: &Task<'_>, envoy: &Node, gateway: bool, cx: &mut Reader<'_>) {
    let name = text(envoy, "name").unwrap_or_default();
    let waits = |container: &Node| {
        let list = container.get_ignore_case("dependsOn").and_then(Node::as_list).unwrap_or_default();
        list.iter().any(|d| text(d, "containerName") == Some(name))
    };
    let checked = envoy.get_ignore_case("healthCheck").is_some_and(|h| !h.is_empty());
    let alone = task.containers.len() == 1 || gateway;
    let missing = match (checked, alone || task.containers.iter().any(|c| waits(c))) {
        (true, true) => return,
        (false, true) => "no healthCheck on the proxy",
        (true, false) => "no dependsOn from the application to the proxy",
        (false, false) => "no healthCheck on the proxy and no dependsOn from the application to it",
    };
    let message = format!(
        "the task has {missing}, so the application may start before the proxy is ready; add them \
         (check: curl -s http://localhost:9901/server_info | grep state | grep -q LIVE)"
    );
    cx.report.warn(&envoy.at, "ecs-start-order", message);
}

/// Tracing is off unless switched on.
fn tracing(task: &Task<'_>, envoy: &Node, cx: &mut Reader<'_>) {
    const SWITCHES: [&str; 5] = [
        "ENABLE_ENVOY_XRAY_TRACING",
        "ENABLE_ENVOY_JAEGER_TRACING",
        "ENABLE_ENVOY_DATADOG_TRACING",
        "ENVOY_TRACING_CFG_FILE",
        "OUTRIGGER_OTLP_ENDPOINT",
    ];
    let switched = SWITCHES.into_iter().any(|name| variable(envoy, name).is_some());
    if task.whole && !switched {
        let message = "the proxy does not trace; to trace with X-Ray set ENABLE_ENVOY_XRAY_TRACING to 1 and add the \
                       X-Ray daemon container";
        cx.report.warn(&envoy.at, "ecs-no-tracing", message);
    }
}
