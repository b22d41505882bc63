//! Packages as published on PyPI: a virtual environment in the build directory per list of pins, made once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::requirement::Missing;
use crate::workspace;

const HOW: &str = "install python3 (3.11 to 3.13) with venv and make a package index reachable";

/// What is installed together.
#[derive(Debug, Clone, Copy)]
pub struct Packages {
    /// The package that names the environment; it is among the pins.
    pub main: &'static str,
    /// `pip`'s requirements, with the digest of every wheel.
    pub requirements: &'static str,
}

impl Packages {
    /// The pinned version of the main package.
    pub fn version(&self) -> &'static str {
        let rest = |line: &'static str| line.strip_prefix(self.main)?.strip_prefix("==");
        let pin = self.requirements.lines().find_map(rest);
        pin.map_or("", |rest| rest.trim_end_matches(['\\', ' ']))
    }

    /// A Python that has them; made if it is not there yet.
    pub fn python(&self) -> Result<PathBuf, Missing> {
        self.provided().map_err(|why| Missing::new(format!("{} {}", self.main, self.version()), why, HOW))
    }

    fn provided(&self) -> Result<PathBuf, String> {
        let text = |error: io::Error| error.to_string();
        let tools = workspace::tools_dir().map_err(text)?;
        let directory = tools.join(format!("{}-{}", self.main, self.version()));
        // Written last: a virtual environment cannot be moved, so it is made where it stays.
        let complete = directory.join("complete");
        let made = workspace::exclusively(&format!("{}.lock", self.main), || {
            // Pins of other packages may have changed, too.
            if fs::read_to_string(&complete).is_ok_and(|pins| pins == self.requirements) {
                return Ok(());
            }
            self.make(&directory)?;
            fs::write(&complete, self.requirements).map_err(text)
        });
        made.map_err(text)??;
        Ok(directory.join("bin/python3"))
    }

    fn make(&self, directory: &Path) -> Result<(), String> {
        let _ = fs::remove_dir_all(directory);
        run(Command::new("python3").args(["-m", "venv"]).arg(directory))?;
        let pins = directory.join("requirements.txt");
        fs::write(&pins, self.requirements).map_err(|error| error.to_string())?;
        let options = ["-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:", "-r"];
        run(Command::new(directory.join("bin/python3")).args(options).arg(pins))
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} failed: {}", text.lines().last().unwrap_or("no message")))
}
