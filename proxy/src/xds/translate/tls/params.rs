//! Protocol versions, cipher suites and key exchange groups.
//! Source: `envoy.extensions.transport_sockets.tls.v3.TlsParameters`.

use std::sync::Arc;

use outrigger_xds_protos::v3::tls::TlsParameters;
use outrigger_xds_protos::v3::tls::tls_parameters::TlsProtocol;
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, ClientConfig, ConfigBuilder, Error, NamedGroup, ServerConfig, SupportedProtocolVersion,
    WantsVerifier,
};

use super::super::fields;
use super::super::fields::refuse;
use super::super::path::{Path, Rejection};
use super::super::scope::Scope;

/// TLS 1.2 suites by BoringSSL's name. Suites of TLS 1.3 are not configurable, in Envoy neither.
const SUITES: &[(&str, CipherSuite)] = &[
    ("ECDHE-ECDSA-AES128-GCM-SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-AES128-GCM-SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-AES256-GCM-SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-CHACHA20-POLY1305", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// Key exchange groups by BoringSSL's name.
const GROUPS: &[(&str, NamedGroup)] = &[
    ("X25519", NamedGroup::X25519),
    ("P-256", NamedGroup::secp256r1),
    ("P-384", NamedGroup::secp384r1),
    ("P-521", NamedGroup::secp521r1),
    ("X25519MLKEM768", NamedGroup::X25519MLKEM768),
];

/// What a handshake may use.
pub(super) struct Params {
    pub(super) provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
}

impl Params {
    pub(super) fn server(&self) -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, Error> {
        ServerConfig::builder_with_provider(self.provider.clone()).with_protocol_versions(&self.versions)
    }

    pub(super) fn client(&self) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
        ClientConfig::builder_with_provider(self.provider.clone()).with_protocol_versions(&self.versions)
    }
}

/// Compiles the parameters. Unset limits mean TLS 1.2 to 1.3 on both sides; Envoy's clients stop at 1.2 then.
pub(super) fn compile(
    message: &Option<TlsParameters>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Params, Rejection> {
    let absent = TlsParameters::default();
    let TlsParameters {
        tls_minimum_protocol_version,
        tls_maximum_protocol_version,
        cipher_suites,
        ecdh_curves,
        signature_algorithms,
        compliance_policies,
    } = message.as_ref().unwrap_or(&absent);
    refuse!(path; signature_algorithms, compliance_policies);
    let min_path = path.field("tls_minimum_protocol_version");
    let max_path = path.field("tls_maximum_protocol_version");
    let min = version(*tls_minimum_protocol_version, TlsProtocol::TlSv12, &min_path)?;
    let max = version(*tls_maximum_protocol_version, TlsProtocol::TlSv13, &max_path)?;
    if min < TlsProtocol::TlSv12 as i32 {
        scope.warn(&min_path, "is not in effect: TLS 1.2 is the oldest version spoken");
    }
    if max < TlsProtocol::TlSv12 as i32 {
        return Err(max_path.reject("TLS 1.2 is the oldest version spoken; allow it"));
    }
    let spoken = [(TlsProtocol::TlSv13, &TLS13), (TlsProtocol::TlSv12, &TLS12)];
    let versions: Vec<_> = spoken
        .into_iter()
        .filter(|(version, _)| (min..=max).contains(&(*version as i32)))
        .map(|(_, version)| version)
        .collect();
    if versions.is_empty() {
        return Err(min_path.reject("is above tls_maximum_protocol_version"));
    }
    let mut provider = scope.context.crypto.clone();
    if !cipher_suites.is_empty() {
        restrict_suites(Arc::make_mut(&mut provider), cipher_suites, &path.field("cipher_suites"), scope)?;
    }
    if !ecdh_curves.is_empty() {
        restrict_groups(Arc::make_mut(&mut provider), ecdh_curves, &path.field("ecdh_curves"))?;
    }
    Ok(Params { provider, versions })
}

fn version(number: i32, auto: TlsProtocol, path: &Path<'_>) -> Result<i32, Rejection> {
    match TlsProtocol::try_from(number) {
        Ok(TlsProtocol::TlsAuto) => Ok(auto as i32),
        Ok(version) => Ok(version as i32),
        Err(_) => Err(path.reject(fields::unknown_enum(number))),
    }
}

/// Keeps the listed TLS 1.2 suites, in their order, and all of TLS 1.3.
fn restrict_suites(
    provider: &mut CryptoProvider,
    names: &[String],
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<(), Rejection> {
    let mut kept: Vec<_> =
        provider.cipher_suites.iter().copied().filter(|suite| suite.tls13().is_some()).collect();
    let before = kept.len();
    for (i, group) in names.iter().enumerate() {
        // `[A|B]` is a group of equal preference.
        for name in group.trim_matches(['[', ']']).split('|') {
            let known = SUITES.iter().find(|(known, _)| *known == name);
            let suite = known.and_then(|(_, id)| provider.cipher_suites.iter().find(|s| s.suite() == *id));
            match suite {
                Some(suite) => kept.push(*suite),
                None => scope.warn(&path.index(i), format_args!("{name:?} is not supported and left out")),
            }
        }
    }
    if kept.len() == before {
        return Err(path.reject("none of the cipher suites is supported"));
    }
    provider.cipher_suites = kept;
    Ok(())
}

fn restrict_groups(
    provider: &mut CryptoProvider,
    names: &[String],
    path: &Path<'_>,
) -> Result<(), Rejection> {
    let mut kept = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let known = GROUPS.iter().find(|(known, _)| known == name);
        let group = known.and_then(|(_, id)| provider.kx_groups.iter().find(|group| group.name() == *id));
        kept.push(*group.ok_or_else(|| path.index(i).reject(format_args!("{name:?} is not supported")))?);
    }
    provider.kx_groups = kept;
    Ok(())
}
