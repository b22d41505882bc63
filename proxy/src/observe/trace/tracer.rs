//! A tracer: one provider's settings at work. Connection managers refer to it, workers write into its queue.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use fastrand::Rng;

use super::attempt::{AttemptSpan, MAX_ATTEMPTS};
use super::header::xray::answer;
use super::header::{self, Propagation};
use super::id::IdSource;
use super::sampling::central::{CentralRules, RuleSlot};
use super::sampling::{LocalRules, Memory, Request};
use super::span::{Finished, Outcome, Span, wall_times};
use super::tag::CustomTag;
use super::{collector, xray};
use crate::config::cluster::Host;
use crate::config::listener::Direction;
use crate::http::head::{RequestHead, ResponseHead};
use crate::http::header_id::HeaderId;
use crate::observe::format::{self, Format};
use crate::observe::platform::Place;
use crate::observe::queue::{Lane, Queue};
use crate::observe::record::{Record, Trace};
use crate::stats::registry::{Counter, Shard};
use crate::stats::scope::TracingStats;

/// One provider at work, shared by all connection managers with the same settings.
#[derive(Debug)]
pub struct Tracer {
    /// Never reused while the process lives.
    id: u64,
    encoder: Encoder,
    rules: Rules,
    propagation: Propagation,
    queue: Arc<Queue>,
    /// Seconds are counted from here.
    epoch: Instant,
}

/// What documents look like.
#[derive(Debug)]
pub enum Encoder {
    /// X-Ray segments.
    XRay(xray::Settings, Place),
    /// Spans of a collector.
    Collector(collector::Settings),
}

/// Whose sampling rules hold.
#[derive(Debug)]
pub enum Rules {
    /// Those of a manifest.
    Local(LocalRules),
    /// Those of the X-Ray service.
    Central(Arc<CentralRules>),
    /// The connection manager's shares.
    Manager,
}

impl Tracer {
    /// A tracer that writes into `queue`; the rules' seconds are counted from `epoch`.
    pub fn new(
        id: u64,
        encoder: Encoder,
        rules: Rules,
        propagation: Propagation,
        queue: Arc<Queue>,
        epoch: Instant,
    ) -> Self {
        Self { id, encoder, rules, propagation, queue, epoch }
    }

    /// `chosen`: by the connection manager's shares.
    fn decide(
        &self,
        head: &RequestHead,
        chosen: bool,
        now: Instant,
        memory: &mut Memory,
        random: &mut Rng,
    ) -> (bool, Option<RuleSlot>) {
        let second = || now.saturating_duration_since(self.epoch).as_secs() as u32;
        match &self.rules {
            Rules::Local(rules) => (rules.decide(&request(head), second(), memory, random), None),
            Rules::Central(rules) => rules.decide(&request(head), second(), memory, random),
            Rules::Manager => (chosen, None),
        }
    }

    /// Rules that look at how requests end are told.
    fn ended(&self, record: &Record<'_>, span: &Span, memory: &Memory) {
        if let (Rules::Central(rules), Some(rule)) = (&self.rules, span.rule) {
            let outcome = Outcome::of(record.status, format::grpc_code(record));
            rules.ended(rule, outcome.fault, span.sampled, memory);
        }
    }

    fn encode(&self, finished: &Finished<'_>, out: &mut Vec<u8>) -> bool {
        match &self.encoder {
            Encoder::XRay(settings, place) => xray::document::encode(settings, place.now(), finished, out),
            Encoder::Collector(settings) => {
                collector::encode(settings, finished, out);
                true
            }
        }
    }
}

fn request(head: &RequestHead) -> Request<'_> {
    Request { host: head.authority(), method: head.method_text(), target: head.path_and_query() }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

/// What one worker has of every tracer.
#[derive(Debug)]
pub struct WorkerSpans {
    worker: usize,
    ids: IdSource,
    random: Rng,
    /// Few: one per provider in use.
    tracers: Vec<WorkerTracer>,
}

