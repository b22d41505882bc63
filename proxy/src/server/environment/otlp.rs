//! An OpenTelemetry collector for spans: where it is, and how it is reached over TLS.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::tracing::{self, Endpoint};
use super::{VariableError, Variables, boolean, control_plane, known};
use crate::observe::mesh;
use crate::observe::trace::collector::{self, Form, Sampling};
use crate::observe::trace::header::{Format, Propagation};
use crate::observe::trace::tracers::Provider;
use crate::observe::trace::transport::Target;
use crate::xds::translate::{TRACE_EXPORT, TracingOptions};

const NAME: &str = "OUTRIGGER_OTLP_ENDPOINT";
const ROOTS: &str = "OUTRIGGER_OTLP_ROOTS";
/// The static cluster of a collector behind TLS.
const CLUSTER: &str = "outrigger_otlp_collector";
/// Where systems keep the authorities that they trust.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What an endpoint says.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    form: Form,
    endpoint: Endpoint,
    path: String,
    /// Over TLS.
    secure: bool,
}

/// `OUTRIGGER_OTLP_ENDPOINT`: spans go to an OpenTelemetry collector, each try one of its own, recorded by the same
/// rules as X-Ray's.
pub fn otlp(variables: &dyn Variables, options: &TracingOptions) -> Result<Option<Provider>, VariableError> {
    let Some(text) = variables.get(NAME) else { return Ok(None) };
    for name in known::TRACERS {
        if boolean(variables, name)? == Some(true) {
            let message = format!("only one tracer may be enabled, and {name} is on; switch one off");
            return Err(VariableError::new(NAME, message));
        }
    }
    let place = Place::parse(&text)?;
    let service = match (variables.get("XRAY_SEGMENT_NAME"), mesh::Identity::parse(&options.node)) {
        (Some(name), _) => name,
        (None, Some(own)) => format!("{}/{}", own.mesh, own.name),
        (None, None) => options.cluster.to_string(),
    };
    let sampling = match &options.central {
        Some(central) => Sampling::Central(central.target.clone()),
        None => Sampling::Local(tracing::local_rules(variables)?),
    };
    Ok(Some(Provider::Collector(collector::Settings {
        target: place.target(),
        authority: place.authority().into(),
        secure: place.secure,
        path: place.path.as_str().into(),
        service: service.into(),
        node_id: options.node.clone(),
        form: place.form,
        attempts: true,
        sampling,
        propagation: options
            .propagation
            .clone()
            .unwrap_or_else(|| Propagation::of(&[Format::XRay, Format::W3c])),
    })))
}

/// The cluster of a collector behind TLS, in Envoy's JSON; `None` for one without. Its certificate must be of the
/// endpoint's host, by an authority in the file `OUTRIGGER_OTLP_ROOTS`, else by one that the system trusts.
pub fn otlp_cluster(variables: &dyn Variables) -> Result<Option<Value>, VariableError> {
    let place = variables.get(NAME).map(|text| Place::parse(&text)).transpose()?;
    let Some(place) = place.filter(|place| place.secure) else {
        return match variables.get(ROOTS) {
            Some(_) => Err(VariableError::new(ROOTS, format!("has a meaning with an https {NAME} only"))),
            None => Ok(None),
        };
    };
    let Endpoint { host, port } = &place.endpoint;
    let is_address = host.parse::<IpAddr>().is_ok();
    let kind = if is_address { "IP_ADDRESS" } else { "DNS" };
    let mut tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": { "validation_context": {
            "trusted_ca": { "filename": roots(variables)? },
            "match_typed_subject_alt_names": [{ "san_type": kind, "matcher": { "exact": host } }],
        } },
    });
    if !is_address {
        tls["sni"] = json!(host);
    }
    let mut cluster = json!({
        "name": CLUSTER,
        "type": if is_address { "STATIC" } else { "STRICT_DNS" },
        "connect_timeout": "5s",
        "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": tls },
        "load_assignment": { "cluster_name": CLUSTER, "endpoints": [{ "lb_endpoints": [{ "endpoint": {
            "address": { "socket_address": { "address": host, "port_value": port } } } }] }] },
    });
    if place.form == Form::OtlpGrpc {
        cluster["typed_extension_protocol_options"] = control_plane::over_http2();
    }
    Ok(Some(cluster))
}

fn roots(variables: &dyn Variables) -> Result<String, VariableError> {
    let given = variables.get(ROOTS).or_else(|| variables.get("SSL_CERT_FILE"));
    let found = given.or_else(|| {
        let of_system = SYSTEM_ROOTS.iter().find(|path| std::path::Path::new(path).exists());
        of_system.map(|path| (*path).to_owned())
    });
    found.ok_or_else(|| {
        VariableError::new(ROOTS, "is required: this system has no file of trusted authorities".to_owned())
    })
}

