//! The mesh's certificate authority: who is who in the mesh, signed, for a short while, by a root on disk or by AWS Private CA.
//!
//! Owns the root's key, the certificates it has issued and when they are due; [`Secured`] puts them as secrets beside
//! what a node is served, so they travel over the node's own aggregated stream. Invariants: a private key is written to
//! no log and to no file but the root's own; a node gets secrets for itself alone; whatever goes wrong with the files of
//! the authority, the last good state goes on signing. Source: SPIFFE X509-SVID; Envoy `Secret`.

mod authority;
mod files;
mod issue;
mod pca;
mod request;
mod root;
mod secured;

pub use files::{StepError, prepare, retire, switch};
pub use issue::{Issued, Subject};
pub use pca::Pca;
pub use root::{CaError, Root};
pub use secured::Secured;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use outrigger_xds_protos::{identity, v3};
use sha2::{Digest, Sha256};

use self::authority::Authority;
use crate::snapshot::{NodeResources, NotCertified};

/// Secret with the certificate and key of the node that asks.
pub const IDENTITY: &str = identity::SECRET;
/// Secret with the roots that the mesh trusts.
pub const TRUST: &str = "outrigger:trust";

/// Shortest life of a certificate.
pub const SHORTEST_LIFE: Duration = Duration::from_secs(2);
/// How an authority works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where root, key and further trusted roots are.
    pub directory: PathBuf,
    /// How long certificates live.
    pub life: Duration,
}

/// The authority.
pub struct MeshCa {
    authority: Authority,
    life: Duration,
    issued: Mutex<HashMap<String, Arc<Issued>>>,
    /// Due, and used while there is no newer one.
    due: Mutex<HashMap<String, Arc<Issued>>>,
    /// Something due could not be issued.
    again: AtomicBool,
}

impl MeshCa {
    /// Opens the authority in a directory; an empty one gets a new root.
    ///
    /// # Errors
    /// When files are missing, unusable or open to others.
    pub fn open(settings: Settings) -> Result<Self, CaError> {
        let authority = Authority::own(&settings.directory)?;
        Ok(Self {
            authority,
            life: settings.life,
            issued: Mutex::default(),
            due: Mutex::default(),
            again: AtomicBool::default(),
        })
    }

    /// Lets AWS Private CA sign.
    ///
    /// # Errors
    /// When it does not say what its certificate is.
    pub fn private(pca: Pca, life: Duration) -> Result<Self, CaError> {
        Ok(Self {
            authority: Authority::private(pca)?,
            life,
            issued: Mutex::default(),
            due: Mutex::default(),
            again: AtomicBool::default(),
        })
    }

    /// The roots that the mesh trusts, as PEM.
    pub fn bundle(&self) -> String {
        self.authority.bundle()
    }

    /// A certificate of a server outside the mesh: this control plane's own.
    ///
    /// # Errors
    /// When signing fails.
    pub fn issue(&self, subject: &Subject, now: SystemTime) -> Result<Issued, CaError> {
        self.authority.issue(subject, self.life, now)
    }

    /// Whether a certificate was signed by the root that signs now.
    pub fn has_issued(&self, issued: &Issued) -> bool {
        issued.root == self.authority.signer()
    }

    /// Puts the secrets of a node beside its resources. The certificate stays the same until it is due.
    fn add_secrets(
        &self,
        subject: &Subject,
        resources: &mut NodeResources,
        now: SystemTime,
    ) -> Result<(), CaError> {
        let issued = self.current(subject, now)?;
        resources.insert(IDENTITY, &issued.secret(IDENTITY));
        resources.insert(TRUST, &trust(&self.bundle()));
        Ok(())
    }

    /// The same for a node that makes its own key: who signs at the moment, in place of certificate and key.
    fn add_call(&self, subject: &Subject, resources: &mut NodeResources) {
        resources.insert(IDENTITY, &call(&self.authority.signer(), subject));
        resources.insert(TRUST, &trust(&self.bundle()));
    }

