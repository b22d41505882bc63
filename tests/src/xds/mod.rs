//! A scripted control plane: serves what a test puts in, by the rules of xDS, and records every answer.
//!
//! [`Server::set`] changes the state of the world; both variants of the aggregated stream bring clients up to date
//! from it. [`Server::push`] sends a response as it is, for what no correct server would say.

mod delta;
mod log;
mod resources;
mod service;
mod sotw;

pub use log::{Event, Kind};
pub use resources::Resource;

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outrigger_xds_protos::v3::discovery::{DeltaDiscoveryResponse, DiscoveryResponse};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::xds::resources::Resources;
use crate::{Result, wait};

const LIMIT: Duration = Duration::from_secs(10);

/// A response to be sent as it is.
#[derive(Debug, Clone)]
pub enum Push {
    /// To every state-of-the-world stream.
    StateOfTheWorld(DiscoveryResponse),
    /// To every delta stream.
    Delta(DeltaDiscoveryResponse),
    /// Ends every stream with this gRPC status code.
    End(tonic::Code),
}

/// What the server and its streams share.
#[derive(Debug)]
pub(crate) struct Shared {
    resources: Mutex<Resources>,
    /// Bumped at each change of `resources` and of `log`.
    changed: watch::Sender<u64>,
    logged: watch::Sender<u64>,
    pushes: broadcast::Sender<Push>,
    log: Mutex<Vec<Event>>,
}

impl Shared {
    pub(crate) fn resources(&self) -> MutexGuard<'_, Resources> {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, Vec<Event>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn record(&self, event: Event) {
        self.log().push(event);
        self.logged.send_modify(|count| *count += 1);
    }
}

/// The running server; all streams end when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts without resources on a free loopback port.
    pub fn start() -> Result<Self> {
        Self::start_on(StdListener::bind((Ipv4Addr::LOCALHOST, 0))?)
    }

    /// Starts without resources on a listener made elsewhere.
    pub fn start_on(listener: StdListener) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            resources: Mutex::default(),
            changed: watch::Sender::default(),
            logged: watch::Sender::default(),
            pushes: broadcast::Sender::new(64),
            log: Mutex::default(),
        });
        let serving = service::serve(TcpListener::from_std(listener)?, shared.clone());
        Ok(Self { address, shared, task: tokio::spawn(serving) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces all resources of a type and brings every stream up to date.
    pub fn set(&self, type_url: &str, resources: Vec<Resource>) {
        self.set_all([(type_url, resources)]);
    }

    /// Replaces all resources of several types as one change.
    pub fn set_all<'a>(&self, types: impl IntoIterator<Item = (&'a str, Vec<Resource>)>) {
        let mut resources = self.shared.resources();
        types.into_iter().for_each(|(type_url, all)| resources.set(type_url, all));
        drop(resources);
        self.shared.changed.send_modify(|generation| *generation += 1);
    }

    /// Sends something to the streams, whatever they asked for.
    pub fn push(&self, push: Push) {
        // Without a stream there is nobody to tell.
        let _ = self.shared.pushes.send(push);
    }

    /// Everything clients said and were sent, in order.
    pub fn log(&self) -> Vec<Event> {
        self.shared.log().clone()
    }

    /// Waits for an event, past ones included, for which `find` returns something.
    pub async fn until<T>(&self, what: &str, find: impl Fn(&Event) -> Option<T>) -> Result<T> {
        let mut logged = self.shared.logged.subscribe();
        let search = async {
            loop {
                if let Some(found) = self.shared.log().iter().find_map(&find) {
                    return found;
                }
                if logged.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let found = wait::within(what, LIMIT, search).await;
        found.map_err(|error| format!("{error}; the log is {:#?}", self.log()).into())
    }

    /// Waits until a client has accepted the current resources of a type.
    pub async fn until_accepted(&self, type_url: &str) -> Result<()> {
        let version = self.shared.resources().version(type_url);
        let acked = |event: &Event| match &event.kind {
            Kind::Ack { version: accepted } => {
                (*accepted == version && event.type_url == type_url).then_some(())
            }
            _ => None,
        };
        self.until(&format!("an ACK of {type_url} at {version}"), acked).await
    }

    /// Waits until a client has rejected a response of a type, and returns its words.
    pub async fn until_rejected(&self, type_url: &str) -> Result<String> {
        let nacked = |event: &Event| match &event.kind {
            Kind::Nack { message } if event.type_url == type_url => Some(message.clone()),
            _ => None,
        };
        self.until(&format!("a NACK of {type_url}"), nacked).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        self.push(Push::End(tonic::Code::Unavailable));
    }
}
