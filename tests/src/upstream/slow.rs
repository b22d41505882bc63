//! Answers HTTP/1 correctly, but late, and with its body in pieces.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{Behaviour, Counts, closing::read_head};

/// Waits before the head and between the pieces of the body.
#[derive(Debug)]
pub struct Slow {
    /// From the request's head to the response's head.
    pub before_head: Duration,
    /// Before each byte of the body `slow`.
    pub between_bytes: Duration,
}

impl Behaviour for Slow {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, counts: Arc<Counts>) {
        while read_head(&mut stream).await {
            counts.request();
            sleep(self.before_head).await;
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").await.is_err() {
                return;
            }
            for byte in b"slow" {
                sleep(self.between_bytes).await;
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
        }
    }
}
