//! Reads and writes of a TCP socket, as system calls of our own.
//!
//! Through a statically linked C library each call is a point of thread cancellation, with two atomic operations
//! around it that nobody here has a use for; four calls a request make that worth avoiding.

use std::io;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Reads into `buf`: the number of bytes, 0 at the end of the stream.
#[inline]
pub fn poll_read(tcp: &TcpStream, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_read_ready(cx))?;
        let done = once(tcp, Interest::READABLE, buf.len(), || {
            Ok(rustix::net::recv(tcp, &mut *buf, RecvFlags::empty())?.1)
        });
        if let Some(done) = done {
            return Poll::Ready(done);
        }
    }
}

/// Writes from `bytes`: the number taken.
#[inline]
pub fn poll_write(tcp: &TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_write_ready(cx))?;
        let done = once(tcp, Interest::WRITABLE, bytes.len(), || {
            Ok(rustix::net::send(tcp, bytes, SendFlags::NOSIGNAL)?)
        });
        if let Some(done) = done {
            return Poll::Ready(done);
        }
    }
}

/// One call that can move `most` bytes. `None`: the socket was not ready after all.
///
/// A call that moved fewer found the socket's end: saying so to the runtime saves a second call that learns just that.
#[inline]
fn once(
    tcp: &TcpStream,
    interest: Interest,
    most: usize,
    call: impl FnOnce() -> io::Result<usize>,
) -> Option<io::Result<usize>> {
    let mut moved = 0;
    let result = tcp.try_io(interest, || {
        moved = call()?;
        if 0 < moved && moved < most { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match result {
        Ok(()) => Some(Ok(moved)),
        Err(_) if moved > 0 => Some(Ok(moved)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => None,
        Err(error) => Some(Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    #[tokio::test]
    async fn bytes_then_the_end_arrive_however_short_the_reads() {
        let (mut client, server) = pair().await;
        client.write_all(b"abcdefg").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut got, mut buf) = (Vec::new(), [0; 3]);
        loop {
            let count = poll_fn(|cx| poll_read(&server, cx, &mut buf)).await.unwrap();
            if count == 0 {
                break;
            }
            got.extend_from_slice(&buf[..count]);
        }
        assert_eq!(got, b"abcdefg");
    }

    #[tokio::test]
    async fn a_full_socket_waits_until_the_peer_reads() {
        let (mut client, server) = pair().await;
        let bytes = vec![7_u8; 16 << 20];
        let writing = async {
            let mut sent = 0;
            while sent < bytes.len() {
                sent += poll_fn(|cx| poll_write(&server, cx, &bytes[sent..])).await.unwrap();
            }
        };
        let reading = async {
            let mut got = vec![0; 16 << 20];
            client.read_exact(&mut got).await.unwrap();
            got
        };
        let ((), got) = tokio::join!(writing, reading);
        assert!(got == bytes);
    }

    #[tokio::test]
    async fn a_reset_is_an_error() {
        let (client, server) = pair().await;
        client.set_zero_linger().unwrap();
        drop(client);
        let failed = poll_fn(|cx| poll_read(&server, cx, &mut [0; 8])).await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::ConnectionReset);
    }
}
