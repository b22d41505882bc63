//! A stand-in for a Kubernetes API server that reviews tokens: knows those that a test tells it, and counts.
//! Source: Kubernetes `authentication.k8s.io/v1`, `TokenReview`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::Result;
use crate::tls::Authority;

/// The server; ends when dropped.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Token to account, `namespace/name`.
    accounts: HashMap<String, String>,
    reviews: usize,
}

impl ApiServer {
    /// Listens on loopback; its root and a token for those who ask are put into `directory` as `ca.crt` and `token`.
    pub async fn start(directory: &Path) -> Result<Self> {
        let authority = Authority::new()?;
        let identity = authority.issue(&["127.0.0.1"])?;
        std::fs::write(directory.join("ca.crt"), authority.certificate())?;
        std::fs::write(directory.join("token"), OWN)?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![identity.der()?],
                PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?,
            )?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, state) = (listener.local_addr()?, Arc::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&state)));
        Ok(Self { address, state, _tasks: tasks })
    }

    /// Scheme and host.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Lets a token be good for an account, `namespace/name`.
    pub fn know(&self, token: &str, account: &str) {
        locked(&self.state).accounts.insert(token.to_owned(), account.to_owned());
    }

    /// Forgets a token, as when its pod is gone.
    pub fn forget(&self, token: &str) {
        locked(&self.state).accounts.remove(token);
    }

    /// How many tokens were reviewed so far.
    pub fn reviews(&self) -> usize {
        locked(&self.state).reviews
    }
}

/// The token of those who may ask.
pub const OWN: &str = "token-of-the-control-plane";

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, acceptor.clone(), Arc::clone(&state)));
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, state: Arc<Mutex<State>>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(|request| answer(request, Arc::clone(&state)));
    // Who asks may go when it likes.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let may_ask =
        request.headers().get("authorization").is_some_and(|value| value == &format!("Bearer {OWN}"));
    let path = request.uri().path() == "/apis/authentication.k8s.io/v1/tokenreviews";
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let status = if may_ask && path { 201 } else { 403 };
    let mut response = Response::new(Full::from(locked(&state).review(&review["spec"]).to_string()));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    Ok(response)
}

impl State {
    fn review(&mut self, spec: &Value) -> Value {
        self.reviews += 1;
        let account = spec["token"].as_str().and_then(|token| self.accounts.get(token));
        let Some((namespace, name)) = account.and_then(|account| account.split_once('/')) else {
            return json!({"status": {"authenticated": false, "error": "invalid bearer token"}});
        };
        json!({"status": {
            "authenticated": true,
            "user": {"username": format!("system:serviceaccount:{namespace}:{name}")},
            "audiences": spec["audiences"],
        }})
    }
}
