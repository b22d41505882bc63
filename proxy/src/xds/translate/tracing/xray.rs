//! X-Ray. Source: `envoy.config.trace.v3.XRayConfig`.

use outrigger_xds_protos::v3::core::socket_address::{PortSpecifier, Protocol};
use outrigger_xds_protos::v3::core::{DataSource, SocketAddress};
use outrigger_xds_protos::v3::trace::XRayConfig;
use outrigger_xds_protos::v3::trace::x_ray_config::SegmentFields;

use super::super::fields;
use super::super::fields::refuse;
use super::super::path::{Path, Rejection};
use super::super::{access_log, data_source};
use super::{TracingOptions, Warn};
use crate::observe::trace::header::{Format, Propagation};
use crate::observe::trace::sampling::manifest::Manifest;
use crate::observe::trace::transport::Target;
use crate::observe::trace::xray::{self, Daemon, segment_name};

pub(super) fn settings(
    message: &XRayConfig,
    options: &TracingOptions,
    path: &Path<'_>,
    warn: Warn<'_>,
) -> Result<xray::Settings, Rejection> {
    let XRayConfig { daemon_endpoint, segment_name: name, sampling_rule_manifest, segment_fields } = message;
    let daemon = match daemon_endpoint {
        None => Daemon::default(),
        Some(endpoint) => daemon(endpoint, &path.field("daemon_endpoint"))?,
    };
    let manifest = sampling_rule_manifest.as_ref();
    let manifest = manifest.map(|source| manifest_of(source, &path.field("sampling_rule_manifest"), warn));
    let central = options.central.as_ref().map(|central| match central.given {
        false if daemon_endpoint.is_some() => Target::Address(daemon.host.clone(), daemon.port),
        _ => central.target.clone(),
    });
    let absent = SegmentFields::default();
    let SegmentFields { origin, aws } = segment_fields.as_ref().unwrap_or(&absent);
    let aws = aws.as_ref().filter(|aws| !aws.fields.is_empty());
    let name = segment_name(if name.is_empty() { &options.cluster } else { name });
    Ok(xray::Settings {
        daemon,
        name: if name.is_empty() { "outrigger".into() } else { name },
        origin: origin.as_str().into(),
        aws: aws.map_or_else(Box::default, |aws| {
            serde_json::Value::Object(access_log::object(aws)).to_string().into_boxed_str()
        }),
        manifest: manifest.unwrap_or_default(),
        node_id: options.node.clone(),
        mesh: options.mesh().unwrap_or_default().into(),
        rich: options.rich,
        central,
        propagation: options.propagation.clone().unwrap_or_else(|| Propagation::of(&[Format::XRay])),
    })
}

/// As with Envoy's tracer a manifest that is wrong, or not there, costs its rules and nothing else.
fn manifest_of(source: &DataSource, path: &Path<'_>, warn: Warn<'_>) -> Manifest {
    let text = data_source::read(source, path).map_err(|Rejection { message, .. }| message);
    let text = text.and_then(|text| String::from_utf8(text).map_err(|_| "is not UTF-8".to_owned()));
    text.and_then(|text| Manifest::parse(&text)).unwrap_or_else(|error| {
        let place = data_source::place(source);
        let instead = "none of it is in effect: one request in each second and 5 % of the rest are recorded";
        warn(path, format!("{place}: {error}; {instead}"));
        Manifest::default()
    })
}

/// A UDP endpoint; its host may be a name.
fn daemon(message: &SocketAddress, path: &Path<'_>) -> Result<Daemon, Rejection> {
    let SocketAddress {
        protocol,
        address,
        port_specifier,
        resolver_name,
        ipv4_compat: _, // Only binding reads it.
        network_namespace_filepath,
    } = message;
    refuse!(path; resolver_name, network_namespace_filepath);
    if *protocol != Protocol::Udp as i32 {
        return Err(path.field("protocol").reject("the X-Ray daemon takes segments over UDP only"));
    }
    let host = fields::required(address, &path.field("address"))?.into();
    match port_specifier {
        Some(PortSpecifier::PortValue(port)) => {
            Ok(Daemon { host, port: fields::port(*port, &path.field("port_value"))? })
        }
        Some(PortSpecifier::NamedPort(_)) => Err(path.field("named_port").unsupported()),
        None => Err(path.field("port_value").missing()),
    }
}
