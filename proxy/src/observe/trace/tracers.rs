//! All tracers of the process.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::collector::{self, Sampling, export};
use super::sampling::LocalRules;
use super::sampling::central::{CentralRules, poll};
use super::tracer::{Encoder, Rules, Tracer};
use super::transport::{Client, Dial, Target};
use super::xray;
use crate::observe::platform::Place;
use crate::observe::queue::Queue;
use crate::stats::registry::Registry;

/// A provider's settings. Equal ones share a tracer.
#[derive(Clone, Debug, PartialEq)]
pub enum Provider {
    /// X-Ray.
    XRay(xray::Settings),
    /// A collector that speaks HTTP.
    Collector(collector::Settings),
}

impl Provider {
    /// Whether each try is a span of its own, whatever the connection manager says.
    pub fn tells_attempts(&self) -> bool {
        match self {
            Provider::XRay(settings) => settings.rich,
            Provider::Collector(settings) => settings.attempts,
        }
    }
}

/// Tracers by their settings. Owned by the server; used when configuration is compiled.
#[derive(Debug)]
pub struct Tracers {
    open: Mutex<Open>,
    registry: Registry,
    /// Where exporters run.
    runtime: Handle,
    dial: Arc<dyn Dial>,
    place: Place,
}

#[derive(Debug, Default)]
struct Open {
    tracers: Vec<OpenTracer>,
    next_id: u64,
}

#[derive(Debug)]
struct OpenTracer {
    provider: Provider,
    tracer: Weak<Tracer>,
    queue: Arc<Queue>,
    exporter: JoinHandle<()>,
}

impl Tracers {
    /// None yet; exporters will run on `runtime` and connect with `dial`; spans may say where we
    /// run.
    pub fn new(registry: &Registry, runtime: Handle, dial: Arc<dyn Dial>, place: Place) -> Self {
        Self { open: Mutex::default(), registry: registry.clone(), runtime, dial, place }
    }

    /// The tracer of a provider.
    pub fn open(&self, provider: &Provider) -> Arc<Tracer> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.tracers.retain(|known| known.tracer.strong_count() > 0 || !known.exporter.is_finished());
        let known = open.tracers.iter().filter(|known| known.provider == *provider);
        if let Some(tracer) = known.filter_map(|known| known.tracer.upgrade()).next() {
            return tracer;
        }
        open.next_id += 1;
        let (tracer, queue, exporter) = self.start(open.next_id, provider);
        let tracer = Arc::new(tracer);
        open.tracers.push(OpenTracer {
            provider: provider.clone(),
            tracer: Arc::downgrade(&tracer),
            queue,
            exporter,
        });
        tracer
    }

    fn start(&self, id: u64, provider: &Provider) -> (Tracer, Arc<Queue>, JoinHandle<()>) {
        let epoch = Instant::now();
        let (encoder, rules, propagation, queue, exporter) = match provider {
            Provider::XRay(settings) => {
                let queue = Queue::new(&self.registry, "xray");
                let exporter = self.runtime.spawn(xray::udp::export(settings.daemon.clone(), queue.clone()));
                let rules = match &settings.central {
                    Some(service) => self.central(service, &settings.name, &settings.origin, epoch),
                    None => Rules::Local(LocalRules::new(settings.manifest.clone())),
                };
                (
                    Encoder::XRay(settings.clone(), self.place.clone()),
                    rules,
                    &settings.propagation,
                    queue,
                    exporter,
                )
            }
            Provider::Collector(settings) => {
                let queue = Queue::new(&self.registry, settings.form.kind());
                let export =
                    export::export(settings.clone(), queue.clone(), self.dial.clone(), self.place.clone());
                let rules = match &settings.sampling {
                    Sampling::Manager => Rules::Manager,
                    Sampling::Local(manifest) => Rules::Local(LocalRules::new(manifest.clone())),
                    Sampling::Central(service) => self.central(service, &settings.service, "", epoch),
                };
                let exporter = self.runtime.spawn(export);
                (Encoder::Collector(settings.clone()), rules, &settings.propagation, queue, exporter)
            }
        };
        (Tracer::new(id, encoder, rules, propagation.clone(), queue.clone(), epoch), queue, exporter)
    }

    fn central(&self, service: &Target, name: &str, kind: &str, epoch: Instant) -> Rules {
        let rules = Arc::new(CentralRules::new(name, kind));
        let client = Client::http1(service.clone(), self.dial.clone());
        self.runtime.spawn(poll::follow(Arc::downgrade(&rules), client, self.registry.clone(), epoch));
        Rules::Central(rules)
    }

    /// Sends what is left, within `limit` in all.
    pub async fn shutdown(&self, limit: Duration) {
        let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        open.tracers.iter().for_each(|tracer| tracer.queue.stop());
        let all = async {
            for tracer in open.tracers {
                // An exporter that panicked has nothing left to say.
                let _ = tracer.exporter.await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!("spans could not be sent in time");
        }
    }
}
