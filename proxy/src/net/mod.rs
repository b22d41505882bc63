//! Sockets and bytes: binding, original destinations, peeking, copying.

pub mod buffer;
pub mod copy;
pub mod deadline;
pub mod listener;
pub mod orig_dst;
pub mod own_address;
pub mod peek;
pub mod stream;
pub mod tcp;
