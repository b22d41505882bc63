//! Where our own log goes: lines wait in a bounded buffer for the thread that writes them to stderr, so that nobody who
//! has something to say waits for whoever reads it. What finds no place is counted, and told of when there is
//! place again.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::stats::registry::SharedShard;
use crate::stats::scope::OwnLogStats;

/// Most bytes that wait.
const CAPACITY: usize = 256 * 1024;
/// How long the end waits for the last lines.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A descriptor that does not block is tried again after this.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(5);

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

    /// So many lines are lost.
    fn count(&self, lost: u64) {
        if let Some((stats, shard)) = self.counts.get() {
            shard.add(stats.log_lines_dropped, lost);
        }
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.bytes.len() + line.len() > CAPACITY {
            waiting.dropped += 1;
            return self.count(1);
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
            // Just now there is place for this one.
            tracing::warn!(lines = dropped, "lines of this log were lost: whoever reads them is too slow");
        }
        let unwritten = write_batch(&mut out, &buffer);
        shared.count(unwritten.iter().filter(|byte| **byte == b'\n').count() as u64);
        buffer.clear();
        buffer.shrink_to(CAPACITY / 16);
    }
}

/// What could not be written: where stderr is gone nobody can be told.
fn write_batch<'b>(out: &mut impl Write, mut bytes: &'b [u8]) -> &'b [u8] {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => break,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody else, who shares it, has made it so.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(WOULD_BLOCK_PAUSE),
            Err(_) => break,
        }
    }
    bytes
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
    use std::time::Instant;

    use super::*;
    use crate::stats::registry::Registry;

    /// Takes nothing before it is told to, and refuses some first.
    struct Stalled {
        told: std::sync::mpsc::Receiver<()>,
        seen: Arc<Mutex<Vec<u8>>>,
        refused: bool,
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.told.recv();
            self.refused = !self.refused;
            if self.refused {
                return Err(ErrorKind::WouldBlock.into());
            }
            let part = &bytes[..bytes.len().min(5000)];
            self.seen.lock().unwrap().extend_from_slice(part);
            Ok(part.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_is_lost_is_counted() {
        let (go, told) = std::sync::mpsc::channel();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = LogLines::to(Stalled { told, seen: seen.clone(), refused: false });
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
        // It reads again: everything that found a place.
        drop(go);
        let lines = || seen.lock().unwrap().iter().filter(|byte| **byte == b'\n').count();
        let deadline = Instant::now() + Duration::from_secs(20);
        while lines() < sent - dropped {
            assert!(Instant::now() < deadline, "{} of {}", lines(), sent - dropped);
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(log);
        assert_eq!(lines(), sent - dropped);
    }
}
