//! Damaged input: nothing panics, nothing runs away, whatever bytes or text come in.

use outrigger_xds_protos::any::{Typed, pack, unpack};
use outrigger_xds_protos::json::{Document, Secrets, from_text, print_any};
use outrigger_xds_protos::v3::bootstrap::Bootstrap;
use outrigger_xds_protos::v3::listener::Listener;
use outrigger_xds_protos::v3::wkt::Any;
use outrigger_xds_protos::{unknown, validate};

const STATIC: &str = include_str!("bootstraps/static.yaml");
const ROUNDS: usize = 1500;

/// Replayable randomness (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % n
    }

    /// Overwrites, inserts or removes a few items, or cuts the rest off.
    fn damage<T: Clone>(&mut self, items: &mut Vec<T>, replacements: &[T]) {
        for _ in 0..=self.below(4) {
            let at = self.below(items.len().max(1)).min(items.len().saturating_sub(1));
            let new = replacements[self.below(replacements.len())].clone();
            match self.below(8) {
                _ if items.is_empty() => return,
                0 => items.truncate(at),
                1 | 2 => items.insert(at, new),
                3 => drop(items.remove(at)),
                _ => items[at] = new,
            }
        }
    }
}

#[test]
fn damaged_messages() {
    let bootstrap: Bootstrap = from_text(STATIC).unwrap();
    let listener = &bootstrap.static_resources.as_ref().unwrap().listeners[0];
    let bytes: Vec<u8> = (0..=255).collect();
    let mut random = Random(1);
    let (mut refused, mut missed) = (0, 0);
    for round in 0..ROUNDS {
        let mut any = if round % 2 == 0 { pack(&bootstrap) } else { pack(listener) };
        random.damage(&mut any.value, &bytes);
        let decoded = match round % 2 {
            0 => unpack::<Bootstrap>(&any).map(|message| message.to_wire()),
            _ => unpack::<Listener>(&any).map(|message| message.to_wire()),
        };
        refused += usize::from(decoded.is_err());
        let verdict = validate::check_any(&any);
        // Prost also reads the members of a oneof that a later one overrides; the checker does not.
        missed += usize::from(decoded.is_err() && verdict.is_ok());
        assert!(unknown::fields(&any).len() <= 16);
        let printed = print_any(&any, Secrets::Redact);
        assert_eq!(printed["@type"], any.type_url);
    }
    assert!(refused > ROUNDS / 4, "the damage is too mild: {refused}");
    assert!(missed <= ROUNDS / 500, "the checker accepts {missed} messages that prost cannot read");
}

#[test]
fn noise_as_any_type() {
    let mut random = Random(2);
    for _ in 0..ROUNDS {
        let value: Vec<u8> = (0..random.below(60)).map(|_| random.below(256) as u8).collect();
        for type_url in ["google.protobuf.Struct", "google.protobuf.Any", "envoy.config.cluster.v3.Cluster"] {
            let any = Any { type_url: format!("type.googleapis.com/{type_url}"), value: value.clone() };
            let _ = (validate::check_any(&any), unknown::fields(&any), print_any(&any, Secrets::Show));
        }
    }
}

#[test]
fn damaged_texts() {
    let text: Vec<char> = STATIC.chars().collect();
    let replacements: Vec<char> = "{}[]:,-\"'#&*!|>%@`~?\n\t 0aé\u{0}\u{feff}\u{2028}".chars().collect();
    let mut random = Random(3);
    let (mut refused, rounds) = (0, 150);
    for _ in 0..rounds {
        let mut damaged = text.clone();
        random.damage(&mut damaged, &replacements);
        let damaged: String = damaged.into_iter().collect();
        if let Err(error) = from_text::<Bootstrap>(&damaged) {
            refused += 1;
            assert!(error.position.line <= damaged.lines().count().max(1) + 1, "{error}");
        }
    }
    assert!(refused > rounds / 4, "the damage is too mild: {refused}");
}

#[test]
fn noise_as_text() {
    let alphabet: Vec<char> = "{}[]:,-\"'#&*!|>%@?\n ab1é".chars().collect();
    let mut random = Random(4);
    for _ in 0..ROUNDS * 4 {
        let text: String = (0..random.below(40)).map(|_| alphabet[random.below(alphabet.len())]).collect();
        if let Ok(document) = Document::parse(&text) {
            let _ = (document.decode_checked::<Bootstrap>(), document.decode_any(), document.locate(&text));
        }
    }
}
