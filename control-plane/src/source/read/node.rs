//! Virtual node.

use super::listener::{access_log, pair};
use super::syntax::host_name;
use super::{Fields, FromNode, Reader};
use crate::model::{Backend, ClientTls, DnsResponseType, Kind, ServiceDiscovery, VirtualNodeSpec};
use crate::source::node::Node;

impl FromNode for VirtualNodeSpec {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the virtual node spec", cx)?;
        let listeners = fields.list("listeners", 1..=64, cx);
        let service_discovery = fields.optional("serviceDiscovery", cx);
        let backends = fields.list("backends", 1..=10_000, cx);
        let backend_defaults = backend_defaults(&mut fields, cx);
        let access_log = access_log(&mut fields, cx);
        fields.finish(cx)?;
        Some(Self { listeners, service_discovery, backends, backend_defaults, access_log })
    }
}

impl FromNode for ServiceDiscovery {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "serviceDiscovery", cx)?;
        let discovery = match fields.exactly_one(&["dns", "awsCloudMap"], cx) {
            Some("dns") => fields.optional_with("dns", cx, dns),
            Some(_) => fields.optional_with("awsCloudMap", cx, cloud_map),
            None => None,
        };
        fields.finish(cx)?;
        discovery
    }
}

fn dns(node: &Node, cx: &mut Reader<'_>) -> Option<ServiceDiscovery> {
    let mut fields = Fields::open(node, "dns", cx)?;
    let hostname =
        fields.required_with("hostname", cx, |n, cx| Some((hostname(n, cx)?, n.at.clone().into())));
    let words = [("LOADBALANCER", DnsResponseType::LoadBalancer), ("ENDPOINTS", DnsResponseType::Endpoints)];
    let response_type =
        fields.optional_with("responseType", cx, |n, cx| cx.keyword(n, "responseType", &words));
    let ip_preference = fields.optional("ipPreference", cx);
    fields.finish(cx)?;
    let (hostname, at) = hostname?;
    Some(ServiceDiscovery::Dns { hostname, response_type, ip_preference, at })
}

/// A name that cannot resolve is no reason to refuse the mesh: App Mesh took it too, and other nodes worked.
fn hostname(node: &Node, cx: &mut Reader<'_>) -> Option<String> {
    let name = cx.bounded_text(node, "hostname", 1..=253)?;
    if let Err(fault) = host_name(&name)
        && cx.is_known(node)
    {
        let message = format!("hostname \"{name}\" {fault}; until then the virtual node has no endpoint");
        cx.report.warn(&node.at, "never-resolves", message);
    }
    Some(name)
}

fn cloud_map(node: &Node, cx: &mut Reader<'_>) -> Option<ServiceDiscovery> {
    let mut fields = Fields::open(node, "awsCloudMap", cx)?;
    let namespace = fields.required_text("namespaceName", 1..=1024, cx);
    let service = fields.required_text("serviceName", 1..=1024, cx);
    let attributes: Vec<Attribute> = fields.list("attributes", 1..=1000, cx);
    let ip_preference = fields.optional("ipPreference", cx);
    fields.finish(cx)?;
    Some(ServiceDiscovery::CloudMap {
        namespace: namespace?,
        service: service?,
        attributes: attributes.into_iter().map(|Attribute(key, value)| (key, value)).collect(),
        ip_preference,
        at: node.at.clone().into(),
    })
}

/// An attribute that instances must have.
struct Attribute(String, String);

impl FromNode for Attribute {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let (key, value) = pair(node, cx, |_, node, cx| cx.text_or_empty(node, "value"))?;
        Some(Self(key, value))
    }
}

impl FromNode for Backend {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the backend", cx)?;
        let backend = fields.required_with("virtualService", cx, |n, cx| {
            let mut fields = Fields::open(n, "virtualService", cx)?;
            let virtual_service = fields.reference("virtualServiceName", Kind::VirtualService, cx);
            let policy = client_policy(&mut fields, cx);
            fields.finish(cx)?;
            let has_policy = policy.is_some();
            Some(Self { virtual_service: virtual_service?, client_tls: policy.flatten(), has_policy })
        });
        fields.finish(cx)?;
        backend
    }
}

/// `backendDefaults`.
pub(super) fn backend_defaults(fields: &mut Fields<'_>, cx: &mut Reader<'_>) -> Option<ClientTls> {
    let policy = fields.optional_with("backendDefaults", cx, |node, cx| {
        let mut fields = Fields::open(node, "backendDefaults", cx)?;
        let policy = client_policy(&mut fields, cx);
        fields.finish(cx)?;
        Some(policy.flatten())
    });
    policy.flatten()
}

/// `clientPolicy`, if one is written, and its TLS part.
fn client_policy(fields: &mut Fields<'_>, cx: &mut Reader<'_>) -> Option<Option<ClientTls>> {
    fields.optional_with("clientPolicy", cx, |node, cx| {
        let mut fields = Fields::open(node, "clientPolicy", cx)?;
        let tls = fields.optional("tls", cx);
        fields.finish(cx)?;
        Some(tls)
    })
}
