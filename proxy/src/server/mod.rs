//! Starting and ending the process: arguments, environment and bootstrap become validated settings, then
//! everything is wired together.

pub mod args;
pub mod bootstrap;
mod config_view;
mod dial;
pub mod environment;
mod faults;
mod intercept;
mod logging;
mod overload;
mod process;
pub mod ready;
pub mod run;
mod telemetry;
mod x509;
