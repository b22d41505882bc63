//! Who signs: a root of our own on disk, or AWS Private CA.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::PublicKeyData;
use x509_parser::extensions::GeneralName;

use super::issue::{self, Issued, Subject};
use super::key::PrivateKey;
use super::pca::Pca;
use super::request;
use super::root::{CaError, Root};
use super::told::Told;
use crate::snapshot::NotCertified;

/// How long certificates are valid before they are issued: clocks of a mesh differ.
pub(super) const BACKDATED: Duration = Duration::from_secs(300);

pub(super) enum Authority {
    /// A root in this directory.
    Own(PathBuf, RwLock<Arc<Root>>),
    /// AWS Private CA, with the roots it has told.
    Private(Box<Pca>, Mutex<Told>),
}

impl Authority {
    /// Opens a directory; an empty one gets a new root.
    pub(super) fn own(directory: &Path) -> Result<Self, CaError> {
        let root = RwLock::new(Arc::new(Root::open(directory)?));
        Ok(Self::Own(directory.to_owned(), root))
    }

    pub(super) fn private(pca: Pca, directory: Option<PathBuf>) -> Result<Self, CaError> {
        let told = Told::new(pca.bundle()?, directory)?;
        Ok(Self::Private(Box::new(pca), Mutex::new(told)))
    }

    /// All trusted roots as PEM.
    pub(super) fn bundle(&self) -> String {
        match self {
            Self::Own(_, root) => held(root).bundle().to_owned(),
            Self::Private(_, told) => locked(told).bundle().to_owned(),
        }
    }

    /// A text that stands for who signs at the moment.
    pub(super) fn signer(&self) -> String {
        match self {
            Self::Own(_, root) => held(root).certificate().to_owned(),
            Self::Private(_, told) => locked(told).own().to_owned(),
        }
    }

    /// A certificate with a key made here.
    pub(super) fn issue(
        &self,
        subject: &Subject,
        life: Duration,
        now: SystemTime,
    ) -> Result<Issued, CaError> {
        let pca = match self {
            Self::Own(_, root) => return issue::issue(&held(root), subject, life, BACKDATED, now),
            Self::Private(pca, _) => pca,
        };
        let key = PrivateKey::generate().map_err(issue::failed)?;
        let request = issue::params(subject)?.serialize_request(&key).map_err(issue::failed)?;
        let request = request.pem().map_err(issue::failed)?;
        let chain = pca.issue(&request, now + life)?;
        let until = checked(&chain, key.der_bytes(), subject)?;
        Ok(Issued::new(chain, &key, self.signer(), life, until, now))
    }

    /// A certificate for the key of a request, and when it ends.
    pub(super) fn certify(
        &self,
        subject: &Subject,
        request: &[u8],
        life: Duration,
        now: SystemTime,
    ) -> Result<(String, SystemTime), NotCertified> {
        let failed = |error: CaError| NotCertified::Failed(error.to_string());
        match self {
            Self::Own(_, root) => {
                let key = request::key_of(request).map_err(NotCertified::Request)?;
                issue::sign(&held(root), subject, &key, life, BACKDATED, now).map_err(failed)
            }
            Self::Private(pca, _) => {
                let wanted = issue::params(subject).map_err(failed)?.subject_alt_names;
                let key = request::key_for(request, &wanted).map_err(NotCertified::Request)?;
                let chain = pca.issue(&pem(request), now + life).map_err(failed)?;
                let until = checked(&chain, key.der_bytes(), subject).map_err(failed)?;
                Ok((chain, until))
            }
        }
    }

    /// Reads the directory again, or asks again after a while. Whether anything is different.
    pub(super) fn reload(&self) -> Result<bool, CaError> {
        match self {
            Self::Own(directory, root) => {
                let (old, new) = (held(root), Root::open_existing(directory)?);
                let other = new.certificate() != old.certificate() || new.bundle() != old.bundle();
                if other {
                    *root.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                }
                Ok(other)
            }
            Self::Private(pca, told) => {
                // Asked without the lock: an answer may take its time.
                let due = locked(told).is_due();
                let answer = if due { Some(pca.bundle()) } else { None };
                let mut told = locked(told);
                let before = told.bundle().to_owned();
                let told_now = answer.transpose().map(|own| own.into_iter().for_each(|own| told.tell(own)));
                // What the directory says counts, whatever the authority does.
                let read = told.read();
                match told.bundle() != before {
                    true => Ok(true),
                    false => told_now.and(read).map(|()| false),
                }
            }
        }
    }
}

