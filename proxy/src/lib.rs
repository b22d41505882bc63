//! Outrigger's sidecar data plane.
//!
//! Life of a request, by folder: `net` accepts and finds the real destination, `worker` picks the filter
//! chain, `tls` handshakes, `http/codec` reads the head, `http` routes it and drives attempts through
//! `upstream`, `observe` logs it. `xds` turns Envoy resources into `config` snapshots away from all that.

#![cfg_attr(
    any(test, fuzzing),
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what tests stand on may")
)]

pub mod admin;
pub mod base;
pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod health;
pub mod http;
pub mod net;
pub mod observe;
pub mod server;
pub mod stats;
pub mod tcp;
pub mod tls;

pub mod upstream;
pub mod worker;
pub mod xds;
