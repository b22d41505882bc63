//! What a peer's certificate must satisfy.
//! Source: `envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext`.

use std::sync::Arc;

use outrigger_xds_protos::v3::core::DataSource;
use outrigger_xds_protos::v3::tls::certificate_validation_context::TrustChainVerification;
use outrigger_xds_protos::v3::tls::subject_alt_name_matcher::SanType;
use outrigger_xds_protos::v3::tls::{CertificateValidationContext, SubjectAltNameMatcher};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::super::fields;
use super::super::fields::{refuse, refuse_true, warn_set};
use super::super::path::{Path, Rejection};
use super::super::scope::Scope;
use super::super::{data_source, matchers};
use crate::config::secret::ShownCertificate;
use crate::config::secret::verify::{PeerTrust, SanKind, SanMatch};

/// The trust of one side.
pub(super) enum Trust {
    /// No validation context, or one that verifies nothing.
    Absent,
    /// Its secret has not arrived.
    NotArrived,
    /// Verify like this; the authority is for `/certs`.
    Verified(PeerTrust, ShownCertificate),
}

/// Compiles a validation context.
pub(super) fn compile(
    message: &CertificateValidationContext,
    provider: &Arc<CryptoProvider>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Trust, Rejection> {
    let (trusted_ca, names) = check(message, path, scope)?;
    let Some(source) = trusted_ca else {
        if !names.is_empty() {
            return Err(path.reject("names are matched, but without trusted_ca anyone can forge them"));
        }
        return Ok(Trust::Absent);
    };
    let roots = roots(source, &path.field("trusted_ca"))?;
    let shown = first(source, &path.field("trusted_ca"))?;
    let trust = PeerTrust { roots: Some(Arc::new(roots)), names, provider: provider.clone() };
    Ok(Trust::Verified(trust, shown))
}

/// Refuses what is not supported; returns the authorities' source and the name matchers.
#[allow(deprecated, reason = "match_subject_alt_names is still sent")]
pub(in super::super) fn check<'m>(
    message: &'m CertificateValidationContext,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<(Option<&'m DataSource>, Vec<SanMatch>), Rejection> {
    let CertificateValidationContext {
        trusted_ca,
        ca_certificate_provider_instance,
        system_root_certs,
        watched_directory,
        verify_certificate_spki,
        verify_certificate_hash,
        match_typed_subject_alt_names,
        match_subject_alt_names,
        require_signed_certificate_timestamp,
        crl,
        allow_expired_certificate,
        trust_chain_verification,
        custom_validator_config,
        only_verify_leaf_cert_crl,
        max_verify_depth,
        suppress_client_ca_list: _, // Shortens the CertificateRequest; clients without the hint still answer.
    } = message;
    refuse!(path; ca_certificate_provider_instance, system_root_certs, verify_certificate_spki,
        verify_certificate_hash, crl, allow_expired_certificate, custom_validator_config,
        only_verify_leaf_cert_crl, max_verify_depth);
    refuse_true!(path; require_signed_certificate_timestamp);
    if *trust_chain_verification != TrustChainVerification::VerifyTrustChain as i32 {
        return Err(path.field("trust_chain_verification").reject("only VERIFY_TRUST_CHAIN is supported"));
    }
    warn_set!(scope, path, "is not in effect: files are read when the configuration arrives"; watched_directory);
    let mut names = Vec::new();
    let list_path = path.field("match_typed_subject_alt_names");
    for (i, matcher) in match_typed_subject_alt_names.iter().enumerate() {
        names.push(typed_name(matcher, &list_path.index(i))?);
    }
    let list_path = path.field("match_subject_alt_names");
    for (i, matcher) in match_subject_alt_names.iter().enumerate() {
        names.push(SanMatch { kind: SanKind::Any, matcher: matchers::string(matcher, &list_path.index(i))? });
    }
    Ok((trusted_ca.as_ref(), names))
}

