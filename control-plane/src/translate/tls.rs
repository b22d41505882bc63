//! TLS of listeners and clusters.
//!
//! Files and secrets of the local SDS server are passed on as they are. What AWS Certificate Manager holds cannot
//! be fetched, so a proxy that needs it is refused.

use outrigger_xds_protos::any::Typed;
use outrigger_xds_protos::v3::core::api_config_source::ApiType;
use outrigger_xds_protos::v3::core::config_source::ConfigSourceSpecifier;
use outrigger_xds_protos::v3::core::data_source::Specifier;
use outrigger_xds_protos::v3::core::grpc_service::{EnvoyGrpc, TargetSpecifier};
use outrigger_xds_protos::v3::core::transport_socket::ConfigType;
use outrigger_xds_protos::v3::core::{
    ApiConfigSource, ApiVersion, ConfigSource, DataSource, GrpcService, TransportSocket,
};
use outrigger_xds_protos::v3::matcher::StringMatcher;
use outrigger_xds_protos::v3::matcher::string_matcher::MatchPattern;
use outrigger_xds_protos::v3::tls::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use outrigger_xds_protos::v3::tls::subject_alt_name_matcher::SanType;
use outrigger_xds_protos::v3::tls::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    SubjectAltNameMatcher, TlsCertificate, UpstreamTlsContext,
};

use super::message::{boolean, packed};
use super::names;
use crate::diagnostics::{Position, Report};
use crate::graph::service::Target;
use crate::model::{
    CertificateFiles, ClientCertificate, ClientTls, ListenerCertificate, ListenerTls, Protocol,
    ServiceDiscovery, TlsMode, Trust, Validation,
};

/// The socket of a listener that terminates TLS. `None`: refused, the report says why.
pub fn downstream(tls: &ListenerTls, protocol: Protocol, report: &mut Report) -> Option<TransportSocket> {
    let mut common = CommonTlsContext { alpn_protocols: alpn(protocol), ..Default::default() };
    match &tls.certificate {
        ListenerCertificate::File(files) => common.tls_certificates = vec![certificate(files)],
        ListenerCertificate::Sds(name) => common.tls_certificate_sds_secret_configs = vec![secret(name)],
        ListenerCertificate::Acm { at, .. } => {
            refuse(at, "tls.certificate.acm", report);
            return None;
        }
    }
    if let Some(validation) = &tls.validation {
        common.validation_context_type =
            Some(context(validation, &validation.subject_alternative_names, report)?);
    }
    let required = tls.validation.is_some() && tls.mode == TlsMode::Strict;
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
    report: &mut Report,
) -> Result<Option<TransportSocket>, ()> {
    let mapping = target.listener.port_mapping;
    let covers = |p: &&ClientTls| p.ports.is_empty() || p.ports.contains(&mapping.port);
    let offered = target.listener.tls.as_ref().filter(|tls| tls.mode != TlsMode::Disabled);
    match (policy.filter(covers), offered) {
        (Some(policy), offered) if policy.enforce.unwrap_or(true) || offered.is_some() => {
            by_policy(policy, target, report).map(Some).ok_or(())
        }
        (None, Some(offered)) => unvalidated(offered, mapping.protocol, report).map(Some).ok_or(()),
        _ => Ok(None),
    }
}

fn by_policy(policy: &ClientTls, target: &Target<'_>, report: &mut Report) -> Option<TransportSocket> {
    let mut common = CommonTlsContext {
        alpn_protocols: alpn(target.listener.port_mapping.protocol),
        ..Default::default()
    };
    match &policy.certificate {
        Some(ClientCertificate::File(files)) => common.tls_certificates = vec![certificate(files)],
        Some(ClientCertificate::Sds(name)) => common.tls_certificate_sds_secret_configs = vec![secret(name)],
        None => {}
    }
    let names = &policy.validation.subject_alternative_names;
    let names = if names.is_empty() { discovery_name(target) } else { names.clone() };
    common.validation_context_type = Some(context(&policy.validation, &names, report)?);
    Some(socket(&UpstreamTlsContext { common_tls_context: Some(common), ..Default::default() }))
}

