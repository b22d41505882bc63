//! The access log of one listener, line by line.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Result, wait};

/// A file that a sidecar logs to; gone when dropped.
#[derive(Debug)]
pub struct AccessLog {
    directory: TempDir,
    format: String,
}

impl AccessLog {
    /// A log of these operators, `|` between them.
    pub fn of(operators: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        Ok(Self {
            directory,
            format: operators.iter().map(|name| format!("%{name}%")).collect::<Vec<_>>().join("|"),
        })
    }

    /// A value for `access_log` of a connection manager or TCP proxy.
    pub fn config(&self) -> Value {
        json!([{
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": self.path(),
                "log_format": {"text_format_source": {"inline_string": format!("{}\n", self.format)}},
            },
        }])
    }

    /// Waits until there are `count` lines and returns all.
    pub async fn lines(&self, count: usize) -> Result<Vec<String>> {
        let read = || {
            let whole = self.lines_now();
            std::future::ready((whole.len() >= count).then_some(whole))
        };
        let limit = Duration::from_secs(15);
        wait::until(&format!("{count} access log lines"), limit, read).await
    }

    /// The lines there are; none where there is no file.
    pub fn lines_now(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path()).unwrap_or_default();
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }

    /// Moves the file away, as rotation of logs does.
    pub fn move_away(&self) -> Result<()> {
        Ok(std::fs::rename(self.path(), self.directory.path().join("access.log.1"))?)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("access.log")
    }
}
