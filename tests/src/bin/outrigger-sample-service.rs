//! The sample application of the demo as a program, for a container of its own.
//!
//! `outrigger-sample-service NODE PORT [BACKEND:PORT]...`: answers as NODE, calls a backend for
//! `/call/BACKEND:PORT/<path>` as any application would, by its name and address. Ends with 0 at SIGTERM.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use outrigger::demo::service::{self, Backend, Service};
use outrigger_tests::Result;
use tokio::net::{TcpListener, lookup_host};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut arguments = std::env::args().skip(1);
    let node = arguments.next().ok_or("no name of a node")?;
    let port: u16 = arguments.next().ok_or("no port")?.parse()?;
    let mut backends = BTreeMap::new();
    for authority in arguments {
        let address = resolve(&authority).await?;
        backends.insert(authority.clone(), Backend { address, http2: false, authority });
    }
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    tokio::select! {
        () = service::serve(listener, Arc::new(Service { node, backends })) => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn resolve(authority: &str) -> Result<SocketAddr> {
    let found =
        lookup_host(authority).await.map_err(|error| format!("cannot resolve {authority}: {error}"))?.next();
    found.ok_or_else(|| format!("{authority} has no address").into())
}
