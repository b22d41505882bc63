//! The roots of an authority elsewhere, as it has told them: the one that signs, and those that it had before, because
//! what they have signed is still in use.
//!
//! With a directory they are kept there, so that a restart and another replica trust them too, beside any further
//! `*.pem` that an operator puts there. Who wants one to be trusted no more removes its file.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::root::{CaError, bundle, make_directory, replace};

/// How often the authority is asked.
const REFRESH: Duration = Duration::from_secs(3600);

/// See the module.
pub(super) struct Told {
    directory: Option<PathBuf>,
    own: String,
    bundle: String,
    at: Instant,
}

impl Told {
    /// With the root that the authority has told just now, PEM.
    pub(super) fn new(own: String, directory: Option<PathBuf>) -> Result<Self, CaError> {
        if let Some(directory) = &directory {
            make_directory(directory)?;
        }
        let mut told = Self { directory, own: String::new(), bundle: String::new(), at: Instant::now() };
        told.tell(own);
        told.read()?;
        Ok(told)
    }

    /// The root that signs.
    pub(super) fn own(&self) -> &str {
        &self.own
    }

    /// All that are trusted, the one that signs first.
    pub(super) fn bundle(&self) -> &str {
        &self.bundle
    }

    /// Whether the authority is to be asked again.
    pub(super) fn is_due(&self) -> bool {
        self.at.elapsed() >= REFRESH
    }

    /// Takes the authority's answer. It signs with this root already, so it is trusted whatever becomes of the file; and
    /// what was signed before is still in use.
    pub(super) fn tell(&mut self, own: String) {
        self.at = Instant::now();
        if self.own != own {
            self.bundle.insert_str(0, &own);
            self.own = own;
        }
    }

    /// Keeps the root, and reads the directory again.
    pub(super) fn read(&mut self) -> Result<(), CaError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let path = directory.join(format!("told-{}.pem", hex(&Sha256::digest(&self.own)[..8])));
        if !path.exists() {
            replace(&path, &self.own, 0o644)?;
        }
        self.bundle = bundle(directory, &self.own)?;
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::root::Root;
    use super::*;

    fn root() -> String {
        let directory = tempfile::tempdir().unwrap();
        Root::open(directory.path()).unwrap().certificate().to_owned()
    }

    #[test]
    fn roots_from_before_stay_trusted_over_a_restart_until_their_file_goes() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("roots");
        let (old, new, other) = (root(), root(), root());
        let mut told = Told::new(old.clone(), Some(inside.clone())).unwrap();
        assert_eq!(told.bundle(), old);
        told.tell(new.clone());
        told.read().unwrap();
        assert!(told.bundle().starts_with(&new) && told.bundle().contains(&old));
        assert_eq!(told.bundle().matches("BEGIN").count(), 2);
        let mut restarted = Told::new(new.clone(), Some(inside.clone())).unwrap();
        assert_eq!(restarted.bundle(), told.bundle());
        std::fs::write(inside.join("brought.pem"), &other).unwrap();
        let files = || std::fs::read_dir(&inside).unwrap().flatten().map(|entry| entry.path());
        let of_old = files().find(|path| std::fs::read_to_string(path).unwrap() == old).unwrap();
        std::fs::remove_file(of_old).unwrap();
        restarted.read().unwrap();
        assert!(restarted.bundle().starts_with(&new) && restarted.bundle().contains(&other));
        assert!(!restarted.bundle().contains(&old));
    }

    #[test]
    fn a_root_that_signs_is_trusted_whatever_becomes_of_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("roots");
        let (old, new) = (root(), root());
        let mut told = Told::new(old.clone(), Some(inside.clone())).unwrap();
        std::fs::remove_dir_all(&inside).unwrap();
        told.tell(new.clone());
        assert!(told.read().is_err());
        assert_eq!(told.bundle(), format!("{new}{old}"));
        // Half a file of somebody who was killed over it is none.
        make_directory(&inside).unwrap();
        std::fs::write(inside.join("told-0011223344556677.pem.new"), "-----BEGIN").unwrap();
        told.read().unwrap();
        assert_eq!(told.bundle(), new, "the file of the old one is gone");
        assert_eq!(Told::new(new.clone(), Some(inside)).unwrap().bundle(), new);
    }

    #[test]
    fn without_a_directory_they_are_remembered() {
        let (old, new) = (root(), root());
        let mut told = Told::new(old.clone(), None).unwrap();
        told.tell(old.clone());
        assert_eq!(told.bundle(), old);
        told.tell(new.clone());
        assert_eq!(told.bundle(), format!("{new}{old}"));
        assert_eq!(told.own(), new);
    }
}
