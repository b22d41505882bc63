//! A base image without a registry: this machine's own shell, tools and C library as a file system.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::requirement::Missing;

/// What our Dockerfiles, copied health checks, the tests and the interception rules run.
const PROGRAMS: &[&str] =
    &["sh", "cat", "chmod", "cp", "curl", "grep", "ln", "mkdir", "sleep", "iptables", "iptables-restore"];
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Writes the archive of such a file system to `archive`, using `directory` to assemble it.
pub fn archive(directory: &Path, archive: &Path) -> Result<(), Missing> {
    let missing = |why: Box<dyn std::error::Error + Send + Sync>| {
        let how = "install curl, grep, iptables, ca-certificates, tar and ldd (glibc)";
        Missing::new("the programs of a base image", why.to_string(), how)
    };
    assemble(directory).and_then(|()| pack(directory, archive)).map_err(missing)
}

fn assemble(root: &Path) -> Result<()> {
    lay_out(root)?;
    // What a Rust program links, such as this one: every distribution's C library comes with it.
    let mut libraries: BTreeSet<PathBuf> = needed(&std::env::current_exe()?)?.into_iter().collect();
    for program in PROGRAMS {
        let found = find(program)?;
        libraries.extend(needed(&found)?);
        copy(&found, &root.join("usr/bin").join(program))?;
    }
    // Matches and targets of rules are loaded by name at run time, from beside the library.
    let extensions = libraries.iter().find(|path| path.to_string_lossy().contains("/libxtables"));
    if let Some(directory) = extensions.and_then(|library| Some(library.parent()?.join("xtables"))) {
        for entry in fs::read_dir(directory)? {
            libraries.insert(entry?.path());
        }
    }
    for library in libraries.iter().map(PathBuf::as_path).chain([Path::new(AUTHORITIES)]) {
        copy(library, &inside(root, library))?;
    }
    Ok(())
}

/// A merged /usr, as in today's Debian.
fn lay_out(root: &Path) -> Result<()> {
    for directory in ["usr/bin", "usr/lib", "usr/lib64", "tmp"] {
        fs::create_dir_all(root.join(directory))?;
    }
    for (link, target) in [
        ("bin", "usr/bin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
        ("sbin", "usr/bin"),
        ("usr/sbin", "bin"),
    ] {
        symlink(target, root.join(link))?;
    }
    Ok(fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?)
}

fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = directories.map(|directory| directory.join(program)).find(|path| path.is_file());
    found.ok_or_else(|| format!("no program {program}").into())
}

/// The shared libraries of a program, its loader among them.
fn needed(program: &Path) -> Result<Vec<PathBuf>> {
    let output =
        Command::new("ldd").arg(program).output().map_err(|error| format!("cannot run ldd: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Copies what a path leads to.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).map_err(|error| format!("cannot copy {}: {error}", from.display()))?;
    Ok(())
}

fn pack(directory: &Path, archive: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--owner=0", "--group=0", "--numeric-owner", "--file"]).arg(archive);
    let output = tar.arg("--directory").arg(directory).arg(".").output();
    let output = output.map_err(|error| format!("cannot run tar: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("tar: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}