    /// Answers a request for a certificate with one for this subject and the key of the request.
    ///
    /// # Errors
    /// When the request is none, or signing fails.
    fn certify(&self, subject: &Subject, request: &[u8], now: SystemTime) -> Result<String, NotCertified> {
        let (chain, until) = self.authority.certify(subject, request, self.life, now)?;
        tracing::info!("certificate for {} with its own key until {}", subject.uri, seconds(until));
        Ok(chain)
    }

    fn current(&self, subject: &Subject, now: SystemTime) -> Result<Arc<Issued>, CaError> {
        let key = subject.key();
        let held = self.issued().get(&key).filter(|issued| now < issued.due).cloned();
        if let Some(issued) = held {
            return Ok(issued);
        }
        let issued = match self.issue(subject, now) {
            Ok(issued) => Arc::new(issued),
            Err(error) => return self.before(&key, now, error),
        };
        tracing::info!("certificate for {} until {}", subject.uri, seconds(issued.until));
        self.issued().insert(key, Arc::clone(&issued));
        Ok(issued)
    }

    /// The certificate that is due but good still, where there can be no newer one.
    fn before(&self, key: &str, now: SystemTime, error: CaError) -> Result<Arc<Issued>, CaError> {
        let before = self.due().get(key).filter(|issued| now < issued.until).cloned();
        let Some(issued) = before else { return Err(error) };
        tracing::error!(%error, "a certificate cannot be renewed; it ends at {}", seconds(issued.until));
        self.again.store(true, Ordering::Relaxed);
        Ok(issued)
    }

    /// Sets aside what is due, so that it is issued anew when it is next asked for; whether there is anything, or was
    /// the last time and could not be issued.
    pub fn renew_due(&self, now: SystemTime) -> bool {
        let (mut issued, mut due) = (self.issued(), self.due());
        due.retain(|_, certificate| now < certificate.until);
        let keys: Vec<String> =
            issued.iter().filter(|(_, held)| now >= held.due).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            due.extend(issued.remove_entry(key));
        }
        let again = self.again.swap(false, Ordering::Relaxed);
        again || !keys.is_empty()
    }

    /// Reads the directory again; whether anything is different. With another root everything is issued anew.
    ///
    /// # Errors
    /// When the files cannot be used; the state before stays.
    pub fn reload(&self) -> Result<bool, CaError> {
        let (other, signs) = self.authority.reload()?;
        if signs {
            self.issued().clear();
        }
        Ok(other)
    }

    /// How often to look for what is due: a thirtieth of the life, which shifts a renewal by no more than that.
    pub fn pace(&self) -> Duration {
        (self.life / 30).clamp(Duration::from_millis(50), Duration::from_secs(30))
    }

    fn due(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Issued>>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn issued(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Issued>>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a sidecar with a key of its own to ask for a certificate; other text when another root signs,
/// or for other names.
fn call(root: &str, subject: &Subject) -> v3::tls::Secret {
    use v3::core::data_source::Specifier;
    let digest: String = Sha256::digest(root).iter().map(|byte| format!("{byte:02x}")).collect();
    let names = std::iter::once(&subject.uri).chain(&subject.hosts);
    let text = names.fold(digest, |text, name| text + "\n" + name);
    let secret =
        Some(v3::core::DataSource { specifier: Some(Specifier::InlineString(text)), ..Default::default() });
    let generic = v3::tls::GenericSecret { secret, ..Default::default() };
    v3::tls::Secret { name: IDENTITY.to_owned(), r#type: Some(v3::tls::secret::Type::GenericSecret(generic)) }
}

/// The secret with these roots.
fn trust(bundle: &str) -> v3::tls::Secret {
    use v3::core::data_source::Specifier;
    let source = v3::core::DataSource {
        specifier: Some(Specifier::InlineString(bundle.to_owned())),
        ..Default::default()
    };
    let context = v3::tls::CertificateValidationContext { trusted_ca: Some(source), ..Default::default() };
    v3::tls::Secret {
        name: TRUST.to_owned(),
        r#type: Some(v3::tls::secret::Type::ValidationContext(context)),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