impl Place {
    fn parse(text: &str) -> Result<Self, VariableError> {
        Self::of(text).ok_or_else(|| {
            let message =
                "is none of grpc://host:port, http://host:port/path, host:port, nor of grpcs:// and https://";
            VariableError::new(NAME, format!("{text:?} {message}"))
        })
    }

    /// gRPC or HTTP by scheme, else by port: 4318 and 4316 are those of HTTP.
    fn of(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (form, endpoint) = match scheme {
            "grpc" | "grpcs" => (Form::OtlpGrpc, tracing::endpoint(authority, 4317)?),
            "http" | "https" => {
                let endpoint = tracing::endpoint(authority, 4318)?;
                let grpc = path.is_empty() && matches!(endpoint.port, 4317 | 4315);
                (if grpc { Form::OtlpGrpc } else { Form::OtlpHttp }, endpoint)
            }
            "" => {
                let endpoint = tracing::endpoint(authority, 4317)?;
                let http = matches!(endpoint.port, 4318 | 4316);
                (if http { Form::OtlpHttp } else { Form::OtlpGrpc }, endpoint)
            }
            _ => return None,
        };
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic());
        let path = match (form, path) {
            (Form::OtlpGrpc, "" | "/") => TRACE_EXPORT.to_owned(),
            (Form::OtlpGrpc, _) => return None,
            (_, "" | "/") => "/v1/traces".to_owned(),
            (_, path) => path.to_owned(),
        };
        plain.then_some(Self { form, endpoint, path, secure: matches!(scheme, "https" | "grpcs") })
    }

    fn target(&self) -> Target {
        match self.secure {
            true => Target::Cluster(CLUSTER.into()),
            false => Target::Address(self.endpoint.host.as_str().into(), self.endpoint.port),
        }
    }

    /// `Host` where the target does not tell it.
    fn authority(&self) -> String {
        let Endpoint { host, port } = &self.endpoint;
        match (self.secure, host.contains(':')) {
            (false, _) => String::new(),
            (true, true) => format!("[{host}]:{port}"),
            (true, false) => format!("{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_opentelemetry() {
        let http = |port, path| Some((Form::OtlpHttp, port, path, false));
        let grpc = |port| Some((Form::OtlpGrpc, port, TRACE_EXPORT, false));
        let secure = |form, port, path| Some((form, port, path, true));
        for (text, expected) in [
            ("http://127.0.0.1:4318", http(4318, "/v1/traces")),
            ("http://agent:4318/custom", http(4318, "/custom")),
            ("http://agent", http(4318, "/v1/traces")),
            ("http://agent:4317", grpc(4317)),
            ("grpc://agent:9", grpc(9)),
            ("agent:4315", grpc(4315)),
            ("agent:4316", http(4316, "/v1/traces")),
            ("[::1]", grpc(4317)),
            ("https://agent:443/v1/traces", secure(Form::OtlpHttp, 443, "/v1/traces")),
            ("https://agent:4317", secure(Form::OtlpGrpc, 4317, TRACE_EXPORT)),
            ("grpcs://agent", secure(Form::OtlpGrpc, 4317, TRACE_EXPORT)),
            ("ftp://agent", None),
            ("grpc://agent/x", None),
            ("http://", None),
            ("http://agent:4318/a b", None),
        ] {
            let found = Place::of(text);
            let found =
                found.as_ref().map(|one| (one.form, one.endpoint.port, one.path.as_str(), one.secure));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn who_is_trusted_is_told_or_known() {
        let of =
            |pairs: &'static [(&str, &str)]| otlp_cluster(&crate::server::environment::tests::table(pairs));
        assert_eq!(of(&[(NAME, "http://x")]).unwrap(), None);
        assert!(of(&[(ROOTS, "/roots.pem")]).is_err());
        assert!(of(&[(NAME, "http://x"), (ROOTS, "/roots.pem")]).is_err());
        let cluster =
            of(&[(NAME, "grpcs://collector.example:4317"), (ROOTS, "/roots.pem")]).unwrap().unwrap();
        let tls = &cluster["transport_socket"]["typed_config"];
        assert_eq!((&cluster["type"], &tls["sni"]), (&json!("STRICT_DNS"), &json!("collector.example")));
        let trusted = &tls["common_tls_context"]["validation_context"]["trusted_ca"]["filename"];
        assert_eq!(trusted, "/roots.pem");
        assert!(cluster["typed_extension_protocol_options"].is_object());
        let plain =
            of(&[(NAME, "https://127.0.0.1:443/x"), ("SSL_CERT_FILE", "/other.pem")]).unwrap().unwrap();
        assert!(plain["typed_extension_protocol_options"].is_null(), "{plain}");
    }
}
