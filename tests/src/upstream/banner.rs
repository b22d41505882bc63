//! Speaks first, as SMTP or MySQL do: a banner on accept, then an echo of each line.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Behaviour, Counts};

/// See the module.
#[derive(Debug)]
pub struct Banner(
    /// Sent on accept, as it is.
    pub &'static str,
);

impl Behaviour for Banner {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, counts: Arc<Counts>) {
        counts.request();
        let (reading, mut writing) = stream.split();
        let mut lines = BufReader::new(reading);
        let mut next = self.0.as_bytes().to_vec();
        while writing.write_all(&next).await.is_ok() {
            next.clear();
            if !matches!(lines.read_until(b'\n', &mut next).await, Ok(1..)) {
                return;
            }
        }
    }
}
