//! What Envoy's configuration writes as text: RE2 expressions, command strings, and the expressions of CEL.
//!
//! The sidecar compiles them; the control plane asks here whether a sidecar will. It knows what is well formed, not
//! what a command means.

pub mod cel;
pub mod command;
pub mod operators;
pub mod regex;

mod re2;
