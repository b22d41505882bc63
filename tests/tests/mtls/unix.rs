//! TLS to a host behind a Unix socket: never plain text instead.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{Authority, Identity};
use outrigger_tests::{Result, on_both_data_planes, wait};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::socket;

on_both_data_planes!(hosts_behind_unix_sockets_are_spoken_to_in_tls);

const LIMIT: Duration = Duration::from_secs(20);

/// A server on a Unix socket.
#[derive(Default)]
struct Served {
    requests: AtomicU32,
    /// Connections that began with something else than a handshake that ends well.
    failed: AtomicU32,
}

fn serve(path: &Path, identity: &Identity) -> Result<Arc<Served>> {
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    let (listener, acceptor) = (UnixListener::bind(path)?, TlsAcceptor::from(Arc::new(config)));
    let served = Arc::<Served>::default();
    let shared = served.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, acceptor.clone(), shared.clone()));
        }
    });
    Ok(served)
}

async fn answer(stream: UnixStream, acceptor: TlsAcceptor, served: Arc<Served>) {
    let Ok(mut stream) = acceptor.accept(stream).await else {
        served.failed.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        head.extend_from_slice(&buffer[..count]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            served.requests.fetch_add(1, Ordering::Relaxed);
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
                return;
            }
        }
    }
}

fn over(path: &Path, name: &str, trusted: &Authority, checked: bool) -> Value {
    let mut cluster = cluster(name, &[]);
    let address = json!({"pipe": {"path": path.display().to_string()}});
    cluster["load_assignment"]["endpoints"] = json!([{"lb_endpoints": [{"endpoint": {"address": address}}]}]);
    let trust = json!({"trusted_ca": {"inline_string": trusted.certificate()}});
    cluster["transport_socket"] =
        socket("Upstream", &json!({"common_tls_context": {"validation_context": trust}}));
    if checked {
        cluster["health_checks"] = json!([{
            "timeout": "5s", "interval": "0.1s", "unhealthy_threshold": 1, "healthy_threshold": 1,
            "http_health_check": {"path": "/health"},
        }]);
    }
    cluster
}

async fn hosts_behind_unix_sockets_are_spoken_to_in_tls(plane: DataPlane) -> Result<()> {
    let (ours, foreign, directory) = (Authority::new()?, Authority::new()?, tempfile::tempdir()?);
    let path = directory.path().join("s");
    let served = serve(&path, &ours.issue(&["svc"])?)?;
    let port = Port::lease()?;
    let clusters = [
        over(&path, "good", &ours, false),
        over(&path, "bad", &foreign, false),
        over(&path, "checked", &ours, true),
    ];
    let routes = ["/good", "/bad", "/checked"].map(|path| prefix_route(path, path.trim_start_matches('/')));
    let routes = route_config("r", &[virtual_host("v", &["*"], &routes)]);
    let listener = http_listener("l", port.address(), inline(routes));
    let sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
    let status = async |path: &str| -> Result<u16> { Ok(h1::get(port.address(), "svc", path).await?.status) };
    assert_eq!(status("/good").await?, 200);
    assert_eq!(sidecar.stat("cluster.good.ssl.handshake").await?, 1);
    assert_eq!(status("/bad").await?, 503);
    assert_eq!(sidecar.stat("cluster.bad.ssl.handshake").await?, 0);
    let healthy = || async { (status("/checked").await.ok()? == 200).then_some(()) };
    wait::until("the checked host to be healthy", LIMIT, healthy).await?;
    assert!(served.requests.load(Ordering::Relaxed) >= 3, "two requests, and those of the check");
    // Only the handshakes whose client did not trust the server failed.
    let failed = sidecar.stat("cluster.bad.upstream_cx_total").await?;
    assert_eq!(u64::from(served.failed.load(Ordering::Relaxed)), failed);
    Ok(())
}
