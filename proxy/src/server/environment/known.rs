//! Variables of the image that are read and change nothing here, checked as the image checked them.

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
    ("ENVOY_OUTLIER_DETECTION_EVENT_LOG_PATH", Kind::Text, "ejections are told in the log, not as events"),
    ("ENVOY_ENABLE_TCP_POOL_IDLE_TIMEOUT", Kind::Text, RUNTIME),
    ("ENABLE_STATS_SNAPSHOT", Kind::Text, AGENT),
    ("APPNET_ENVOY_LOG_DESTINATION", Kind::Text, "logs go to stderr"),
];

const SIGNING: &str = "the AWS endpoint is gone and requests are not signed";
const RUNTIME: &str = "there is no Envoy runtime to set";
const AGENT: &str = "there is no agent process beside the proxy";

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
        };
        if set {
            warnings.push(format!("{name} is not in effect: {why}"));
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
