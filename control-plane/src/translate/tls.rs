//! TLS of listeners and clusters.
//!
//! Files and secrets of the local SDS server are passed on as they are. What AWS Certificate Manager holds cannot
//! be fetched: with an authority of the mesh's own it is that one's identities and roots instead, told by a finding, and
//! without one a proxy that needs it is refused. Definitions may also name the authority's secrets themselves, as
//! `sds` secrets called [`IDENTITY`] and [`crate::ca::TRUST`]; those come over the aggregated stream.

mod identity;
mod secrets;

pub use identity::{anonymous, asking_callers, identifies_callers};
pub use secrets::trust_in_file;

use outrigger_xds_protos::any::Typed;
use outrigger_xds_protos::v3::core::TransportSocket;
use outrigger_xds_protos::v3::core::transport_socket::ConfigType;
use outrigger_xds_protos::v3::tls::certificate_validation_context::TrustChainVerification;
use outrigger_xds_protos::v3::tls::common_tls_context::ValidationContextType;
use outrigger_xds_protos::v3::tls::{
    CommonTlsContext, DownstreamTlsContext, SubjectAltNameMatcher, UpstreamTlsContext,
};

use self::identity::{is_acm, is_mesh_trust};
use self::secrets::{alternative_name, certificate, context, mesh_context, mesh_secret, names_of, secret};
use super::TranslateOptions;
use super::message::{boolean, packed};
use crate::ca::IDENTITY;
use crate::diagnostics::{Position, Report};
use crate::graph::service::Target;
use crate::model::{
    ClientCertificate, ClientTls, Kind, ListenerCertificate, ListenerTls, MeshId, NodeId, Protocol,
    ServiceDiscovery, TlsMode, Trust,
};

/// The mesh as TLS settings see it.
#[derive(Clone, Copy)]
pub struct Scene<'g> {
    /// Which.
    pub mesh: &'g MeshId,
    /// Whether it has an authority of its own.
    pub has_ca: bool,
    /// How that one is called.
    pub issuer: &'static str,
    /// Another account's mesh of this name, under the same authority, would have the same identities.
    pub is_ambiguous: bool,
    /// Callers are asked who they are, and let in whatever they answer.
    pub asks_only: bool,
}

impl<'g> Scene<'g> {
    /// The mesh with the authority that the options say.
    pub fn new(mesh: &'g MeshId, options: &TranslateOptions) -> Self {
        let issuer = if options.private_ca { "AWS Private CA" } else { "the mesh's own authority" };
        let is_ambiguous = options.private_ca && mesh.owner.is_none();
        Self { mesh, has_ca: options.mesh_ca, issuer, is_ambiguous, asks_only: false }
    }
}

/// The socket of a listener that terminates TLS. `None`: refused, the report says why.
pub fn downstream(
    tls: &ListenerTls,
    protocol: Protocol,
    scene: Scene<'_>,
    report: &mut Report,
) -> Option<TransportSocket> {
    let mut common = CommonTlsContext { alpn_protocols: alpn(protocol), ..Default::default() };
    match &tls.certificate {
        ListenerCertificate::File(files) => common.tls_certificates = vec![certificate(files)],
        ListenerCertificate::Sds(name) => common.tls_certificate_sds_secret_configs = vec![secret(name)],
        ListenerCertificate::Acm { at, .. } if scene.has_ca => {
            let issuer = scene.issuer;
            let whose = match scene.is_ambiguous {
                true => {
                    "; name the mesh's owner (meshOwner), or a mesh of the same name of another account that uses this \
                     authority has the same ids"
                }
                false => "",
            };
            let message = format!(
                "{issuer} issues the certificate in place of AWS Certificate Manager, for a short while and with the \
                 node's SPIFFE id; callers from outside the mesh must trust its root{whose}"
            );
            report.warn(at, "tls-mesh-ca", message);
            common.tls_certificate_sds_secret_configs = vec![mesh_secret(IDENTITY)];
        }
        ListenerCertificate::Acm { at, .. } => {
            refuse(at, "tls.certificate.acm", report);
            return None;
        }
    }
    if let Some(validation) = &tls.validation {
        let names = names_of(&validation.subject_alternative_names);
        let mut context = context(validation, names, scene, report)?;
        if let (true, ValidationContextType::CombinedValidationContext(combined)) =
            (scene.asks_only, &mut context)
        {
            let own = combined.default_validation_context.get_or_insert_default();
            own.trust_chain_verification = TrustChainVerification::AcceptUntrusted as i32;
        }
        common.validation_context_type = Some(context);
    }
    let required = tls.validation.is_some() && tls.mode == TlsMode::Strict && !scene.asks_only;
    let message = DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: required.then(|| boolean(true)),
        ..Default::default()
    };
    Some(socket(&message))
}

/// How a caller connects to a target. `Err`: refused, the report says why.
pub fn upstream(
    policy: Option<&ClientTls>,
    target: &Target<'_>,
    scene: Scene<'_>,
    report: &mut Report,
) -> Result<Option<TransportSocket>, ()> {
    let mapping = target.listener.port_mapping;
    let offered = target.listener.offered_tls();
    match (policy.filter(|policy| policy.covers(mapping.port)), offered) {
        (Some(policy), offered) if policy.enforce.unwrap_or(true) || offered.is_some() => {
            by_policy(policy, target, scene, report).map(Some).ok_or(())
        }
        (None, Some(offered)) => without_policy(offered, target, scene, report).map(Some).ok_or(()),
        _ => Ok(None),
    }
}

