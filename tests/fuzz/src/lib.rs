//! Fuzz targets in a normal test run: every seed, and changes of each that are the same every time.
//!
//! A target is a function of a package that takes arbitrary bytes and panics where something does not hold. Its seeds
//! lie in `fuzz/<target>` of that package. [`replay`] is for its tests; the shells in `targets` hand the same function
//! to libFuzzer, which `run` builds.

use std::path::Path;

use fastrand::Rng;

/// Longest input that changes make.
const LONGEST: usize = 4096;
/// Bytes that parsers care about.
const BYTES: &[u8] = b"\0\x01\x16\x30\x7f\x80\xff \t\r\n\"%&'()*+,-./09:;=?@AZ[\\]^_`az{|}~";

/// Feeds `target` with every file in `folder`, then with `changes` changed ones.
///
/// # Panics
/// When the target does, with the input in its words; and when there is nothing to feed.
pub fn replay(folder: &str, changes: usize, target: fn(&[u8])) {
    let seeds = seeds(Path::new(folder));
    assert!(!seeds.is_empty(), "{folder}: no seeds");
    for (name, seed) in &seeds {
        feed(target, seed, name);
    }
    let mut rng = Rng::with_seed(1);
    for round in 0..changes {
        let (name, seed) = &seeds[round % seeds.len()];
        let (_, other) = &seeds[rng.usize(..seeds.len())];
        feed(target, &changed(&mut rng, seed, other), &format!("change {round}, of {name}"));
    }
}

/// Names and contents, by name.
#[allow(clippy::panic, reason = "a test without its seeds has failed")]
fn seeds(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>());
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<(String, Vec<u8>)> = entries
        .into_iter()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .map(|(name, path)| (name, std::fs::read(&path).unwrap_or_else(|error| panic!("{error}"))))
        .collect();
    seeds.sort();
    seeds
}

fn feed(target: fn(&[u8]), input: &[u8], what: &str) {
    let outcome = std::panic::catch_unwind(|| target(input));
    if let Err(panic) = outcome {
        eprintln!("the input was \"{}\" ({what})", input.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

/// One to four changes of `seed`, some of them with pieces of `other`.
fn changed(rng: &mut Rng, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.usize(1..=4) {
        let at = rng.usize(..=bytes.len());
        let end = rng.usize(at..=bytes.len().min(at + 16));
        match rng.u8(..8) {
            0 => bytes.insert(at, BYTES[rng.usize(..BYTES.len())]),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.truncate(at),
            3 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            4 if !other.is_empty() => {
                let from = rng.usize(..other.len());
                let to = rng.usize(from..=other.len().min(from + 64));
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            5 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            6 if at < bytes.len() => bytes[at] = rng.u8(..),
            _ if at < bytes.len() => bytes[at] = BYTES[rng.usize(..BYTES.len())],
            _ => {}
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn names(folder: &str) -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        entries.map(|entry| entry.path().file_stem().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn every_folder_of_seeds_has_a_shell_and_every_shell_seeds() {
        let mut seeded = names("../../proxy/fuzz");
        seeded.extend(names("../../control-plane/fuzz"));
        assert_eq!(names("targets"), seeded);
        let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
        for name in &seeded {
            assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
        }
        assert_eq!(manifest.matches("required-features = [\"libfuzzer\"]").count(), seeded.len());
    }

    #[test]
    fn all_seeds_and_as_many_changes_are_fed_and_a_panic_gets_through() {
        static FED: AtomicUsize = AtomicUsize::new(0);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "one").unwrap();
        std::fs::write(folder.path().join("b"), "another").unwrap();
        let folder = folder.path().to_str().unwrap();
        replay(folder, 100, |_| {
            FED.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(FED.load(Ordering::Relaxed), 102);
        let outcome = std::panic::catch_unwind(|| replay(folder, 100, |input| assert_ne!(input, b"another")));
        assert!(outcome.is_err());
    }

    #[test]
    fn changes_are_the_same_every_time_and_bounded() {
        let make = || {
            let mut rng = Rng::with_seed(3);
            (0..500).map(|_| changed(&mut rng, &[b'x'; LONGEST], b"other")).collect::<Vec<_>>()
        };
        let all = make();
        assert_eq!(all, make());
        assert!(all.iter().all(|one| one.len() <= LONGEST));
        assert!(all.iter().any(|one| one.len() < LONGEST));
    }
}
