//! Where the descriptor set of `envoy-types` lies on this machine.
//!
//! Cargo gives a build script no path to a dependency that has no build script of its own, so `cargo metadata` is
//! asked; it answers from the lock file and the local sources (registry cache or `cargo vendor` directory), offline.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, str};

use serde_json::Value;

use crate::Result;

/// Names the descriptor set by hand, for build systems in which `cargo metadata` cannot run.
const OVERRIDE: &str = "OUTRIGGER_ENVOY_DESCRIPTORS";
/// Its place inside the package. Not a promised interface: hence the exact version in the workspace manifest.
const INSIDE_PACKAGE: &str = "src/generated/types.bin";

/// The path of the descriptor set; tells Cargo when to ask again.
pub fn descriptors() -> Result<PathBuf> {
    println!("cargo:rerun-if-env-changed={OVERRIDE}");
    // The version of envoy-types is written in the workspace manifest and nowhere else.
    if Path::new("../Cargo.toml").exists() {
        println!("cargo:rerun-if-changed=../Cargo.toml");
    }
    let path = match env::var_os(OVERRIDE) {
        Some(path) => PathBuf::from(path),
        None => package_dir()?.join(INSIDE_PACKAGE),
    };
    println!("cargo:rerun-if-changed={}", path.display());
    if !path.is_file() {
        return Err(format!("no descriptor set at {}; name it in {OVERRIDE}", path.display()).into());
    }
    Ok(path)
}

/// The directory of the `envoy-types` package: offline first, since that suffices once Cargo has fetched it.
fn package_dir() -> Result<PathBuf> {
    let metadata = metadata(&["--offline"]).or_else(|_| metadata(&[]))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let manifest = packages
        .iter()
        .find(|package| package["name"] == "envoy-types")
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or("cargo metadata does not list envoy-types")?;
    let directory = Path::new(manifest).parent().ok_or("envoy-types has no directory")?;
    Ok(directory.to_owned())
}

fn metadata(extra: &[&str]) -> Result<Value> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--filter-platform", &env::var("TARGET")?])
        .args(extra)
        .output()?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo metadata failed ({reason}); name the descriptor set in {OVERRIDE}").into());
    }
    Ok(serde_json::from_str(str::from_utf8(&output.stdout)?)?)
}
