//! Answers a request with bytes that are no HTTP.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Behaviour, Counts, closing::read_head};

/// See the module.
#[derive(Debug)]
pub struct Garbage;

impl Behaviour for Garbage {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, counts: Arc<Counts>) {
        while read_head(&mut stream).await {
            counts.request();
            let noise: Vec<u8> = (0..=255).cycle().skip(128).take(4096).collect();
            if stream.write_all(&noise).await.is_err() {
                return;
            }
        }
    }
}
