//! Answers HTTP/1 requests one after the other as told beforehand, whatever connection they come on, and keeps them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Behaviour, Counts};

/// What happens to one request.
#[derive(Debug, Clone)]
pub enum Step {
    /// This status, with these header lines (`name: value`) and the body `step`.
    Answer(u16, &'static [&'static str]),
    /// The connection ends without an answer.
    Close,
    /// Nothing, until the peer gives up.
    Hang,
}

/// See the module. Requests beyond the last step are answered as it says.
#[derive(Debug)]
pub struct Sequence {
    steps: Vec<Step>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Sequence {
    /// One step per request.
    pub fn of(steps: &[Step]) -> Self {
        Self { steps: steps.to_vec(), requests: Arc::default() }
    }

    /// The requests so far, head and body each; usable while the upstream runs.
    pub fn requests(&self) -> Requests {
        Requests(self.requests.clone())
    }

    fn next(&self, request: String) -> Step {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let step = self.steps.get(requests.len()).or(self.steps.last());
        requests.push(request);
        step.cloned().unwrap_or(Step::Close)
    }
}

/// A view of what a [`Sequence`] received.
#[derive(Debug, Clone)]
pub struct Requests(Arc<Mutex<Vec<String>>>);

impl Requests {
    /// Each request so far, in order of arrival.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Behaviour for Sequence {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, counts: Arc<Counts>) {
        let mut received = Vec::new();
        while let Some(request) = read_request(&mut stream, &mut received).await {
            let step = self.next(request);
            counts.request();
            let written = match step {
                Step::Close => return,
                Step::Hang => {
                    while let Ok(1..) = stream.read(&mut [0; 1024]).await {}
                    return;
                }
                Step::Answer(status, headers) => {
                    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
                    let text = format!("HTTP/1.1 {status} -\r\n{headers}Content-Length: 4\r\n\r\nstep");
                    stream.write_all(text.as_bytes()).await
                }
            };
            if written.is_err() {
                return;
            }
        }
    }
}

/// The next request with its body (of a known length); `None` when the peer closes.
pub(super) async fn read_request(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<String> {
    let mut chunk = [0; 16 * 1024];
    loop {
        let text = String::from_utf8_lossy(received);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().filter_map(|line| line.split_once(':'));
            let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length = length.filter_map(|(_, value)| value.trim().parse().ok()).next().unwrap_or(0);
            if body.len() >= length {
                let whole = head.len() + 4 + length;
                let request = text[..whole].to_owned();
                received.drain(..whole);
                return Some(request);
            }
        }
        match stream.read(&mut chunk).await {
            Ok(read @ 1..) => received.extend_from_slice(&chunk[..read]),
            _ => return None,
        }
    }
}
