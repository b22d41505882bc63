//! TLS to the control plane: `OUTRIGGER_XDS_ROOTS` turns it on.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{VariableError, Variables};

/// The static cluster of the control plane.
pub(super) const CLUSTER: &str = "outrigger_control_plane";

const ROOTS: &str = "OUTRIGGER_XDS_ROOTS";
const NAME: &str = "OUTRIGGER_XDS_NAME";
const CERTIFICATE: &str = "OUTRIGGER_XDS_CERTIFICATE";
const KEY: &str = "OUTRIGGER_XDS_KEY";

/// The cluster that leads to `target` over TLS; `None` in clear. The server must have a certificate for
/// `OUTRIGGER_XDS_NAME`, else for the host of the endpoint. Files are followed when they change.
pub(super) fn find(variables: &dyn Variables, target: &str) -> Result<Option<Value>, VariableError> {
    let Some(roots) = variables.get(ROOTS) else {
        let without = [NAME, CERTIFICATE, KEY].into_iter().find(|name| variables.get(name).is_some());
        return match without {
            Some(name) => Err(VariableError::new(name, format!("has a meaning with {ROOTS} only"))),
            None => Ok(None),
        };
    };
    let host_and_port = target.rsplit_once(':').filter(|_| !target.starts_with("unix:"));
    let Some((host, port)) = host_and_port else {
        return Err(VariableError::new(ROOTS, "has no meaning for a Unix socket".to_owned()));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port: u16 = port.parse().map_err(|_| VariableError::new(ROOTS, format!("{target:?} has no port")))?;
    let name = variables.get(NAME).unwrap_or_else(|| host.to_owned());
    let is_address = name.parse::<IpAddr>().is_ok();
    let kind = if is_address { "IP_ADDRESS" } else { "DNS" };
    let mut common = json!({
        "validation_context": {
            "trusted_ca": { "filename": roots },
            "match_typed_subject_alt_names": [{ "san_type": kind, "matcher": { "exact": name } }],
        },
    });
    match (variables.get(CERTIFICATE), variables.get(KEY)) {
        (Some(certificate), Some(key)) => {
            common["tls_certificates"] = json!([{
                "certificate_chain": { "filename": certificate }, "private_key": { "filename": key },
            }]);
        }
        (None, None) => {}
        (Some(_), None) => return Err(VariableError::new(CERTIFICATE, format!("needs {KEY}"))),
        (None, Some(_)) => return Err(VariableError::new(KEY, format!("needs {CERTIFICATE}"))),
    }
    let mut tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": common,
    });
    if !is_address {
        tls["sni"] = json!(name);
    }
    Ok(Some(json!({
        "name": CLUSTER,
        "type": if host.parse::<IpAddr>().is_ok() { "STATIC" } else { "STRICT_DNS" },
        "connect_timeout": "5s",
        "typed_extension_protocol_options": over_http2(),
        "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": tls },
        "load_assignment": { "cluster_name": CLUSTER, "endpoints": [{ "lb_endpoints": [{ "endpoint": {
            "address": { "socket_address": { "address": host, "port_value": port } } } }] }] },
    })))
}

/// Options of a cluster that speaks HTTP/2.
fn over_http2() -> Value {
    json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": { "http2_protocol_options": {} },
    } })
}
