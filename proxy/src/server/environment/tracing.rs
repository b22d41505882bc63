//! The image's tracers as Envoy's configuration. At most one is on.
//! Source: App Mesh "Envoy configuration variables", tracing.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::identity::Identity;
use super::{VariableError, Variables, boolean, integer};
use crate::observe::trace::header::{Format, Propagation};
use crate::observe::trace::sampling::manifest::{self, Manifest, Rate};
use crate::observe::trace::transport::Target;
use crate::xds::translate::{Central, TracingOptions};

const ADDRESS: &str = "AWS_XRAY_DAEMON_ADDRESS";
const RATE: &str = "XRAY_SAMPLING_RATE";
const FILE: &str = "XRAY_SAMPLING_RULE_MANIFEST";

/// `tracing` of the bootstrap, and the cluster that it names.
pub(super) struct Generated {
    pub(super) provider: Value,
    pub(super) cluster: Option<Value>,
}

/// What the image's variables switch on. A file of the user's takes its place.
pub(super) fn bootstrap(
    variables: &dyn Variables,
    identity: &Identity,
) -> Result<Option<Generated>, VariableError> {
    let on = |name| Ok(boolean(variables, name)? == Some(true));
    if variables.get("ENVOY_TRACING_CFG_FILE").is_some() {
        Ok(None)
    } else if on("ENABLE_ENVOY_XRAY_TRACING")? {
        xray(variables, identity).map(Some)
    } else if on("ENABLE_ENVOY_JAEGER_TRACING")? {
        jaeger(variables).map(Some)
    } else if on("ENABLE_ENVOY_DATADOG_TRACING")? {
        datadog(variables, identity).map(Some)
    } else {
        Ok(None)
    }
}

fn xray(variables: &dyn Variables, identity: &Identity) -> Result<Generated, VariableError> {
    let names = identity.names();
    let name = match (variables.get("XRAY_SEGMENT_NAME"), &names) {
        (Some(name), _) => name,
        (None, Some((mesh, resource))) => format!("{mesh}/{resource}"),
        // Envoy falls back to `node.cluster`.
        (None, None) => String::new(),
    };
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.config.trace.v3.XRayConfig",
        "segment_name": name,
        "segment_fields": { "origin": "AWS::AppMesh::Proxy" },
    });
    if let Some((mesh, resource)) = names {
        // Gateways are called virtual nodes here as well.
        config["segment_fields"]["aws"] =
            json!({ "app_mesh": { "mesh_name": mesh, "virtual_node_name": resource } });
    }
    let Endpoint { host, port } = daemon(variables)?.udp;
    config["daemon_endpoint"] = json!({ "protocol": "UDP", "address": host, "port_value": port });
    if let Some(manifest) = rules(variables)? {
        config["sampling_rule_manifest"] = manifest;
    }
    Ok(Generated { provider: provider("envoy.tracers.xray", config), cluster: None })
}

/// Zipkin's protocol, which Jaeger takes.
fn jaeger(variables: &dyn Variables) -> Result<Generated, VariableError> {
    const VERSION: &str = "JAEGER_TRACER_VERSION";
    let version = match variables.get(VERSION).as_deref() {
        None | Some("PROTO") => "HTTP_PROTO",
        Some("JSON") => "HTTP_JSON",
        Some(other) => {
            return Err(VariableError::new(VERSION, format!("{other:?} is neither PROTO nor JSON")));
        }
    };
    let config = json!({
        "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
        "collector_cluster": "jaeger",
        "collector_endpoint": "/api/v2/spans",
        "collector_endpoint_version": version,
        "shared_span_context": false,
    });
    let cluster = cluster(variables, "jaeger", "JAEGER_TRACER_ADDRESS", ("JAEGER_TRACER_PORT", 9411))?;
    Ok(Generated { provider: provider("envoy.tracers.zipkin", config), cluster: Some(cluster) })
}

fn datadog(variables: &dyn Variables, identity: &Identity) -> Result<Generated, VariableError> {
    let service = variables.get("DD_SERVICE").unwrap_or_else(|| match identity.names() {
        Some((mesh, resource)) => format!("envoy-{mesh}/{resource}"),
        None => "envoy".to_owned(),
    });
    let config = json!({
        "@type": "type.googleapis.com/envoy.config.trace.v3.DatadogConfig",
        "collector_cluster": "datadog_agent",
        "service_name": service,
    });
    let port = ("DATADOG_TRACER_PORT", 8126);
    let cluster = cluster(variables, "datadog_agent", "DATADOG_TRACER_ADDRESS", port)?;
    Ok(Generated { provider: provider("envoy.tracers.datadog", config), cluster: Some(cluster) })
}

fn provider(name: &str, config: Value) -> Value {
    json!({ "http": { "name": name, "typed_config": config } })
}

