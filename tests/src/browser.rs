//! A headless Chromium that loads a page, runs its script and prints what came of it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::requirement::Missing;
use crate::{Result, workspace};

/// Names under which it is installed.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// Debian's package, without what only a desktop needs.
const INSTALL: [&str; 4] = ["install", "-y", "--no-install-recommends", "chromium"];
const LIMIT: Duration = Duration::from_secs(120);

/// A browser.
#[derive(Debug)]
pub struct Browser(PathBuf);

/// The machine's browser; root gets one from the distribution.
pub fn find() -> std::result::Result<Browser, Missing> {
    let installed = || NAMES.iter().find_map(|name| on_path(name)).map(Browser);
    if let Some(browser) = installed() {
        return Ok(browser);
    }
    let how = "apt-get install chromium";
    let missing = |why: String| Missing::new("a browser", why, how);
    if !rustix::process::geteuid().is_root() {
        return Err(missing(format!("none of {} is installed", NAMES.join(", "))));
    }
    let fetched = workspace::exclusively("browser.lock", || installed().map_or_else(install, Ok));
    fetched.map_err(|error| missing(error.to_string()))?.map_err(missing)
}

/// Takes it from the distribution's packages; the lists of a fresh machine may have to be fetched first.
fn install() -> std::result::Result<Browser, String> {
    let mut said = String::new();
    for arguments in [&INSTALL[..], &["update"], &INSTALL[..]] {
        let mut command = std::process::Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        match command.output() {
            Ok(output) => said = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => return Err(format!("none is installed, and apt-get cannot be run: {error}")),
        }
        if let Some(path) = NAMES.iter().find_map(|name| on_path(name)) {
            return Ok(Browser(path));
        }
    }
    Err(format!("none is installed, and apt-get said: {said}"))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

impl Browser {
    /// The document at `url` in a window this wide, after its script has run.
    pub async fn page(&self, url: &str, width: u32) -> Result<String> {
        let profile = tempfile::tempdir()?;
        let mut command = Command::new(&self.0);
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--virtual-time-budget=2000", "--dump-dom"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--window-size={width},800"))
            .arg(url)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, command.output()).await??;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(format!("the browser failed: {}", String::from_utf8_lossy(&output.stderr)).into()),
        }
    }
}
