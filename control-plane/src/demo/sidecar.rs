//! One `outrigger-proxy` process: started as the App Mesh image would be, observed by its admin endpoint, never left
//! behind.
//!
//! A process is killed when its value is dropped, and by the kernel when the demo dies without dropping anything:
//! the program is entered through [`enter`], which asks for that and becomes the proxy.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Result;
use super::http::{Outgoing, send};

/// The program.
pub const PROGRAM: &str = "outrigger-proxy";
const KEPT_LINES: usize = 200;
const SHOWN_LINES: usize = 20;
const POLL: Duration = Duration::from_millis(25);
const STOP: Duration = Duration::from_secs(2);

/// Finds the program beside this one, then on `PATH`.
///
/// # Errors
/// When it is in neither place: how to build it.
pub fn find() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.with_file_name(PROGRAM);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).filter(|d| d.is_absolute()).map(|d| d.join(PROGRAM));
    std::iter::once(beside.clone()).chain(on_path).find(|candidate| candidate.is_file()).ok_or_else(|| {
        format!(
            "the sidecar's program {PROGRAM} is neither at {} nor on PATH; build both programs with \
             `cargo build --release --bins`",
            beside.display()
        )
        .into()
    })
}

/// Becomes the program: what a child of the demo does first. Returns only when that fails.
pub fn enter(parent: u32, program: &Path, arguments: &[OsString]) -> io::Error {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    let current = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if current != Some(parent) {
        return io::Error::other("the demo has ended");
    }
    std::process::Command::new(program).args(arguments).exec()
}

/// A running sidecar.
pub struct Sidecar {
    /// The virtual node.
    pub node: String,
    child: Child,
    log: Arc<Mutex<VecDeque<String>>>,
    readers: JoinSet<()>,
    admin_file: PathBuf,
    admin: Option<SocketAddr>,
}

impl Sidecar {
    /// Starts it with the variables of the App Mesh image. `directory` takes the file that names its admin address.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(
        program: &Path,
        node: &str,
        environment: &[(String, String)],
        directory: &Path,
    ) -> Result<Self> {
        let admin_file = directory.join(format!("{}.admin", node.replace('/', "_")));
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("demo-sidecar").arg(std::process::id().to_string()).arg(program);
        command.arg("--admin-address-path").arg(&admin_file);
        command.env_clear().envs(environment.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its own group: an interrupt from the terminal is for the demo, which then stops it.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| format!("cannot start {}: {e}", program.display()))?;
        let (log, mut readers) = (Arc::default(), JoinSet::new());
        keep(child.stdout.take(), &log, &mut readers);
        keep(child.stderr.take(), &log, &mut readers);
        Ok(Self { node: node.to_owned(), child, log, readers, admin_file, admin: None })
    }

    /// Where its admin endpoint is, once it is live.
    pub fn admin(&self) -> Result<SocketAddr> {
        self.admin.ok_or_else(|| format!("sidecar {} has no admin endpoint yet", self.node).into())
    }

    /// Waits until it says `LIVE`.
    ///
    /// # Errors
    /// When it ends, or is not live at `deadline`; with its last words.
    pub async fn live(&mut self, deadline: Instant) -> Result<()> {
        loop {
            if let Some(status) = self.ended()? {
                self.hear_out().await;
                return Err(self.failure(&format!("ended with {status}")));
            }
            if self.state().await.as_deref() == Some("LIVE") {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.failure("is not live in time"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn state(&mut self) -> Option<String> {
        if self.admin.is_none() {
            self.admin = std::fs::read_to_string(&self.admin_file).ok()?.trim().parse().ok();
        }
        let info = send(&Outgoing::get(self.admin?, "/server_info")).await.ok()?;
        info.json().get("state")?.as_str().map(str::to_owned)
    }

    /// The exit status, once it has ended.
    ///
    /// # Errors
    /// As the system says.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for what an ended sidecar wrote last; not for a process that it left behind with its outputs open.
    async fn hear_out(&mut self) {
        let readers = &mut self.readers;
        let _ = tokio::time::timeout(STOP, async { while readers.join_next().await.is_some() {} }).await;
    }

    /// An error with what the sidecar said last.
    pub fn failure(&self, what: &str) -> Box<dyn std::error::Error + Send + Sync> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let last: Vec<&str> =
            log.iter().skip(log.len().saturating_sub(SHOWN_LINES)).map(String::as_str).collect();
        let words = if last.is_empty() { "(it said nothing)".to_owned() } else { last.join("\n  | ") };
        format!("sidecar {} {what}; its last words:\n  | {words}", self.node).into()
    }

    /// Requests sent to each cluster so far.
    ///
    /// # Errors
    /// When the admin endpoint does not answer.
    pub async fn requests(&self) -> Result<BTreeMap<String, u64>> {
        let page = send(&Outgoing::get(self.admin()?, "/stats?filter=upstream_rq_total")).await?;
        Ok(String::from_utf8_lossy(&page.body).lines().filter_map(requests_of).collect())
    }

    /// Stops it: at once, and with force if it does not obey.
    pub async fn stop(mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Gone already is as good.
            let _ = rustix::process::kill_process(pid, Signal::INT);
        }
        if tokio::time::timeout(STOP, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// `cluster.<name>.upstream_rq_total: <n>`.
fn requests_of(line: &str) -> Option<(String, u64)> {
    let (name, value) = line.split_once(": ")?;
    let cluster = name.strip_prefix("cluster.")?.strip_suffix(".upstream_rq_total")?;
    Some((cluster.to_owned(), value.trim().parse().ok()?))
}

/// Keeps the last lines of an output.
fn keep(
    output: Option<impl AsyncRead + Unpin + Send + 'static>,
    log: &Arc<Mutex<VecDeque<String>>>,
    readers: &mut JoinSet<()>,
) {
    let (Some(output), log) = (output, Arc::clone(log)) else { return };
    readers.spawn(async move {
        let mut lines = BufReader::new(output).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() == KEPT_LINES {
                log.pop_front();
            }
            log.push_back(String::from_utf8_lossy(&line).into_owned());
        }
    });
}
