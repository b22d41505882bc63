//! What Envoy's configuration writes as text: RE2 expressions and command strings.
//!
//! The sidecar compiles both; the control plane asks here whether a sidecar will. It knows what is well formed, not
//! what a command means.

pub mod command;
pub mod operators;
pub mod regex;

mod re2;
