//! Secrets: certificates with their keys, and validation contexts.
//! Source: `envoy.extensions.transport_sockets.tls.v3.Secret`. Private keys never reach a log or an error text.

use std::sync::Arc;

use outrigger_xds_protos::identity;
use outrigger_xds_protos::v3::core::DataSource;
use outrigger_xds_protos::v3::core::data_source::Specifier;
use outrigger_xds_protos::v3::tls::secret::Type;
use outrigger_xds_protos::v3::tls::{
    CertificateValidationContext, GenericSecret, Secret as SecretMessage, TlsCertificate,
};
use rustls::InconsistentKeys;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use zeroize::{Zeroize, Zeroizing};

use super::TranslatedSecret;
use super::fields;
use super::fields::{refuse, warn_set};
use super::path::{Path, Rejection};
use super::scope::Scope;
use super::{data_source, tls};
use crate::config::secret::tickets::TicketKey;
use crate::config::secret::{ShownCertificate, key};

/// Validated secret material, for [`super::TranslateContext::secrets`].
pub enum Secret {
    /// A certificate chain with its key.
    Certificate(Arc<CertifiedKey>, Vec<ShownCertificate>),
    /// A validation context, already checked; merged and compiled where it is used.
    Validation(Box<CertificateValidationContext>),
    /// A certificate that we have to ask for, and who signs it at the moment.
    Requested(Arc<str>),
    /// Keys of session tickets.
    Tickets(Arc<Vec<TicketKey>>),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Secret::Certificate(..) => "Secret::Certificate",
            Secret::Validation(_) => "Secret::Validation",
            Secret::Requested(_) => "Secret::Requested",
            Secret::Tickets(_) => "Secret::Tickets",
        })
    }
}

/// Validates a secret.
pub(super) fn compile(
    message: &SecretMessage,
    mut scope: Scope<'_>,
    path: &Path<'_>,
) -> Result<TranslatedSecret, Rejection> {
    let SecretMessage { name, r#type } = message;
    let name = fields::required(name, &path.field("name"))?.to_owned();
    let secret = match r#type {
        None => return Err(path.reject("needs one of tls_certificate, validation_context")),
        Some(Type::TlsCertificate(message)) => {
            let (key, shown) = certificate(message, &path.field("tls_certificate"), &mut scope)?;
            Secret::Certificate(key, shown)
        }
        Some(Type::ValidationContext(message)) => {
            // Names may be matched here and the authorities be in the context that refers to this one.
            tls::check_validation(message, &path.field("validation_context"), &mut scope)?;
            Secret::Validation(Box::new(message.clone()))
        }
        Some(Type::SessionTicketKeys(message)) => {
            Secret::Tickets(tls::ticket_keys(message, &path.field("session_ticket_keys"), &mut scope)?)
        }
        Some(Type::GenericSecret(message)) if name == identity::SECRET => {
            Secret::Requested(signer(message, &path.field("generic_secret"))?)
        }
        Some(Type::GenericSecret(_)) => return Err(path.field("generic_secret").unsupported()),
    };
    Ok(TranslatedSecret { name, secret: Arc::new(secret) })
}

/// Wipes the keys of a message that was read and is not needed any more.
pub fn wipe(message: &mut SecretMessage) {
    let mut wipe_source = |source: &mut DataSource| match &mut source.specifier {
        Some(Specifier::InlineString(text)) => text.zeroize(),
        Some(Specifier::InlineBytes(bytes)) => bytes.zeroize(),
        _ => {}
    };
    match &mut message.r#type {
        Some(Type::TlsCertificate(certificate)) => {
            certificate.private_key.iter_mut().for_each(&mut wipe_source);
        }
        Some(Type::SessionTicketKeys(tickets)) => tickets.keys.iter_mut().for_each(wipe_source),
        _ => {}
    }
}

/// Who signs certificates that are asked for.
fn signer(message: &GenericSecret, path: &Path<'_>) -> Result<Arc<str>, Rejection> {
    let GenericSecret { secret, secrets } = message;
    refuse!(path; secrets);
    let path = path.field("secret");
    let text = data_source::read(fields::message(secret, &path)?, &path)?;
    String::from_utf8(text).map(Arc::from).map_err(|_| path.reject("is not text"))
}

/// Reads a certificate and its key, and checks that they belong together.
pub(super) fn certificate(
    message: &TlsCertificate,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<(Arc<CertifiedKey>, Vec<ShownCertificate>), Rejection> {
    let TlsCertificate {
        certificate_chain,
        private_key,
        pkcs12,
        watched_directory,
        private_key_provider,
        password,
        ocsp_staple,
        signed_certificate_timestamp: _, // Never sent by Envoy either.
        tls_params,
    } = message;
    refuse!(path; pkcs12, private_key_provider, password, ocsp_staple, tls_params);
    warn_set!(scope, path, "is not needed: the files themselves are watched"; watched_directory);
    let chain_path = path.field("certificate_chain");
    let source = fields::message(certificate_chain, &chain_path)?;
    let pem = data_source::watched(source, &chain_path, scope)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| chain_path.reject(format_args!("not valid PEM: {error}")))?;
    if chain.is_empty() {
        return Err(chain_path.reject("holds no PEM certificate"));
    }
    let shown: Vec<_> = chain.iter().cloned().map(Arc::new).collect();
    let shown = ShownCertificate::chain(data_source::place(source), &shown);
    let key_path = path.field("private_key");
    let pem =
        Zeroizing::new(data_source::watched(fields::message(private_key, &key_path)?, &key_path, scope)?);
    let key = key::signing_key(&pem)
        .ok_or_else(|| key_path.reject("holds no unencrypted PEM private key (PKCS#8, PKCS#1 or SEC1)"))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // A key that does not tell its public half is found out by the first handshake.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(error) => {
            return Err(path.reject(format_args!("certificate and key do not work together: {error}")));
        }
    }
    Ok((Arc::new(certified), shown))
}
