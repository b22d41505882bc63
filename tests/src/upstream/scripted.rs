//! Answers each HTTP/1 request head with bytes given beforehand and keeps everything it received.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Behaviour, Counts};

/// What one connection sent, byte for byte.
pub type Transcript = Arc<Mutex<Vec<u8>>>;

/// See the module. Request bodies are kept but not waited for: an answer follows each empty line.
#[derive(Debug, Default)]
pub struct Scripted {
    answer: Vec<u8>,
    transcripts: Arc<Mutex<Vec<Transcript>>>,
}

impl Scripted {
    /// Answers with `bytes` and keeps the connection open.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        Self { answer: bytes.into(), ..Self::default() }
    }

    /// What the connections send, in the order they were accepted; usable while the upstream runs.
    pub fn transcripts(&self) -> Transcripts {
        Transcripts(self.transcripts.clone())
    }
}

/// A view of what a [`Scripted`] upstream received.
#[derive(Debug, Clone)]
pub struct Transcripts(Arc<Mutex<Vec<Transcript>>>);

impl Transcripts {
    /// Everything received so far, one entry per connection.
    pub fn all(&self) -> Vec<String> {
        let transcripts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        transcripts.iter().map(|one| String::from_utf8_lossy(&lock(one)).into_owned()).collect()
    }
}

impl Behaviour for Scripted {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, counts: Arc<Counts>) {
        let transcript = Transcript::default();
        self.transcripts.lock().unwrap_or_else(PoisonError::into_inner).push(transcript.clone());
        let (mut chunk, mut answered) = ([0; 16 * 1024], 0);
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            lock(&transcript).extend_from_slice(&chunk[..read]);
            while answered < heads(&lock(&transcript)) {
                answered += 1;
                counts.request();
                if stream.write_all(&self.answer).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn lock(transcript: &Transcript) -> std::sync::MutexGuard<'_, Vec<u8>> {
    transcript.lock().unwrap_or_else(PoisonError::into_inner)
}

fn heads(received: &[u8]) -> usize {
    received.windows(4).filter(|window| window == b"\r\n\r\n").count()
}
