//! The mesh's certificate authority: who is who in the mesh, signed, for a short while, by a root on disk or by AWS Private CA.
//!
//! Owns the root's key, the certificates it has issued and when they are due; [`Secured`] puts them as secrets beside
//! what a node is served, so they travel over the node's own aggregated stream. Invariants: a private key is written to
//! no log and to no file but the root's own; a node gets secrets for itself alone; whatever goes wrong with the files of
//! the authority, the last good state goes on signing; what is due is renewed aside, and served until there is another.
//! Source: SPIFFE X509-SVID; Envoy `Secret`.

mod authority;
mod files;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod held;
mod issue;
mod key;
mod pca;
mod request;
mod root;
mod secured;
mod told;

pub use files::{StepError, prepare, retire, switch};
pub use issue::{Issued, Subject};
pub use pca::Pca;
pub use root::{CaError, Root};
pub use secured::Secured;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_xds_protos::{identity, v3};
use sha2::{Digest, Sha256};

use self::authority::Authority;
use self::held::Held;
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
    held: Held,
}

impl MeshCa {
    /// Opens the authority in a directory; an empty one gets a new root.
    ///
    /// # Errors
    /// When files are missing, unusable or open to others.
    pub fn open(settings: Settings) -> Result<Self, CaError> {
        let authority = Authority::own(&settings.directory)?;
        Ok(Self { authority, life: settings.life, held: Held::default() })
    }

    /// Lets AWS Private CA sign. A directory keeps the roots that it has had.
    ///
    /// # Errors
    /// When it does not say what its certificate is, or the directory cannot be used.
    pub fn private(pca: Pca, life: Duration, directory: Option<PathBuf>) -> Result<Self, CaError> {
        Ok(Self { authority: Authority::private(pca, directory)?, life, held: Held::default() })
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
        let mut secret = issued.secret(IDENTITY);
        resources.insert(IDENTITY, &secret);
        issue::wipe(&mut secret);
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

    /// Whether signing waits for nobody.
    fn signs_at_once(&self) -> bool {
        matches!(self.authority, Authority::Own(..))
    }

    /// Whether there is a certificate for this subject that is good still.
    fn holds(&self, subject: &Subject, now: SystemTime) -> bool {
        self.held.get(subject, now).is_some()
    }

    /// The certificate in use; the first one of a subject is issued here and now.
    fn current(&self, subject: &Subject, now: SystemTime) -> Result<Arc<Issued>, CaError> {
        if let Some(held) = self.held.get(subject, now) {
            return Ok(held);
        }
        let issued = Arc::new(self.issue(subject, now)?);
        tracing::info!("certificate for {} until {}", subject.uri, seconds(issued.until));
        self.held.put(subject, Arc::clone(&issued), true);
        Ok(issued)
    }

    /// Issues anew what is due or was signed by another root; whether anything is new. It takes as long as the authority
    /// does: meanwhile, and when it cannot be done, what is held is served until its end.
    pub fn renew(&self, now: SystemTime) -> bool {
        self.held.renew(&self.authority.signer(), now, |subject| self.issue(subject, now))
    }

    /// Reads the directory again; whether anything is different. With another root everything is to be renewed.
    ///
    /// # Errors
    /// When the files cannot be used; the state before stays.
    pub fn reload(&self) -> Result<bool, CaError> {
        self.authority.reload()
    }

    /// How often to look for what is due: a thirtieth of the life, which shifts a renewal by no more than that.
    pub fn pace(&self) -> Duration {
        (self.life / 30).clamp(Duration::from_millis(50), Duration::from_secs(30))
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
