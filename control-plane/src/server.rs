//! The control plane as a value: started, updated, shut down. What `serve` runs, and what others embed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::access::{Access, Gate};
use crate::admin;
use crate::ads::issue::{IssueLimits, Issues};
use crate::ads::registry::Registry;
use crate::ads::server::{self, ConnectionPolicy};
use crate::ads::session::Context;
use crate::ads::store::{self, Store};
use crate::ads::stream::Policy;
use crate::discovery_tls::DiscoveryTls;
use crate::listen::{Address, Listener};
use crate::load::Loads;
use crate::metrics::Metrics;
use crate::snapshot::{Builder, ResourceSource};

/// Where and how to serve.
pub struct Config {
    /// Where discovery clients connect.
    pub xds: Vec<Address>,
    /// Where the admin endpoint listens, if it does.
    pub admin: Option<Address>,
    /// TLS of discovery over the network.
    pub tls: Option<Arc<DiscoveryTls>>,
    /// Who may connect, by rules that may change.
    pub gate: Arc<Gate>,
    /// Whether discovery may be offered, unencrypted and unauthenticated, to other hosts.
    pub insecure_plaintext: bool,
    /// Whether discovery over TLS may be offered to other hosts without rules that say who they are.
    pub insecure_unauthenticated: bool,
    /// Whether private keys are among what is served: never to other hosts in plain text.
    pub serves_secrets: bool,
    /// Limits and waits of each discovery stream.
    pub streams: Policy,
    /// Limits and times of connections.
    pub connections: ConnectionPolicy,
    /// How many discovery streams there may be.
    pub max_streams: usize,
    /// How many certificates there may be on request.
    pub issues: IssueLimits,
    /// How long a client may take to say who it is.
    pub first_request: Duration,
    /// Updates are passed on to clients at most this often, the newest winning.
    pub push_interval: Duration,
}

impl Config {
    /// The configuration with the default limits.
    pub fn new(xds: Vec<Address>, admin: Option<Address>) -> Self {
        Self {
            xds,
            admin,
            tls: None,
            gate: Arc::new(Gate::new(Access::Open)),
            insecure_plaintext: false,
            insecure_unauthenticated: false,
            serves_secrets: false,
            streams: Policy::default(),
            connections: ConnectionPolicy::default(),
            max_streams: 20_000,
            issues: IssueLimits::default(),
            first_request: Duration::from_secs(30),
            push_interval: Duration::from_millis(100),
        }
    }

    /// Both servers on loopback, on ports that the system chooses.
    pub fn ephemeral() -> Self {
        let any = || Address::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        Self::new(vec![any()], Some(any()))
    }
}

/// Why the control plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be bound.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// The address asked for.
        address: Address,
        /// What the system says.
        error: std::io::Error,
    },
    /// Discovery would be open to other hosts.
    #[error(
        "refusing to serve xDS on {0}: other hosts can reach it, and the connection is neither encrypted nor \
         authenticated; give it TLS with --xds-certificate and --xds-key or --xds-name, bind to a loopback address or to \
         unix:/PATH, or accept the risk with --insecure-plaintext-xds"
    )]
    Exposed(Address),
    /// Anyone could be any proxy.
    #[error(
        "refusing to serve xDS on {0}: other hosts can reach it, and nothing says who may be which proxy; give it rules \
         with --access, or accept the risk with --insecure-unauthenticated-xds"
    )]
    Anyone(Address),
    /// Private keys would be open to other hosts.
    #[error(
        "refusing to serve certificates of the mesh on {0}: other hosts can reach it; give it TLS (--xds-certificate and \
         --xds-key, or --xds-name) and say who may connect (--access)"
    )]
    Secrets(Address),
}

/// What was bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Discovery, in the order of [`Config::xds`].
    pub xds: Vec<Address>,
    /// Admin.
    pub admin: Option<Address>,
}

/// A running control plane. Dropping it stops everything at once; [`ControlPlane::shutdown`] says goodbye first.
pub struct ControlPlane {
    addresses: Addresses,
    updates: watch::Sender<Arc<dyn ResourceSource>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    metrics: Arc<Metrics>,
    registry: Arc<Registry>,
}

impl ControlPlane {
    /// Binds everything and serves `source`.
    ///
    /// # Errors
    /// When an address cannot be bound, or may not be.
    pub async fn start(config: Config, source: Arc<dyn ResourceSource>) -> Result<Self, StartError> {
        let listeners = bind_all(&config).await?;
        let admin = match &config.admin {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let addresses = Addresses {
            xds: listeners.iter().map(Listener::address).collect(),
            admin: admin.as_ref().map(Listener::address),
        };
        let metrics = Arc::new(Metrics::default());
        let registry = Arc::new(Registry::new(Arc::clone(&metrics)));
        let loads = Arc::new(Loads::default());
        let context = Arc::new(Context {
            store: Store::new(Builder::default(), Arc::clone(&source)),
            registry: Arc::clone(&registry),
            loads: Arc::clone(&loads),
            metrics: Arc::clone(&metrics),
            policy: config.streams,
            first_request: config.first_request,
            streams: Arc::new(Semaphore::new(config.max_streams)),
            gate: config.gate,
            issues: Issues::new(config.issues),
            tls: config.tls,
        });
        let (stop, stopping) = watch::channel(false);
        let (updates, updated) = watch::channel(source);
        let mut tasks = JoinSet::new();
        let permits = Arc::new(Semaphore::new(config.connections.max_connections));
        for listener in listeners {
            let (context, policy) = (Arc::clone(&context), config.connections.clone());
            tasks.spawn(server::serve(listener, context, policy, Arc::clone(&permits), stopping.clone()));
        }
        if let Some(listener) = admin {
            let routes = admin::routes(admin::View {
                metrics: Arc::clone(&metrics),
                registry: Arc::clone(&registry),
                loads,
                source: updated.clone(),
            });
            tasks.spawn(admin::serve(listener, routes, stopping));
        }
        tasks.spawn(async move {
            store::throttle(updated, config.push_interval, |source| context.store.publish(source)).await;
        });
        Ok(Self { addresses, updates, stop, tasks, metrics, registry })
    }

    /// What was bound.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Counters, to be told about what happens outside, such as reloads.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Who is connected.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Serves `source` from now on. Clients hear of what changed for them.
    pub fn update(&self, source: Arc<dyn ResourceSource>) {
        self.updates.send_replace(source);
    }

    /// Stops accepting, says goodbye to all clients (GOAWAY, streams ended with OK), and waits for them to go, not
    /// longer than the grace period.
    pub async fn shutdown(self) {
        let Self { updates, stop, mut tasks, .. } = self;
        drop(updates);
        stop.send_replace(true);
        while tasks.join_next().await.is_some() {}
    }
}

async fn bind_all(config: &Config) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for address in &config.xds {
        let listener = bind(address).await?;
        let anyone = config.tls.is_none() || config.gate.is_open();
        if listener.is_exposed() && config.serves_secrets && anyone {
            return Err(StartError::Secrets(listener.address()));
        }
        if listener.is_exposed() && config.tls.is_none() && !config.insecure_plaintext {
            return Err(StartError::Exposed(listener.address()));
        }
        if listener.is_exposed() && anyone && !config.insecure_plaintext && !config.insecure_unauthenticated {
            return Err(StartError::Anyone(listener.address()));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

async fn bind(address: &Address) -> Result<Listener, StartError> {
    Listener::bind(address).await.map_err(|error| StartError::Bind { address: address.clone(), error })
}
