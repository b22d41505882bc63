//! One request, one answer: HTTP/1.1 in plain text or over TLS, with a bound for time and bytes. Redirects are not followed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Largest answer read.
const MAX_ANSWER: usize = 256 << 10;

/// Why there is no answer. Says where, and nothing of what was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host}: {reason}")]
pub struct ClientError {
    host: String,
    reason: String,
}

/// Sends requests. Connections are not kept: what is asked here is asked rarely.
#[derive(Debug, Clone)]
pub struct Client {
    tls: Arc<ClientConfig>,
    limit: Duration,
}

impl Client {
    /// Trusts what the system trusts; each request has `limit` for everything.
    ///
    /// # Errors
    /// When the cryptographic library cannot be set up.
    pub fn new(limit: Duration) -> Result<Self, ClientError> {
        let mut roots = RootCertStore::empty();
        // Without any root every server is refused, and the error of that request says so.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::with(roots, limit)
    }

    /// Trusts these roots alone, PEM.
    ///
    /// # Errors
    /// When there is no root in it.
    pub fn trusting(roots: &[u8], limit: Duration) -> Result<Self, ClientError> {
        let fail = |reason: &str| ClientError { host: "roots".to_owned(), reason: reason.to_owned() };
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots) {
            let root = root.map_err(|_| fail("are not PEM"))?;
            store.add(root).map_err(|_| fail("hold something that is no certificate"))?;
        }
        if store.is_empty() {
            return Err(fail("hold no certificate"));
        }
        Self::with(store, limit)
    }

    fn with(roots: RootCertStore, limit: Duration) -> Result<Self, ClientError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|e| ClientError { host: "TLS".to_owned(), reason: e.to_string() })?;
        let tls = builder.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { tls: Arc::new(tls), limit })
    }

    /// Sends a request with an absolute URI.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub async fn send(&self, request: Request<Bytes>) -> Result<(StatusCode, Bytes), ClientError> {
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let fail = |reason: String| ClientError { host: host.clone(), reason };
        match tokio::time::timeout(self.limit, self.exchange(request)).await {
            Ok(done) => done.map_err(fail),
            Err(_) => Err(fail("does not answer in time".to_owned())),
        }
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<(StatusCode, Bytes), String> {
        let uri = request.uri().clone();
        let host = uri.host().ok_or("has no host")?.trim_matches(['[', ']']).to_owned();
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("is neither http nor https".to_owned()),
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(text)?;
        if !secure {
            return over(stream, request).await;
        }
        let name = ServerName::try_from(host).map_err(|_| "is no host name")?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.map_err(text)?;
        over(stream, request).await
    }
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Bytes>,
) -> Result<(StatusCode, Bytes), String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().map(ToString::to_string).unwrap_or_default();
    if let (false, Ok(host)) = (parts.headers.contains_key(header::HOST), authority.parse()) {
        parts.headers.insert(header::HOST, host);
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse().map_err(|_| "has no path")?;
    let exchange = async {
        let response =
            sender.send_request(Request::from_parts(parts, Full::new(body))).await.map_err(text)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(text)?;
        Ok((head.status, body.to_bytes()))
    };
    // The connection moves the bytes, and ends with the answer.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        _ = &mut connection => exchange.await,
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
