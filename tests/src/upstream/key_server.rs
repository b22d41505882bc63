//! A server of key sets over HTTP/1, whose set may be changed while it runs, and which may fail or not answer at all.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::sequence::read_request;
use super::{Behaviour, Counts};

#[derive(Debug, Clone)]
enum Manner {
    Answer(u16, String),
    Hang,
}

/// See the module.
#[derive(Debug)]
pub struct KeyServer(Control);

/// What a [`KeyServer`] does from now on, and what it was asked.
#[derive(Debug, Clone)]
pub struct Control(Arc<Mutex<(Manner, Vec<String>)>>);

impl KeyServer {
    fn new(manner: Manner) -> Self {
        Self(Control(Arc::new(Mutex::new((manner, Vec::new())))))
    }

    /// Answers with this text.
    pub fn holding(set: String) -> Self {
        Self::new(Manner::Answer(200, set))
    }

    /// Answers with this status and no set.
    pub fn failing(status: u16) -> Self {
        Self::new(Manner::Answer(status, String::new()))
    }

    /// Never answers.
    pub fn hanging() -> Self {
        Self::new(Manner::Hang)
    }

    /// Usable while the server runs.
    pub fn control(&self) -> Control {
        self.0.clone()
    }
}

impl Control {
    fn lock(&self) -> std::sync::MutexGuard<'_, (Manner, Vec<String>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on with this text.
    pub fn hold(&self, set: String) {
        self.lock().0 = Manner::Answer(200, set);
    }

    /// From now on with this status.
    pub fn fail(&self, status: u16) {
        self.lock().0 = Manner::Answer(status, String::new());
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.lock().1.clone()
    }
}

impl Behaviour for KeyServer {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, counts: Arc<Counts>) {
        let mut received = Vec::new();
        while let Some(request) = read_request(&mut stream, &mut received).await {
            counts.request();
            let manner = {
                let mut held = self.0.lock();
                held.1.push(request);
                held.0.clone()
            };
            let Manner::Answer(status, body) = manner else { std::future::pending().await };
            let length = body.len();
            let text = format!("HTTP/1.1 {status} -\r\nContent-Length: {length}\r\n\r\n{body}");
            if stream.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
