//! Raw TCP.

pub mod proxy;
