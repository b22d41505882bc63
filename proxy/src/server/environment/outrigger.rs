//! Our own variables. An unknown one is an error that names the one that was meant, or all of them: a misspelt setting
//! must not silently do nothing.

use std::net::{IpAddr, SocketAddr};

use super::{VariableError, Variables, admin_port, boolean, integer};
use crate::observe::emf;

const KNOWN: &[&str] = &[
    "OUTRIGGER_ADMIN_ADDRESS",
    "OUTRIGGER_CLUSTER_NAME",
    "OUTRIGGER_CORE_DUMPS",
    "OUTRIGGER_EMF",
    "OUTRIGGER_EMF_DIMENSIONS",
    "OUTRIGGER_EMF_INTERVAL_S",
    "OUTRIGGER_EMF_LOG_GROUP",
    "OUTRIGGER_EMF_MAX_SERIES",
    "OUTRIGGER_EMF_METRICS",
    "OUTRIGGER_EMF_NAMESPACE",
    "OUTRIGGER_EMF_PREFIX",
    "OUTRIGGER_EMF_RESOLUTION",
    "OUTRIGGER_OTLP_ENDPOINT",
    "OUTRIGGER_OTLP_ROOTS",
    "OUTRIGGER_STRICT_TLS",
    "OUTRIGGER_TRACE_CALLERS",
    "OUTRIGGER_TRACE_PROPAGATION",
    "OUTRIGGER_TRACE_RESPONSES",
    "OUTRIGGER_WORKERS",
    "OUTRIGGER_XDS_AWS_AUDIENCE",
    "OUTRIGGER_XDS_CERTIFICATE",
    "OUTRIGGER_XDS_KEY",
    "OUTRIGGER_XDS_NAME",
    "OUTRIGGER_XDS_ROOTS",
    "OUTRIGGER_XDS_TOKEN_FILE",
    "OUTRIGGER_XRAY_SAMPLING",
    "OUTRIGGER_XRAY_SEGMENTS",
];

/// Variables of the image that could be taken for one of ours.
const IMAGE: &[&str] = &[
    "APPMESH_RESOURCE_ARN",
    "APPMESH_RESOURCE_CLUSTER",
    "APPMESH_SDS_SOCKET_PATH",
    "APPMESH_XDS_ENDPOINT",
    "ENVOY_ADMIN_ACCESS_PORT",
    "ENVOY_ADMIN_MODE",
    "ENVOY_CONCURRENCY",
    "ENVOY_CONFIG_FILE",
    "ENVOY_LOG_LEVEL",
    "ENVOY_STATS_FLUSH_INTERVAL",
    "XRAY_DAEMON_PORT",
    "XRAY_SAMPLING_RATE",
];
/// Typing errors in a name that is still recognised.
const NEAR: usize = 3;

/// What they say.
pub(super) struct Own {
    pub(super) admin_address: Option<SocketAddr>,
    pub(super) workers: Option<u32>,
    pub(super) emf: Option<emf::Settings>,
    pub(super) cluster_name: Option<String>,
    pub(super) strict_tls: bool,
    pub(super) core_dumps: bool,
}

pub(super) fn read(variables: &dyn Variables, warnings: &mut Vec<String>) -> Result<Own, VariableError> {
    refuse_unknown(&variables.names())?;
    let workers = in_range(variables, "OUTRIGGER_WORKERS", 1..=1024)?;
    Ok(Own {
        admin_address: admin_address(variables)?,
        strict_tls: boolean(variables, "OUTRIGGER_STRICT_TLS")?.unwrap_or(false),
        core_dumps: boolean(variables, "OUTRIGGER_CORE_DUMPS")?.unwrap_or(false),
        workers: workers.and_then(|count| u32::try_from(count).ok()),
        emf: super::emf::read(variables, warnings)?,
        cluster_name: variables.get("OUTRIGGER_CLUSTER_NAME"),
    })
}

/// `address:port`, or an address with the usual port.
fn admin_address(variables: &dyn Variables) -> Result<Option<SocketAddr>, VariableError> {
    const NAME: &str = "OUTRIGGER_ADMIN_ADDRESS";
    let Some(text) = variables.get(NAME) else { return Ok(None) };
    if let Ok(address) = text.parse() {
        return Ok(Some(address));
    }
    match text.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => Ok(Some(SocketAddr::new(ip, admin_port(variables)?))),
        Err(_) => {
            Err(VariableError::new(NAME, format!("{text:?} is not an address; write it like 0.0.0.0:9901")))
        }
    }
}

pub(super) fn in_range(
    variables: &dyn Variables,
    name: &str,
    range: std::ops::RangeInclusive<i64>,
) -> Result<Option<i64>, VariableError> {
    match integer(variables, name)? {
        Some(value) if !range.contains(&value) => {
            let message = format!("{value} must be {} to {}", range.start(), range.end());
            Err(VariableError::new(name, message))
        }
        other => Ok(other),
    }
}

fn refuse_unknown(names: &[String]) -> Result<(), VariableError> {
    let unknown = names.iter().find(|name| name.starts_with("OUTRIGGER_") && !KNOWN.contains(&name.as_str()));
    let Some(name) = unknown else { return Ok(()) };
    let message = match meant(name) {
        Some(meant) => format!("is not known; did you mean {meant}?"),
        None => format!("is not known; there are {}", KNOWN.join(", ")),
    };
    Err(VariableError::new(name, message))
}

/// The variable that an unknown one of ours is close to: one of ours, or one of the image's without our prefix.
fn meant(name: &str) -> Option<&'static str> {
    let ours = KNOWN.iter().map(|known| (distance(known, name), *known));
    let bare = name.strip_prefix("OUTRIGGER_").unwrap_or(name);
    let of_image = IMAGE.iter().map(|known| {
        let setting = known.split_once('_').map_or(*known, |(_, setting)| setting);
        (distance(setting, bare), *known)
    });
    let (closest, known) = ours.chain(of_image).min_by_key(|(distance, _)| *distance)?;
    (closest <= NEAR).then_some(known)
}

/// Levenshtein distance.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, left) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, right) in other.iter().enumerate() {
            let substitution = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = substitution.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
