//! What the files under some paths look like from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// More than this many files are not mesh definitions but somebody's home directory.
const MAX_FILES: usize = 100_000;
const MAX_DEPTH: usize = 32;

/// The state of a file that changes with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// A look at all files.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    files: BTreeMap<PathBuf, Stamp>,
    /// The directories in which an event would mean something.
    pub directories: BTreeSet<PathBuf>,
    /// Directories that were entered, by their real paths: links may make circles.
    entered: BTreeSet<PathBuf>,
}

impl PartialEq for Scan {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

/// Looks at files and, for directories, at all below them but hidden names. Links are followed.
pub fn scan(paths: &[PathBuf]) -> Scan {
    let mut scan = Scan::default();
    for path in paths {
        // The parent sees the path itself replaced.
        let parent = path.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
        scan.directories.extend(parent.filter(|p| p.is_dir()).map(Path::to_owned));
        scan.enter(path, 0);
    }
    scan
}

impl Scan {
    fn enter(&mut self, path: &Path, depth: usize) {
        if depth > MAX_DEPTH || self.files.len() >= MAX_FILES {
            return;
        }
        // What does not exist is part of the picture by its absence.
        let Ok(metadata) = std::fs::metadata(path) else { return };
        if path.is_symlink() {
            self.directories
                .extend(path.canonicalize().ok().as_deref().and_then(Path::parent).map(Path::to_owned));
        }
        if !metadata.is_dir() {
            self.files.insert(path.to_owned(), Stamp::of(&metadata));
        } else if path.canonicalize().is_ok_and(|real| self.entered.insert(real)) {
            self.directories.insert(path.to_owned());
            self.descend(path, depth);
        }
    }

    fn descend(&mut self, directory: &Path, depth: usize) {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let visible = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
        for entry in visible {
            self.enter(&entry.path(), depth + 1);
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}
