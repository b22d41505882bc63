//! Steady load in the background: a few connections, request after request, every failure kept.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::client::h1::Connection;
use crate::{Result, wait};

const LIMIT: Duration = Duration::from_secs(30);
const KEPT_FAILURES: usize = 20;
/// Between two requests of a connection, so that the programs under test have the machine too.
const PAUSE: Duration = Duration::from_millis(2);

/// A running load; ends when dropped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    connections: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    at: SocketAddr,
    request: String,
    stop: AtomicBool,
    answered: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Load {
    /// Sends `GET /` to a host over so many connections; every answer but 200 is a failure.
    pub fn start(at: SocketAddr, host: &str, connections: usize) -> Self {
        let shared = Arc::new(Shared {
            at,
            request: format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            failures: Mutex::default(),
        });
        let connections = (0..connections).map(|_| keep_asking(Arc::clone(&shared))).collect();
        Self { shared, connections }
    }

    /// Waits for so many further answers with status 200.
    pub async fn until_answered(&self, more: u64) -> Result<()> {
        let wanted = self.shared.answered.load(Ordering::Relaxed) + more;
        let check = || {
            let enough = self.shared.answered.load(Ordering::Relaxed) >= wanted;
            std::future::ready(enough.then_some(()))
        };
        let waited = wait::until(&format!("{more} further answers"), LIMIT, check).await;
        waited.map_err(|error| format!("{error}; failures: {:?}", self.shared.failures()).into())
    }

    /// Lets the requests under way end; how many were answered with 200.
    ///
    /// # Errors
    /// If any request failed: the first ones.
    pub async fn end(mut self) -> Result<u64> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while self.connections.join_next().await.is_some() {}
        let failures = self.shared.failures();
        match failures.is_empty() {
            true => Ok(self.shared.answered.load(Ordering::Relaxed)),
            false => Err(format!("requests failed: {failures:#?}").into()),
        }
    }
}

impl Shared {
    fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, what: String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < KEPT_FAILURES {
            failures.push(what);
        }
    }
}

async fn keep_asking(shared: Arc<Shared>) {
    let mut connection = None;
    while !shared.stop.load(Ordering::Relaxed) {
        match ask(&shared, connection.take()).await {
            Ok(kept) => {
                shared.answered.fetch_add(1, Ordering::Relaxed);
                connection = kept;
            }
            Err(error) => shared.fail(error.to_string()),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One request; the connection, if it may be used again.
async fn ask(shared: &Shared, connection: Option<Connection>) -> Result<Option<Connection>> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => Connection::open(shared.at).await?,
    };
    let response = connection.exchange(&shared.request).await?;
    if response.status != 200 {
        return Err(format!("{response:?}").into());
    }
    let closing = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok((!closing).then_some(connection))
}