fn typed_name(message: &SubjectAltNameMatcher, path: &Path<'_>) -> Result<SanMatch, Rejection> {
    let SubjectAltNameMatcher { san_type, matcher, oid } = message;
    refuse!(path; oid);
    let kind = match SanType::try_from(*san_type) {
        Ok(SanType::Dns) => SanKind::Dns,
        Ok(SanType::Uri) => SanKind::Uri,
        Ok(other) => {
            let message =
                format_args!("{} is not supported; use DNS or URI", other.as_str_name()).to_string();
            return Err(path.field("san_type").reject(message));
        }
        Err(_) => return Err(path.field("san_type").reject(fields::unknown_enum(*san_type))),
    };
    let path = path.field("matcher");
    Ok(SanMatch { kind, matcher: matchers::string(fields::message(matcher, &path)?, &path)? })
}

/// The authorities of a PEM bundle.
pub(in super::super) fn roots(source: &DataSource, path: &Path<'_>) -> Result<RootCertStore, Rejection> {
    let pem = data_source::read(source, path)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| path.reject(format_args!("not valid PEM: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| path.reject(format_args!("not a usable certificate: {error}")))?;
    }
    if roots.is_empty() {
        return Err(path.reject("holds no PEM certificate"));
    }
    Ok(roots)
}

/// The first authority of a PEM bundle, to be shown.
fn first(source: &DataSource, path: &Path<'_>) -> Result<ShownCertificate, Rejection> {
    let pem = data_source::read(source, path)?;
    let der = CertificateDer::from_pem_slice(&pem)
        .map_err(|error| path.reject(format_args!("not valid PEM: {error}")))?;
    Ok(ShownCertificate { path: data_source::place(source).into(), der })
}

/// The secret's context merged onto the default one, as protobuf merges: single values of the secret win,
/// lists are appended, flags are OR-ed.
#[allow(deprecated, reason = "match_subject_alt_names is still sent")]
pub(super) fn merged(
    default: CertificateValidationContext,
    secret: &CertificateValidationContext,
) -> CertificateValidationContext {
    let CertificateValidationContext {
        trusted_ca,
        ca_certificate_provider_instance,
        system_root_certs,
        watched_directory,
        verify_certificate_spki,
        verify_certificate_hash,
        match_typed_subject_alt_names,
        match_subject_alt_names,
        require_signed_certificate_timestamp,
        crl,
        allow_expired_certificate,
        trust_chain_verification,
        custom_validator_config,
        only_verify_leaf_cert_crl,
        max_verify_depth,
        suppress_client_ca_list,
    } = secret.clone();
    CertificateValidationContext {
        trusted_ca: trusted_ca.or(default.trusted_ca),
        ca_certificate_provider_instance: ca_certificate_provider_instance
            .or(default.ca_certificate_provider_instance),
        system_root_certs: system_root_certs.or(default.system_root_certs),
        watched_directory: watched_directory.or(default.watched_directory),
        verify_certificate_spki: joined(default.verify_certificate_spki, verify_certificate_spki),
        verify_certificate_hash: joined(default.verify_certificate_hash, verify_certificate_hash),
        match_typed_subject_alt_names: joined(
            default.match_typed_subject_alt_names,
            match_typed_subject_alt_names,
        ),
        match_subject_alt_names: joined(default.match_subject_alt_names, match_subject_alt_names),
        require_signed_certificate_timestamp: require_signed_certificate_timestamp
            .or(default.require_signed_certificate_timestamp),
        crl: crl.or(default.crl),
        allow_expired_certificate: allow_expired_certificate || default.allow_expired_certificate,
        trust_chain_verification: trust_chain_verification.max(default.trust_chain_verification),
        custom_validator_config: custom_validator_config.or(default.custom_validator_config),
        only_verify_leaf_cert_crl: only_verify_leaf_cert_crl || default.only_verify_leaf_cert_crl,
        max_verify_depth: max_verify_depth.or(default.max_verify_depth),
        suppress_client_ca_list: suppress_client_ca_list || default.suppress_client_ca_list,
    }
}

fn joined<T>(mut first: Vec<T>, second: Vec<T>) -> Vec<T> {
    first.extend(second);
    first
}