/// A server with TLS and a caller without policy: encrypted, and for certificates from files not validated.
fn unvalidated(offered: &ListenerTls, protocol: Protocol, report: &mut Report) -> Option<TransportSocket> {
    if let ListenerCertificate::Acm { at, .. } = &offered.certificate {
        refuse(at, "tls.certificate.acm", report);
        return None;
    }
    let common = CommonTlsContext { alpn_protocols: alpn(protocol), ..Default::default() };
    Some(socket(&UpstreamTlsContext { common_tls_context: Some(common), ..Default::default() }))
}

/// The name that a server's certificate must carry when the policy names none.
fn discovery_name(target: &Target<'_>) -> Vec<String> {
    match &target.node.spec.service_discovery {
        Some(ServiceDiscovery::Dns { hostname, .. }) => vec![hostname.trim_end_matches('.').to_owned()],
        Some(ServiceDiscovery::CloudMap { namespace, service, .. }) => vec![format!("{service}.{namespace}")],
        None => Vec::new(),
    }
}

fn context(validation: &Validation, names: &[String], report: &mut Report) -> Option<ValidationContextType> {
    let names: Vec<SubjectAltNameMatcher> = names.iter().map(|n| alternative_name(n)).collect();
    let by_name = CertificateValidationContext { match_typed_subject_alt_names: names, ..Default::default() };
    match &validation.trust {
        Trust::File(path) => {
            let context = CertificateValidationContext { trusted_ca: Some(file(path)), ..by_name };
            Some(ValidationContextType::ValidationContext(context))
        }
        Trust::Sds(name) => {
            let context = CombinedCertificateValidationContext {
                default_validation_context: Some(by_name),
                validation_context_sds_secret_config: Some(secret(name)),
                ..Default::default()
            };
            Some(ValidationContextType::CombinedValidationContext(context))
        }
        Trust::Acm { at, .. } => {
            refuse(at, "validation.trust.acm", report);
            None
        }
    }
}

fn alternative_name(name: &str) -> SubjectAltNameMatcher {
    let kind = if name.contains("://") { SanType::Uri } else { SanType::Dns };
    let matcher =
        StringMatcher { match_pattern: Some(MatchPattern::Exact(name.to_owned())), ..Default::default() };
    SubjectAltNameMatcher { san_type: kind as i32, matcher: Some(matcher), ..Default::default() }
}

fn certificate(files: &CertificateFiles) -> TlsCertificate {
    TlsCertificate {
        certificate_chain: Some(file(&files.certificate_chain)),
        private_key: Some(file(&files.private_key)),
        ..Default::default()
    }
}

fn file(path: &str) -> DataSource {
    DataSource { specifier: Some(Specifier::Filename(path.to_owned())), ..Default::default() }
}

/// A secret of the local SDS server.
fn secret(name: &str) -> SdsSecretConfig {
    let service = GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: names::SDS_CLUSTER.to_owned(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let source = ApiConfigSource {
        api_type: ApiType::Grpc as i32,
        transport_api_version: ApiVersion::V3 as i32,
        grpc_services: vec![service],
        ..Default::default()
    };
    let config = ConfigSource {
        resource_api_version: ApiVersion::V3 as i32,
        config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(source)),
        ..Default::default()
    };
    SdsSecretConfig { name: name.to_owned(), sds_config: Some(config) }
}

fn alpn(protocol: Protocol) -> Vec<String> {
    match protocol {
        Protocol::Http => vec!["http/1.1".to_owned()],
        Protocol::Http2 | Protocol::Grpc => vec!["h2".to_owned()],
        Protocol::Tcp => Vec::new(),
    }
}

fn socket<M: Typed>(message: &M) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(packed(message))),
    }
}

fn refuse(at: &Position, field: &str, report: &mut Report) {
    let message = format!(
        "{field} needs AWS Certificate Manager, which is not asked; proxies that use it get no configuration, give \
         the certificate as file or sds"
    );
    report.error(at, "tls-acm", message);
}
