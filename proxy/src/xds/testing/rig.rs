//! An engine driven by hand: a model control plane, sockets on paper, and time as an argument.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_xds_protos::v3::core::Node;
use outrigger_xds_protos::v3::wkt::Any;

use super::server::Server;
use super::{Clock, PaperPorts, assignment, describe, eds_cluster, rds_listener, routes};
use crate::config::Snapshot;
use crate::config::outside::ResolveCommand;
use crate::stats::registry::Registry;
use crate::xds::engine::{Engine, InitPhase, Roots};
use crate::xds::protocol::{Protocol, Request, Response, Variant};
use crate::xds::resource::ResourceType::{
    self, Cluster as CDS, Endpoints as EDS, Listener as LDS, Routes as RDS,
};

/// An engine, a model control plane and time.
pub(in crate::xds) struct Rig {
    pub(in crate::xds) engine: Engine,
    pub(in crate::xds) server: Server,
    pub(in crate::xds) ports: PaperPorts,
    pub(in crate::xds) clock: Clock,
    pub(in crate::xds) snapshot: Arc<Snapshot>,
    pub(in crate::xds) published: u32,
    pub(in crate::xds) delta: bool,
    pub(in crate::xds) resolve: Vec<ResolveCommand>,
    /// Time taken by responses and by snapshots.
    pub(in crate::xds) spent: (Duration, Duration),
    /// Types the server does not answer.
    pub(in crate::xds) mute: Vec<ResourceType>,
}

impl Rig {
    pub(in crate::xds) fn new(variant: Variant, timeout: Duration) -> Self {
        let ports = PaperPorts::default();
        let node = Node { id: "n".into(), ..Default::default() };
        let protocol = Protocol::new(variant, node);
        let roots = Roots { clusters: Some(timeout), listeners: Some(timeout) };
        let engine = Engine::new(roots, Some(protocol), Box::new(ports.clone()), &Registry::new(), None);
        let mut rig = Self {
            engine,
            server: Server::default(),
            ports,
            clock: Clock::new(),
            snapshot: Arc::default(),
            published: 0,
            delta: variant == Variant::Delta,
            resolve: Vec::new(),
            spent: Default::default(),
            mute: Vec::new(),
        };
        rig.engine.start(rig.clock.now().instant);
        rig
    }

    pub(in crate::xds) fn both() -> [Self; 2] {
        [Variant::StateOfTheWorld, Variant::Delta].map(|variant| Self::new(variant, Duration::from_secs(15)))
    }

    pub(in crate::xds) fn connect(&mut self) {
        self.server.reconnect();
        self.engine.opened();
        self.run();
    }

    /// Carries messages to and fro and settles, until nothing moves.
    pub(in crate::xds) fn run(&mut self) {
        loop {
            let outbox = self.engine.take_outbox();
            self.resolve.extend(outbox.resolve);
            if outbox.requests.is_empty() && !self.settle() {
                return;
            }
            for request in outbox.requests {
                self.deliver(request);
            }
        }
    }

    fn deliver(&mut self, request: Request) {
        if let Some(response) = self.server.request(request) {
            let muted = ResourceType::from_type_url(response.type_url())
                .is_some_and(|kind| self.mute.contains(&kind));
            if !muted {
                self.receive(response);
            }
        }
    }

    fn receive(&mut self, response: Response) {
        let started = Instant::now();
        self.engine.response(response, self.clock.now());
        self.spent.0 += started.elapsed();
    }

    /// True when something came out of it.
    fn settle(&mut self) -> bool {
        let phase = self.engine.phase();
        let started = Instant::now();
        let snapshot = self.engine.settle(self.clock.now());
        self.spent.1 += started.elapsed();
        let moved = snapshot.is_some() || self.engine.phase() != phase;
        if let Some(snapshot) = snapshot {
            self.snapshot = Arc::new(snapshot);
            self.published += 1;
        }
        moved || self.engine.has_requests()
    }

    /// Changes the world and pushes one type.
    pub(in crate::xds) fn push(&mut self, kind: ResourceType, name: &str, resource: Any) {
        self.server.world.set(kind, name, resource);
        self.tell(kind);
    }

    pub(in crate::xds) fn remove(&mut self, kind: ResourceType, name: &str) {
        self.server.world.unset(kind, name);
        self.tell(kind);
    }

    pub(in crate::xds) fn tell(&mut self, kind: ResourceType) {
        if let Some(response) = self.server.push(kind, self.delta) {
            self.receive(response);
        }
        self.run();
    }

    pub(in crate::xds) fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.run();
    }

    pub(in crate::xds) fn words(&self) -> Vec<(String, String)> {
        describe(&self.snapshot).into_iter().collect()
    }

    pub(in crate::xds) fn word(&self, key: &str) -> Option<String> {
        describe(&self.snapshot).get(key).cloned()
    }

    /// One of each: a cluster with a host, a listener that routes to it.
    pub(in crate::xds) fn populate(&mut self) {
        self.server.world.set(CDS, "a", eds_cluster("a", 1));
        self.server.world.set(EDS, "a", assignment("a", &[(80, 1)]));
        self.server.world.set(LDS, "in", rds_listener("in", 1000, "table"));
        self.server.world.set(RDS, "table", routes("table", "a"));
        self.connect();
        assert_eq!(self.engine.phase(), InitPhase::Done);
    }
}
