//! A headless Chromium: it shows a page to an eye of any width and taste, which the test looks through.

mod devtools;
mod page;

use std::path::PathBuf;
use std::process::Stdio;

pub use page::{Page, Scheme};

use crate::requirement::Missing;
use crate::{Result, workspace};

/// Names under which it is installed.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// Debian's package, without what only a desktop needs.
const INSTALL: [&str; 4] = ["install", "-y", "--no-install-recommends", "chromium"];

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
    /// An empty page of a browser that has no memory of others.
    ///
    /// # Errors
    /// When it cannot be started, or does not speak its protocol.
    pub async fn open(&self) -> Result<Page> {
        Page::start(&self.0).await
    }
}
