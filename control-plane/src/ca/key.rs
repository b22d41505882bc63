//! A private key that was made or read here: it signs, and what of it is ours is wiped when it goes. The cryptographic
//! library wipes its own.

use rcgen::{Error, KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};
use zeroize::Zeroizing;

/// The key. It has no debug form.
pub(super) struct PrivateKey(Zeroizing<KeyPair>);

impl PrivateKey {
    /// A new P-256 key.
    pub(super) fn generate() -> Result<Self, Error> {
        KeyPair::generate().map(Zeroizing::new).map(Self)
    }

    /// Out of a PEM text. The error may show some of it.
    pub(super) fn from_pem(text: &str) -> Result<Self, Error> {
        KeyPair::from_pem(text).map(Zeroizing::new).map(Self)
    }

    /// As PEM, PKCS#8.
    pub(super) fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }
}

impl PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        PublicKeyData::algorithm(&*self.0)
    }
}

impl SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.sign(message)
    }
}
