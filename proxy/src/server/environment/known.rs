//! Variables of the image that are read and change nothing here, checked as the image checked them.

use std::collections::BTreeMap;

use super::{VariableError, Variables, boolean, integer};

/// How the image reads a variable.
enum Kind {
    /// Go's boolean; a wrong one stops the start. In effect when true.
    Flag,
    /// Like `Flag`, but only false would change something.
    FlagOnByDefault,
    /// Decimal; a wrong one stops the start.
    Number,
    /// Anything.
    Text,
    /// Not read by the image, and so never wrong; meant when true.
    Unread,
}

/// Name, kind, and what setting it does not do.
const WITHOUT_EFFECT: &[(&str, Kind, &str)] = &[
    ("APPMESH_SIGNING_NAME", Kind::Text, SIGNING),
    ("APPMESH_PREVIEW", Kind::Flag, SIGNING),
    ("APPMESH_DUALSTACK_ENDPOINT", Kind::Flag, SIGNING),
    ("APPMESH_SET_TRACING_DECISION", Kind::FlagOnByDefault, RUNTIME),
    ("ENVOY_NO_EXTENSION_LOOKUP_BY_NAME", Kind::FlagOnByDefault, RUNTIME),
    ("ENVOY_USE_HTTP_CLIENT_TO_FETCH_AWS_CREDENTIALS", Kind::Flag, RUNTIME),
    ("MAX_REQUESTS_PER_IO_CYCLE", Kind::Number, RUNTIME),
    ("ENVOY_ENABLE_TCP_POOL_IDLE_TIMEOUT", Kind::Text, RUNTIME),
    ("APPMESH_FIPS_ENDPOINT", Kind::Unread, SIGNING),
];

const SIGNING: &str = "the AWS endpoint is gone and requests are not signed";
const RUNTIME: &str = "there is no Envoy runtime to set";

/// Variables of the image's agent: there is none beside the proxy. It took any text and fell back to its defaults.
const AGENT: &[(&str, &str)] = &[
    ("APPNET_ENVOY_RESTART_COUNT", RESTARTS),
    ("PID_POLL_INTERVAL_MS", RESTARTS),
    ("HC_POLL_INTERVAL_MS", HEALTH),
    ("HC_DISCONNECTED_TIMEOUT_S", HEALTH),
    ("APPNET_AGENT_POLL_ENVOY_READINESS_INTERVAL_S", HEALTH),
    ("APPNET_AGENT_POLL_ENVOY_READINESS_TIMEOUT_S", HEALTH),
    ("APPNET_AGENT_ADMIN_MODE", MANAGEMENT),
    ("APPNET_AGENT_HTTP_PORT", MANAGEMENT),
    ("APPNET_AGENT_HTTP_BIND_ADDRESS", MANAGEMENT),
    ("APPNET_AGENT_ADMIN_UDS_PATH", MANAGEMENT),
    ("ENABLE_STATS_SNAPSHOT", MANAGEMENT),
    ("APPNET_AGENT_LOGGING_RESET_TIMEOUT", "log levels stay as /logging sets them"),
    ("APPNET_ENVOY_LOG_DESTINATION", LOGS),
    ("APPNET_ENVOY_LOG_NAME", LOGS),
    ("APPNET_AGENT_MAX_LOG_FILE_SIZE", LOGS),
    ("APPNET_AGENT_MAX_RETENTION_COUNT", LOGS),
    ("APPNET_CONTAINER_IP_MAPPING", CONNECT),
    ("APPNET_LISTENER_PORT_MAPPING", CONNECT),
    ("APPNET_ENABLE_RELAY_MODE_FOR_XDS", CONNECT),
    ("APPNET_RELAY_LISTENER_UDS_PATH", CONNECT),
    ("APPNET_MANAGEMENT_DOMAIN_NAME", CONNECT),
    ("APPNET_MANAGEMENT_PORT", CONNECT),
    ("APPNET_FIPS_MODE_ENABLED", CONNECT),
    ("NAMESPACE_NAME", CONNECT),
    ("NAMESPACE_ARN", CONNECT),
    ("ECS_CONTAINER_INSTANCE_ARN", CONNECT),
];

const RESTARTS: &str = "the proxy is the container's own process, which the orchestrator restarts";
const HEALTH: &str = "no agent watches the proxy; ask /ready, or run `outrigger-proxy ready`";
const MANAGEMENT: &str = "there is no management API beside the admin endpoint";
const LOGS: &str = "logs go to stderr";
const CONNECT: &str = "it belongs to Service Connect, not to App Mesh";

/// Names the agent's variables that are set, those with the same reason together: injectors set several of them always.
pub(super) fn agent(variables: &dyn Variables, warnings: &mut Vec<String>) {
    let set = AGENT.iter().filter(|(name, _)| variables.get(name).is_some());
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, why) in set {
        by_reason.entry(why).or_default().push((*name).to_owned());
    }
    let mut relay = variables.names();
    relay.retain(|name| name.starts_with("RELAY_"));
    if !relay.is_empty() {
        relay.sort();
        by_reason.entry(CONNECT).or_default().extend(relay);
    }
    warnings.extend(by_reason.iter().map(|(why, names)| not_in_effect(names, why)));
}

fn not_in_effect(names: &[impl AsRef<str>], why: &str) -> String {
    let all: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let are = if all.len() == 1 { "is" } else { "are" };
    format!("{} {are} not in effect: {why}", all.join(", "))
}

/// The tracers of the image: at most one.
pub(super) const TRACERS: &[&str] =
    &["ENABLE_ENVOY_XRAY_TRACING", "ENABLE_ENVOY_DATADOG_TRACING", "ENABLE_ENVOY_JAEGER_TRACING"];

/// Checks the variables and warns about those that are set to something that is not in effect.
pub(super) fn check(variables: &dyn Variables, warnings: &mut Vec<String>) -> Result<(), VariableError> {
    one_tracer(variables)?;
    for (name, kind, why) in WITHOUT_EFFECT {
        let set = match kind {
            Kind::Flag => boolean(variables, name)? == Some(true),
            Kind::FlagOnByDefault => boolean(variables, name)? == Some(false),
            Kind::Number => integer(variables, name)?.is_some(),
            Kind::Text => variables.get(name).is_some(),
            Kind::Unread => matches!(boolean(variables, name), Ok(Some(true))),
        };
        if set {
            warnings.push(not_in_effect(&[name], why));
        }
    }
    // Process flags of the image; what they switch does not exist here, but a wrong value stopped the image.
    for name in ["DISABLE_HOT_RESTART", "ENVOY_SKIP_DEPRECATED_LOGS"] {
        boolean(variables, name)?;
    }
    Ok(())
}

/// `ENVOY_TRACING_CFG_FILE` replaces the built-in tracers, so they do not count beside it.
fn one_tracer(variables: &dyn Variables) -> Result<(), VariableError> {
    if variables.get("ENVOY_TRACING_CFG_FILE").is_some() {
        return Ok(());
    }
    let mut first: Option<&str> = None;
    for name in TRACERS {
        match (boolean(variables, name)?, first) {
            (Some(true), Some(other)) => {
                let message = format!("only one tracer may be enabled, and {other} is on; switch one off");
                return Err(VariableError::new(name, message));
            }
            (Some(true), None) => first = Some(name),
            _ => {}
        }
    }
    Ok(())
}
