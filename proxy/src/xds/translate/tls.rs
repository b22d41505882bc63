//! TLS contexts to rustls configurations.
//! Source: `envoy.extensions.transport_sockets.tls.v3.{DownstreamTlsContext,UpstreamTlsContext,CommonTlsContext}`.
//!
//! A secret that has not arrived makes a configuration that fails every handshake, never a plaintext one.

mod params;
mod pins;
mod spiffe;
mod tickets;
mod validation;

use std::sync::Arc;

use outrigger_xds_protos::any;
use outrigger_xds_protos::v3::core::{TransportSocket, transport_socket};
use outrigger_xds_protos::v3::raw_buffer::RawBuffer;
use outrigger_xds_protos::v3::tls::common_tls_context::ValidationContextType;
use outrigger_xds_protos::v3::tls::downstream_tls_context::OcspStaplePolicy;
use outrigger_xds_protos::v3::tls::{
    CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, UpstreamTlsContext,
};
use rustls::client::Resumption;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;

use self::params::Params;
use self::validation::Trust;
use super::fields;
use super::fields::{refuse, refuse_true, warn_set};
use super::path::{Path, Rejection};
use super::scope::Scope;
use super::secret::{self, Secret};
use super::secret_source;
use crate::config::cluster::UpstreamProtocol;
use crate::config::secret::certificates::ServerCertificates;
use crate::config::secret::trust::{Authorities, PeerTrust};
use crate::config::secret::verify::{ClientVerifier, NotReady, ServerVerifier};
use crate::config::secret::{ClientTls, ClientTrust, ServerTls, Shown, ShownCertificate};
use crate::stats::scope::TlsStats;

pub(super) use self::tickets::read as ticket_keys;
pub(super) use self::validation::check as check_validation;

/// Longest SNI (RFC 1035 name).
const MAX_SNI: usize = 255;

