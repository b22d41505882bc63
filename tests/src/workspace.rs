//! Where things are: the workspace, the build directory, and locks shared by test binaries that run in parallel.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// The directory cargo put the running executable's profile in: `target/debug`, `target/release`, ...
pub fn profile_dir() -> PathBuf {
    let executable = std::env::current_exe().unwrap_or_default();
    match executable.parent() {
        Some(deps) if deps.ends_with("deps") => deps.parent().unwrap_or(deps).to_path_buf(),
        Some(profile) => profile.to_path_buf(),
        None => root().join("target/debug"),
    }
}

/// The build directory, `target` unless configured otherwise.
pub fn target_dir() -> PathBuf {
    let profile = profile_dir();
    profile.parent().map_or_else(|| root().join("target"), Path::to_path_buf)
}

/// Where fetched tools live: below the build directory, so that cleaning it removes them.
pub fn tools_dir() -> io::Result<PathBuf> {
    let directory = target_dir().join("test-tools");
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Runs `work` while holding the lock file `name` in the tools directory, against other processes too.
pub fn exclusively<T>(name: &str, work: impl FnOnce() -> T) -> io::Result<T> {
    let lock = File::create(tools_dir()?.join(name))?;
    lock.lock()?;
    Ok(work())
}
