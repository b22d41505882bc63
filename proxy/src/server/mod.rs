//! Starting and ending the process: arguments, environment and bootstrap become validated settings, then
//! everything is wired together.

mod admin;
pub mod args;
pub mod bootstrap;
mod config_view;
mod dial;
mod dumps;
mod ending;
pub mod environment;
mod faults;
mod intercept;
mod log_lines;
mod logging;
mod outlets;
mod overload;
mod process;
pub mod ready;
pub mod run;
mod serve;
mod signals;
mod telemetry;
mod x509;