fn locked(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

fn held(root: &RwLock<Arc<Root>>) -> Arc<Root> {
    Arc::clone(&root.read().unwrap_or_else(PoisonError::into_inner))
}

/// When the first certificate of a chain ends, which must be for this key and exactly these names.
fn checked(chain: &str, key: &[u8], subject: &Subject) -> Result<SystemTime, CaError> {
    let wrong = |what: &str| CaError::Signing(format!("the authority has signed something else: {what}"));
    let (_, pem) = x509_parser::pem::parse_x509_pem(chain.as_bytes()).map_err(|_| wrong("no PEM"))?;
    let leaf = pem.parse_x509().map_err(|_| wrong("no certificate"))?;
    if *leaf.public_key().subject_public_key.data != *key {
        return Err(wrong("another key"));
    }
    let names = leaf.subject_alternative_name().ok().flatten().ok_or_else(|| wrong("no names"))?;
    let mut found: Vec<String> = names.value.general_names.iter().map(text).collect();
    let address = |host: &String| host.parse::<IpAddr>().map_or_else(|_| host.clone(), |ip| ip.to_string());
    let uri = (!subject.uri.is_empty()).then(|| subject.uri.clone());
    let mut wanted: Vec<String> = subject.hosts.iter().map(address).chain(uri).collect();
    found.sort();
    wanted.sort();
    if found != wanted {
        return Err(wrong("other names"));
    }
    let until = u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or_default();
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(until))
}

fn text(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::URI(text) | GeneralName::DNSName(text) => (*text).to_owned(),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(four), _) => IpAddr::from(four).to_string(),
            (_, Ok(sixteen)) => IpAddr::from(sixteen).to_string(),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

/// A request in DER as PEM (RFC 7468).
fn pem(request: &[u8]) -> String {
    let coded = STANDARD.encode(request);
    let mut text = String::from("-----BEGIN CERTIFICATE REQUEST-----\n");
    for line in coded.as_bytes().chunks(64) {
        // Base64 is ASCII.
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text + "-----END CERTIFICATE REQUEST-----\n"
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;

    use super::*;

    fn subject(uri: &str, hosts: &[&str]) -> Subject {
        Subject { uri: uri.to_owned(), hosts: hosts.iter().map(|host| (*host).to_owned()).collect() }
    }

    /// An authority elsewhere may sign what it likes; it is not passed on.
    #[test]
    fn what_was_not_asked_for_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let Authority::Own(_, root) = Authority::own(directory.path()).unwrap() else { panic!("of our own") };
        let asked = subject("spiffe://shop/virtualNode/a", &["a.shop", "10.0.0.1", "::1"]);
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let life = Duration::from_secs(600);
        let sign = |subject: &Subject| {
            issue::sign(&held(&root), subject, &key, life, BACKDATED, SystemTime::now()).unwrap().0
        };
        let good = sign(&asked);
        assert!(checked(&good, key.der_bytes(), &asked).unwrap() > SystemTime::now());
        assert!(checked(&good, other.der_bytes(), &asked).is_err());
        assert!(checked("", key.der_bytes(), &asked).is_err());
        for different in [
            subject("spiffe://shop/virtualNode/b", &["a.shop", "10.0.0.1", "::1"]),
            subject("spiffe://shop/virtualNode/a", &["a.shop", "10.0.0.1"]),
            subject("spiffe://shop/virtualNode/a", &["a.shop", "10.0.0.1", "::1", "more.shop"]),
            subject("", &["a.shop", "10.0.0.1", "::1"]),
        ] {
            assert!(checked(&sign(&different), key.der_bytes(), &asked).is_err(), "{different:?}");
        }
    }

    #[test]
    fn requests_are_wrapped() {
        let text = pem(&[7; 100]);
        assert!(text.lines().all(|line| line.len() <= 64) && text.ends_with("REQUEST-----\n"), "{text}");
        assert_eq!(x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap().1.contents, [7; 100]);
    }
}
