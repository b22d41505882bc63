//! Both ends of a path on which one writes without end and the other does not read a byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use outrigger_tests::Result;
use outrigger_tests::client::{h1, h2 as h2_client};
use outrigger_tests::upstream::{Behaviour, Counts, Echo, TcpEcho, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// What an end speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Http1,
    Http2,
    Tcp,
}

/// Kernel buffers of the ends, bytes: small, so that what waits does so in the sidecar.
const SOCKET: u32 = 32 * 1024;
/// What is written at a time, bytes.
const PIECE: usize = 16 * 1024;
/// The largest window of HTTP/2.
const WINDOW: u32 = i32::MAX as u32;

/// Bytes that all writers together got rid of. They stop at a bound, so that a sidecar without bounds fails the test
/// and not the machine.
#[derive(Debug)]
pub struct Taken {
    bytes: AtomicU64,
    most: u64,
}

impl Taken {
    pub fn at_most(most: u64) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicU64::new(0), most })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn all(&self) -> bool {
        self.bytes() >= self.most
    }

    fn add(&self, count: usize) {
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
}

fn socket() -> Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SOCKET)?;
    socket.set_send_buffer_size(SOCKET)?;
    Ok(socket)
}

/// The end behind the sidecar.
#[derive(Debug)]
struct Server {
    wire: Wire,
    /// `None`: does not read.
    writes: Option<Arc<Taken>>,
}

/// Starts the end behind the sidecar: it writes where there is something to count in.
pub fn server(wire: Wire, writes: Option<Arc<Taken>>) -> Result<Upstream> {
    let socket = socket()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    Upstream::start_on(socket.listen(1024)?.into_std()?, Server { wire, writes })
}

impl Behaviour for Server {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, _: Arc<Counts>) {
        let _ = match (self.wire, &self.writes) {
            (Wire::Http2, None) => stream.write_all(&settings()).await.map_err(Into::into),
            (Wire::Http1 | Wire::Tcp, None) => Ok(()),
            (Wire::Http1, Some(taken)) => respond(&mut stream, taken).await,
            (Wire::Http2, Some(taken)) => respond_in_frames(stream, taken).await,
            (Wire::Tcp, Some(taken)) => pour(&mut stream, &[b'x'; PIECE], taken).await,
        };
        std::future::pending().await
    }
}

/// Starts an end before the sidecar; what it returns keeps it there.
pub async fn client(
    wire: Wire,
    to: SocketAddr,
    writes: Option<Arc<Taken>>,
    tasks: &mut JoinSet<Result<()>>,
) -> Result<()> {
    let mut stream = socket()?.connect(to).await?;
    match (wire, writes) {
        (Wire::Http1, None) => stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?,
        (Wire::Http2, None) => stream.write_all(&request_in_frames()).await?,
        (Wire::Tcp, None) => {}
        (Wire::Http1, Some(taken)) => {
            tasks.spawn(async move { request(&mut stream, &taken).await });
            return Ok(());
        }
        (Wire::Http2, Some(taken)) => {
            tasks.spawn(async move { post_in_frames(stream, &taken).await });
            return Ok(());
        }
        (Wire::Tcp, Some(taken)) => {
            tasks.spawn(async move { pour(&mut stream, &[b'x'; PIECE], &taken).await });
            return Ok(());
        }
    }
    tasks.spawn(async move {
        let _open = stream;
        std::future::pending().await
    });
    Ok(())
}

/// Starts an end behind the sidecar that sends everything back.
pub fn echo(wire: Wire) -> Result<Upstream> {
    match wire {
        Wire::Http1 | Wire::Http2 => Upstream::start(Echo::new("echo")),
        Wire::Tcp => Upstream::start(TcpEcho),
    }
}

/// Carries five bytes there and back; the last of them go when all others have come that far.
pub async fn small_exchange(wire: Wire, to: SocketAddr, together: &Barrier) -> Result<()> {
    const REQUEST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nsma";
    match wire {
        Wire::Http1 => {
            let mut connection = h1::Connection::open(to).await?;
            connection.send(REQUEST).await?;
            together.wait().await;
            assert_eq!(connection.exchange("ll").await?.status, 200);
        }
        Wire::Http2 => {
            let mut connection = h2_client::Connection::open(to).await?;
            let (response, mut sending) =
                connection.start(Request::post("http://a/").body(())?, false).await?;
            sending.send_data(Bytes::from_static(b"sma"), false)?;
            together.wait().await;
            sending.send_data(Bytes::from_static(b"ll"), true)?;
            assert_eq!(h2_client::read(response).await?.status, 200);
        }
        Wire::Tcp => {
            let mut stream = TcpStream::connect(to).await?;
            stream.write_all(b"sma").await?;
            together.wait().await;
            stream.write_all(b"ll").await?;
            stream.read_exact(&mut [0; 5]).await?;
        }
    }
    Ok(())
}

async fn pour(stream: &mut TcpStream, piece: &[u8], taken: &Taken) -> Result<()> {
    while !taken.all() {
        taken.add(stream.write(piece).await?);
    }
    Ok(())
}

/// Chunks; cut anywhere they are still the same bytes over and over.
async fn pour_chunks(stream: &mut TcpStream, taken: &Taken) -> Result<()> {
    let chunk = [format!("{PIECE:x}\r\n").as_bytes(), &[b'x'; PIECE], b"\r\n"].concat();
    while !taken.all() {
        stream.write_all(&chunk).await?;
        taken.add(PIECE);
    }
    Ok(())
}

async fn request(stream: &mut TcpStream, taken: &Taken) -> Result<()> {
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    pour_chunks(stream, taken).await
}

async fn respond(stream: &mut TcpStream, taken: &Taken) -> Result<()> {
    stream.readable().await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    pour_chunks(stream, taken).await
}

async fn respond_in_frames(stream: TcpStream, taken: &Arc<Taken>) -> Result<()> {
    let mut connection = h2::server::handshake(stream).await?;
    let mut streams = JoinSet::new();
    while let Some(accepted) = connection.accept().await {
        let (_, mut respond) = accepted?;
        let sending = respond.send_response(Response::new(()), false)?;
        let taken = taken.clone();
        streams.spawn(async move { pour_frames(sending, &taken).await });
    }
    Ok(())
}

async fn post_in_frames(stream: TcpStream, taken: &Taken) -> Result<()> {
    let (sender, connection) = h2::client::handshake(stream).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::post("http://a/").body(())?;
    let (_response, sending) = sender.ready().await?.send_request(request, false)?;
    pour_frames(sending, taken).await
}

async fn pour_frames(mut sending: h2::SendStream<Bytes>, taken: &Taken) -> Result<()> {
    while !taken.all() {
        sending.reserve_capacity(PIECE);
        let granted = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await;
        let count = granted.ok_or("the stream is over")??.min(PIECE);
        sending.send_data(Bytes::from_static(&[b'x'; PIECE]).slice(..count), false)?;
        taken.add(count);
    }
    Ok(())
}

/// A frame of the connection or of stream 1 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// SETTINGS and WINDOW_UPDATE that let everything in.
fn settings() -> Vec<u8> {
    let stream_window = [&[0, 4][..], &WINDOW.to_be_bytes()].concat();
    let connection_window = (WINDOW - 65_535).to_be_bytes();
    [frame(4, 0, 0, &stream_window), frame(8, 0, 0, &connection_window)].concat()
}

/// `GET / HTTP/2` to `a`, in the static table's indices (RFC 7541, A).
fn request_in_frames() -> Vec<u8> {
    let fields = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings(), &frame(1, 5, 1, &fields)].concat()
}
