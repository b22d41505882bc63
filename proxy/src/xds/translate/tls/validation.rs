//! What a peer's certificate must satisfy.
//! Source: `envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext`.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use outrigger_xds_protos::v3::core::DataSource;
use outrigger_xds_protos::v3::tls::certificate_validation_context::TrustChainVerification;
use outrigger_xds_protos::v3::tls::subject_alt_name_matcher::SanType;
use outrigger_xds_protos::v3::tls::{CertificateValidationContext, SubjectAltNameMatcher};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use super::super::fields;
use super::super::fields::{refuse, refuse_true, warn_set};
use super::super::path::{Path, Rejection};
use super::super::scope::Scope;
use super::super::{data_source, matchers};
use super::{pins, spiffe};
use crate::config::secret::ShownCertificate;
use crate::config::secret::names::{SanKind, SanMatch};
use crate::config::secret::revocation::Revocation;
use crate::config::secret::roots::{Bundle, Roots};
use crate::config::secret::trust::{Authorities, PeerTrust};

/// The trust of one side.
pub(super) enum Trust {
    /// No validation context, or one that verifies nothing.
    Absent,
    /// Its secret has not arrived.
    NotArrived,
    /// Verify like this; the authorities are for `/certs`.
    Verified(Box<PeerTrust>, Vec<ShownCertificate>),
}

