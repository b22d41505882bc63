//! The sidecar's executable.

use std::process::ExitCode;

fn main() -> ExitCode {
    outrigger_proxy::server::run::main()
}
