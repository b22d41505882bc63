//! Envoy v3 API types, `Any` by type URL, proto3 JSON both ways, and Envoy's own constraints.
//!
//! Everything that is known of the API without being mesh: conversions to a program's own types live with their users.
//!
//! | module | gives |
//! |---|---|
//! | [`pb`] | every generated message, and the gRPC stubs |
//! | [`v3`] | short names for the packages that a mesh uses |
//! | [`canonical`] | one encoding per message, to hash and compare |
//! | [`any`] | packing and unpacking, [`type_url`] constants |
//! | [`contrib`] | messages of contrib extensions |
//! | [`identity`] | certificate requests, our own service |
//! | [`json`] | YAML and JSON to messages with exact error positions, and back |
//! | [`load`] | names of our own in load reports |
//! | [`validate`] | what Envoy refuses |
//! | [`unknown`] | wire fields that nothing reads |

pub use envoy_types::pb;

pub mod any;
pub mod canonical;
pub mod contrib;
pub mod identity;
pub mod json;
pub mod load;
pub mod unknown;
pub mod v3;
pub mod validate;

mod path;
mod schema;
mod view;
mod wire;

pub use any::type_url;
