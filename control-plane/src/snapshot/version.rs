//! Content hashes as versions.

use std::fmt;

use sha2::{Digest, Sha256};

use super::Resource;

/// The first 128 bits of a SHA-256, written as 32 hexadecimal digits on the wire.
///
/// Opaque to clients, who compare it for equality only. 128 bits keep the chance of two contents sharing a version
/// negligible; the rest of the digest would only lengthen every request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version([u8; 16]);

impl Version {
    /// The version of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::truncate(Sha256::digest(bytes).as_slice())
    }

    /// The version of a set of resources, given in name order.
    pub fn of_set<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Self {
        let mut hasher = VersionHasher::default();
        resources.into_iter().for_each(|r| hasher.add(r));
        hasher.finish()
    }

    /// Reads back what [`fmt::Display`] wrote. `None` for anything else: a version that we never gave.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    fn truncate(digest: &[u8]) -> Self {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
        Self(bytes)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Computes the version of a set, resource by resource. The order of the resources counts.
#[derive(Default)]
pub struct VersionHasher(Sha256);

impl VersionHasher {
    /// Adds one resource. Lengths are hashed too, so that no two sets share a byte string.
    pub fn add(&mut self, resource: &Resource) {
        self.0.update((resource.name.len() as u64).to_be_bytes());
        self.0.update(resource.name.as_bytes());
        self.0.update(resource.version.0);
    }

    /// The version of what was added.
    pub fn finish(self) -> Version {
        Version::truncate(self.0.finalize().as_slice())
    }
}
