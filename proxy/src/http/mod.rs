//! HTTP: heads, the codec seam, and the exchange that carries one request from head to log.

pub mod attempt;
pub mod client_cert;
pub mod codec;
pub mod conn;
pub mod context;
pub mod edits;
pub mod exchange;
pub mod filter;
mod flow;
mod forward;
pub mod grpc;
pub mod hash_policy;
pub mod head;
pub mod header_id;
pub mod local_reply;
pub mod mirror;
pub mod normalize;
pub mod pump;
pub mod redirect;
pub mod relay;
pub mod replay;
pub mod request_headers;
pub mod response_headers;
pub mod retry;
pub mod rewrite;
pub mod route;
pub mod subrequest;
pub mod summary;
#[cfg(test)]
pub(crate) mod test_heads;
pub mod timeouts;
pub mod timers;
mod tracked;
