//! Gets what the tests need ahead of them, and says what this machine lacks: `tests/run` starts with it.

use outrigger_tests::{envoy, netns::Namespace};

fn main() {
    match envoy::binary() {
        Ok(path) => eprintln!("Envoy {}: {}", envoy::version(), path.display()),
        Err(missing) => eprintln!("{missing}"),
    }
    match Namespace::create() {
        Ok(_) => eprintln!("network namespaces: usable"),
        Err(missing) => eprintln!("{missing}"),
    }
}
