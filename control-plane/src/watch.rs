//! Tells when files under some paths have changed.
//!
//! Directories are watched, not files, so that atomic renames and the swap of a ConfigMap's `..data` link are seen. A
//! series of events is one change once it has been quiet for a moment. An event alone proves nothing (reading a file
//! makes some, too): what counts is that names, sizes, times or inodes differ, which a slow scan also checks by
//! itself, for file systems that send no events and for directories that were replaced as a whole.

mod scan;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use scan::{Scan, scan};

/// How eager to be.
#[derive(Debug, Clone)]
pub struct Pace {
    /// A series of events is over after this long without one,
    pub quiet: Duration,
    /// or after this long in any case.
    pub cap: Duration,
    /// How often to look without any event.
    pub poll: Duration,
    /// The same, where the system offers no events.
    pub poll_without_events: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(100),
            cap: Duration::from_secs(2),
            poll: Duration::from_secs(30),
            poll_without_events: Duration::from_secs(2),
        }
    }
}

/// Watches files and directories, the latter with all below them but hidden names.
pub struct Watcher {
    paths: Vec<PathBuf>,
    pace: Pace,
    seen: Scan,
    events: Arc<Notify>,
    notify: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Watcher {
    /// Starts watching. Changes count from here on, so create it before reading the files.
    pub async fn new(paths: Vec<PathBuf>, pace: Pace) -> Self {
        let events = Arc::new(Notify::new());
        let notify = subscribe(Arc::clone(&events));
        let mut watcher =
            Self { paths, pace, seen: Scan::default(), events, notify, watched: BTreeSet::new() };
        watcher.seen = watcher.look().await;
        watcher.arm(watcher.seen.directories.clone());
        // What happened between the scan and the watch.
        watcher.seen = watcher.look().await;
        watcher
    }

    /// Returns when something has changed since the last time. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        loop {
            let poll = match self.notify {
                Some(_) => self.pace.poll,
                None => self.pace.poll_without_events,
            };
            if tokio::time::timeout(poll, self.events.notified()).await.is_ok() {
                self.settle().await;
            }
            let now = self.look().await;
            self.arm(now.directories.clone());
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }

    /// Waits for the end of a series of events.
    async fn settle(&self) {
        let last = Instant::now() + self.pace.cap;
        loop {
            let quiet = (Instant::now() + self.pace.quiet).min(last);
            if tokio::time::timeout_at(quiet, self.events.notified()).await.is_err() {
                return;
            }
        }
    }

    async fn look(&self) -> Scan {
        let paths = self.paths.clone();
        // Only a panic in the scan, or the end of the runtime, could fail it: then nothing has changed.
        tokio::task::spawn_blocking(move || scan(&paths)).await.unwrap_or_else(|_| self.seen.clone())
    }

    /// Watches `directories`, and no others. Those that were replaced are watched anew.
    fn arm(&mut self, directories: BTreeSet<PathBuf>) {
        let Some(notify) = &mut self.notify else { return };
        for gone in self.watched.difference(&directories) {
            // It fails for what does not exist any more, which is what is wanted.
            let _ = notify.unwatch(gone);
        }
        for directory in &directories {
            if let Err(error) = notify.watch(directory, RecursiveMode::NonRecursive) {
                let seconds = self.pace.poll.as_secs();
                tracing::warn!("cannot watch {}: {error}; looking every {seconds} s", directory.display());
            }
        }
        self.watched = directories;
    }
}

fn subscribe(events: Arc<Notify>) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<notify::Event>| {
        let is_reading = event.is_ok_and(|e| matches!(e.kind, EventKind::Access(_)));
        if !is_reading {
            events.notify_one();
        }
    };
    match notify::recommended_watcher(on_event) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!("the system offers no file events ({error}); looking at the files now and then");
            None
        }
    }
}

#[cfg(test)]
mod tests;
