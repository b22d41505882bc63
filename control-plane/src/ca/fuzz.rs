//! Arbitrary certificate requests: no key is certified but one whose holder has signed for it.

#![allow(clippy::unwrap_used, reason = "what does not hold is a finding")]

use rcgen::{PublicKeyData, SanType};

use super::request::{key_for, key_of};

/// The public half of the only key that the seeds are signed with.
const POINT: &str = "04ab0504135de2f9131ebb9e08128fa73419233809b32b87f7aa8a01a6377eca56\
    a21901d20e1f4bb7577279f547c4dbcb54604bf71f7bdd594dddaecae44e3483";

/// A request in DER.
pub fn certificate_requests(data: &[u8]) {
    let own = [SanType::URI("spiffe://shop/virtualNode/a".try_into().unwrap())];
    let hexadecimal = |key: &rcgen::PublicKey| -> String {
        key.der_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let (alone, named) = (key_of(data), key_for(data, &own));
    if let Ok(key) = &alone {
        assert_eq!(hexadecimal(key), POINT, "a key that has signed nothing");
        assert!(data.windows(65).any(|window| window == key.der_bytes()));
    }
    if let Ok(key) = &named {
        assert_eq!(hexadecimal(key), POINT, "a key that has signed nothing");
        assert!(alone.is_ok(), "good with names, bad without");
        let mentions = |text: &[u8]| data.windows(text.len()).any(|window| window == text);
        assert!(mentions(b"spiffe://shop/virtualNode/a") && !mentions(b"*.shop"));
    }
    // The names of another are never given with it.
    let other = [SanType::URI("spiffe://shop/virtualNode/b".try_into().unwrap())];
    assert!(key_for(data, &other).is_err());
}
