//! Certificates, keys, roots and names as Envoy's messages have them: from files, from secrets, from the mesh.

use outrigger_xds_protos::v3::core::api_config_source::ApiType;
use outrigger_xds_protos::v3::core::config_source::ConfigSourceSpecifier;
use outrigger_xds_protos::v3::core::data_source::Specifier;
use outrigger_xds_protos::v3::core::grpc_service::{EnvoyGrpc, TargetSpecifier};
use outrigger_xds_protos::v3::core::{ApiConfigSource, ApiVersion, ConfigSource, DataSource, GrpcService};
use outrigger_xds_protos::v3::matcher::StringMatcher;
use outrigger_xds_protos::v3::matcher::string_matcher::MatchPattern;
use outrigger_xds_protos::v3::tls::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use outrigger_xds_protos::v3::tls::subject_alt_name_matcher::SanType;
use outrigger_xds_protos::v3::tls::{
    CertificateValidationContext, SdsSecretConfig, SubjectAltNameMatcher, TlsCertificate,
};

use super::{Scene, refuse};
use crate::ca::{IDENTITY, TRUST};
use crate::diagnostics::Report;
use crate::model::{CertificateFiles, Trust, Validation};
use crate::translate::message::ads;
use crate::translate::names;

pub(super) fn names_of(names: &[String]) -> Vec<SubjectAltNameMatcher> {
    names.iter().map(|name| alternative_name(name)).collect()
}

pub(super) fn context(
    validation: &Validation,
    names: Vec<SubjectAltNameMatcher>,
    scene: Scene<'_>,
    report: &mut Report,
) -> Option<ValidationContextType> {
    match &validation.trust {
        Trust::File(path) => {
            let context = CertificateValidationContext {
                trusted_ca: Some(file(path)),
                match_typed_subject_alt_names: names,
                ..Default::default()
            };
            Some(ValidationContextType::ValidationContext(context))
        }
        Trust::Sds(name) => Some(combined(names, secret(name))),
        Trust::Acm { .. } if scene.has_ca => Some(mesh_context(names)),
        Trust::Acm { at, .. } => {
            refuse(at, "validation.trust.acm", report);
            None
        }
    }
}

/// Trust in the roots of a file, whatever names they have signed.
pub fn trust_in_file(path: &str) -> ValidationContextType {
    let context = CertificateValidationContext { trusted_ca: Some(file(path)), ..Default::default() };
    ValidationContextType::ValidationContext(context)
}

pub(super) fn mesh_context(names: Vec<SubjectAltNameMatcher>) -> ValidationContextType {
    combined(names, mesh_secret(TRUST))
}

pub(super) fn combined(names: Vec<SubjectAltNameMatcher>, secret: SdsSecretConfig) -> ValidationContextType {
    let by_name = CertificateValidationContext { match_typed_subject_alt_names: names, ..Default::default() };
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(by_name),
        validation_context_sds_secret_config: Some(secret),
        ..Default::default()
    })
}

pub(super) fn alternative_name(name: &str) -> SubjectAltNameMatcher {
    let kind = if name.contains("://") { SanType::Uri } else { SanType::Dns };
    let matcher =
        StringMatcher { match_pattern: Some(MatchPattern::Exact(name.to_owned())), ..Default::default() };
    SubjectAltNameMatcher { san_type: kind as i32, matcher: Some(matcher), ..Default::default() }
}

pub(super) fn certificate(files: &CertificateFiles) -> TlsCertificate {
    TlsCertificate {
        certificate_chain: Some(file(&files.certificate_chain)),
        private_key: Some(file(&files.private_key)),
        ..Default::default()
    }
}

pub(super) fn file(path: &str) -> DataSource {
    DataSource { specifier: Some(Specifier::Filename(path.to_owned())), ..Default::default() }
}

/// A secret of the mesh's own authority, which comes over the aggregated stream.
pub(super) fn mesh_secret(name: &str) -> SdsSecretConfig {
    SdsSecretConfig { name: name.to_owned(), sds_config: Some(ads()) }
}

/// A secret of the local SDS server, unless it is the mesh's.
pub(super) fn secret(name: &str) -> SdsSecretConfig {
    if [IDENTITY, TRUST].contains(&name) {
        return mesh_secret(name);
    }
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
