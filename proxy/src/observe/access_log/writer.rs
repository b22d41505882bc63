//! The thread that writes one sink's lanes to its file.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::sink::{FLUSH_BYTES, FLUSH_INTERVAL, Lane, LaneBuffer, Lanes, Shared, lock};

/// Between attempts to open a file again after an error: first, and at most.
const REOPEN_FIRST: Duration = Duration::from_millis(100);
const REOPEN_MAX: Duration = Duration::from_secs(30);
/// A descriptor that somebody else made non-blocking is tried again after this.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(5);

/// open(2) flag; the value on every Linux this is built for (asm-generic).
const O_NONBLOCK: i32 = 0o4000;

/// State of the writer thread.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    /// `None` after an error, until it is opened again.
    file: Option<File>,
    reopen_at: Instant,
    reopen_pause: Duration,
    /// A write broke off within a line: the next one begins on its own.
    torn: bool,
    /// What was written last ends without a newline, as its format has none.
    open_line: bool,
    lanes: Lanes,
    spare: LaneBuffer,
    shared: Arc<Shared>,
}

/// Opens `path` for appending. The standard streams are duplicated: their paths cannot be opened when
/// they are sockets.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    let stream = match path.to_str() {
        Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => {
            std::io::stdout().as_fd().try_clone_to_owned()?
        }
        Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => {
            std::io::stderr().as_fd().try_clone_to_owned()?
        }
        // Non-blocking, so that a FIFO without reader is an error and not a wait.
        _ => return OpenOptions::new().append(true).create(true).custom_flags(O_NONBLOCK).open(path),
    };
    Ok(stream.into())
}

impl Writer {
    pub(super) fn new(path: PathBuf, file: File, lanes: Lanes, shared: Arc<Shared>) -> Self {
        Self {
            path,
            file: Some(file),
            reopen_at: Instant::now(),
            reopen_pause: REOPEN_FIRST,
            torn: false,
            open_line: false,
            lanes,
            spare: LaneBuffer::default(),
            shared,
        }
    }

    /// Writes until told to stop, then once more.
    pub(super) fn run(mut self) {
        while !self.stopping() {
            self.drain();
            self.sleep();
        }
        self.drain();
    }

    fn stopping(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    /// Until a lane fills, or its first line is as old as the flush interval, or the end.
    fn sleep(&self) {
        let awake = || self.stopping() || self.shared.full.swap(false, Ordering::Relaxed);
        while self.lanes().iter().all(|lane| lane.is_empty()) {
            if self.stopping() {
                return;
            }
            std::thread::park();
        }
        let deadline = Instant::now() + FLUSH_INTERVAL;
        while !awake() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.shared.shard.inc(self.shared.stats.flushed_by_timer);
            }
            std::thread::park_timeout(left);
        }
    }

    fn lanes(&self) -> Vec<Arc<Lane>> {
        let mut lanes = lock(&self.lanes);
        // A lane whose worker is gone and that is written out is of no use any more.
        lanes.retain(|lane| Arc::strong_count(lane) > 1 || !lane.is_empty());
        lanes.clone()
    }

    fn drain(&mut self) {
        for lane in self.lanes() {
            let mut taken = std::mem::take(&mut self.spare);
            lane.take(&mut taken);
            if !taken.bytes.is_empty() {
                self.batch(&taken, lane.whole_lines);
            }
            taken.bytes.clear();
            // What a stall made large is given back.
            taken.bytes.shrink_to(2 * FLUSH_BYTES);
            self.spare = LaneBuffer { bytes: taken.bytes, lines: 0 };
        }
    }

    /// Writes one lane's lines, or counts them as dropped.
    fn batch(&mut self, taken: &LaneBuffer, whole_lines: bool) {
        let shared = self.shared.clone();
        let (stats, shard) = (&shared.stats, &shared.shard);
        shard.inc(stats.write_buffered);
        shard.gauge_add(stats.write_total_buffered, taken.bytes.len() as i64);
        if self.write(&taken.bytes, whole_lines) {
            shard.inc(stats.write_completed);
            shard.add(stats.written, taken.lines);
        } else {
            shard.add(stats.dropped, taken.lines);
        }
        shard.gauge_add(stats.write_total_buffered, -(taken.bytes.len() as i64));
    }

    fn write(&mut self, bytes: &[u8], whole_lines: bool) -> bool {
        let shared = self.shared.clone();
        let torn = self.torn || (whole_lines && self.open_line);
        let Some(file) = self.file() else { return false };
        let mended = if torn { write_all(file, b"\n", &shared.stop) } else { Ok(()) };
        match mended.and_then(|()| write_all(file, bytes, &shared.stop)) {
            Ok(()) => {
                self.torn = false;
                self.open_line = bytes.last().is_some_and(|byte| *byte != b'\n');
                self.reopen_pause = REOPEN_FIRST;
                true
            }
            Err(Cut { error, torn }) => {
                self.torn = torn.unwrap_or(self.torn);
                shared.shard.inc(shared.stats.write_failed);
                tracing::warn!(path = %self.path.display(), %error, "access log write failed");
                self.close();
                false
            }
        }
    }

    fn close(&mut self) {
        self.file = None;
        self.reopen_at = Instant::now() + self.reopen_pause;
        self.reopen_pause = (self.reopen_pause * 2).min(REOPEN_MAX);
    }

    /// The open file; after an error it is opened again, but not at every batch.
    fn file(&mut self) -> Option<&mut File> {
        if self.shared.reopen.swap(false, Ordering::Relaxed) {
            self.file = None;
            self.reopen_at = Instant::now();
        }
        if self.file.is_none() && Instant::now() >= self.reopen_at {
            match open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(_) => {
                    self.shared.shard.inc(self.shared.stats.reopen_failed);
                    self.close();
                }
            }
        }
        self.file.as_mut()
    }
}