#[derive(Debug)]
struct WorkerTracer {
    id: u64,
    lane: Arc<Lane>,
    memory: Memory,
}

impl WorkerSpans {
    /// Of worker number `worker`; `seed` makes shares repeatable.
    pub fn new(worker: usize, seed: u64) -> Self {
        Self { worker, ids: IdSource::default(), random: Rng::with_seed(seed), tracers: Vec::new() }
    }
}

/// This worker's part of `tracer`.
#[inline]
fn part<'w>(tracers: &'w mut Vec<WorkerTracer>, tracer: &Tracer, worker: usize) -> &'w mut WorkerTracer {
    let at = tracers.iter().position(|known| known.id == tracer.id);
    let at = at.unwrap_or_else(|| join(tracers, tracer, worker));
    &mut tracers[at]
}

/// Takes a lane and forgets those whose exporter has ended.
#[cold]
fn join(tracers: &mut Vec<WorkerTracer>, tracer: &Tracer, worker: usize) -> usize {
    tracers.retain(|known| Arc::strong_count(&known.lane) > 1);
    let lane = tracer.queue.lane();
    tracers.push(WorkerTracer { id: tracer.id, lane, memory: Memory::new(worker) });
    tracers.len() - 1
}

/// Shares of requests, in millionths, as the connection manager has them. X-Ray's own rules come instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Of those with `x-client-trace-id`.
    pub client: u32,
    /// Of all.
    pub random: u32,
    /// Of what the others chose.
    pub overall: u32,
}

/// What a route says of tracing instead of its connection manager. Source: `envoy.config.route.v3.Tracing`, `Decorator`.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteTracing {
    /// Shares; `None`: those of the connection manager.
    pub shares: Option<Shares>,
    /// Further tags.
    pub tags: Vec<CustomTag>,
    /// What spans are called.
    pub operation: Option<Format>,
    /// What the other side is told to call its spans (`decorator.propagate`).
    pub propagated: Option<Box<str>>,
}

/// What a connection manager traces. Source: `HttpConnectionManager.Tracing`.
#[derive(Debug)]
pub struct HttpTracing {
    /// The provider.
    pub tracer: Arc<Tracer>,
    /// Of the listener.
    pub direction: Direction,
    /// Shares.
    pub shares: Shares,
    /// Tags to add.
    pub tags: Vec<CustomTag>,
    /// What spans are called.
    pub operation: Option<Format>,
    /// Bytes of the path that are told.
    pub max_path: usize,
    /// Each try is a span of its own.
    pub attempts: bool,
    /// `no_context_propagation`: the next hop is told nothing.
    pub silent: bool,
    /// Callers may be anybody: what they say of traces goes no further than here.
    pub untrusted: bool,
    /// Every caller is told the trace, not only those that ask.
    pub answers: bool,
    /// `http.<prefix>.tracing.*`
    pub stats: TracingStats,
}

impl HttpTracing {
    /// A request has arrived: its span. `internal`: it comes from inside the mesh.
    pub fn begin(
        &self,
        head: &RequestHead,
        route: Option<&RouteTracing>,
        now: Instant,
        internal: bool,
        worker: &mut WorkerSpans,
        shard: &Shard,
    ) -> Span {
        let WorkerSpans { worker, ids, random, tracers } = worker;
        let incoming = self.tracer.propagation.extract(&head.block).filter(|_| !self.untrusted);
        let shares = route.and_then(|route| route.shares).unwrap_or(self.shares);
        let reason = self.reason(head, shares, internal, random);
        shard.inc(reason);
        let told = incoming.and_then(|incoming| incoming.sampled).map(|sampled| (sampled, None));
        let (sampled, rule) = told.unwrap_or_else(|| {
            let memory = &mut part(tracers, &self.tracer, *worker).memory;
            self.tracer.decide(head, reason != self.stats.not_traceable, now, memory, random)
        });
        let id = ids.span();
        let forced = reason == self.stats.service_forced;
        Span { forced, rule, ..Span::new(incoming, id, sampled, || ids.trace(epoch_seconds())) }
    }

