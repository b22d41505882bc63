//! Mutual TLS on both sides of the proxy: one authority, and who generator, proxy and backend are.
//!
//! P-256 keys and TLS 1.3. No session is resumed: a new connection is a full handshake with both certificates.

use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_tests::client::h1;
use outrigger_tests::netns::Place;
use outrigger_tests::tls::{self, Authority, Identity};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde_json::{Value, json};

use crate::Result;

/// The name of the proxy, as the generator asks for it.
pub const PROXY: &str = "proxy.mesh.local";
const BACKEND: &str = "backend.mesh.local";
const CALLER: &str = "spiffe://mesh/caller";
/// What the proxy calls itself towards the backend.
const IDENTITY: &str = "spiffe://mesh/proxy";

/// See the module.
pub struct Mutual {
    authority: Authority,
    caller: Identity,
    proxy: Identity,
    backend: Identity,
}

impl Mutual {
    /// A new authority and new identities.
    pub fn new() -> Result<Self> {
        let authority = Authority::new()?;
        let (caller, proxy) = (authority.issue(&[CALLER])?, authority.issue(&[PROXY, IDENTITY])?);
        let backend = authority.issue(&[BACKEND])?;
        Ok(Self { authority, caller, proxy, backend })
    }

    /// What the generator connects with. It is to be quicker than any proxy: it verifies nothing of the server, and
    /// offers one group of keys, so that every proxy does the same work.
    pub fn client(&self) -> Result<Arc<ClientConfig>> {
        let provider = CryptoProvider { kx_groups: vec![kx_group::X25519], ..default_provider() };
        let key = PrivateKeyDer::from_pem_slice(self.caller.key.as_bytes())?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_client_auth_cert(vec![self.caller.der()?], key)?;
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// What the backend accepts with: certificates of the authority only.
    pub fn server(&self) -> Result<Arc<ServerConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.certificate().as_bytes())?)?;
        let provider = Arc::new(default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![self.backend.der()?],
                PrivateKeyDer::from_pem_slice(self.backend.key.as_bytes())?,
            )?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// The transport socket of the proxy's listener.
    pub fn downstream(&self) -> Value {
        let mut socket = self.socket("Downstream", "URI", CALLER);
        socket["typed_config"]["require_client_certificate"] = json!(true);
        socket["typed_config"]["disable_stateless_session_resumption"] = json!(true);
        socket["typed_config"]["disable_stateful_session_resumption"] = json!(true);
        socket
    }

    /// The transport socket of the proxy's cluster.
    pub fn upstream(&self) -> Value {
        let mut socket = self.socket("Upstream", "DNS", BACKEND);
        socket["typed_config"]["sni"] = json!(BACKEND);
        socket
    }

    fn socket(&self, side: &str, kind: &str, peer: &str) -> Value {
        json!({"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext"),
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
                "tls_certificates": [{
                    "certificate_chain": {"inline_string": self.proxy.certificate},
                    "private_key": {"inline_string": self.proxy.key},
                }],
                "validation_context": {
                    "trusted_ca": {"inline_string": self.authority.certificate()},
                    "match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": peer}}],
                },
            },
        }})
    }

    /// A connection to the proxy, for the requests before the load.
    pub async fn connect(&self, to: SocketAddr) -> Result<h1::Connection> {
        let config = self.authority.client(&[], Some(&self.caller))?;
        Ok(h1::Connection::over(tls::connect(&Place::Host, to, PROXY, config).await?))
    }
}

/// Takes every server for the right one. The requests before the load were made by a client that looks.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
