//! A one-listener, one-cluster world around real workers, and a scripted HTTP/1 upstream.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::base::drain::DrainPhase;
use crate::base::ids::ClusterId;
use crate::config::cluster::{Cluster, ClusterSlot, Discovery, Host, HostSet};
use crate::config::listener::{Direction, Listener, ListenerSlot, RouteSource};
use crate::config::live::Breakers;
use crate::config::outside::Ports;
use crate::config::route::{ClusterChoice, Forward, Route, RouteTable, VirtualHost};
use crate::config::{Snapshot, publish, test_world};
use crate::http::test_heads::{forward, settings};
use crate::net::listener::ReusePort;
use crate::stats::registry::Registry;
use crate::stats::scope::HttpStats;
use crate::worker::{Drains, Workers};

/// Running workers with one listener.
pub struct World {
    /// Where the listener is.
    pub address: SocketAddr,
    drains: Drains,
    workers: Option<Workers>,
    _publisher: publish::Publisher,
}

impl World {
    /// Two workers that send everything but host `none` to `upstream`.
    pub fn start(upstream: &str) -> Self {
        Self::limited(upstream, test_world::breakers([u32::MAX; 4]), &Registry::new(), forward())
    }

    /// The same within these limits, as `forward` says otherwise.
    pub fn limited(upstream: &str, limits: Arc<Breakers>, registry: &Registry, forward: Forward) -> Self {
        let listener = listener(registry, forward);
        let ports = ReusePort::new(2);
        let sockets = ports.bind(&listener).unwrap();
        ports.listen(&sockets, 128).unwrap();
        let address = sockets.address;
        let slot = ListenerSlot { config: Arc::new(listener), sockets: Some(Arc::new(sockets)) };
        let snapshot = Snapshot {
            listeners: vec![Some(Arc::new(slot))],
            clusters: vec![Some(Arc::new(cluster(registry, upstream.parse().unwrap(), limits)))],
            ..Snapshot::default()
        };
        let (publisher, subscriber) = publish::channel();
        publisher.publish(snapshot);
        let drains = Drains::default();
        let workers =
            Workers::start(2, &subscriber, registry, &drains, Duration::from_secs(1), None).unwrap();
        Self { address, drains, workers: Some(workers), _publisher: publisher }
    }
}

impl World {
    /// Downstream connections open now.
    pub fn connections(&self) -> u64 {
        self.workers.as_ref().map_or(0, |workers| workers.progress().connections())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.drains.all.advance(DrainPhase::Terminating);
        if let Some(workers) = self.workers.take() {
            workers.join();
        }
    }
}

fn listener(registry: &Registry, forward: Forward) -> Listener {
    let mut http = settings();
    http.routes = RouteSource::Inline(Arc::new(routes(forward)));
    // Cells are those of the registry that the workers write to.
    http.stats = HttpStats::for_manager(registry, "test", ([127, 0, 0, 1], 80).into());
    let address = ([127, 0, 0, 1], 0).into();
    Listener {
        listener_filters_timeout: Duration::from_secs(15),
        direction: Direction::Unspecified,
        chains: vec![test_world::chain(http)],
        ..test_world::listener(registry, address)
    }
}

fn routes(forward: Forward) -> RouteTable {
    let forward = Forward { clusters: ClusterChoice::One(ClusterId(0)), ..forward };
    let route = Route { name: "all".into(), ..test_world::route(forward) };
    let hosts = vec![
        VirtualHost { name: "all".into(), routes: vec![route], ..VirtualHost::default() },
        VirtualHost { name: "none".into(), ..VirtualHost::default() },
    ];
    RouteTable {
        virtual_hosts: hosts,
        exact: [("none".into(), 1)].into_iter().collect(),
        any: Some(0),
        ..RouteTable::default()
    }
}

fn cluster(registry: &Registry, upstream: SocketAddr, limits: Arc<Breakers>) -> ClusterSlot {
    let config = Cluster {
        discovery: Discovery::Static,
        http2: settings().http2,
        idle_timeout: Duration::from_secs(60),
        breakers: [limits.clone(), limits],
        ..test_world::cluster(registry, "up", [1024; 4])
    };
    let host = Host::at(1, upstream);
    ClusterSlot {
        config: Arc::new(config),
        hosts: Arc::new(HostSet { hosts: vec![Arc::new(host)], ..HostSet::default() }),
    }
}

/// An upstream that answers each request with what a function says.
pub struct Upstream {
    /// Where it is.
    pub address: String,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    /// Keeps connections open.
    pub fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::spawn(answer, usize::MAX)
    }

    /// Closes each connection after one answer.
    pub fn start_once(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::spawn(answer, 1)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn spawn(answer: impl Fn(&str) -> String + Send + Sync + 'static, limit: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counter, answer) = (connections.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counter.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                std::thread::spawn(move || serve(stream, &*answer, limit));
            }
        });
        Self { address, connections }
    }
}

/// Reads whole requests (head and content-length body) and answers them.
fn serve(mut stream: TcpStream, answer: &dyn Fn(&str) -> String, limit: usize) {
    let mut seen = Vec::new();
    let mut buf = [0; 4096];
    let mut served = 0;
    while served < limit {
        if let Some(length) = complete(&seen) {
            let request: Vec<u8> = seen.drain(..length).collect();
            served += 1;
            if stream.write_all(answer(&String::from_utf8_lossy(&request)).as_bytes()).is_err() {
                return;
            }
            continue;
        }
        match stream.read(&mut buf) {
            Ok(0) | Err(_) => return,
            Ok(count) => seen.extend_from_slice(&buf[..count]),
        }
    }
}

/// Length of the first whole request.
fn complete(bytes: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes);
    let head = text.find("\r\n\r\n")? + 4;
    let length =
        text[..head].lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let whole = head + length.unwrap_or(0);
    (bytes.len() >= whole).then_some(whole)
}
