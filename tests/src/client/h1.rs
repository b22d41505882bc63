//! HTTP/1 with nothing in between: the bytes of a request as given, a response read strictly by RFC 9112.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Io, LIMIT};
use crate::netns::Place;
use crate::{Result, wait};

const MAX_HEAD: usize = 256 * 1024;

/// A response as it was on the wire.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// The head's bytes, with its final empty line.
    pub head: String,
    /// The status code.
    pub status: u16,
    /// Names as written and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body with transfer coding removed.
    pub body: Vec<u8>,
    /// The trailer fields of a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Response {
    /// The first value of a header, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).map_err(|e| format!("{e} in the body of {self:?}").into())
    }
}

/// A connection that speaks raw HTTP/1.
#[derive(Debug)]
pub struct Connection {
    stream: Box<dyn Io>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects from the test's own network.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        Self::open_from(&Place::Host, address).await
    }

    /// Connects from `place`.
    pub async fn open_from(place: &Place, address: SocketAddr) -> Result<Self> {
        let stream = place.connect(address)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self::over(TcpStream::from_std(stream)?))
    }

    /// Speaks over a stream made elsewhere, as TLS.
    pub fn over(stream: impl Io + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Writes exactly these bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        wait::within("sending", LIMIT, self.stream.write_all(bytes.as_ref())).await??;
        Ok(())
    }

    /// Ends the sending direction.
    pub async fn shut_down(&mut self) -> Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    /// Sends one request and reads its response; `request` is the text of a `GET`-like request.
    pub async fn exchange(&mut self, request: impl AsRef<[u8]>) -> Result<Response> {
        self.send(request).await?;
        self.response().await
    }

    /// Reads one response to a request other than HEAD, skipping 1xx.
    pub async fn response(&mut self) -> Result<Response> {
        loop {
            let response = self.response_to("GET").await?;
            if response.status >= 200 || response.status == 101 {
                return Ok(response);
            }
        }
    }

    /// Reads one response, 1xx included, to a request with `method`.
    pub async fn response_to(&mut self, method: &str) -> Result<Response> {
        wait::within("the response", LIMIT, self.read_response(method)).await?
    }

    /// Reads at least one byte of whatever comes next; empty at the end of the stream.
    pub async fn some_bytes(&mut self) -> Result<Vec<u8>> {
        if self.buffer.is_empty() {
            wait::within("some bytes", LIMIT, self.fill()).await??;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Reads exactly `count` bytes.
    pub async fn exact_bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        wait::within("the bytes", LIMIT, self.take(count)).await?
    }

    /// Reads until the peer closes, which it must do within the bound.
    pub async fn rest(&mut self) -> Result<Vec<u8>> {
        let read = async {
            while self.fill().await? {}
            Ok::<_, std::io::Error>(())
        };
        wait::within("the end of the stream", LIMIT, read).await??;
        Ok(std::mem::take(&mut self.buffer))
    }

    async fn read_response(&mut self, method: &str) -> Result<Response> {
        let head = self.read_head().await?;
        let mut response = parse_head(head)?;
        let chunked = response.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
        let length = response.header("content-length").map(str::parse::<usize>).transpose()?;
        let bodiless = method == "HEAD" || response.status < 200 || matches!(response.status, 204 | 304);
        match (bodiless, chunked, length) {
            (true, ..) => {}
            (_, true, Some(_)) => return Err(format!("both framings in {response:?}").into()),
            (_, true, None) => self.read_chunks(&mut response).await?,
            (_, false, Some(length)) => response.body = self.take(length).await?,
            (_, false, None) => {
                while self.fill().await? {}
                response.body = std::mem::take(&mut self.buffer);
            }
        }
        Ok(response)
    }

    async fn read_head(&mut self) -> Result<String> {
        loop {
            if let Some(end) = find_bytes(&self.buffer, b"\r\n\r\n") {
                return Ok(String::from_utf8(self.take(end + 4).await?)?);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err("the response head never ends".into());
            }
            if !self.fill().await? {
                let got = String::from_utf8_lossy(&self.buffer);
                return Err(
                    format!("connection closed before the end of a response head, after {got:?}").into()
                );
            }
        }
    }

    async fn read_chunks(&mut self, response: &mut Response) -> Result<()> {
        loop {
            let line = self.read_line().await?;
            let size = usize::from_str_radix(&line, 16).map_err(|e| format!("chunk size {line:?}: {e}"))?;
            if size == 0 {
                break;
            }
            response.body.extend(self.take(size).await?);
            if !self.read_line().await?.is_empty() {
                return Err("a chunk is longer than its size".into());
            }
        }
        loop {
            let line = self.read_line().await?;
            if line.is_empty() {
                return Ok(());
            }
            response.trailers.push(parse_field(&line)?);
        }
    }

    async fn read_line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = find_bytes(&self.buffer, b"\r\n") {
                let mut line = self.take(end + 2).await?;
                line.truncate(end);
                return Ok(String::from_utf8(line)?);
            }
            if !self.fill().await? {
                return Err("connection closed within a line".into());
            }
        }
    }

    async fn take(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < count {
            if !self.fill().await? {
                return Err(format!("connection closed {} bytes early", count - self.buffer.len()).into());
            }
        }
        let rest = self.buffer.split_off(count);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Reads more; false at the end of the stream.
    async fn fill(&mut self) -> std::io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }
}

/// One `GET` on a connection of its own.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> Result<Response> {
    get_from(&Place::Host, address, host, path).await
}

/// One `GET` on a connection of its own, from `place`.
pub async fn get_from(place: &Place, address: SocketAddr, host: &str, path: &str) -> Result<Response> {
    let mut connection = Connection::open_from(place, address).await?;
    connection.exchange(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
}

fn parse_head(head: String) -> Result<Response> {
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).unwrap_or_default();
    let status = status.parse().map_err(|e| format!("status line {status_line:?}: {e}"))?;
    let headers = lines.map(parse_field).collect::<Result<_>>()?;
    Ok(Response { status, headers, head, ..Response::default() })
}

fn parse_field(line: &str) -> Result<(String, String)> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon in {line:?}"))?;
    Ok((name.to_owned(), value.trim().to_owned()))
}

fn find<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn find_bytes(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
