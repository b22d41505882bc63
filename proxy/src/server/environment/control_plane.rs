//! TLS to the control plane: `OUTRIGGER_XDS_ROOTS` turns it on.

use std::net::IpAddr;
use std::time::Duration;

use outrigger_aws_auth::caller::{self, Caller};
use outrigger_aws_auth::client::Client;
use outrigger_aws_auth::credentials::Provider;
use serde_json::{Value, json};

use super::{VariableError, Variables};

/// The static cluster of the control plane.
pub(super) const CLUSTER: &str = "outrigger_control_plane";

const ROOTS: &str = "OUTRIGGER_XDS_ROOTS";
const NAME: &str = "OUTRIGGER_XDS_NAME";
const CERTIFICATE: &str = "OUTRIGGER_XDS_CERTIFICATE";
const KEY: &str = "OUTRIGGER_XDS_KEY";
const AWS_AUDIENCE: &str = "OUTRIGGER_XDS_AWS_AUDIENCE";
const TOKEN_FILE: &str = "OUTRIGGER_XDS_TOKEN_FILE";

/// How long an endpoint of AWS may take.
const ANSWER: Duration = Duration::from_secs(5);

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

/// The AWS identity that the control plane is shown: the credentials of the environment, task or pod, for the audience in
/// `OUTRIGGER_XDS_AWS_AUDIENCE`, at STS of `AWS_REGION` or at `AWS_ENDPOINT_URL_STS`.
pub(super) fn aws_identity(variables: &dyn Variables) -> Result<Option<Caller>, VariableError> {
    let Some(audience) = variables.get(AWS_AUDIENCE) else { return Ok(None) };
    let fail = |message: String| VariableError::new(AWS_AUDIENCE, message);
    if variables.get(TOKEN_FILE).is_some() {
        return Err(fail(format!("does not go with {TOKEN_FILE}; choose one")));
    }
    if audience.is_empty() || !audience.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(fail("must be what the control plane's rules have as aws.audience".to_owned()));
    }
    let region = variables.get("AWS_REGION").or_else(|| variables.get("AWS_DEFAULT_REGION"));
    let region = region.ok_or_else(|| fail("needs AWS_REGION".to_owned()))?;
    let endpoint = variables.get("AWS_ENDPOINT_URL_STS").unwrap_or_else(|| caller::endpoint(&region));
    let client = Client::new(ANSWER).map_err(|error| fail(error.to_string()))?;
    let provider = Provider::of_environment(|name| variables.get(name), &region, client).map_err(fail)?;
    Ok(Some(Caller { provider, audience, region, endpoint }))
}

/// Options of a cluster that speaks HTTP/2.
pub(super) fn over_http2() -> Value {
    json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": { "http2_protocol_options": {} },
    } })
}
