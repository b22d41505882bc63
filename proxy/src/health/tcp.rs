//! TCP checks. Source: Envoy `TcpHealthCheckerImpl`.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::payload;
use super::probe::Target;
use super::state::Outcome;
use crate::config::health::TcpCheck;
use crate::net::stream::Stream;

/// Longest answer that is searched, bytes; a peer that sends more without the expected blocks has failed.
const MAX_ANSWER: usize = 64 * 1024;
const CHUNK: usize = 1024;

/// A host asked over TCP.
#[derive(Default)]
pub(super) struct TcpProbe {
    connection: Option<Stream>,
}

impl TcpProbe {
    pub(super) async fn ask(&mut self, settings: &TcpCheck, target: &Target) -> Outcome {
        if settings.receive.is_empty() {
            // Connecting is the whole question, so a connection is made every time.
            return if target.connect().await.is_ok() { Outcome::PASSED } else { Outcome::NETWORK };
        }
        match self.exchange(settings, target).await {
            Ok(()) => Outcome::PASSED,
            Err(_) => Outcome::NETWORK,
        }
    }

    async fn exchange(&mut self, settings: &TcpCheck, target: &Target) -> io::Result<()> {
        let mut stream = match self.connection.take() {
            Some(open) => open,
            None => target.connect().await?,
        };
        stream.write_all(&settings.send).await?;
        stream.flush().await?;
        let (mut answer, mut chunk) = (Vec::new(), [0; CHUNK]);
        while !payload::is_in_order(&answer, &settings.receive) {
            let read = stream.read(&mut chunk).await?;
            if read == 0 || answer.len() + read > MAX_ANSWER {
                return Err(io::ErrorKind::InvalidData.into());
            }
            answer.extend_from_slice(&chunk[..read]);
        }
        self.connection = Some(stream);
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.connection = None;
    }
}
