//! Build script: turns Envoy's descriptors into the static tables of `src/schema.rs`.
//!
//! The descriptor set ships inside the `envoy-types` package. It is read here, at build time, and reduced to what
//! `roots.txt` can reach: names, numbers, kinds, validation rules. The result is Rust source in `OUT_DIR`, so that
//! the programs carry about 150 KiB of constant data and never build a descriptor pool (9 MB of heap) at run time.

// Cargo reads a build script's standard output.
#![allow(clippy::print_stdout)]

mod collect;
mod contrib;
mod emit;
mod locate;
mod rules;

use std::path::Path;
use std::{env, error::Error, fs};

use prost_reflect::DescriptorPool;

/// Every step fails with a message that a packager can act on.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=roots.txt");
    let descriptors = locate::descriptors()?;
    // For the tests, which compare with reflection over the same descriptors.
    println!("cargo:rustc-env=ENVOY_DESCRIPTORS={}", descriptors.display());
    let bytes = fs::read(&descriptors).map_err(|e| format!("{}: {e}", descriptors.display()))?;
    let mut pool = DescriptorPool::decode(bytes.as_slice())
        .map_err(|e| format!("{} is not a descriptor set: {e}", descriptors.display()))?;
    contrib::add(&mut pool)?;
    let schema = collect::reachable(&pool, &fs::read_to_string("roots.txt")?)?;
    let source = emit::source(&schema)?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("schema_tables.rs"), source)?;
    Ok(())
}
