//! Reads a request and closes without an answer, or within one.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Behaviour, Counts};

/// When the connection ends.
#[derive(Debug, Clone, Copy)]
pub enum Closing {
    /// On accept, before anything was read.
    AtOnce,
    /// After the request's head, before any byte of the response.
    BeforeResponse,
    /// In the middle of the response's head.
    WithinHead,
    /// After half of the announced body.
    WithinBody,
}

impl Behaviour for Closing {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, counts: Arc<Counts>) {
        if matches!(*self, Self::AtOnce) || !read_head(&mut stream).await {
            return;
        }
        counts.request();
        let partial: &[u8] = match *self {
            Self::AtOnce | Self::BeforeResponse => b"",
            Self::WithinHead => b"HTTP/1.1 200 OK\r\nContent-Len",
            Self::WithinBody => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf.",
        };
        let _ = stream.write_all(partial).await;
        let _ = stream.shutdown().await;
    }
}

/// Reads up to the empty line; false when the peer closes first.
pub(super) async fn read_head(stream: &mut TcpStream) -> bool {
    let mut last = [0; 4];
    while let Ok(byte) = stream.read_u8().await {
        last.rotate_left(1);
        last[3] = byte;
        if &last == b"\r\n\r\n" {
            return true;
        }
    }
    false
}
