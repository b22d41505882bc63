//! Session tickets under keys that are configured, so that several servers take one another's tickets.
//! Source: `envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys`; RFC 8446, section 4.6.1.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::server::ProducesTickets;

/// Envoy's keys: 16 bytes of name, 32 for authentication, 32 for encryption.
const KEY: usize = 80;
const NAME: usize = 16;
const NONCE: usize = 12;
const TAG: usize = 16;

/// One configured key.
pub struct TicketKey {
    name: [u8; NAME],
    cipher: LessSafeKey,
}

impl TicketKey {
    /// Takes Envoy's 80 bytes. The bytes for authentication are not needed: the cipher authenticates.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; KEY] = bytes.try_into().ok()?;
        let name = bytes.first_chunk()?;
        let cipher = UnboundKey::new(&AES_256_GCM, bytes.get(KEY - 32..)?).ok()?;
        Some(Self { name: *name, cipher: LessSafeKey::new(cipher) })
    }
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey")
    }
}

/// Encrypts with the first key and decrypts with any.
#[derive(Debug)]
pub struct Tickets {
    keys: std::sync::Arc<Vec<TicketKey>>,
    /// Binds tickets to what the server demands of its clients: a ticket of laxer rules opens nothing here.
    rules: [u8; 32],
    lifetime: u32,
}

impl Tickets {
    /// Tickets that live this many seconds.
    pub fn new(keys: std::sync::Arc<Vec<TicketKey>>, rules: [u8; 32], lifetime: u32) -> Self {
        Self { keys, rules, lifetime }
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.keys.is_empty()
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.keys.first()?;
        let mut nonce = [0; NONCE];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        key.cipher.seal_in_place_append_tag(unique, Aad::from(&self.rules), &mut sealed).ok()?;
        Some([&key.name[..], &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        let key = self.keys.iter().find(|key| key.name == name)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        key.cipher.open_in_place(nonce, Aad::from(&self.rules), &mut plain).ok()?;
        plain.truncate(plain.len().checked_sub(TAG)?);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn tickets(names: &[u8], rules: u8) -> Tickets {
        let keys = names.iter().map(|name| TicketKey::new(&[*name; KEY]).unwrap()).collect();
        Tickets::new(Arc::new(keys), [rules; 32], 60)
    }

    #[test]
    fn the_first_key_encrypts_and_all_decrypt() {
        let (old, both) = (tickets(&[1], 0), tickets(&[2, 1], 0));
        let ticket = old.encrypt(b"session").unwrap();
        assert_eq!(both.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(old.decrypt(&both.encrypt(b"session").unwrap()), None);
    }

    #[test]
    fn tickets_of_other_rules_and_damaged_ones_open_nothing() {
        let ticket = tickets(&[1], 0).encrypt(b"session").unwrap();
        assert_eq!(tickets(&[1], 7).decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut damaged = ticket.clone();
            damaged[at] ^= 1;
            assert_eq!(tickets(&[1], 0).decrypt(&damaged), None);
            assert_eq!(tickets(&[1], 0).decrypt(&ticket[..at]), None);
        }
        assert!(TicketKey::new(&[0; 79]).is_none());
    }
}
