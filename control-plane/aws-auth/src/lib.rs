//! What asking AWS takes, without its SDK: signatures, credentials, and a client for small answers.
//!
//! | module | gives |
//! |---|---|
//! | [`sigv4`] | signature version 4, in headers or in a URL that somebody else calls |
//! | [`credentials`] | whose name is signed in: environment, ECS and EKS endpoints, web identity |
//! | [`client`] | one HTTP or HTTPS request with every limit |
//! | [`caller`] | `GetCallerIdentity` as a proof of who one is |
//!
//! No secret of a credential is in any debug form or error.

pub mod caller;
pub mod client;
pub mod credentials;
pub mod sigv4;
mod xml;
