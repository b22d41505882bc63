//! Dialling the control plane: TCP, Unix socket or TLS under an HTTP/2 channel.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use super::{PING_TIMEOUT, Reach};
use crate::config::cluster::HostAddress;
use crate::config::secret::ClientTls;

/// Envoy's default for a cluster.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Receive window of stream and connection: a large list comes in few round trips.
const WINDOW: u32 = 4 << 20;

/// One attempt.
pub(super) struct Dial<'a> {
    pub(super) reach: &'a Reach,
    pub(super) address: &'a HostAddress,
    pub(super) authority: &'a str,
    pub(super) ping_interval: Duration,
}

/// Any byte stream.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

type Stream = Pin<Box<dyn Wire>>;

impl Dial<'_> {
    /// A connected channel, or why there is none.
    pub(super) async fn channel(&self) -> Result<Channel, String> {
        let timeout = match self.reach.connect_timeout {
            Duration::ZERO => CONNECT_TIMEOUT,
            timeout => timeout,
        };
        let ping_timeout = if self.reach.ping.1.is_zero() { PING_TIMEOUT } else { self.reach.ping.1 };
        let endpoint = self
            .endpoint()?
            .connect_timeout(timeout)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .http2_keep_alive_interval(self.ping_interval)
            .keep_alive_timeout(ping_timeout);
        let (address, tls) = (self.address.clone(), self.reach.tls.clone());
        let connector = tower::service_fn(move |_| {
            let (address, tls) = (address.clone(), tls.clone());
            async move { connect(&address, tls.as_deref()).await.map(TokioIo::new) }
        });
        endpoint.connect_with_connector(connector).await.map_err(|error| chain(&error))
    }

    /// The authority is a cluster's name by default, and not every name is a legal authority.
    fn endpoint(&self) -> Result<Endpoint, String> {
        let scheme = if self.reach.tls.is_some() { "https" } else { "http" };
        let candidates = [self.authority, "control-plane"];
        let endpoints = candidates.iter().map(|one| Endpoint::from_shared(format!("{scheme}://{one}")));
        endpoints.flatten().next().ok_or_else(|| format!("{:?} is no authority", self.authority))
    }
}

async fn connect(address: &HostAddress, tls: Option<&ClientTls>) -> io::Result<Stream> {
    match address {
        HostAddress::Ip(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
            secure(stream, tls, ServerName::IpAddress(address.ip().into())).await
        }
        HostAddress::Pipe(path) => {
            let local = ServerName::IpAddress(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST).into());
            secure(UnixStream::connect(path).await?, tls, local).await
        }
    }
}

/// The kernel notices a vanished peer even where PINGs are answered rarely.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3)
}

async fn secure(
    stream: impl Wire + 'static,
    tls: Option<&ClientTls>,
    fallback: ServerName<'static>,
) -> io::Result<Stream> {
    let Some(tls) = tls else { return Ok(Box::pin(stream)) };
    let mut config = (*tls.config).clone();
    // gRPC is HTTP/2 whatever the cluster says.
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = tls.sni.clone().unwrap_or(fallback);
    Ok(Box::pin(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}

/// An error with its causes: tonic's own text is only "transport error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
