//! Certificate files that change: found by looking at them, acted upon once they hold still.
//!
//! A look is a stat(2) per file, which follows the symbolic links that Kubernetes swaps and works on network file
//! systems, where the kernel tells nobody. Invariants: a file is read again only after two looks in a row saw the same
//! change, so nothing half-written is taken for new; a change that turned out unusable is not tried twice.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// Files that were read, each as it was just before.
pub type Files = BTreeMap<PathBuf, Option<Stamp>>;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: (u64, u64),
    modified: (i64, i64),
    length: u64,
}

impl Stamp {
    /// The file now; `None` when it cannot be seen.
    pub fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: (file.dev(), file.ino()),
            modified: (file.mtime(), file.mtime_nsec()),
            length: file.len(),
        })
    }
}

/// Looks from time to time and sends what is to be read again. Ends with its receiver.
pub async fn follow(mut files: watch::Receiver<Arc<Files>>, changed: mpsc::Sender<Vec<PathBuf>>) {
    let mut seen = Seen::default();
    loop {
        if files.wait_for(|files| !files.is_empty()).await.is_err() {
            return;
        }
        tokio::time::sleep(INTERVAL).await;
        let read = Arc::clone(&files.borrow_and_update());
        let looked = tokio::task::spawn_blocking(move || {
            let again = seen.look(&read, Stamp::of);
            (seen, again)
        });
        let Ok((after, again)) = looked.await else { return };
        seen = after;
        if !again.is_empty() && changed.send(again).await.is_err() {
            return;
        }
    }
}

/// What the looks before saw.
#[derive(Debug, Default)]
struct Seen(HashMap<PathBuf, Sight>);

#[derive(Debug)]
struct Sight {
    /// As it was read last.
    read: Option<Stamp>,
    /// As it was at the last look.
    last: Option<Stamp>,
}

impl Seen {
    /// The files that differ from what was read and have held still since the last look.
    fn look(&mut self, files: &Files, stamp: impl Fn(&Path) -> Option<Stamp>) -> Vec<PathBuf> {
        self.0.retain(|path, _| files.contains_key(path));
        let mut again = Vec::new();
        for (path, read) in files {
            let now = stamp(path);
            let sight = self.0.entry(path.clone()).or_insert(Sight { read: *read, last: *read });
            if now.is_some() && now != sight.read && now == sight.last {
                sight.read = now;
                again.push(path.clone());
            }
            sight.last = now;
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(version: i64) -> Option<Stamp> {
        Some(Stamp { inode: (1, 1), modified: (version, 0), length: 1 })
    }

    #[test]
    fn a_file_is_read_again_once_it_holds_still() {
        let path = PathBuf::from("/a");
        let files = Files::from([(path.clone(), at(1))]);
        let mut seen = Seen::default();
        let mut look = |now| seen.look(&files, |_| now).len();
        assert_eq!([look(at(1)), look(at(1))], [0, 0]);
        assert_eq!([look(at(2)), look(at(3)), look(at(3)), look(at(3))], [0, 0, 1, 0], "written in pieces");
        assert_eq!([look(None), look(None), look(at(3))], [0, 0, 0], "gone for a while");
        assert_eq!([look(at(1)), look(at(1))], [0, 1], "an older one is another one");
    }
}
