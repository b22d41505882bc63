//! Peer verification as Envoy defines it: chain to a trusted authority, then any one of the configured
//! subject alternative names. The host name plays no part.
//!
//! Without authorities the chain is not verified at all (Envoy's default); the handshake signature always is, so
//! the peer at least holds the key it shows. The translator warns when that happens.
//! Source: `envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext`.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;

use crate::base::matcher::StringMatch;

/// One `match_typed_subject_alt_names` entry.
#[derive(Clone, Debug)]
pub struct SanMatch {
    /// Which kind of name it looks at.
    pub kind: SanKind,
    /// What the name must be.
    pub matcher: StringMatch,
}

/// Kinds of subject alternative names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanKind {
    /// DNS names. An exact matcher also accepts a wildcard of the certificate that covers it.
    Dns,
    /// URIs (SPIFFE identities).
    Uri,
    /// DNS names and URIs (`match_subject_alt_names`).
    Any,
}

impl SanMatch {
    fn matches_dns(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.matcher.matches(name.as_bytes())
            || matches!(&self.matcher, StringMatch::Exact(want) if wildcard_covers(&name, want))
    }

    fn accepts(&self, certificate: &EndEntityCert<'_>) -> bool {
        let dns = || certificate.valid_dns_names().any(|name| self.matches_dns(name));
        let uri = || certificate.valid_uri_names().any(|name| self.matcher.matches(name.as_bytes()));
        match self.kind {
            SanKind::Dns => dns(),
            SanKind::Uri => uri(),
            SanKind::Any => dns() || uri(),
        }
    }
}

/// Whether certificate name `*.suffix` covers `want`, which has exactly one label more.
fn wildcard_covers(name: &str, want: &[u8]) -> bool {
    let Some(suffix) = name.strip_prefix('*') else { return false };
    let want = want.to_ascii_lowercase();
    let label = want.strip_suffix(suffix.as_bytes());
    label.is_some_and(|label| !label.is_empty() && !label.contains(&b'.'))
}

/// What a peer certificate must satisfy.
#[derive(Clone, Debug)]
pub struct PeerTrust {
    /// Trusted authorities, intermediate ones included; `None` does not verify the chain.
    pub roots: Option<Arc<RootCertStore>>,
    /// Any of these; empty accepts every name.
    pub names: Vec<SanMatch>,
    /// Algorithms.
    pub provider: Arc<CryptoProvider>,
}

impl PeerTrust {
    fn check_names(&self, end_entity: &CertificateDer<'_>) -> Result<(), Error> {
        if self.names.is_empty() {
            return Ok(());
        }
        let certificate = EndEntityCert::try_from(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        match self.names.iter().any(|name| name.accepts(&certificate)) {
            true => Ok(()),
            false => Err(CertificateError::NotValidForName.into()),
        }
    }
}

/// Verifies the servers of a cluster.
#[derive(Debug)]
pub struct ServerVerifier(pub PeerTrust);

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let trust = &self.0;
        if let Some(roots) = &trust.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = trust.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        trust.check_names(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Fails every connection: the secrets of the cluster have not arrived.
#[derive(Debug)]
pub struct NotReady {
    /// Algorithms, so that the handshake gets far enough to fail with a reason.
    pub provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for NotReady {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Err(Error::General("the secrets of this cluster have not arrived".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::BadSignature.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Verifies the clients of a filter chain.
#[derive(Debug)]
pub struct ClientVerifier {
    trust: PeerTrust,
    /// Chain verification; `None` takes any chain.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    mandatory: bool,
}

impl ClientVerifier {
    /// Asks for a certificate, and insists on one when `mandatory`. Fails on an empty set of authorities.
    pub fn new(trust: PeerTrust, mandatory: bool) -> Result<Self, String> {
        let chain = trust
            .roots
            .clone()
            .map(|roots| WebPkiClientVerifier::builder_with_provider(roots, trust.provider.clone()).build());
        let chain = chain.transpose().map_err(|error| error.to_string())?;
        Ok(Self { trust, chain, mandatory })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map_or(&[], |chain| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chain) = &self.chain {
            chain.verify_client_cert(end_entity, intermediates, now)?;
        }
        self.trust.check_names(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.provider.signature_verification_algorithms.supported_schemes()
    }
}
