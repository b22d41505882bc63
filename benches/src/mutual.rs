//! Mutual TLS on both sides of the proxy: one authority, and who generator, proxy and backend are.
//!
//! P-256 keys and TLS 1.3. No session is resumed: a new connection is a full handshake with both certificates.

use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_tests::client::h1;
use outrigger_tests::netns::Place;
use outrigger_tests::tls::{self, Authority, Identity};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
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

    /// What the generator connects with.
    pub fn client(&self) -> Result<Arc<ClientConfig>> {
        let mut config = self.authority.client(&[], Some(&self.caller))?;
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// What the backend accepts with: certificates of the authority only.
    pub fn server(&self) -> Result<Arc<ServerConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(rustls_pki_types::CertificateDer::from_pem_slice(
            self.authority.certificate().as_bytes(),
        )?)?;
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
