//! Certificates whose keys were made here: the one in use of every subject, and how all are renewed.
//!
//! Renewal is no reader's business: whoever asks gets what is in use until its end, however long the authority takes for
//! the next. What nobody has asked for since it was renewed is not renewed again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::root::CaError;
use super::{Issued, Subject, seconds};

/// How many are renewed at the same time.
const AT_ONCE: usize = 8;
/// After this no further one is begun in the same turn: those that are done are to be served.
const TURN: Duration = Duration::from_secs(15);

/// The certificates in use.
#[derive(Default)]
pub(super) struct Held {
    entries: Mutex<HashMap<String, Entry>>,
}

struct Entry {
    subject: Subject,
    issued: Arc<Issued>,
    /// Since it was issued.
    asked: bool,
}

/// What could not be renewed in a turn.
#[derive(Default)]
struct Failures {
    count: usize,
    first: Option<(SystemTime, CaError)>,
}

impl Held {
    /// The certificate of a subject, while it is good.
    pub(super) fn get(&self, subject: &Subject, now: SystemTime) -> Option<Arc<Issued>> {
        let mut entries = self.entries();
        let entry = entries.get_mut(&subject.key()).filter(|entry| now < entry.issued.until)?;
        entry.asked = true;
        Some(Arc::clone(&entry.issued))
    }

    /// Takes a certificate into use.
    pub(super) fn put(&self, subject: &Subject, issued: Arc<Issued>, asked: bool) {
        self.entries().insert(subject.key(), Entry { subject: subject.clone(), issued, asked });
    }

    /// Issues anew what is due, or signed by another than `signer`; whether anything is new.
    pub(super) fn renew(
        &self,
        signer: &str,
        now: SystemTime,
        issue: impl Fn(&Subject) -> Result<Issued, CaError> + Sync,
    ) -> bool {
        let due = self.due(signer, now);
        let (workers, end) = (due.len().min(AT_ONCE), Instant::now() + TURN);
        let (queue, renewed) = (Mutex::new(due.into_iter()), AtomicBool::new(false));
        let failures: Mutex<Failures> = Mutex::default();
        let next = || locked(&queue).next().filter(|_| Instant::now() < end);
        let work = || {
            while let Some((until, subject)) = next() {
                match issue(&subject) {
                    Ok(issued) => {
                        tracing::info!("certificate for {} until {}", subject.uri, seconds(issued.until));
                        self.put(&subject, Arc::new(issued), false);
                        renewed.store(true, Ordering::Relaxed);
                    }
                    Err(error) => locked(&failures).add(until, error),
                }
            }
        };
        std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
        locked(&failures).tell();
        renewed.into_inner()
    }

    /// Whose certificate is to be renewed and when it ends, the first to end first. What nobody uses is forgotten.
    fn due(&self, signer: &str, now: SystemTime) -> Vec<(SystemTime, Subject)> {
        let is_due = |entry: &Entry| now >= entry.issued.due || entry.issued.root != signer;
        let mut entries = self.entries();
        entries.retain(|_, entry| entry.asked || !is_due(entry));
        let due = entries.values().filter(|entry| is_due(entry));
        let mut due: Vec<_> = due.map(|entry| (entry.issued.until, entry.subject.clone())).collect();
        due.sort_by_key(|(until, _)| *until);
        due
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        locked(&self.entries)
    }
}

impl Failures {
    fn add(&mut self, until: SystemTime, error: CaError) {
        self.count += 1;
        if self.first.as_ref().is_none_or(|(first, _)| until < *first) {
            self.first = Some((until, error));
        }
    }

    /// One line, however many there are: the authority is away for all of them.
    fn tell(&self) {
        if let Some((until, error)) = &self.first {
            let (count, until) = (self.count, seconds(*until));
            tracing::error!(%error, count, "certificates cannot be renewed; the first ends at {until}; trying on");
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
