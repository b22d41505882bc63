//! Sends back what it receives; after the peer's end of stream it says `bye` and ends its own direction.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Behaviour, Counts};

/// See the module: whoever sees `bye` has carried a half-closed connection.
#[derive(Debug)]
pub struct TcpEcho;

impl Behaviour for TcpEcho {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, counts: Arc<Counts>) {
        counts.request();
        let mut chunk = [0; 16 * 1024];
        loop {
            match stream.read(&mut chunk).await {
                Ok(0) => break,
                Ok(read) if stream.write_all(&chunk[..read]).await.is_ok() => {}
                _ => return,
            }
        }
        let _ = stream.write_all(b"bye").await;
        let _ = stream.shutdown().await;
    }
}
