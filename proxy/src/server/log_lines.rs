//! Where our own log goes: lines wait in a bounded buffer for the thread that writes them to stderr, so that nobody who
//! has something to say waits for whoever reads it. What finds no place is counted and told of when there is place again.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::stats::registry::SharedShard;
use crate::stats::scope::OwnLogStats;

/// Most bytes that wait.
const CAPACITY: usize = 256 * 1024;
/// How long the end waits for the last lines.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The log's end at the process's side. When dropped it waits a moment until everything is written.
#[derive(Debug)]
pub struct LogLines(Lines);

/// What lines are written through; handed to the subscriber.
#[derive(Clone, Debug)]
pub struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something waits.
    work: Condvar,
    /// Nothing waits any more.
    written: Condvar,
    /// Once there are statistics.
    counts: OnceLock<(OwnLogStats, SharedShard)>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The thread holds some that it has taken.
    writing: bool,
    /// Lines that found no place since there was some last.
    dropped: u64,
}

impl LogLines {
    /// Starts the thread that writes to `out`. Where none can be started, lines are dropped.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        let shared = Arc::<Shared>::default();
        let theirs = shared.clone();
        let _ = std::thread::Builder::new().name("log".into()).spawn(move || write_all(&theirs, out));
        Self(Lines(shared))
    }

    /// What a subscriber writes through.
    pub fn lines(&self) -> Lines {
        self.0.clone()
    }

    /// Counts dropped lines here from now on.
    pub fn count(&self, stats: OwnLogStats, shard: SharedShard) {
        // A second registry in one process (tests) is not told.
        let _ = self.0.0.counts.set((stats, shard));
    }
}

impl Drop for LogLines {
    fn drop(&mut self) {
        let waiting = self.0.0.lock();
        let busy = |waiting: &mut Waiting| waiting.writing || !waiting.bytes.is_empty();
        let _ = self.0.0.written.wait_timeout_while(waiting, LAST_WORDS, busy);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.bytes.len() + line.len() > CAPACITY {
            waiting.dropped += 1;
            if let Some((stats, shard)) = self.counts.get() {
                shard.inc(stats.log_lines_dropped);
            }
            return;
        }
        waiting.bytes.extend_from_slice(line);
        drop(waiting);
        self.work.notify_one();
    }

    /// Waits for lines and takes them, in exchange for an empty buffer.
    fn take(&self, buffer: &mut Vec<u8>) -> u64 {
        let mut waiting = self.lock();
        waiting.writing = false;
        if waiting.bytes.is_empty() {
            self.written.notify_all();
        }
        let idle = |waiting: &mut Waiting| waiting.bytes.is_empty();
        let mut waiting = self.work.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
        waiting.writing = true;
        std::mem::swap(buffer, &mut waiting.bytes);
        std::mem::take(&mut waiting.dropped)
    }
}

/// For as long as the process lives.
fn write_all(shared: &Shared, mut out: impl Write) {
    let mut buffer = Vec::new();
    loop {
        let dropped = shared.take(&mut buffer);
        if dropped > 0 {
            // It waited with these lines, as they had found the last place.
            buffer.extend_from_slice(format!("{dropped} lines of this log found no place here\n").as_bytes());
        }
        // A stderr that is gone has nobody who could be told.
        let _ = out.write_all(&buffer).and_then(|()| out.flush());
        buffer.clear();
        buffer.shrink_to(CAPACITY / 16);
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::registry::Registry;

    /// Takes one write at a time, each when told to.
    struct Stalled(std::sync::mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_is_lost_is_said() {
        let (go, told) = std::sync::mpsc::channel();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = LogLines::to(Stalled(told, seen.clone()));
        let registry = Registry::new();
        log.count(OwnLogStats::register(&registry), registry.shared().clone());
        let line = [vec![b'a'; 999], b"\n".to_vec()].concat();
        let sent = 4 * CAPACITY / line.len();
        for _ in 0..sent {
            log.lines().write_all(&line).unwrap();
        }
        let name = registry.view().find("server.log_lines_dropped").unwrap();
        let dropped = match registry.view().value(name) {
            crate::stats::view::Value::Counter(count) => count as usize,
            other => panic!("{other:?}"),
        };
        assert!(dropped > sent / 2 && dropped < sent, "{dropped} of {sent}");
        // It reads again: everything that found a place, and how much did not.
        drop(go);
        drop(log);
        let seen = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
        assert_eq!(seen.matches("a\n").count(), sent - dropped);
        assert!(seen.contains(&format!("{dropped} lines of this log found no place here\n")), "{seen}");
    }
}
