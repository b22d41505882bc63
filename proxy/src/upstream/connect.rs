//! Making one connection to one host: TCP or Unix socket, options, TLS, all within the cluster's
//! `connect_timeout`. Counts what Envoy counts.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::local::Local;
use crate::base::error::ConnectFailure;
use crate::config::cluster::{HostAddress, Keepalive};
use crate::config::secret::ClientTls;
use crate::config::{Cluster, Host};
use crate::net::stream::Stream;
use crate::tls;

/// A connection that was just made.
#[derive(Debug)]
pub struct Dialled {
    /// The stream, secured where the cluster wants that.
    pub io: Stream,
    /// connect(2) was called then.
    pub begun: Instant,
    /// It was connected then.
    pub connected: Instant,
    /// All was ready then.
    pub ready: Instant,
}

/// Connects to `host` and counts the outcome.
pub async fn dial(local: &Local, cluster: &Arc<Cluster>, host: &Host) -> Result<Dialled, ConnectFailure> {
    let begun = Instant::now();
    let work = async {
        let plain = reach(cluster, &host.address).await?;
        let connected = Instant::now();
        let io = secure(cluster.tls.as_deref(), &host.address, plain).await?;
        Ok(Dialled { io, begun, connected, ready: Instant::now() })
    };
    let failure = match tokio::time::timeout(cluster.connect_timeout, work).await {
        Ok(Ok(dialled)) => {
            if let Some(tls) = &cluster.tls {
                tls::count_handshake(&tls.stats, &local.stats, &dialled.io);
            }
            local.stats.record(cluster.stats.upstream_cx_connect_ms, millis(dialled.ready - begun));
            return Ok(dialled);
        }
        Ok(Err(error)) => {
            if let Some(tls) = &cluster.tls {
                tls::count_failure(&tls.stats, &local.stats, &error);
            }
            classify(&error)
        }
        Err(_) => ConnectFailure::Timeout,
    };
    local.stats.inc(cluster.stats.upstream_cx_connect_fail);
    host.live.cx_connect_fail.fetch_add(1, Ordering::Relaxed);
    if failure == ConnectFailure::Timeout {
        local.stats.inc(cluster.stats.upstream_cx_connect_timeout);
    }
    Err(failure)
}

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    duration.as_millis().min(u128::from(u64::MAX)) as u64
}

/// Connects to an address of `cluster` under these TLS settings, without counting.
pub async fn open(cluster: &Cluster, address: &HostAddress, tls: Option<&ClientTls>) -> io::Result<Stream> {
    secure(tls, address, reach(cluster, address).await?).await
}

/// A socket that is connected, with its options.
async fn reach(cluster: &Cluster, address: &HostAddress) -> io::Result<Stream> {
    match address {
        HostAddress::Pipe(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
        HostAddress::Ip(address) => {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            if let Some(keepalive) = &cluster.keepalive {
                SockRef::from(&tcp).set_tcp_keepalive(&keepalive_options(keepalive))?;
            }
            Ok(Stream::Tcp(tcp))
        }
    }
}

/// TLS when the cluster says so. Without a configured SNI rustls is given an address to verify against, which is
/// never sent (RFC 6066, 3).
async fn secure(tls: Option<&ClientTls>, address: &HostAddress, plain: Stream) -> io::Result<Stream> {
    let Some(tls) = tls else { return Ok(plain) };
    let name = tls.sni.clone().unwrap_or_else(|| match address {
        HostAddress::Ip(address) => address.ip().into(),
        HostAddress::Pipe(_) => IpAddr::from(Ipv4Addr::LOCALHOST).into(),
    });
    let connector = TlsConnector::from(tls.config.clone());
    match plain {
        Stream::Tcp(tcp) => Ok(Stream::TlsClient(Box::new(connector.connect(name, tcp).await?))),
        Stream::Unix(unix) => Ok(Stream::TlsUnix(Box::new(connector.connect(name, unix).await?))),
        secured => Ok(secured),
    }
}

fn keepalive_options(keepalive: &Keepalive) -> TcpKeepalive {
    let mut options = TcpKeepalive::new();
    if let Some(time) = keepalive.time {
        options = options.with_time(time);
    }
    if let Some(interval) = keepalive.interval {
        options = options.with_interval(interval);
    }
    if let Some(probes) = keepalive.probes {
        options = options.with_retries(probes);
    }
    options
}

/// What Envoy says of a failed connect(2), for logs that are searched for it.
fn told(error: &io::Error) -> String {
    const ENETUNREACH: i32 = 101;
    let text = error.to_string();
    let (reason, number) = text.split_once(" (os error ").unwrap_or((&text, ""));
    let moment = if error.raw_os_error() == Some(ENETUNREACH) { "immediate" } else { "delayed" };
    if number.is_empty() { text } else { format!("{moment} connect error: {reason}") }
}

/// No socket at all is our own trouble; everything else is the peer's.
fn classify(error: &io::Error) -> ConnectFailure {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const EADDRNOTAVAIL: i32 = 99;
    let mut text = told(error);
    text.truncate(text.floor_char_boundary(200));
    match error.raw_os_error() {
        Some(EMFILE | ENFILE | EADDRNOTAVAIL) => ConnectFailure::Local(text),
        _ => ConnectFailure::Remote(text),
    }
}