/// A write that came to no end.
struct Cut {
    error: std::io::Error,
    /// Whether what was written ends within a line; `None`: nothing was.
    torn: Option<bool>,
}

/// Like `Write::write_all`, but waits when the descriptor is non-blocking, until told to stop.
fn write_all(file: &mut File, bytes: &[u8], stop: &AtomicBool) -> Result<(), Cut> {
    let mut done = 0;
    while done < bytes.len() {
        let error = match file.write(&bytes[done..]) {
            Ok(0) => ErrorKind::WriteZero.into(),
            Ok(written) => {
                done += written;
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock && !stop.load(Ordering::Acquire) => {
                std::thread::sleep(WOULD_BLOCK_PAUSE);
                continue;
            }
            Err(error) => error,
        };
        let last = done.checked_sub(1).and_then(|at| bytes.get(at));
        return Err(Cut { error, torn: last.map(|byte| *byte != b'\n') });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::observe::access_log::sink::Lanes;
    use crate::stats::registry::Registry;
    use crate::stats::scope::AccessLogStats;

    /// Two ends: what the writer has for its file, and who reads there.
    fn pipe() -> (File, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (File::from(OwnedFd::from(ours)), theirs)
    }

    /// A format without newline is legal, and glues its own lines only.
    #[test]
    fn a_whole_line_begins_behind_whatever_was_written() {
        let registry = Registry::new();
        let shared = Shared::new(AccessLogStats::register(&registry), registry.shared().clone());
        let (file, mut reader) = pipe();
        let mut writer = Writer::new("pipe".into(), file, Lanes::default(), Arc::new(shared));
        for (text, whole) in
            [("{1}\n", true), ("GET a;", false), ("GET b;", false), ("{2}\n{3}\n", true), ("{4}\n", true)]
        {
            assert!(writer.write(text.as_bytes(), whole));
        }
        drop(writer);
        let mut seen = String::new();
        reader.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "{1}\nGET a;GET b;\n{2}\n{3}\n{4}\n");
    }

    /// A reader that went within a line: the next one is told its own lines whole.
    #[test]
    fn a_write_that_broke_off_within_a_line_joins_none() {
        let registry = Registry::new();
        let stats = AccessLogStats::register(&registry);
        let shared = Arc::new(Shared::new(stats, registry.shared().clone()));
        let (file, mut reader) = pipe();
        let mut writer = Writer::new("pipe".into(), file, Lanes::default(), shared);
        let long = [vec![b'a'; 1 << 20], b"\n".to_vec()].concat();
        let gone = std::thread::spawn(move || {
            reader.read_exact(&mut [0; 10]).unwrap();
        });
        assert!(!writer.write(&long, false), "nobody took it");
        gone.join().unwrap();
        for expected in [&b"\nfirst\n"[..], b"second\n"] {
            let (file, mut reader) = pipe();
            writer.file = Some(file);
            let line: Vec<u8> = expected.iter().copied().skip_while(|byte| *byte == b'\n').collect();
            assert!(writer.write(&line, false));
            writer.file = None;
            let mut seen = Vec::new();
            reader.read_to_end(&mut seen).unwrap();
            assert_eq!(seen, expected);
        }
    }
}
