//! A program under test: its output kept in files, ended when dropped.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::netns::Place;
use crate::{Result, wait};

/// A running child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    directory: TempDir,
}

/// Where output goes that is not captured.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Instead of the file.
    pub stdout: Option<Stdio>,
    /// Instead of the file.
    pub stderr: Option<Stdio>,
}

impl Process {
    /// Starts `command` at `place`, with stdin closed and output captured.
    pub fn spawn(name: &str, command: Command, place: &Place) -> Result<Self> {
        Self::spawn_writing_to(Outputs::default(), name, command, place)
    }

    /// The same with output going elsewhere.
    pub fn spawn_writing_to(
        outputs: Outputs,
        name: &str,
        mut command: Command,
        place: &Place,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        command.stdin(Stdio::null());
        let captured = File::create(directory.path().join("stdout"))?;
        command.stdout(outputs.stdout.unwrap_or_else(|| captured.into()));
        let captured = File::create(directory.path().join("stderr"))?;
        command.stderr(outputs.stderr.unwrap_or_else(|| captured.into()));
        let child = place.enter(move || command.spawn())?.map_err(|e| format!("cannot start {name}: {e}"))?;
        Ok(Self { name: name.to_owned(), child, directory })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Memory that it has resident now, in bytes.
    pub fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes: u64 =
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).ok_or("no VmRSS")?;
        Ok(kibibytes * 1024)
    }

    /// A directory that lives as long as this value, for files the process writes.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        self.output("stdout")
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.output("stderr")
    }

    /// The exit status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal; an ended process is an error.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.ended() {
            return Err(self.failure(&format!("has already ended with {status}")));
        }
        let pid = Pid::from_child(&self.child);
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for its end, at most for `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait::until(&what, limit, || std::future::ready(self.ended())).await
    }

    /// An error that carries what the process said last.
    pub fn failure(&self, what: &str) -> Box<dyn std::error::Error + Send + Sync> {
        let name = &self.name;
        format!("{name} {what}\n--- stderr\n{}\n--- stdout\n{}", tail(&self.stderr()), tail(&self.stdout()))
            .into()
    }

    fn output(&self, name: &str) -> String {
        let path: PathBuf = self.directory.path().join(name);
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        if std::thread::panicking() {
            eprintln!("{}", self.failure("was running when the test failed"));
        }
        // A killed parent cannot end its children, as nginx's master would its workers.
        for pid in family(self.child.id()).into_iter().filter_map(|pid| Pid::from_raw(pid as i32)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// A process and all its descendants.
pub fn family(root: u32) -> Vec<u32> {
    let (mut all, mut queue) = (Vec::new(), VecDeque::from([root]));
    while let Some(pid) = queue.pop_front() {
        all.push(pid);
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        queue.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    all
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