/// A cluster of one endpoint, on loopback unless a variable says otherwise.
fn cluster(
    variables: &dyn Variables,
    name: &str,
    address: &str,
    (port, default): (&str, i64),
) -> Result<Value, VariableError> {
    let host = variables.get(address).unwrap_or_else(|| "127.0.0.1".to_owned());
    let number = integer(variables, port)?.unwrap_or(default);
    if !(1..=65_535).contains(&number) {
        return Err(VariableError::new(port, format!("{number} is not a port")));
    }
    let kind = if host.parse::<IpAddr>().is_ok() { "STATIC" } else { "STRICT_DNS" };
    Ok(json!({
        "name": name,
        "type": kind,
        "connect_timeout": "1s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": {
            "address": { "socket_address": { "address": host, "port_value": number } } } }] }] },
    }))
}

/// Our own variables: what holds for every provider.
///
/// `OUTRIGGER_XRAY_SEGMENTS`: `parity` (default), what App Mesh's Envoy sent, or `rich`: each try is a subsegment,
/// failures have a cause. `OUTRIGGER_XRAY_SAMPLING`: `local` (default), or `central`: the rules of the X-Ray service,
/// through the daemon's TCP port, that of the provider's daemon unless the environment says another.
/// `OUTRIGGER_TRACE_CALLERS`: `trusted` (default), or `untrusted`, for a gateway: what requests bring of a trace to
/// listeners that are not outbound is discarded, in any format. `OUTRIGGER_TRACE_RESPONSES`: who is told the trace in
/// `x-amzn-trace-id`: `asked` (default), who asks, or `all`.
pub fn options(variables: &dyn Variables) -> Result<TracingOptions, VariableError> {
    let rich = choice(variables, "OUTRIGGER_XRAY_SEGMENTS", "parity", "rich")?;
    let central = choice(variables, "OUTRIGGER_XRAY_SAMPLING", "local", "central")?;
    let central = match central {
        true => {
            let Endpoint { host, port } = daemon(variables)?.tcp;
            Some(Central {
                target: Target::Address(host.into(), port),
                given: variables.get(ADDRESS).is_some(),
            })
        }
        false => None,
    };
    let propagation = propagation(variables)?;
    let untrusted = choice(variables, "OUTRIGGER_TRACE_CALLERS", "trusted", "untrusted")?;
    let answers = choice(variables, "OUTRIGGER_TRACE_RESPONSES", "asked", "all")?;
    Ok(TracingOptions { rich, central, propagation, untrusted, answers, ..TracingOptions::default() })
}

/// `OUTRIGGER_TRACE_PROPAGATION`: which headers are read, in this order, and written, all of them.
fn propagation(variables: &dyn Variables) -> Result<Option<Propagation>, VariableError> {
    const NAME: &str = "OUTRIGGER_TRACE_PROPAGATION";
    let Some(text) = variables.get(NAME) else { return Ok(None) };
    let formats: Option<Vec<Format>> = text.split(',').map(|name| Format::named(name.trim())).collect();
    match formats {
        Some(formats) => Ok(Some(Propagation::of(&formats))),
        None => Err(VariableError::new(NAME, format!("{text:?} is no list of xray, w3c, b3, datadog"))),
    }
}

/// X-Ray's rules for other collectors.
pub(super) fn local_rules(variables: &dyn Variables) -> Result<Manifest, VariableError> {
    if let Some(path) = variables.get(FILE) {
        let fail = |error: String| VariableError::new(FILE, format!("{path}: {error}"));
        let text = std::fs::read_to_string(&path).map_err(|error| fail(error.to_string()))?;
        return Manifest::parse(&text).map_err(fail);
    }
    Ok(rate(variables)?
        .map_or_else(Manifest::default, |rate| Manifest::of_default(Rate { fixed_target: 1, rate })))
}

/// True for `other`, false for `default` and when unset.
fn choice(variables: &dyn Variables, name: &str, default: &str, other: &str) -> Result<bool, VariableError> {
    match variables.get(name) {
        None => Ok(false),
        Some(text) if text == default => Ok(false),
        Some(text) if text == other => Ok(true),
        Some(text) => Err(VariableError::new(name, format!("{text:?} is neither {default} nor {other}"))),
    }
}

/// A file of rules wins over a rate.
fn rules(variables: &dyn Variables) -> Result<Option<Value>, VariableError> {
    if let Some(path) = variables.get(FILE) {
        refuse_other_versions(&path)?;
        return Ok(Some(json!({ "filename": path })));
    }
    let Some(rate) = rate(variables)? else { return Ok(None) };
    let rules = json!({ "version": 2, "default": { "fixed_target": 1, "rate": rate } });
    Ok(Some(json!({ "inline_string": rules.to_string() })))
}

