//! HTTP to collectors, from the main runtime: one connection per exporter, one request at a time, all bounded.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

/// A request and its answer, connecting included, must be done within this.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest head and body of an answer.
const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 4 * 1024 * 1024;

/// Where a collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Host (a name or an address) and port.
    Address(Box<str>, u16),
    /// A cluster of the configuration.
    Cluster(Box<str>),
}

impl Target {
    /// `Host` for requests to it.
    fn authority(&self) -> String {
        match self {
            Target::Address(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Target::Address(host, port) => format!("{host}:{port}"),
            Target::Cluster(name) => name.to_string(),
        }
    }
}

/// A byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection in the making.
pub type Dialling<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send + 'a>>;

/// Opens connections. The server knows how: clusters are none of the tracers' business.
pub trait Dial: Debug + Send + Sync {
    /// Connects.
    fn dial<'a>(&'a self, target: &'a Target) -> Dialling<'a>;
}

/// What is sent.
#[derive(Debug)]
pub struct Request<'a> {
    /// Path.
    pub path: &'a str,
    /// `content-type`.
    pub content_type: &'a str,
    /// Further headers.
    pub headers: &'a [(&'static str, &'a str)],
    /// Body.
    pub body: Vec<u8>,
}

/// What comes back.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Bytes,
    /// `grpc-status`, in trailers or headers.
    pub grpc_status: Option<u32>,
    /// `grpc-status-details-bin`, likewise: a `google.rpc.Status`.
    pub grpc_details: Option<Vec<u8>>,
    /// `retry-after`, where it is a number of seconds.
    pub retry_after: Option<Duration>,
}

/// Why there is no answer; for the log.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// None came in time.
    #[error("no answer within {} s", LIMIT.as_secs())]
    Late,
    /// There was no connection, or it broke.
    #[error("{0}")]
    Broken(String),
}

impl From<NoAnswer> for String {
    fn from(why: NoAnswer) -> Self {
        why.to_string()
    }
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

struct Connection {
    sender: Sender,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A collector's client. Keeps its connection for the next request.
pub struct Client {
    target: Target,
    authority: String,
    scheme: &'static str,
    dial: Arc<dyn Dial>,
    over_http2: bool,
    open: Option<Connection>,
}

impl Client {
    /// Speaks HTTP/1.1.
    pub fn http1(target: Target, dial: Arc<dyn Dial>) -> Self {
        Self { authority: target.authority(), scheme: "http", target, dial, over_http2: false, open: None }
    }

    /// Speaks HTTP/2.
    pub fn http2(target: Target, dial: Arc<dyn Dial>) -> Self {
        Self { over_http2: true, ..Self::http1(target, dial) }
    }

    /// With this `Host`, unless it is empty, and `https` as its scheme where that is said.
    pub fn called(mut self, authority: &str, secure: bool) -> Self {
        self.scheme = if secure { "https" } else { "http" };
        if !authority.is_empty() {
            authority.clone_into(&mut self.authority);
        }
        self
    }

    /// Posts, over the open connection or a new one.
    pub async fn post(&mut self, request: Request<'_>) -> Result<Answer, NoAnswer> {
        // Taken out: a request that is given up leaves no half-used connection behind.
        let mut open = self.open.take();
        let work = async {
            let usable = match &mut open {
                Some(connection) => is_usable(connection).await,
                None => false,
            };
            let mut connection = match open.filter(|_| usable) {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let answer = exchange(&mut connection, self.head(&request)?, request.body).await?;
            Ok((answer, connection))
        };
        match tokio::time::timeout(LIMIT, work).await {
            Ok(Ok((answer, connection))) => {
                self.open = Some(connection);
                Ok(answer)
            }
            Ok(Err(error)) => Err(NoAnswer::Broken(error)),
            Err(_) => Err(NoAnswer::Late),
        }
    }

    fn head(&self, request: &Request<'_>) -> Result<http::request::Builder, String> {
        let uri = match self.over_http2 {
            true => format!("{}://{}{}", self.scheme, self.authority, request.path),
            false => request.path.to_owned(),
        };
        let mut head = http::Request::post(uri).header("content-type", request.content_type);
        if !self.over_http2 {
            head = head.header("host", &self.authority);
        }
        Ok(request.headers.iter().fold(head, |head, (name, value)| head.header(*name, *value)))
    }

    async fn connect(&self) -> Result<Connection, String> {
        let stream = self.dial.dial(&self.target).await.map_err(|error| error.to_string())?;
        let io = TokioIo::new(stream);
        let text = |error: hyper::Error| error.to_string();
        if self.over_http2 {
            let builder = http2::Builder::new(TokioExecutor::new());
            let (sender, connection) = builder.handshake(io).await.map_err(text)?;
            let driver = tokio::spawn(async move { drop(connection.await) });
            return Ok(Connection { sender: Sender::Http2(sender), driver });
        }
        let (sender, connection) =
            http1::Builder::new().max_buf_size(MAX_HEAD).handshake(io).await.map_err(text)?;
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender: Sender::Http1(sender), driver })
    }
}

async fn is_usable(connection: &mut Connection) -> bool {
    match &mut connection.sender {
        Sender::Http1(sender) => sender.ready().await.is_ok(),
        Sender::Http2(sender) => sender.ready().await.is_ok(),
    }
}

async fn exchange(
    connection: &mut Connection,
    head: http::request::Builder,
    body: Vec<u8>,
) -> Result<Answer, String> {
    let request = head.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?;
    let response = match &mut connection.sender {
        Sender::Http1(sender) => sender.send_request(request).await,
        Sender::Http2(sender) => sender.send_request(request).await,
    };
    let (head, body) = response.map_err(|error| error.to_string())?.into_parts();
    let (body, trailers) = read(body).await?;
    let told = |name: &str| {
        let value = [&trailers, &head.headers].into_iter().find_map(|headers| headers.get(name));
        value.and_then(|value| value.to_str().ok())
    };
    let details = told("grpc-status-details-bin").map(|text| text.trim_end_matches('='));
    let seconds = told("retry-after").and_then(|text| text.trim().parse().ok());
    Ok(Answer {
        status: head.status.as_u16(),
        grpc_status: told("grpc-status").and_then(|text| text.parse().ok()),
        grpc_details: details.and_then(|text| STANDARD_NO_PAD.decode(text).ok()),
        retry_after: seconds.map(Duration::from_secs),
        body,
    })
}

async fn read(mut body: Incoming) -> Result<(Bytes, HeaderMap), String> {
    let (mut kept, mut trailers) = (BytesMut::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| error.to_string())?.into_data() {
            Ok(data) if kept.len() + data.len() > MAX_BODY => return Err("the answer is too long".to_owned()),
            Ok(data) => kept.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok((kept.freeze(), trailers))
}
