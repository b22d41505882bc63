//! What can be said about the Dockerfiles without an engine.

use std::fs;
use std::path::Path;

use outrigger_tests::{Result, workspace};

fn read(file: &str) -> Result<String> {
    let path = workspace::root().join(file);
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}

const DOCKERFILES: [&str; 2] = ["docker/proxy.Dockerfile", "docker/control-plane.Dockerfile"];

/// `rust-toolchain.toml` itself stays outside: it would make the builder fetch a toolchain's extras.
#[test]
fn the_builder_has_the_toolchain_of_the_workspace() -> Result<()> {
    let toolchain = read("rust-toolchain.toml")?;
    let channel =
        toolchain.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"')).unwrap();
    for file in DOCKERFILES {
        let text = read(file)?;
        assert!(text.contains(&format!("\nARG BUILDER_IMAGE=rust:{channel}-slim-")), "{file}");
    }
    Ok(())
}

/// A program linked against a newer C library than the runtime image has would not start.
#[test]
fn builder_and_runtime_are_the_same_release_of_debian() -> Result<()> {
    for file in DOCKERFILES {
        let text = read(file)?;
        let value =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(&format!("ARG {name}="))).unwrap();
        let release = value("BUILDER_IMAGE").rsplit_once("-slim-").unwrap().1;
        assert_eq!(value("RUNTIME_IMAGE"), format!("debian:{release}-slim"), "{file}");
    }
    Ok(())
}

/// Then the engine compiles once for both.
#[test]
fn both_images_share_the_stage_that_compiles() -> Result<()> {
    let stage = |text: String| {
        let from = text.find("FROM ${BUILDER_IMAGE}").unwrap();
        let to = text.find("FROM ${RUNTIME_IMAGE}").unwrap();
        text[from..to].to_owned()
    };
    assert_eq!(stage(read(DOCKERFILES[0])?), stage(read(DOCKERFILES[1])?));
    Ok(())
}

#[test]
fn every_package_reaches_the_builder() -> Result<()> {
    let manifest = read("Cargo.toml")?;
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = [")).unwrap();
    let ignore = read(".dockerignore")?;
    let allowed: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for member in members.trim_end_matches(']').split(',').map(|name| name.trim().trim_matches('"')) {
        let is_allowed = allowed.iter().any(|path| Path::new(member).starts_with(path));
        assert!(is_allowed, "{member} is not let through by .dockerignore");
    }
    Ok(())
}