/// The TLS settings of a filter chain; `path` is the chain. `None` is plaintext.
pub(super) fn downstream(
    socket: &Option<TransportSocket>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<Arc<ServerTls>>, Rejection> {
    let path = path.field("transport_socket");
    let path = path.field("typed_config");
    let Some(context) = unpack::<DownstreamTlsContext>(socket, &path)? else { return Ok(None) };
    let (config, shown, clients) = server(&context, &path, scope)?;
    let config = Arc::new(config);
    let stats = TlsStats::for_listener(&scope.context.stats, &scope.listener_stats);
    let own = Arc::new(shown.own.first().map(ShownCertificate::described).unwrap_or_default());
    Ok(Some(Arc::new(ServerTls { config, shown, clients, own, stats })))
}

/// The TLS settings of a cluster that counts as `stat_name`; `path` is the cluster. `None` is plaintext.
pub(super) fn upstream(
    socket: &Option<TransportSocket>,
    stat_name: &str,
    protocol: UpstreamProtocol,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<Arc<ClientTls>>, Rejection> {
    let path = path.field("transport_socket");
    let path = path.field("typed_config");
    let Some(context) = unpack::<UpstreamTlsContext>(socket, &path)? else {
        if protocol == UpstreamProtocol::Auto {
            return Err(
                path.reject("auto_config chooses the protocol by ALPN and needs a TLS transport socket")
            );
        }
        return Ok(None);
    };
    let sni = server_name(&context.sni, &path.field("sni"))?;
    let (config, shown) = client(&context, protocol, &path, scope)?;
    let own = shown.own.first().map(ShownCertificate::described).unwrap_or_default();
    let generation = scope.context.next_tls_generation();
    let stats = TlsStats::for_cluster(&scope.context.stats, stat_name);
    Ok(Some(Arc::new(ClientTls { config: Arc::new(config), shown, own, stats, sni, generation })))
}

/// The TLS context of a transport socket; `None` for plaintext.
fn unpack<M: any::Typed>(socket: &Option<TransportSocket>, path: &Path<'_>) -> Result<Option<M>, Rejection> {
    let Some(TransportSocket { name, config_type }) = socket else { return Ok(None) };
    let Some(transport_socket::ConfigType::TypedConfig(config)) = config_type else {
        return Err(path.missing());
    };
    if any::is::<RawBuffer>(config) {
        return Ok(None);
    }
    if !any::is::<M>(config) {
        return Err(path.reject(format_args!("{name:?} ({}) is not supported here", config.type_url)));
    }
    any::unpack(config).map(Some).map_err(|error| path.reject(error))
}

fn server_name(sni: &str, path: &Path<'_>) -> Result<Option<ServerName<'static>>, Rejection> {
    if sni.is_empty() {
        return Ok(None);
    }
    let short = Some(sni).filter(|sni| sni.len() <= MAX_SNI);
    let name = short.and_then(|sni| ServerName::try_from(sni.to_owned()).ok());
    name.map(Some).ok_or_else(|| path.reject(format_args!("{sni:?} is not a host name")))
}

/// What both sides share.
struct Common {
    params: Params,
    /// Own certificates; `None` when one has not arrived.
    certificates: Option<Vec<Arc<CertifiedKey>>>,
    trust: Trust,
    alpn: Vec<Vec<u8>>,
    shown: Shown,
}

#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
fn common(
    message: &Option<CommonTlsContext>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Common, Rejection> {
    let absent = CommonTlsContext::default();
    let CommonTlsContext {
        tls_params,
        tls_certificates,
        tls_certificate_sds_secret_configs,
        tls_certificate_provider_instance,
        custom_tls_certificate_selector,
        tls_certificate_certificate_provider,
        tls_certificate_certificate_provider_instance,
        alpn_protocols,
        custom_handshaker,
        key_log,
        validation_context_type,
    } = message.as_ref().unwrap_or(&absent);
    refuse!(path; tls_certificate_provider_instance, custom_tls_certificate_selector,
        tls_certificate_certificate_provider, tls_certificate_certificate_provider_instance, custom_handshaker,
        key_log);
    let params = params::compile(tls_params, &path.field("tls_params"), scope)?;
    let (mut certificates, mut own) = (Vec::new(), Vec::new());
    let list_path = path.field("tls_certificates");
    for (i, certificate) in tls_certificates.iter().enumerate() {
        let (key, shown) = secret::certificate(certificate, &list_path.index(i), scope)?;
        certificates.push(key);
        own.extend(shown);
    }
    let mut arrived = true;
    let list_path = path.field("tls_certificate_sds_secret_configs");
    for (i, config) in tls_certificate_sds_secret_configs.iter().enumerate() {
        let path = list_path.index(i);
        match secret_of(config, &path, scope)?.as_deref() {
            Some(Secret::Certificate(key, shown)) => {
                certificates.push(key.clone());
                own.extend(shown.iter().cloned());
            }
            Some(_) => return Err(path.reject("is not a tls_certificate secret")),
            None => arrived = false,
        }
    }
    let trust = trust(validation_context_type, &params, path, scope)?;
    let authorities = match &trust {
        Trust::Verified(_, authorities) => authorities.clone(),
        Trust::Absent | Trust::NotArrived => Vec::new(),
    };
    Ok(Common {
        trust,
        shown: Shown { authorities, own },
        params,
        certificates: arrived.then_some(certificates),
        alpn: alpn_protocols.iter().map(|name| name.as_bytes().to_vec()).collect(),
    })
}

/// The secret a configuration refers to, when it is there. One without `sds_config` must be in the bootstrap.
fn secret_of(
    config: &SdsSecretConfig,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<Arc<Secret>>, Rejection> {
    let SdsSecretConfig { name, sds_config } = config;
    let name = fields::required(name, &path.field("name"))?;
    let found = scope.context.secrets.get(name).cloned();
    match sds_config {
        Some(source) => {
            let reference = secret_source::reference(name, source, &path.field("sds_config"), scope)?;
            scope.refer_to_secret(reference);
            Ok(found)
        }
        None if found.is_none() => Err(path.field("name").reject(format_args!(
            "there is no static secret {name:?}; define it in static_resources.secrets"
        ))),
        None => Ok(found),
    }
}

#[allow(deprecated, reason = "the deprecated forms are refused by their names")]
fn trust(
    context: &Option<ValidationContextType>,
    params: &Params,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Trust, Rejection> {
    match context {
        None => Ok(Trust::Absent),
        Some(ValidationContextType::ValidationContext(message)) => {
            validation::compile(message, &params.provider, &path.field("validation_context"), scope)
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(config)) => {
            let path = path.field("validation_context_sds_secret_config");
            match secret_of(config, &path, scope)?.as_deref() {
                None => Ok(Trust::NotArrived),
                Some(Secret::Validation(message)) => {
                    validation::compile(message, &params.provider, &path, scope)
                }
                Some(_) => Err(path.reject("is not a validation_context secret")),
            }
        }
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            let path = path.field("combined_validation_context");
            if combined.validation_context_certificate_provider.is_some()
                || combined.validation_context_certificate_provider_instance.is_some()
            {
                return Err(path.reject("certificate providers are not supported"));
            }
            let default = combined.default_validation_context.clone().unwrap_or_default();
            let sds_path = path.field("validation_context_sds_secret_config");
            let config = fields::message(&combined.validation_context_sds_secret_config, &sds_path)?;
            match secret_of(config, &sds_path, scope)?.as_deref() {
                None => Ok(Trust::NotArrived),
                Some(Secret::Validation(message)) => {
                    let merged = validation::merged(default, message);
                    validation::compile(&merged, &params.provider, &path, scope)
                }
                Some(_) => Err(sds_path.reject("is not a validation_context secret")),
            }
        }
        Some(ValidationContextType::ValidationContextCertificateProvider(_)) => {
            Err(path.field("validation_context_certificate_provider").unsupported())
        }
        Some(ValidationContextType::ValidationContextCertificateProviderInstance(_)) => {
            Err(path.field("validation_context_certificate_provider_instance").unsupported())
        }
    }
}

fn server(
    message: &DownstreamTlsContext,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<(ServerConfig, Shown, ClientTrust), Rejection> {
    let DownstreamTlsContext {
        common_tls_context,
        require_client_certificate,
        require_sni,
        disable_stateful_session_resumption: _, // `tickets` reads it.
        session_timeout,
        ocsp_staple_policy,
        full_scan_certs_on_sni_mismatch,
        prefer_client_ciphers,
        session_ticket_keys_type,
    } = message;
    refuse_true!(path; full_scan_certs_on_sni_mismatch);
    if *ocsp_staple_policy != OcspStaplePolicy::LenientStapling as i32 {
        return Err(path.field("ocsp_staple_policy").reject("only LENIENT_STAPLING is supported"));
    }
    let resume = tickets::compile(session_ticket_keys_type, path, scope)?;
    if tickets::ignores_timeout(&resume, session_timeout) {
        scope.warn(&path.field("session_timeout"), "is not in effect: tickets live for half a day");
    }
    let common_path = path.field("common_tls_context");
    let common = common(common_tls_context, &common_path, scope)?;
    if common.certificates.as_ref().is_some_and(Vec::is_empty) {
        return Err(
            common_path.reject("a server needs tls_certificates or tls_certificate_sds_secret_configs")
        );
    }
    // Names that nobody has to show would protect nothing: with them a certificate is required, in Envoy as well. So it is
    // where identities choose the authorities.
    let needed =
        |trust: &PeerTrust| !trust.names.is_empty() || matches!(trust.authorities, Authorities::Domains(_));
    let needed = matches!(&common.trust, Trust::Verified(trust, _) if needed(trust));
    let mandatory = fields::flag(require_client_certificate, false) || needed;
    let clients = match &common.trust {
        Trust::Verified(trust, _) => trust.of_clients(),
        Trust::Absent | Trust::NotArrived => ClientTrust::Unverified,
    };
    let rules = tickets::rules(&common.trust, mandatory);
    let ready = common.certificates.filter(|_| !matches!(common.trust, Trust::NotArrived));
    let builder = common.params.server().map_err(|error| path.reject(error))?;
    let builder = match peer(common.trust, mandatory, &common.params, path, scope) {
        None => builder.with_no_client_auth(),
        Some(trust) => builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(trust, mandatory))),
    };
    // Without its secrets the chain has no certificate, and every handshake fails.
    let certificates = ServerCertificates::new(ready.unwrap_or_default(), fields::flag(require_sni, false));
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = common.alpn;
    config.ignore_client_order = !prefer_client_ciphers;
    tickets::apply(&mut config, resume, message, rules, path)?;
    Ok((config, common.shown, clients))
}

/// What clients must show; `None` asks for no certificate.
fn peer(
    trust: Trust,
    mandatory: bool,
    params: &Params,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Option<PeerTrust> {
    match trust {
        Trust::Verified(trust, _) => Some(*trust),
        Trust::Absent if mandatory => {
            let path = path.field("common_tls_context");
            scope.warn(
                &path,
                "require_client_certificate without trusted_ca: ANY client certificate is accepted",
            );
            Some(PeerTrust::anyone(params.provider.clone()))
        }
        Trust::Absent | Trust::NotArrived => None,
    }
}

fn client(
    message: &UpstreamTlsContext,
    protocol: UpstreamProtocol,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<(ClientConfig, Shown), Rejection> {
    #[allow(deprecated, reason = "enforce_rsa_key_usage is always on, in Envoy and here")]
    let UpstreamTlsContext {
        common_tls_context,
        sni: _, // The caller reads it.
        auto_host_sni,
        auto_sni_san_validation,
        allow_renegotiation,
        max_session_keys,
        enforce_rsa_key_usage: _,
    } = message;
    refuse!(path; auto_host_sni, auto_sni_san_validation);
    warn_set!(scope, path, "is not in effect: TLS renegotiation is never allowed"; allow_renegotiation);
    let common_path = path.field("common_tls_context");
    let common = common(common_tls_context, &common_path, scope)?;
    let unverified = match &common.trust {
        Trust::Absent => Some("no trusted_ca"),
        Trust::Verified(trust, _) if trust.accept_untrusted => {
            Some("trust_chain_verification: ACCEPT_UNTRUSTED")
        }
        Trust::Verified(..) | Trust::NotArrived => None,
    };
    if let Some(reason) = unverified.filter(|_| scope.context.strict_tls) {
        return Err(common_path
            .reject(format_args!("{reason}, and OUTRIGGER_STRICT_TLS demands that servers are verified")));
    }
    if matches!(common.trust, Trust::Absent) {
        scope.warn(
            &common_path,
            "no trusted_ca: the server's certificate is NOT VERIFIED, anyone can impersonate it",
        );
    }
    let builder = common.params.client().map_err(|error| path.reject(error))?.dangerous();
    let provider = common.params.provider.clone();
    let builder = match (common.trust, &common.certificates) {
        (Trust::NotArrived, _) | (_, None) => {
            builder.with_custom_certificate_verifier(Arc::new(NotReady { provider }))
        }
        (Trust::Verified(trust, _), _) => {
            builder.with_custom_certificate_verifier(Arc::new(ServerVerifier(*trust)))
        }
        (Trust::Absent, _) => {
            builder.with_custom_certificate_verifier(Arc::new(ServerVerifier(PeerTrust::anyone(provider))))
        }
    };
    let mut config = match common.certificates.unwrap_or_default().as_slice() {
        [] => builder.with_no_client_auth(),
        [key] => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key)))),
        [_, ..] => return Err(common_path.reject("a client can have only one certificate")),
    };
    config.alpn_protocols = if common.alpn.is_empty() { default_alpn(protocol) } else { common.alpn };
    config.resumption = match fields::count(max_session_keys).unwrap_or(1) {
        0 => Resumption::disabled(),
        // One key per host is kept; Envoy's number counts per host too, rustls' per configuration.
        keys => Resumption::in_memory_sessions(keys.clamp(32, 4096) as usize),
    };
    Ok((config, common.shown))
}

/// What a cluster offers when its TLS context says nothing.
fn default_alpn(protocol: UpstreamProtocol) -> Vec<Vec<u8>> {
    match protocol {
        UpstreamProtocol::Http1 => vec![b"http/1.1".to_vec()],
        UpstreamProtocol::Http2 => vec![b"h2".to_vec()],
        UpstreamProtocol::Auto | UpstreamProtocol::Downstream => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    }
}