    /// Envoy's reason for or against a trace, as its statistic.
    fn reason(&self, head: &RequestHead, shares: Shares, internal: bool, random: &mut Rng) -> Counter {
        let mut chosen = |share: u32| share >= 1_000_000 || random.u32(..1_000_000) < share;
        let stats = &self.stats;
        let has = |name: &[u8]| head.block.get_by_name(name).is_some();
        let reason = if !self.untrusted && has(b"x-client-trace-id") && chosen(shares.client) {
            stats.client_enabled
        } else if internal && has(b"x-envoy-force-trace") {
            stats.service_forced
        } else if chosen(shares.random) {
            stats.random_sampling
        } else {
            return stats.not_traceable;
        };
        if chosen(shares.overall) { reason } else { stats.not_traceable }
    }

    /// What loggers are told of a span.
    pub fn told<'s>(&self, span: &'s Span) -> Trace<'s> {
        Trace { span, xray: matches!(self.tracer.encoder, Encoder::XRay(..)) }
    }

    /// Takes away what untrusted callers say of traces.
    pub fn distrust(&self, head: &mut RequestHead) {
        if self.untrusted {
            header::discard(&mut head.block);
        }
    }

    /// Tells the next hop.
    pub fn inject(&self, span: &Span, head: &mut RequestHead) {
        if !self.silent {
            self.tracer.propagation.inject(&span.outgoing(), &mut head.block);
        }
    }

    /// Tells a caller that asked what was decided, and others of the trace where that is wanted, unless the application has.
    pub fn answer(&self, span: &Span, response: &mut ResponseHead) {
        if !(span.asked || self.answers) || response.block.get(HeaderId::AmznTraceId).is_some() {
            return;
        }
        let text = answer(span.trace_id, span.sampled);
        let root = text.split(|byte| *byte == b';').next().unwrap_or_default();
        response.block.add(HeaderId::AmznTraceId, if span.asked { &text } else { root });
    }

    /// A try begins: where tries are told of, it becomes the parent of what the next hop does.
    pub fn begin_attempt(
        &self,
        span: &mut Span,
        host: &Arc<Host>,
        head: &mut RequestHead,
        worker: &mut WorkerSpans,
    ) {
        if !self.attempts || !span.sampled || span.attempts.len() >= MAX_ATTEMPTS {
            return;
        }
        let (id, begun) = (worker.ids.span(), Instant::now());
        // One that was answered and is followed by another has ended; one without an answer may go on beside it.
        if let Some(last) = span.attempts.last_mut().filter(|last| last.status > 0) {
            last.ended = last.ended.or(Some(begun));
        }
        span.attempts.push(AttemptSpan::begun(id, begun, host.clone()));
        self.inject(span, head);
    }

    /// The exchange is over: queues what there is to tell.
    pub fn end(
        &self,
        span: &Span,
        route: Option<&RouteTracing>,
        record: &Record<'_>,
        head: &RequestHead,
        worker: &mut WorkerSpans,
    ) {
        let part = part(&mut worker.tracers, &self.tracer, worker.worker);
        self.tracer.ended(record, span, &part.memory);
        if !span.sampled {
            return;
        }
        let ended = record.timing.finished.unwrap_or_else(Instant::now);
        let (start, end) = wall_times(record.timing.started, ended);
        let finished = Finished {
            span,
            record,
            head,
            start,
            end,
            direction: self.direction,
            tags: &self.tags,
            route,
            operation: self.operation.as_ref(),
            max_path: self.max_path,
        };
        part.lane.write(|out| self.tracer.encode(&finished, out));
    }
}

fn epoch_seconds() -> u32 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as u32
}

#[cfg(test)]
mod tests;
