//! Paths to file texts.
//!
//! Owns directory walking and the bounds on it. It judges names only to leave out what cannot hold
//! definitions when it walks; a file that the user names is always read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Largest file that is read.
pub const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Most files of one run.
pub const MAX_FILES: usize = 10_000;
const MAX_DEPTH: usize = 32;
const EXTENSIONS: [&str; 7] = ["yaml", "yml", "json", "template", "tf", "hcl", "tpl"];

/// The text of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The file as findings name it.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The user named the file itself, not a directory above it.
    pub named: bool,
}

/// Why files could not be gathered.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// The path cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The path.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// The file is over [`MAX_BYTES`].
    #[error("{0} is larger than {MAX_BYTES} bytes; split it")]
    TooLarge(String),
    /// The file is not text.
    #[error("{0} is not UTF-8 text; convert it")]
    NotText(String),
    /// There are more than [`MAX_FILES`] files or too many levels of directories.
    #[error("{0} holds too many files or levels of directories; name the files")]
    TooMany(String),
    /// A directory without any file that could hold definitions.
    #[error("{0} holds no .yaml, .yml, .json, .template, .tf or .hcl file; name a file with definitions")]
    Nothing(String),
}

/// Reads files and, in the order of their names, everything below directories.
pub fn gather(paths: &[PathBuf]) -> Result<Vec<SourceFile>, GatherError> {
    let mut files = Vec::new();
    for path in paths {
        let before = files.len();
        let meta = fs::metadata(path).map_err(|e| unreadable(path, e))?;
        if meta.is_dir() {
            walk(path, 0, &mut files)?;
        } else {
            files.push(read(path, true)?);
        }
        if files.len() == before {
            return Err(GatherError::Nothing(path.display().to_string()));
        }
    }
    let mut seen = std::collections::HashSet::new();
    files.retain(|f| seen.insert(f.name.clone()));
    Ok(files)
}

fn walk(directory: &Path, depth: usize, files: &mut Vec<SourceFile>) -> Result<(), GatherError> {
    if depth > MAX_DEPTH {
        return Err(GatherError::TooMany(directory.display().to_string()));
    }
    let listing = fs::read_dir(directory).map_err(|e| unreadable(directory, e))?;
    let mut entries = Vec::new();
    for entry in listing {
        entries.push(entry.map_err(|e| unreadable(directory, e))?.path());
    }
    entries.sort();
    for path in entries {
        let hidden = path.file_name().and_then(|n| n.to_str()).is_none_or(|n| n.starts_with('.'));
        if hidden {
            continue;
        }
        let meta = fs::metadata(&path).map_err(|e| unreadable(&path, e))?;
        if meta.is_dir() {
            walk(&path, depth + 1, files)?;
        } else if meta.is_file() && has_known_extension(&path) {
            if files.len() >= MAX_FILES {
                return Err(GatherError::TooMany(directory.display().to_string()));
            }
            files.push(read(&path, false)?);
        }
    }
    Ok(())
}

fn has_known_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.contains(&extension.as_str())
}

fn read(path: &Path, named: bool) -> Result<SourceFile, GatherError> {
    let shown = path.display().to_string();
    let name = shown.strip_prefix("./").unwrap_or(&shown).to_owned();
    let length = fs::metadata(path).map_err(|e| unreadable(path, e))?.len();
    if length > MAX_BYTES {
        return Err(GatherError::TooLarge(name));
    }
    let bytes = fs::read(path).map_err(|e| unreadable(path, e))?;
    let text = String::from_utf8(bytes).map_err(|_| GatherError::NotText(name.clone()))?;
    Ok(SourceFile { name, text, named })
}

fn unreadable(path: &Path, source: io::Error) -> GatherError {
    GatherError::Read { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_walked_in_order_without_foreign_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        for name in ["b.yaml", "a.json", "README.md", ".hidden.yaml", "sub/c.YML"] {
            fs::write(dir.path().join(name), "x: 1").unwrap();
        }
        let files = gather(&[dir.path().to_owned(), dir.path().join("a.json")]).unwrap();
        let names: Vec<_> = files.iter().map(|f| f.name.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["a.json", "b.yaml", "c.YML"]);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let say = |path: &str| gather(&[dir.path().join(path)]).unwrap_err().to_string();
        assert!(say("gone.yaml").contains("cannot read"));
        assert!(say(".").contains("no .yaml"));
        fs::write(dir.path().join("bin.yaml"), [0xff, 0xfe]).unwrap();
        assert!(say("bin.yaml").contains("not UTF-8"));
    }
}
