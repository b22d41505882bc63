//! Answers with a chunked body that never ends, as fast as it is read.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Behaviour, Counts, closing::read_head};

/// See the module.
#[derive(Debug)]
pub struct Endless;

impl Behaviour for Endless {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, counts: Arc<Counts>) {
        if !read_head(&mut stream).await {
            return;
        }
        counts.request();
        let mut next: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk = [&b"4000\r\n"[..], &[b'x'; 0x4000], b"\r\n"].concat();
        while stream.write_all(next).await.is_ok() {
            next = &chunk;
        }
    }
}
