//! HTTP/2 through the `h2` crate, with the flood limits switched on. RFC 9113.
//!
//! Nothing outside this folder names an `h2` type. Heads are converted at this seam; bodies pass through
//! [`body`], which both halves share.

mod body;
mod client;
mod convert;
mod frames;
mod io;
mod keepalive;
mod refused;
mod server;
mod told;

pub use client::{ClientConn, ClientStream};
pub use refused::Refused;
pub use server::{NoRequest, ServerConn, ServerStream};

use super::StreamError;
use crate::base::details::Detail;
use crate::config::listener::Http2Settings;

/// Limits and habits of either half.
#[derive(Clone, Debug)]
pub struct Options {
    /// Windows, streams, table size, keepalive.
    pub settings: Http2Settings,
    /// Head limit, bytes (decoded, with 32 bytes of overhead per field).
    pub max_head_bytes: usize,
    /// Field count limit, cookie crumbs counted.
    pub max_fields: usize,
    /// The connection is TLS: what `:scheme` is expected to say.
    pub tls: bool,
    /// Bytes that may wait per stream while the peer's window is closed.
    pub send_buffer: usize,
    /// Some access log tells what a stream took on the wire.
    pub measured: bool,
}

/// Details of requests that are refused, as Envoy has them.
const MALFORMED: Detail = Detail::H2_MESSAGING;
const BAD_FIELD: Detail = Detail::H2_INVALID_FIELD;
const TOO_MANY_HEADERS: Detail = Detail::H2_TOO_MANY_HEADERS;
/// Streams the peer may reset before we accept them (CVE-2023-44487).
const MAX_PENDING_ACCEPT_RESETS: usize = 20;
/// Resets the peer may make us send (CVE-2025-8671).
const MAX_LOCAL_ERROR_RESETS: usize = 1024;
/// Reset streams remembered at once.
const MAX_CONCURRENT_RESETS: usize = 50;
/// Most bytes buffered per stream while the peer's window is closed.
const MAX_SEND_BUFFER: usize = 256 * 1024;
/// Smallest connection window: below it one slow stream of tiny frames ends the whole connection.
const MIN_CONNECTION_WINDOW: u32 = 1 << 20;
/// What many tiny unread DATA frames may cost per connection.
const DATA_FRAME_BUDGET: usize = 8 << 20;

/// Applies what both builders have in common.
macro_rules! configure {
    ($builder:expr, $options:expr) => {{
        let settings = &$options.settings;
        $builder
            .initial_window_size(settings.stream_window)
            .initial_connection_window_size(settings.connection_window.max(MIN_CONNECTION_WINDOW))
            .max_concurrent_streams(settings.max_concurrent_streams)
            .max_header_list_size(u32::try_from($options.max_head_bytes).unwrap_or(u32::MAX))
            .header_table_size(settings.hpack_table_size)
            .max_concurrent_reset_streams(MAX_CONCURRENT_RESETS)
            .max_local_error_reset_streams(Some(MAX_LOCAL_ERROR_RESETS))
            .max_pending_accept_reset_streams(MAX_PENDING_ACCEPT_RESETS)
            .max_send_buffer_size($options.send_buffer.min(MAX_SEND_BUFFER))
            .data_frame_budget(DATA_FRAME_BUDGET)
    }};
}
use configure;

/// What an `h2` error means to the layers above.
fn stream_error(error: &h2::Error) -> StreamError {
    if error.is_io() {
        return error.get_io().map_or(StreamError::Closed, |io| StreamError::Io(io.kind()));
    }
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => StreamError::Reset { refused: true },
        // A peer that goes away refuses what it had not begun to process.
        Some(h2::Reason::NO_ERROR) if error.is_go_away() && error.is_remote() => {
            StreamError::Reset { refused: true }
        }
        Some(h2::Reason::PROTOCOL_ERROR) if error.is_library() => StreamError::Protocol(Detail::H2_PROTOCOL),
        Some(_) => StreamError::Reset { refused: false },
        None => StreamError::Closed,
    }
}

/// The same of an error that ends a connection: what the codec did not put up with is the peer's fault.
fn connection_error(error: &h2::Error) -> StreamError {
    match stream_error(error) {
        StreamError::Reset { .. } if error.is_library() => StreamError::Protocol(Detail::H2_PROTOCOL),
        error => error,
    }
}

#[cfg(test)]
mod tests;