/// As the image's agent did. What else is wrong with a file costs its rules, with a warning, as with Envoy.
fn refuse_other_versions(path: &str) -> Result<(), VariableError> {
    let file = std::fs::read(path).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    match file.as_ref().and_then(|file| file.get("version")) {
        Some(version) if version.as_f64() != Some(2.0) => {
            Err(VariableError::new(FILE, format!("{path}: {}", manifest::other_version(version))))
        }
        _ => Ok(()),
    }
}

/// `XRAY_SAMPLING_RATE`, in whole percents, as the image rounded it.
fn rate(variables: &dyn Variables) -> Result<Option<f64>, VariableError> {
    let Some(text) = variables.get(RATE) else { return Ok(None) };
    let rate = text.parse::<f64>().ok().filter(|rate| (0.0..=1.0).contains(rate));
    match rate {
        Some(rate) => Ok(Some((rate * 100.0).round() / 100.0)),
        None => Err(VariableError::new(RATE, format!("{text:?} is not a share from 0 to 1"))),
    }
}

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Where the daemon takes segments, and where it answers questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DaemonAddress {
    pub(super) udp: Endpoint,
    pub(super) tcp: Endpoint,
}

/// `AWS_XRAY_DAEMON_ADDRESS`: `host`, `host:port`, or `tcp:host:port udp:host:port` in either order; else loopback.
/// The port is `XRAY_DAEMON_PORT` unless the address has one.
pub(super) fn daemon(variables: &dyn Variables) -> Result<DaemonAddress, VariableError> {
    const PORT: &str = "XRAY_DAEMON_PORT";
    let port = integer(variables, PORT)?.unwrap_or(2000);
    let port = u16::try_from(port).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| VariableError::new(PORT, "is not a port"))?;
    let Some(text) = variables.get(ADDRESS) else {
        let endpoint = Endpoint { host: "127.0.0.1".to_owned(), port };
        return Ok(DaemonAddress { udp: endpoint.clone(), tcp: endpoint });
    };
    parse(&text, port).ok_or_else(|| {
        let message = format!("{text:?} is none of host, host:port, \"tcp:host:port udp:host:port\"");
        VariableError::new(ADDRESS, message)
    })
}

fn parse(text: &str, port: u16) -> Option<DaemonAddress> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    match parts.as_slice() {
        [one] => {
            let endpoint = endpoint(one, port)?;
            Some(DaemonAddress { udp: endpoint.clone(), tcp: endpoint })
        }
        [one, other] => {
            let of = |kind| [one, other].into_iter().find_map(|part| part.strip_prefix(kind));
            Some(DaemonAddress { udp: endpoint(of("udp:")?, port)?, tcp: endpoint(of("tcp:")?, port)? })
        }
        _ => None,
    }
}

/// `host`, `host:port`, an IPv6 address as it is, or in brackets with a port.
pub(super) fn endpoint(text: &str, port: u16) -> Option<Endpoint> {
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(Endpoint { host: ip.to_string(), port });
    }
    let (host, port) = match text.rsplit_once(':') {
        None => (text, port),
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
    };
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']')?.parse::<IpAddr>().ok()?.to_string(),
        None => host.to_owned(),
    };
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || host.contains("::");
    (!host.is_empty() && host.chars().all(|c| valid(c) || c == ':' && host.parse::<IpAddr>().is_ok()))
        .then_some(Endpoint { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(udp: (&str, u16), tcp: (&str, u16)) -> Option<DaemonAddress> {
        let endpoint = |(host, port): (&str, u16)| Endpoint { host: host.to_owned(), port };
        Some(DaemonAddress { udp: endpoint(udp), tcp: endpoint(tcp) })
    }

    #[test]
    fn addresses_of_the_daemon() {
        let one = |host, port| both((host, port), (host, port));
        for (text, expected) in [
            ("10.0.0.1", one("10.0.0.1", 7)),
            ("10.0.0.1:2001", one("10.0.0.1", 2001)),
            ("xray-daemon.default:2000", one("xray-daemon.default", 2000)),
            ("::1", one("::1", 7)),
            ("[::1]", one("::1", 7)),
            ("[fd00::2]:2002", one("fd00::2", 2002)),
            ("tcp:10.0.0.1:2000 udp:10.0.0.2:2001", both(("10.0.0.2", 2001), ("10.0.0.1", 2000))),
            ("udp:a:1  tcp:b:2", both(("a", 1), ("b", 2))),
            ("tcp:a:1", None),
            ("udp:a:1 udp:b:2", None),
            ("a:b", None),
            ("a:0", None),
            ("a:70000", None),
            ("[a]:1", None),
            (":1", None),
            ("a b c", None),
            ("a/b", None),
        ] {
            assert_eq!(parse(text, 7), expected, "{text}");
        }
    }
}
