//! The Outrigger control plane: App Mesh definitions in, xDS out.
//!
//! Files become node trees ([`source`]), node trees the [`model`], the model a validated [`graph`], and the
//! graph, seen from one proxy, xDS resources ([`translate`]). A [`mesh_source`] yields those, a [`snapshot`] gives
//! them their versions, [`ads`] brings them to clients, and [`server`] is the whole as a value that others can embed.

#![cfg_attr(
    any(test, fuzzing),
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what tests stand on may")
)]

pub mod access;
pub mod admin;
pub mod ads;
pub mod ca;
pub mod cli;
pub mod demo;
pub mod diagnostics;
pub mod discovery_tls;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod graph;
pub mod listen;
pub mod load;
pub mod mesh_source;
pub mod metrics;
pub mod model;
pub mod picture;
pub mod quota;
pub mod server;
pub mod snapshot;
pub mod source;
pub mod translate;
pub mod watch;
