//! Foundations every other module may use: dense ids, response flags, errors,
//! compiled matchers and drain signals. Imports nothing else of ours.

pub mod details;
pub mod drain;
pub mod error;
pub mod grpc;
pub mod hash;
pub mod ids;
pub mod json;
pub mod matcher;
pub mod metadata;
pub mod text;
pub mod turn;

/// Size of the largest buffer, which a connection holds for a long body, bytes. Reads near the segment size of
/// loopback (64 KiB) cost more than either small or large ones.
pub const LARGEST_BUFFER: usize = 512 * 1024;

/// Size of a usual buffer, bytes: what a connection holds while bytes move, however little it may buffer.
pub const USUAL_BUFFER: usize = 16 * 1024;
