//! Our images, built from the Dockerfiles of this tree with programs that exist already.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::engine::Engine;
use super::rootfs;
use crate::requirement::Missing;
use crate::{Result, binaries, workspace};

/// Names of the images of a run.
#[derive(Debug)]
pub struct Images {
    /// The file system that stands in for a distribution's.
    pub base: String,
    /// The sidecar.
    pub proxy: String,
    /// The sidecar's, to program the rules.
    pub interception: String,
    /// The control plane.
    pub control_plane: String,
}

impl Images {
    /// Imports the base image and builds the others on it.
    pub async fn build(engine: &Engine, archive: &Path) -> Result<Self> {
        let base = engine.import(archive, "base").await?;
        let directory = tempfile::tempdir()?;
        let context = directory.path();
        prepare(context)?;
        let mut arguments = Vec::new();
        for value in
            ["PROGRAMS=prebuilt".to_owned(), format!("BUILDER_IMAGE={base}"), format!("RUNTIME_IMAGE={base}")]
        {
            arguments.extend(["--build-arg".to_owned(), value]);
        }
        // Under a name: a stage without one would be left behind.
        let stage = [arguments.as_slice(), &["--target".to_owned(), "programs".to_owned()]].concat();
        engine.build("programs", context, PROXY, &stage).await?;
        let proxy = engine.build("proxy", context, PROXY, &arguments).await?;
        let control_plane = engine.build("control-plane", context, CONTROL_PLANE, &arguments).await?;
        let on_proxy = ["--build-arg".to_owned(), format!("PROXY_IMAGE={proxy}")];
        let interception = engine.build("interception", context, INTERCEPTION, &on_proxy).await?;
        Ok(Self { base, proxy, interception, control_plane })
    }
}

const PROXY: &str = "docker/proxy.Dockerfile";
const CONTROL_PLANE: &str = "docker/control-plane.Dockerfile";
const INTERCEPTION: &str = "docker/interception.Dockerfile";

/// The archive of the base image, in a directory that the caller keeps.
pub fn base_archive(directory: &Path) -> Result<std::path::PathBuf, Missing> {
    let archive = directory.join("base.tar");
    rootfs::archive(&directory.join("root"), &archive)?;
    Ok(archive)
}

/// What `docker build` is given: this tree as far as the Dockerfiles use it, and the programs.
fn prepare(context: &Path) -> Result<()> {
    let root = workspace::root();
    let prebuilt = context.join("docker/prebuilt");
    fs::create_dir_all(&prebuilt)?;
    for file in [".dockerignore", PROXY, CONTROL_PLANE, INTERCEPTION, "docker/programs.sh"] {
        fs::copy(root.join(file), context.join(file))?;
    }
    for program in [binaries::PROXY, binaries::CONTROL_PLANE] {
        stripped(&binaries::path(program)?, &prebuilt.join(program))?;
    }
    Ok(())
}

/// Copies a program without its symbols, as the `dist` profile makes it; with them where there is no `strip`.
fn stripped(from: &Path, to: &Path) -> Result<()> {
    let done = Command::new("strip").arg("-o").arg(to).arg(from).output();
    if !done.is_ok_and(|output| output.status.success()) {
        fs::copy(from, to)?;
    }
    Ok(())
}
