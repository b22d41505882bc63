//! Trust by SPIFFE trust domain: what SPIRE agents send to every Envoy since 1.18.
//! Source: `envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig`.

use std::sync::Arc;

use aws_lc_rs::digest::Context;
use outrigger_xds_protos::any;
use outrigger_xds_protos::v3::core::TypedExtensionConfig;
use outrigger_xds_protos::v3::tls::SpiffeCertValidatorConfig;
use outrigger_xds_protos::v3::tls::spiffe_cert_validator_config::TrustDomain;
use rustls_pki_types::CertificateDer;

use super::super::data_source;
use super::super::fields::{self, refuse};
use super::super::path::{Path, Rejection};
use super::super::scope::Scope;
use super::validation;
use crate::config::secret::ShownCertificate;
use crate::config::secret::names::{SanKind, SanMatch};
use crate::config::secret::revocation::Revocation;
use crate::config::secret::roots::{Bundle, Roots};
use crate::config::secret::spiffe::Domains;
use crate::config::secret::trust::{Authorities, PeerTrust};

/// Reads a custom validator, of which there is one; its authorities, to be shown.
pub(super) fn read(
    config: &TypedExtensionConfig,
    trust: &mut PeerTrust,
    rules: &mut Context,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Vec<ShownCertificate>, Rejection> {
    let path = path.field("typed_config");
    let TypedExtensionConfig { name, typed_config } = config;
    let packed = fields::message(typed_config, &path)?;
    if !any::is::<SpiffeCertValidatorConfig>(packed) {
        let url = &packed.type_url;
        return Err(path.reject(format_args!("{name:?} ({url}) is not supported; the SPIFFE validator is")));
    }
    let message: SpiffeCertValidatorConfig = any::unpack(packed).map_err(|error| path.reject(error))?;
    let SpiffeCertValidatorConfig { trust_domains, trust_bundles } = &message;
    refuse!(path; trust_bundles);
    let path = path.field("trust_domains");
    if trust_domains.is_empty() {
        return Err(path.missing());
    }
    let (mut domains, mut shown) = (Domains::default(), Vec::new());
    for (i, message) in trust_domains.iter().enumerate() {
        let path = path.index(i);
        let bundle = domain(message, rules, &path, scope)?;
        shown.extend(authorities(message, &bundle));
        if !domains.add(&message.name, bundle) {
            return Err(path.field("name").reject(format_args!("{:?} has a bundle already", message.name)));
        }
    }
    trust.names = names(std::mem::take(&mut trust.names));
    trust.authorities = Authorities::Domains(Arc::new(domains));
    Ok(shown)
}

/// As Envoy does, only names of the kind that identities are of are looked at. Where there is no such matcher, Envoy
/// looks at nothing; here the others are held to.
fn names(all: Vec<SanMatch>) -> Vec<SanMatch> {
    let uris = |one: &SanMatch| matches!(one.kind, SanKind::Uri | SanKind::Any);
    if !all.iter().any(uris) {
        return all;
    }
    let of_identities = all.into_iter().filter(uris);
    of_identities.map(|one| SanMatch { kind: SanKind::Uri, ..one }).collect()
}

/// The bundle of one domain, with the revocation lists that are in it.
fn domain(
    message: &TrustDomain,
    rules: &mut Context,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Bundle, Rejection> {
    let TrustDomain { name, trust_bundle, workload_trust_domain } = message;
    refuse!(path; workload_trust_domain);
    let name = fields::required(name, &path.field("name"))?;
    if name.contains('/') {
        return Err(path
            .field("name")
            .reject(format_args!("{name:?} is not a trust domain; leave out spiffe://")));
    }
    let path = path.field("trust_bundle");
    let pem = data_source::watched(fields::message(trust_bundle, &path)?, &path, scope)?;
    rules.update(&pem);
    let certificates: Vec<CertificateDer<'static>> = validation::all(&pem, &path)?;
    let lists = validation::all(&pem, &path)?;
    let revocation = (!lists.is_empty()).then(|| Revocation::new(&lists, true)).transpose();
    Ok(Bundle {
        roots: Roots::new(certificates).map_err(|error| path.reject(error))?,
        revocation: revocation.map_err(|error| path.reject(error))?,
    })
}

fn authorities(message: &TrustDomain, bundle: &Bundle) -> Vec<ShownCertificate> {
    let place = message.trust_bundle.as_ref().map_or("", data_source::place);
    ShownCertificate::bundle(&format!("{}: {place}", message.name), bundle.roots.certificates())
}
