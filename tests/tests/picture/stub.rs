//! The page with a picture of a test's making in place of the control plane's.

use outrigger_tests::Result;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Serves until it is dropped.
pub struct Stub {
    /// Of the page.
    pub url: String,
    _server: JoinSet<Result<()>>,
}

impl Stub {
    /// Serves this picture.
    pub async fn start(picture: &Value) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let mut server = JoinSet::new();
        server.spawn(serve(listener, picture.to_string()));
        Ok(Self { url, _server: server })
    }
}

async fn serve(listener: TcpListener, mesh: String) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut asked = vec![0; 4096];
        let length = stream.read(&mut asked).await?;
        let is_mesh = String::from_utf8_lossy(&asked[..length]).starts_with("GET /mesh");
        let (kind, body) = if is_mesh {
            ("application/json", mesh.as_str())
        } else {
            ("text/html", ::outrigger::picture::page::PAGE)
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
    }
}
