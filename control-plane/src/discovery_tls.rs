//! TLS of the discovery server: what it shows, whose certificates it takes, and how both are renewed.
//!
//! Owns the configuration in force; a connection keeps the one it began with. What cannot be used changes nothing. The
//! certificate comes from files, or from the mesh's authority for names that the operator gives.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::ca::{Issued, MeshCa, Subject};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Where the server's certificate comes from.
pub enum Certificate {
    /// PEM files.
    Files {
        /// Chain.
        certificate: PathBuf,
        /// Key.
        key: PathBuf,
    },
    /// The mesh's authority, for these names and addresses.
    Mesh {
        /// What clients verify.
        names: Vec<String>,
    },
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("TLS of the discovery server: {0}")]
pub struct TlsError(String);

/// TLS of the discovery server.
pub struct DiscoveryTls {
    certificate: Certificate,
    ca: Option<Arc<MeshCa>>,
    current: RwLock<Arc<ServerConfig>>,
    made_of: Mutex<Inputs>,
}

/// What a configuration is made of.
#[derive(Default)]
struct Inputs {
    chain: String,
    key: Zeroizing<String>,
    clients: String,
    issued: Option<Issued>,
}

impl DiscoveryTls {
    /// A first configuration. Clients may show certificates of the mesh's authority.
    ///
    /// # Errors
    /// When certificate or key cannot be used.
    pub fn new(certificate: Certificate, ca: Option<Arc<MeshCa>>, now: SystemTime) -> Result<Self, TlsError> {
        let inputs = Inputs::gather(&certificate, ca.as_deref(), None, now)?;
        let current = RwLock::new(Arc::new(inputs.configure()?));
        Ok(Self { certificate, ca, current, made_of: Mutex::new(inputs) })
    }

    /// Follows files, roots and the end of its own certificate.
    ///
    /// # Errors
    /// When what is there now cannot be used; the configuration before stays.
    pub fn refresh(&self, now: SystemTime) -> Result<(), TlsError> {
        let mut made_of = self.made_of.lock().unwrap_or_else(PoisonError::into_inner);
        let held = made_of.issued.take();
        let inputs = Inputs::gather(&self.certificate, self.ca.as_deref(), held, now)?;
        let same =
            inputs.chain == made_of.chain && inputs.key == made_of.key && inputs.clients == made_of.clients;
        if !same {
            let config = Arc::new(inputs.configure()?);
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
            tracing::info!("discovery is served with other certificates or roots");
        }
        *made_of = inputs;
        Ok(())
    }

    /// Completes a handshake, within its time.
    ///
    /// # Errors
    /// As the handshake says.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, io: S) -> std::io::Result<TlsStream<S>> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let handshake = TlsAcceptor::from(config).accept(io);
        tokio::time::timeout(HANDSHAKE, handshake).await.map_err(|_| std::io::ErrorKind::TimedOut)?
    }
}

/// What a client has shown, verified.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its URIs.
    pub uris: Vec<String>,
    /// When it ends; `None` without a certificate.
    pub until: Option<SystemTime>,
}

/// The certificate that a client has shown; without one it is empty.
pub fn client_certificate<S>(stream: &TlsStream<S>) -> ClientCertificate {
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    leaf.and_then(|leaf| ClientCertificate::of(leaf)).unwrap_or_default()
}

impl ClientCertificate {
    fn of(leaf: &[u8]) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).ok()?;
        let names = parsed.subject_alternative_name().ok()??;
        let uri = |name: &x509_parser::extensions::GeneralName<'_>| match name {
            x509_parser::extensions::GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        };
        let uris = names.value.general_names.iter().filter_map(uri).collect();
        let end = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
        Some(Self { uris, until: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end)) })
    }
}

impl Inputs {
    fn gather(
        certificate: &Certificate,
        ca: Option<&MeshCa>,
        held: Option<Issued>,
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let clients = ca.map(MeshCa::bundle).unwrap_or_default();
        match certificate {
            Certificate::Files { certificate, key } => {
                Ok(Self { chain: read(certificate)?, key: Zeroizing::new(read(key)?), clients, issued: None })
            }
            Certificate::Mesh { names } => {
                let ca =
                    ca.ok_or_else(|| TlsError("a certificate of the mesh needs --mesh-ca".to_owned()))?;
                let issued = match held.filter(|issued| now < issued.due && ca.has_issued(issued)) {
                    Some(issued) => issued,
                    None => {
                        let subject = Subject { uri: String::new(), hosts: names.clone() };
                        ca.issue(&subject, now).map_err(|error| TlsError(error.to_string()))?
                    }
                };
                let (chain, key) = (issued.chain().to_owned(), Zeroizing::new(issued.key().to_owned()));
                Ok(Self { chain, key, clients, issued: Some(issued) })
            }
        }
    }

    fn configure(&self) -> Result<ServerConfig, TlsError> {
        let bad = |what: &str| TlsError(what.to_owned());
        let provider = Arc::new(default_provider());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(self.chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| bad("the certificate is not PEM"))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|_| bad("the key is no unencrypted private key in PEM"))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError(error.to_string()))?;
        let builder = match self.clients.is_empty() {
            true => builder.with_no_client_auth(),
            false => {
                let mut roots = RootCertStore::empty();
                for root in CertificateDer::pem_slice_iter(self.clients.as_bytes()) {
                    let root = root.map_err(|_| bad("the mesh's roots are not PEM"))?;
                    roots.add(root).map_err(|error| TlsError(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = verifier.allow_unauthenticated().build();
                builder.with_client_cert_verifier(verifier.map_err(|error| TlsError(error.to_string()))?)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| TlsError(format!("certificate and key do not work together: {error}")))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Whoever comes back shows its certificate again.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(config)
    }
}

fn read(path: &Path) -> Result<String, TlsError> {
    std::fs::read_to_string(path).map_err(|error| TlsError(format!("{}: {error}", path.display())))
}