fn by_policy(
    policy: &ClientTls,
    target: &Target<'_>,
    scene: Scene<'_>,
    report: &mut Report,
) -> Option<TransportSocket> {
    let mut common = CommonTlsContext {
        alpn_protocols: alpn(target.listener.port_mapping.protocol),
        ..Default::default()
    };
    match &policy.certificate {
        Some(ClientCertificate::File(files)) => common.tls_certificates = vec![certificate(files)],
        Some(ClientCertificate::Sds(name)) => common.tls_certificate_sds_secret_configs = vec![secret(name)],
        // Shown only when the server asks.
        None if is_mesh_trust(&policy.validation.trust)
            || scene.has_ca && is_acm(&policy.validation.trust) =>
        {
            common.tls_certificate_sds_secret_configs = vec![mesh_secret(IDENTITY)];
        }
        None => {}
    }
    let validation = &policy.validation;
    let given = &validation.subject_alternative_names;
    let names = match &validation.trust {
        Trust::Acm { at, .. } if scene.has_ca => {
            tell_of_mesh_trust(at, given, scene, report);
            vec![spiffe(target, scene)]
        }
        trust if given.is_empty() && is_mesh_trust(trust) => vec![spiffe(target, scene)],
        _ if given.is_empty() => names_of(&discovery_name(target)),
        _ => names_of(given),
    };
    common.validation_context_type = Some(context(validation, names, scene, report)?);
    Some(socket(&UpstreamTlsContext { common_tls_context: Some(common), ..Default::default() }))
}

/// A server with TLS and a caller without policy: validated when the mesh issued the certificate, else encrypted only.
fn without_policy(
    offered: &ListenerTls,
    target: &Target<'_>,
    scene: Scene<'_>,
    report: &mut Report,
) -> Option<TransportSocket> {
    let protocol = target.listener.port_mapping.protocol;
    let mut common = CommonTlsContext { alpn_protocols: alpn(protocol), ..Default::default() };
    match &offered.certificate {
        ListenerCertificate::Acm { at, .. } if !scene.has_ca => {
            refuse(at, "tls.certificate.acm", report);
            return None;
        }
        ListenerCertificate::Sds(name) if name != IDENTITY => {}
        ListenerCertificate::File(_) => {}
        ListenerCertificate::Acm { .. } | ListenerCertificate::Sds(_) => {
            common.validation_context_type = Some(mesh_context(vec![spiffe(target, scene)]));
            common.tls_certificate_sds_secret_configs = vec![mesh_secret(IDENTITY)];
        }
    }
    Some(socket(&UpstreamTlsContext { common_tls_context: Some(common), ..Default::default() }))
}

fn tell_of_mesh_trust(at: &Position, given: &[String], scene: Scene<'_>, report: &mut Report) {
    let instead = match given {
        [] => "",
        _ => ", by its identity in the mesh and not by subjectAlternativeNames",
    };
    let message = format!(
        "servers are checked against {} in place of AWS Certificate Manager{instead}; a server whose certificate the \
         mesh has not issued is refused",
        scene.issuer
    );
    report.warn(at, "tls-mesh-ca", message);
}

/// The identity of a target: stronger than any of its names, and always in a certificate of the mesh.
fn spiffe(target: &Target<'_>, scene: Scene<'_>) -> SubjectAltNameMatcher {
    let id =
        NodeId { mesh: scene.mesh.clone(), kind: Kind::VirtualNode, name: target.node.meta.name.clone() };
    alternative_name(&id.spiffe_id())
}

/// The name that a server's certificate must carry when the policy names none.
fn discovery_name(target: &Target<'_>) -> Vec<String> {
    match &target.node.spec.service_discovery {
        Some(ServiceDiscovery::Dns { hostname, .. }) => vec![hostname.trim_end_matches('.').to_owned()],
        Some(ServiceDiscovery::CloudMap { namespace, service, .. }) => vec![format!("{service}.{namespace}")],
        None => Vec::new(),
    }
}

/// What is offered for a protocol.
pub fn alpn(protocol: Protocol) -> Vec<String> {
    match protocol {
        Protocol::Http => vec!["http/1.1".to_owned()],
        Protocol::Http2 | Protocol::Grpc => vec!["h2".to_owned()],
        Protocol::Tcp => Vec::new(),
    }
}

/// A context as a transport socket.
pub fn socket<M: Typed>(message: &M) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(packed(message))),
    }
}

fn refuse(at: &Position, field: &str, report: &mut Report) {
    let message = format!(
        "{field} needs AWS Certificate Manager, which is not asked; proxies that use it get no configuration, give \
         the certificate as file or sds, or let the mesh issue it: serve --mesh-ca DIRECTORY or --mesh-ca-pca ARN"
    );
    report.error(at, "tls-acm", message);
}

#[cfg(test)]
mod tests;
