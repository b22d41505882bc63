//! The root: certificate, key, and whom else the mesh trusts.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::files::is_interrupted;
use super::key::PrivateKey;

/// The root that signs.
pub(super) const ROOT: &str = "root";
/// How long a generated root lives.
const LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// A key that others can read is nobody's key.
    #[error("{0} can be read by others; chmod 600 it, and replace the root if they may have read it")]
    Open(String),
    /// A file is not what it should be.
    #[error("{path}: {reason}")]
    Unusable {
        /// Which.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("cannot issue a certificate: {0}")]
    Signing(String),
}

/// A root that signs, with all roots that are trusted.
pub struct Root {
    issuer: Issuer<'static, PrivateKey>,
    certificate: String,
    bundle: String,
    until: SystemTime,
}

impl Root {
    /// Opens the directory; without a root in it, makes one.
    pub fn open(directory: &Path) -> Result<Self, CaError> {
        make_directory(directory)?;
        if is_interrupted(directory) {
            let reason = "a change of roots was interrupted here; run `outrigger ca switch` again";
            return Err(unusable(directory, reason));
        }
        if !directory.join("root.pem").exists() {
            generate(directory, ROOT)?;
            tracing::info!("made a new root for the mesh in {}", directory.display());
        }
        Self::open_existing(directory)
    }

    /// Opens a directory that has a root: `root.pem`, `root.key`, and any further `*.pem` that is trusted.
    pub fn open_existing(directory: &Path) -> Result<Self, CaError> {
        let (certificate_path, key_path) = (directory.join("root.pem"), directory.join("root.key"));
        let certificate = read(&certificate_path)?;
        let mode = fs::metadata(&key_path).map_err(|e| file(&key_path, e))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(CaError::Open(key_path.display().to_string()));
        }
        let key = Zeroizing::new(read(&key_path)?);
        // Whatever is wrong with a key, its text stays out of the message.
        let key = PrivateKey::from_pem(&key).map_err(|_| unusable(&key_path, "is no private key in PEM"))?;
        let facts = facts(&certificate).map_err(|reason| unusable(&certificate_path, reason))?;
        if facts.key != rcgen::PublicKeyData::der_bytes(&key) {
            return Err(unusable(&key_path, "is not the key of root.pem"));
        }
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)
            .map_err(|error| unusable(&certificate_path, &error.to_string()))?;
        let bundle = bundle(directory, &certificate)?;
        Ok(Self { issuer, certificate, bundle, until: facts.until })
    }

    /// What signs.
    pub(super) fn issuer(&self) -> &Issuer<'static, PrivateKey> {
        &self.issuer
    }

    /// The certificate as PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// All trusted roots as PEM, the signing one first.
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// When it ends.
    pub fn until(&self) -> SystemTime {
        self.until
    }
}

/// What of a certificate matters here.
struct Facts {
    key: Vec<u8>,
    until: SystemTime,
}

fn facts(pem: &str) -> Result<Facts, &'static str> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|_| "is not PEM")?;
    let certificate = pem.parse_x509().map_err(|_| "is no certificate")?;
    if !certificate.is_ca() {
        return Err("is no certificate of an authority");
    }
    let key = certificate.public_key().subject_public_key.data.to_vec();
    let until = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Ok(Facts { key, until: SystemTime::UNIX_EPOCH + Duration::from_secs(until) })
}

/// Makes it, its owner's alone, unless it is there.
pub(super) fn make_directory(directory: &Path) -> Result<(), CaError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| file(directory, error))
}

/// `root` and every other certificate of the directory, by name.
pub(super) fn bundle(directory: &Path, root: &str) -> Result<String, CaError> {
    let entries = fs::read_dir(directory).map_err(|e| file(directory, e))?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "pem"));
    names.sort();
    let mut bundle = root.to_owned();
    for path in names {
        let text = read(&path)?;
        if text == root {
            continue;
        }
        facts(&text).map_err(|reason| unusable(&path, reason))?;
        bundle.push_str(&text);
    }
    Ok(bundle)
}

/// Makes `<name>.pem` and `<name>.key`. Neither may exist.
pub(super) fn generate(directory: &Path, name: &str) -> Result<(), CaError> {
    let failed = |error: rcgen::Error| CaError::Signing(error.to_string());
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // Roots with names of their own: a chain leads to one of them only.
    params.distinguished_name.push(DnType::CommonName, format!("mesh root {:08x}", fastrand::u32(..)));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = SystemTime::now();
    params.not_before = OffsetDateTime::from(now - super::authority::BACKDATED);
    params.not_after = OffsetDateTime::from(now + LIFE);
    let key = PrivateKey::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    write(&directory.join(format!("{name}.key")), &key.pem(), 0o600)?;
    write(&directory.join(format!("{name}.pem")), &certificate.pem(), 0o644)
}

/// Puts a whole file in place, whoever else does the same: under another name first, of this process alone.
pub(super) fn replace(path: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    let new = path.with_extension(format!("pem.{:08x}.new", fastrand::u32(..)));
    let placed =
        write(&new, text, mode).and_then(|()| fs::rename(&new, path).map_err(|error| file(path, error)));
    if placed.is_err() {
        // What is left of it is no `.pem`.
        let _ = fs::remove_file(&new);
    }
    placed
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = opened.and_then(|mut opened| {
        opened.write_all(text.as_bytes())?;
        opened.sync_all()
    });
    written.map_err(|error| file(path, error))
}

fn read(path: &Path) -> Result<String, CaError> {
    fs::read_to_string(path).map_err(|error| file(path, error))
}

pub(super) fn file(path: &Path, error: io::Error) -> CaError {
    CaError::File { path: path.display().to_string(), error }
}

fn unusable(path: &Path, reason: &str) -> CaError {
    CaError::Unusable { path: path.display().to_string(), reason: reason.to_owned() }
}