/// Compiles a validation context.
pub(super) fn compile(
    message: &CertificateValidationContext,
    provider: &Arc<CryptoProvider>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Trust, Rejection> {
    let mut trust = PeerTrust::anyone(provider.clone());
    let authorities = read(message, &mut trust, path, scope)?;
    if !trust.verifies_chains() {
        if !trust.names.is_empty() {
            return Err(path.reject("names are matched, but without trusted_ca anyone can forge them"));
        }
        if message.crl.is_some() {
            return Err(path.field("crl").reject("needs trusted_ca"));
        }
        if trust.pins.is_empty() {
            return Ok(Trust::Absent);
        }
    }
    Ok(Trust::Verified(Box::new(trust), authorities))
}

/// Checks a validation context that may be a part of another: its authorities may be there.
pub(in super::super) fn check(
    message: &CertificateValidationContext,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<(), Rejection> {
    let mut trust = PeerTrust::anyone(scope.context.crypto.clone());
    read(message, &mut trust, path, scope).map(drop)
}

/// Reads every field; the authorities, to be shown.
#[allow(deprecated, reason = "match_subject_alt_names is still sent")]
fn read(
    message: &CertificateValidationContext,
    trust: &mut PeerTrust,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Vec<ShownCertificate>, Rejection> {
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
    } = message;
    refuse!(path; ca_certificate_provider_instance, system_root_certs);
    refuse_true!(path; require_signed_certificate_timestamp);
    warn_set!(scope, path, "is not needed: the files themselves are watched"; watched_directory);
    trust.accept_untrusted = accepts_untrusted(*trust_chain_verification, path, scope)?;
    trust.allow_expired = *allow_expired_certificate;
    trust.send_subjects = !suppress_client_ca_list;
    trust.max_depth = fields::count(max_verify_depth);
    trust.pins.keys = pins::keys(verify_certificate_spki, &path.field("verify_certificate_spki"))?;
    trust.pins.certificates =
        pins::certificates(verify_certificate_hash, &path.field("verify_certificate_hash"))?;
    trust.names = names(match_typed_subject_alt_names, match_subject_alt_names, path)?;
    let mut rules = Context::new(&SHA256);
    // Certificates and lists only, no secrets.
    rules.update(format!("{message:?}").as_bytes());
    let shown = match (custom_validator_config, trusted_ca) {
        (Some(config), _) => {
            refuse!(path; trusted_ca, crl, only_verify_leaf_cert_crl, verify_certificate_spki, verify_certificate_hash);
            if trust.accept_untrusted {
                return Err(path.field("trust_chain_verification").reject(
                    "cannot be ACCEPT_UNTRUSTED beside custom_validator_config, which always verifies",
                ));
            }
            spiffe::read(config, trust, &mut rules, &path.field("custom_validator_config"), scope)?
        }
        (None, Some(source)) => {
            let path_of = path.field("trusted_ca");
            let certificates = bundle(source, &path_of, scope)?;
            certificates.iter().for_each(|root| rules.update(root));
            let roots = Roots::new(certificates).map_err(|error| path_of.reject(error))?;
            let shown = ShownCertificate::bundle(data_source::place(source), roots.certificates());
            let lists = crl
                .as_ref()
                .map(|source| lists(source, &mut rules, &path.field("crl"), scope))
                .transpose()?;
            let revocation =
                lists.map(|lists| Revocation::new(&lists, !only_verify_leaf_cert_crl)).transpose();
            let revocation = revocation.map_err(|error| path.field("crl").reject(error))?;
            trust.authorities = Authorities::Bundle(Arc::new(Bundle { roots, revocation }));
            shown
        }
        // Its authorities may be in the context that refers to this one: then the list is read with them.
        (None, None) => {
            if let Some(source) = crl {
                let path = path.field("crl");
                let lists = lists(source, &mut rules, &path, scope)?;
                Revocation::new(&lists, true).map_err(|error| path.reject(error))?;
            }
            Vec::new()
        }
    };
    trust.rules.copy_from_slice(rules.finish().as_ref());
    Ok(shown)
}

fn accepts_untrusted(number: i32, path: &Path<'_>, scope: &mut Scope<'_>) -> Result<bool, Rejection> {
    let path = path.field("trust_chain_verification");
    match TrustChainVerification::try_from(number) {
        Ok(TrustChainVerification::VerifyTrustChain) => Ok(false),
        Ok(TrustChainVerification::AcceptUntrusted) => {
            scope.warn(&path, "ACCEPT_UNTRUSTED: every certificate is accepted, whatever else is configured");
            Ok(true)
        }
        Err(_) => Err(path.reject(fields::unknown_enum(number))),
    }
}

fn names(
    typed: &[SubjectAltNameMatcher],
    untyped: &[outrigger_xds_protos::v3::matcher::StringMatcher],
    path: &Path<'_>,
) -> Result<Vec<SanMatch>, Rejection> {
    let mut names = Vec::new();
    let list_path = path.field("match_typed_subject_alt_names");
    for (i, matcher) in typed.iter().enumerate() {
        names.push(typed_name(matcher, &list_path.index(i))?);
    }
    let list_path = path.field("match_subject_alt_names");
    for (i, matcher) in untyped.iter().enumerate() {
        names.push(SanMatch { kind: SanKind::Any, matcher: matchers::string(matcher, &list_path.index(i))? });
    }
    Ok(names)
}

fn typed_name(message: &SubjectAltNameMatcher, path: &Path<'_>) -> Result<SanMatch, Rejection> {
    let SubjectAltNameMatcher { san_type, matcher, oid } = message;
    refuse!(path; oid);
    let kind = match SanType::try_from(*san_type) {
        Ok(SanType::Dns) => SanKind::Dns,
        Ok(SanType::Uri) => SanKind::Uri,
        Ok(SanType::IpAddress) => SanKind::Ip,
        Ok(SanType::Email) => SanKind::Email,
        Ok(other) => {
            let message =
                format_args!("{} is not supported; use DNS, URI, IP_ADDRESS or EMAIL", other.as_str_name())
                    .to_string();
            return Err(path.field("san_type").reject(message));
        }
        Err(_) => return Err(path.field("san_type").reject(fields::unknown_enum(*san_type))),
    };
    let path = path.field("matcher");
    Ok(SanMatch { kind, matcher: matchers::string(fields::message(matcher, &path)?, &path)? })
}

/// The certificates of a PEM bundle.
fn bundle(
    source: &DataSource,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Vec<CertificateDer<'static>>, Rejection> {
    let pem = data_source::watched(source, path, scope)?;
    all(&pem, path)
}

/// Everything of one kind in a PEM text.
pub(super) fn all<T: PemObject>(pem: &[u8], path: &Path<'_>) -> Result<Vec<T>, Rejection> {
    let found: Result<Vec<T>, _> = T::pem_slice_iter(pem).collect();
    found.map_err(|error| path.reject(format_args!("not valid PEM: {error}")))
}

/// The revocation lists of a source, into the rules: who was let in before a list changed is to be looked at again.
fn lists(
    source: &DataSource,
    rules: &mut Context,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, Rejection> {
    let pem = data_source::watched(source, path, scope)?;
    let lists: Vec<CertificateRevocationListDer<'static>> = all(&pem, path)?;
    if lists.is_empty() {
        return Err(path.reject("holds no PEM revocation list"));
    }
    lists.iter().for_each(|list| rules.update(list));
    Ok(lists)
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
