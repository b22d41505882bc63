//! The DevTools protocol over a pair of pipes: JSON objects with a zero byte behind each, so that it needs no WebSocket.
//! <https://chromedevtools.github.io/devtools-protocol/>, `--remote-debugging-pipe`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::{Result, wait};

/// For one answer, on a machine that is busy with other things.
const LIMIT: Duration = Duration::from_secs(120);
/// The browser reads commands from descriptor 3 and writes answers to 4.
const WIRED: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#;

/// A browser's process and the wire to it; both end when dropped.
#[derive(Debug)]
pub(super) struct DevTools {
    _process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _profile: TempDir,
    sent: u64,
}

impl DevTools {
    /// Starts the browser at `program`.
    pub(super) fn start(program: &Path) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut command = Command::new("sh");
        command
            .args(["-c", WIRED])
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--remote-debugging-pipe", "--hide-scrollbars", "--no-first-run"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut process = command.spawn()?;
        let input = process.stdin.take().ok_or("no way to the browser")?;
        let output = BufReader::new(process.stdout.take().ok_or("no way from the browser")?);
        Ok(Self { _process: process, input, output, _profile: profile, sent: 0 })
    }

    /// Sends a command, to the browser or to a page of it (`session`), and returns its result.
    pub(super) async fn call(&mut self, session: Option<&str>, method: &str, values: Value) -> Result<Value> {
        self.sent += 1;
        let mut message = json!({"id": self.sent, "method": method, "params": values});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.input.write_all(&bytes).await?;
        let answer = wait::within(method, LIMIT, self.answer(self.sent)).await??;
        match answer.get("error") {
            Some(error) => Err(format!("{method}: {error}").into()),
            None => Ok(answer["result"].clone()),
        }
    }

    /// Events that come in between interest nobody.
    async fn answer(&mut self, id: u64) -> Result<Value> {
        loop {
            let mut bytes = Vec::new();
            self.output.read_until(0, &mut bytes).await?;
            if bytes.pop() != Some(0) {
                return Err("the browser has ended".into());
            }
            let message: Value = serde_json::from_slice(&bytes)?;
            if message["id"] == id {
                return Ok(message);
            }
        }
    }
}
