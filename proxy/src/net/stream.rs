//! A byte stream to a peer: plain TCP, TLS on either side, or a Unix socket.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::tcp;

/// A connected stream. TLS variants are boxed: they are large, and plain connections are many.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// We are the TLS server.
    TlsServer(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    /// We are the TLS client.
    TlsClient(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    /// We are the TLS client over a Unix socket.
    TlsUnix(Box<tokio_rustls::client::TlsStream<UnixStream>>),
    /// Unix stream socket.
    Unix(UnixStream),
}

/// Runs one expression with the inner stream pinned.
macro_rules! on_inner {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            Stream::Tcp($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Stream::TlsServer($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
            Stream::TlsClient($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
            Stream::TlsUnix($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
            Stream::Unix($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
        }
    };
}

impl Stream {
    /// Waits until a read may make progress, holding no buffer meanwhile.
    ///
    /// A TLS stream may hold decrypted bytes although its socket is quiet: then it is ready at once.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(tcp) => tcp.poll_read_ready(cx),
            Stream::Unix(unix) => unix.poll_read_ready(cx),
            Stream::TlsServer(tls) => {
                let (tcp, session) = tls.get_mut();
                if tls_has_plaintext(session) { Poll::Ready(Ok(())) } else { tcp.poll_read_ready(cx) }
            }
            Stream::TlsClient(tls) => {
                let (tcp, session) = tls.get_mut();
                if tls_has_plaintext(session) { Poll::Ready(Ok(())) } else { tcp.poll_read_ready(cx) }
            }
            Stream::TlsUnix(tls) => {
                let (unix, session) = tls.get_mut();
                if tls_has_plaintext(session) { Poll::Ready(Ok(())) } else { unix.poll_read_ready(cx) }
            }
        }
    }

    /// Reads into `buf`: the number of bytes, 0 at the end of the stream.
    #[inline]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Stream::Tcp(stream) = self {
            return tcp::poll_read(stream, cx, buf);
        }
        let mut read = ReadBuf::new(buf);
        ready!(on_inner!(self, stream => stream.poll_read(cx, &mut read)))?;
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Writes from several slices at once: the number of bytes taken.
    #[inline]
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_inner!(self, stream => stream.poll_write_vectored(cx, slices))
    }

    /// Writes from one slice.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(stream) => tcp::poll_write(stream, cx, bytes),
            _ => on_inner!(self, stream => stream.poll_write(cx, bytes)),
        }
    }

    /// Pushes buffered TLS records to the socket; nothing to do on plain streams.
    #[inline]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_inner!(self, stream => stream.poll_flush(cx))
    }

    /// Ends our direction: FIN, after close_notify on TLS.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_inner!(self, stream => stream.poll_shutdown(cx))
    }

    /// Lets the peer see a reset rather than an end when the stream is dropped. What was not sent yet is lost.
    pub fn reset_at_end(&self) {
        if let Some(tcp) = self.tcp() {
            // It fails only for a socket that is no more.
            let _ = tcp.set_zero_linger();
        }
    }

    /// The TCP socket underneath, when there is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(tcp) => Some(tcp),
            Stream::TlsServer(tls) => Some(tls.get_ref().0),
            Stream::TlsClient(tls) => Some(tls.get_ref().0),
            Stream::TlsUnix(_) | Stream::Unix(_) => None,
        }
    }

    /// Our address of a TCP connection.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.tcp()?.local_addr().ok()
    }

    /// True on every TLS variant.
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::TlsServer(_) | Stream::TlsClient(_) | Stream::TlsUnix(_))
    }

    /// The name that a client asked for in its handshake with us.
    pub fn server_name(&self) -> Option<&str> {
        match self {
            Stream::TlsServer(stream) => stream.get_ref().1.server_name(),
            _ => None,
        }
    }

    /// Protocol chosen by ALPN.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Stream::TlsServer(tls) => tls.get_ref().1.alpn_protocol(),
            Stream::TlsClient(tls) => tls.get_ref().1.alpn_protocol(),
            Stream::TlsUnix(tls) => tls.get_ref().1.alpn_protocol(),
            Stream::Tcp(_) | Stream::Unix(_) => None,
        }
    }
}

fn tls_has_plaintext<Data>(session: &mut rustls::ConnectionCommon<Data>) -> bool {
    session.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_inner!(self.get_mut(), stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Stream::poll_write(self.get_mut(), cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write_vectored(self.get_mut(), cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_flush(self.get_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_shutdown(self.get_mut(), cx)
    }
}
