//! A stand-in for an access-log service: keeps every message of every stream, or reads none after the first.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outrigger_xds_protos::pb::envoy::service::accesslog::v3::access_log_service_server::{
    AccessLogService, AccessLogServiceServer,
};
use outrigger_xds_protos::pb::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use outrigger_xds_protos::pb::envoy::service::accesslog::v3::{
    StreamAccessLogsMessage, StreamAccessLogsResponse,
};
use outrigger_xds_protos::v3::accesslog_data::{HttpAccessLogEntry, TcpAccessLogEntry};
use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{Result, wait};

const LIMIT: Duration = Duration::from_secs(15);

/// A service on loopback; it ends when dropped.
#[derive(Debug)]
pub struct LogService {
    address: SocketAddr,
    received: Arc<Mutex<Vec<StreamAccessLogsMessage>>>,
    /// Of its own: its end is the end of every stream.
    server: Option<Runtime>,
}

impl LogService {
    /// Reads as fast as it can.
    pub async fn start() -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), false).await
    }

    /// Takes one message of each stream and then waits for ever.
    pub async fn stalled() -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), true).await
    }

    /// Starts on an address that is free.
    pub async fn start_at(address: SocketAddr, stalls: bool) -> Result<Self> {
        // Who listened there before may take a moment to go.
        let bound = || async { TcpListener::bind(address).await.ok()?.into_std().ok() };
        let listener = wait::until("the service's address", LIMIT, bound).await?;
        let (address, received) = (listener.local_addr()?, Arc::default());
        let keeper = Keeper { received: Arc::clone(&received), stalls };
        let server = tonic::transport::Server::builder().add_service(AccessLogServiceServer::new(keeper));
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.spawn(async move {
            // It ends with its runtime.
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            let _ = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        Ok(Self { address, received, server: Some(runtime) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every message so far.
    pub fn messages(&self) -> Vec<StreamAccessLogsMessage> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Entries of requests so far.
    pub fn requests(&self) -> Vec<HttpAccessLogEntry> {
        let of = |message: StreamAccessLogsMessage| match message.log_entries {
            Some(LogEntries::HttpLogs(logs)) => logs.log_entry,
            _ => Vec::new(),
        };
        self.messages().into_iter().flat_map(of).collect()
    }

    /// Entries of connections so far.
    pub fn connections(&self) -> Vec<TcpAccessLogEntry> {
        let of = |message: StreamAccessLogsMessage| match message.log_entries {
            Some(LogEntries::TcpLogs(logs)) => logs.log_entry,
            _ => Vec::new(),
        };
        self.messages().into_iter().flat_map(of).collect()
    }

    /// Waits for so many entries of requests.
    pub async fn until_requests(&self, count: usize) -> Result<Vec<HttpAccessLogEntry>> {
        let enough = || std::future::ready(Some(self.requests()).filter(|all| all.len() >= count));
        wait::until(&format!("{count} entries of requests"), LIMIT, enough).await
    }

    /// Waits for so many entries of connections.
    pub async fn until_connections(&self, count: usize) -> Result<Vec<TcpAccessLogEntry>> {
        let enough = || std::future::ready(Some(self.connections()).filter(|all| all.len() >= count));
        wait::until(&format!("{count} entries of connections"), LIMIT, enough).await
    }
}

impl Drop for LogService {
    fn drop(&mut self) {
        if let Some(runtime) = self.server.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Debug)]
struct Keeper {
    received: Arc<Mutex<Vec<StreamAccessLogsMessage>>>,
    stalls: bool,
}

#[tonic::async_trait]
impl AccessLogService for Keeper {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            self.received.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            if self.stalls {
                std::future::pending::<()>().await;
            }
        }
        Ok(Response::new(StreamAccessLogsResponse {}))
    }
}
