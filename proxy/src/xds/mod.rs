//! From Envoy's xDS to compiled snapshots, on the main runtime only: protocol state machines, the store of
//! resources and what they refer to, warming, translation and the compiler. Protobuf types stop at [`translate`].
//! Nothing here carries user bytes.

pub mod apply;
pub mod client;
pub mod compile;
pub mod counters;
pub mod delta;
pub mod driver;
pub mod dump;
pub mod engine;
pub mod files;
mod identity;
pub mod load;
pub mod node;
pub mod protocol;
pub mod resource;
pub mod settings;
pub mod sotw;
pub mod store;
pub mod translate;

#[cfg(any(test, fuzzing))]
mod testing;
