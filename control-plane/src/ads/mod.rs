//! The xDS transport: how resources reach clients, apart from what they are.
//!
//! Layers, each ignorant of those below it in this list:
//! [`subscription`] and [`ledger`] (what a client asked for; what it holds), [`sotw`] and [`delta`] (one type on one
//! stream), [`stream`] (all types of one stream, in make-before-break order): pure, driven by requests, snapshots and
//! instants. Around them [`session`] (one gRPC stream), [`service`] (which method is which stream), [`wire`] (bytes).
//! Source: Envoy's "xDS REST and gRPC protocol".

pub mod delta;
pub mod issue;
pub mod ledger;
mod lobby;
mod machine;
pub mod peer;
pub mod protocol;
mod refusal;
pub mod registry;
pub mod server;
pub mod service;
pub mod session;
pub mod sotw;
pub mod store;
pub mod stream;
pub mod subscription;
pub mod wire;

pub use machine::{Due, Machine, Nonce, Push, Received};

#[cfg(any(test, fuzzing))]
pub(crate) mod fixture;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
