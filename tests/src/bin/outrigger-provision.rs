//! Gets what the tests need ahead of them, and says what this machine lacks: `tests/run` starts with it.

use outrigger_tests::containers::engine::Engine;
use outrigger_tests::{aws, browser, envoy, grpcio, netns::Namespace};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    match envoy::binary() {
        Ok(path) => eprintln!("Envoy {}: {}", envoy::version(), path.display()),
        Err(missing) => eprintln!("{missing}"),
    }
    match grpcio::python() {
        Ok(path) => eprintln!("grpcio {}: {}", grpcio::version(), path.display()),
        Err(missing) => eprintln!("{missing}"),
    }
    match aws::python() {
        Ok(path) => eprintln!("moto {} and AWS's X-Ray SDK: {}", aws::version(), path.display()),
        Err(missing) => eprintln!("{missing}"),
    }
    match browser::find() {
        Ok(_) => eprintln!("browser: usable"),
        Err(missing) => eprintln!("{missing}"),
    }
    match Namespace::create() {
        Ok(_) => eprintln!("network namespaces: usable"),
        Err(missing) => eprintln!("{missing}"),
    }
    match Engine::connect().await {
        Ok(_) => eprintln!("container engine: usable"),
        Err(missing) => eprintln!("{missing}"),
    }
}
