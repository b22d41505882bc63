//! The control plane's address.

use std::net::Ipv6Addr;

use super::{VariableError, Variables};

const NAME: &str = "APPMESH_XDS_ENDPOINT";
/// Port of an Outrigger control plane.
const PORT: u16 = 18000;

/// The target of the xDS channel: `host:port` or `unix:///path`, in clear. The AWS endpoint that was the default is
/// gone, so there is none.
pub(super) fn find(variables: &dyn Variables) -> Result<String, VariableError> {
    let Some(endpoint) = variables.get(NAME) else {
        let message = "is required: AWS App Mesh is switched off, so point it to an Outrigger control plane, host:port \
                       (port 18000 by default) or unix:///path";
        return Err(VariableError::new(NAME, message));
    };
    let fail = |what: &str| {
        let message =
            format!("{endpoint:?} {what}; use host:port or unix:///path of an Outrigger control plane");
        Err(VariableError::new(NAME, message))
    };
    if let Some(path) = endpoint.strip_prefix("unix:") {
        return match path.trim_start_matches('/') {
            "" => fail("names no socket"),
            _ => Ok(endpoint),
        };
    }
    if endpoint.contains("://") {
        return fail("has a scheme");
    }
    if endpoint.contains(".amazonaws.com") || endpoint.contains(".api.aws") {
        return fail("is an AWS endpoint, and AWS App Mesh is switched off");
    }
    if endpoint.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{endpoint}]:{PORT}"));
    }
    match endpoint.rsplit_once(':') {
        None => Ok(format!("{endpoint}:{PORT}")),
        Some((_, port)) if port.ends_with(']') => Ok(format!("{endpoint}:{PORT}")),
        Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(endpoint),
        Some(_) => fail("is not an address"),
    }
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ip) => ip.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '[', ']', '/', ' ']),
    }
}
