//! A root replaced in three steps, each after the mesh has followed the one before: both are trusted in between.
//!
//! `prepare`: `next.pem` is trusted beside `root.pem`. `switch`: `next` becomes `root` and signs; the old one stays
//! trusted as `previous.pem`. `retire`: `previous.pem` goes.

use std::fs;
use std::path::Path;

use super::root::{CaError, ROOT, file, generate};

const NEXT: &str = "next";
const PREVIOUS: &str = "previous";

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// It is not its turn.
    #[error("{0}")]
    Order(&'static str),
    /// The files.
    #[error(transparent)]
    Ca(#[from] CaError),
}

/// Makes the next root, trusted and not yet signing.
///
/// # Errors
/// When there is one already, or the one before has not been retired.
pub fn prepare(directory: &Path) -> Result<(), StepError> {
    if !exists(directory, ROOT) {
        return Err(StepError::Order("there is no root.pem here; `serve --mesh-ca` makes the first root"));
    }
    if exists(directory, NEXT) {
        return Err(StepError::Order("next.pem is there already; switch to it"));
    }
    if exists(directory, PREVIOUS) {
        return Err(StepError::Order("previous.pem is still trusted; retire it first"));
    }
    Ok(generate(directory, NEXT)?)
}

/// Lets the next root sign.
///
/// One that was interrupted goes on where it was.
///
/// # Errors
/// When there is none, or the one before has not been retired.
pub fn switch(directory: &Path) -> Result<(), StepError> {
    if !is_interrupted(directory) {
        if !exists(directory, NEXT) {
            return Err(StepError::Order(
                "there is no next.pem; prepare one first, and let every proxy follow",
            ));
        }
        if exists(directory, PREVIOUS) {
            return Err(StepError::Order("previous.pem is still trusted; retire it first"));
        }
    }
    // A reader in between finds a certificate and a key that do not match, and waits. The old key has signed its last.
    let mut steps = vec![("next.pem", "root.pem"), ("next.key", "root.key")];
    if !exists(directory, PREVIOUS) {
        steps.insert(0, ("root.pem", "previous.pem"));
    }
    for (from, to) in steps.into_iter().filter(|(from, _)| directory.join(from).exists()) {
        let from = directory.join(from);
        fs::rename(&from, directory.join(to)).map_err(|error| file(&from, error))?;
    }
    Ok(())
}

/// Whether [`switch`] has begun and not ended: the root before has gone, the key of the next has not come, and its
/// certificate is on the way or there.
pub(super) fn is_interrupted(directory: &Path) -> bool {
    let (root, next) = (exists(directory, ROOT), exists(directory, NEXT));
    exists(directory, PREVIOUS) && directory.join("next.key").exists() && root != next
}

/// Forgets the root before.
///
/// # Errors
/// When there is none.
pub fn retire(directory: &Path) -> Result<(), StepError> {
    if !exists(directory, PREVIOUS) {
        return Err(StepError::Order("there is no previous.pem; there is nothing to retire"));
    }
    let path = directory.join("previous.pem");
    Ok(fs::remove_file(&path).map_err(|error| file(&path, error))?)
}

fn exists(directory: &Path, name: &str) -> bool {
    directory.join(format!("{name}.pem")).exists()
}
