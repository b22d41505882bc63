//! Addresses to listen on, TCP and Unix, and the sockets that come of them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host and a port; port 0 lets the system choose.
    Tcp(String),
    /// The path of a Unix socket, written `unix:/path`.
    Unix(PathBuf),
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address; write HOST:PORT or unix:/PATH")]
pub struct BadAddress(String);

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(bad()) } else { Ok(Self::Unix(path.into())) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address.to_string())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An open listening socket. A Unix socket's file goes when this does.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener, SocketAddr),
    /// Unix.
    Unix(UnixListener, PathBuf),
}

/// Both directions of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An accepted connection.
pub struct Socket {
    /// The bytes.
    pub io: Box<dyn Duplex>,
    /// It came over the network, not by a Unix socket.
    pub is_remote: bool,
    /// Who it is: address and port, or `unix` with process and user.
    pub peer: String,
}

impl Listener {
    /// Binds.
    ///
    /// # Errors
    /// As the system says. The file of a Unix socket that nobody listens on any more is replaced.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let bound = listener.local_addr()?;
                Ok(Self::Tcp(listener, bound))
            }
            Address::Unix(path) => Ok(Self::Unix(bind_unix(path)?, path.clone())),
        }
    }

    /// What it was bound to: with the port, where the system chose one.
    pub fn address(&self) -> Address {
        match self {
            Self::Tcp(_, address) => (*address).into(),
            Self::Unix(_, path) => Address::Unix(path.clone()),
        }
    }

    /// Whether other hosts can reach it.
    pub fn is_exposed(&self) -> bool {
        matches!(self, Self::Tcp(_, address) if !address.ip().to_canonical().is_loopback())
    }

    /// The next connection.
    ///
    /// # Errors
    /// As the system says; the listener stays usable.
    pub async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener, _) => {
                let (stream, peer) = listener.accept().await?;
                // Small messages that someone waits for. Without it they are late, not wrong.
                let _ = stream.set_nodelay(true);
                Ok(Socket { io: Box::new(stream), is_remote: true, peer: peer.to_string() })
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let peer = match stream.peer_cred() {
                    Ok(cred) => format!("unix:pid={},uid={}", cred.pid().unwrap_or(0), cred.uid()),
                    Err(_) => "unix".to_owned(),
                };
                Ok(Socket { io: Box::new(stream), is_remote: false, peer })
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Gone already is as good.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_dead_socket(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

/// Whether a path is a socket that a process left behind.
fn is_dead_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    let refused = |e: io::Error| e.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && std::os::unix::net::UnixStream::connect(path).is_err_and(refused)
}

#[cfg(test)]
mod tests;
