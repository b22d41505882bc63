//! Harness of the end-to-end tests and of the load tests: what a scenario needs around a data plane.
//!
//! It owns processes, ports, upstreams, clients, network namespaces, a scripted xDS server and the answer to
//! "can this machine run that". It does not know what is right: the tests in `tests/` do.
//! Everything started here ends when its value is dropped, and every wait has a bound.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access_log;
pub mod agent;
pub mod alarms;
pub mod api_server;
pub mod aws;
pub mod binaries;
pub mod bootstrap;
pub mod browser;
pub mod client;
pub mod collector;
pub mod containers;
pub mod control_plane;
pub mod data_plane;
pub mod emf;
pub mod envoy;
pub mod grpcio;
pub mod hostile;
pub mod load;
pub mod log_service;
pub mod mesh;
pub mod name_server;
pub mod netns;
pub mod ports;
pub mod process;
pub mod python;
pub mod relay;
pub mod requirement;
pub mod tls;
pub mod upstream;
pub mod wait;
pub mod workspace;
pub mod xds;
pub mod xray;

/// What a harness step returns: tests propagate it with `?`, and its text is the failure's explanation.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
