//! The load generator, one thread: a fixed number of requests in flight, or a fixed rate of requests.

mod h1;
mod h2;
mod mutual;
mod pace;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::Result;
use crate::histogram::Histogram;
use crate::load::pace::Pace;
use crate::poll::{Poller, Ready};
use crate::scenario::{Load, Protocol};

const SCRATCH: usize = 256 * 1024;
const TICK: Duration = Duration::from_millis(20);
/// Errors after which a run is given up.
const MAX_ERRORS: u64 = 100;

/// What a run saw between the end of its warm-up and its end.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Responses, complete and as expected.
    pub requests: u64,
    /// Anything else; requests in flight on a connection that failed count one each.
    pub errors: u64,
    /// The first error's text.
    pub first_error: Option<String>,
    /// How long it took.
    pub elapsed: Duration,
    /// From the time a request was handed to the kernel, or was due at a fixed rate, to the last byte of its response.
    pub latency: Histogram,
}

/// Phases of a run.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Load without measuring.
    pub warm_up: Duration,
    /// Load that is measured.
    pub measured: Duration,
}

/// One connection of some protocol with its requests in flight.
trait Client {
    /// Puts the first requests under way.
    fn start(&mut self, tally: &mut Tally, poller: &Poller, token: usize) -> Result<()>;
    /// Takes what happened on the socket, ends requests and puts the next ones under way.
    fn turn(&mut self, ready: Ready, scratch: &mut [u8], tally: &mut Tally, poller: &Poller) -> Result<()>;
    /// Puts another request under way, which was due at `due`.
    fn send(&mut self, due: Instant, tally: &mut Tally, poller: &Poller, token: usize) -> Result<()>;
    /// How many requests are in flight.
    fn in_flight(&self) -> u64;
}

/// Counts and clocks of a run.
pub(crate) struct Tally {
    pub(crate) now: Instant,
    /// A number no other request of the run has.
    pub(crate) next_id: u64,
    outcome: Outcome,
    measuring: bool,
    observer: Option<Observer>,
    pace: Option<Pace>,
}

/// Hears of every measured response, and ends the run early.
pub struct Observer {
    /// Told of each response.
    pub each: Box<dyn FnMut(Response)>,
    /// Set from outside to end the run.
    pub stop: Arc<AtomicBool>,
}

/// What an [`Observer`] is told.
#[derive(Debug, Clone, Copy)]
pub struct Response {
    /// When its request was sent.
    pub sent: Instant,
    /// When its last byte was read.
    pub received: Instant,
    /// The last byte of its body, by which backends tell themselves apart.
    pub mark: u8,
}

impl Tally {
    fn done(&mut self, due: Instant, sent: Instant, mark: u8) {
        if !self.measuring {
            return;
        }
        self.outcome.requests += 1;
        self.outcome.latency.record(self.now.saturating_duration_since(due));
        if let Some(observer) = &mut self.observer {
            (observer.each)(Response { sent, received: self.now, mark });
        }
    }

    /// Whether the connection may go on at once; at a fixed rate it waits for its turn.
    fn goes_on(&mut self, token: usize) -> bool {
        self.pace.as_mut().is_none_or(|pace| {
            pace.park(token);
            false
        })
    }

    fn stopped(&self) -> bool {
        self.observer.as_ref().is_some_and(|observer| observer.stop.load(Ordering::Relaxed))
    }

    fn failed(&mut self, count: u64, why: &dyn std::fmt::Display) {
        self.outcome.errors += count;
        self.outcome.first_error.get_or_insert_with(|| why.to_string());
    }
}

/// Loads `target` for the span, over TLS with `tls`; `at_edges` is called when measuring starts and when it ends.
pub fn run(
    target: SocketAddr,
    load: &Load,
    tls: Option<Arc<ClientConfig>>,
    span: Span,
    at_edges: impl FnMut() -> Result<()>,
) -> Result<Outcome> {
    run_generator(Generator::new(target, load, tls)?, span, at_edges, None)
}

/// As [`run`], with somebody who hears of every response.
pub fn run_observed(
    target: SocketAddr,
    load: &Load,
    span: Span,
    at_edges: impl FnMut() -> Result<()>,
    observer: Option<Observer>,
) -> Result<Outcome> {
    run_generator(Generator::new(target, load, None)?, span, at_edges, observer)
}

fn run_generator(
    mut generator: Generator,
    span: Span,
    mut at_edges: impl FnMut() -> Result<()>,
    observer: Option<Observer>,
) -> Result<Outcome> {
    generator.tally.observer = observer;
    generator.until(Instant::now() + span.warm_up)?;
    at_edges()?;
    generator.tally.measuring = true;
    let start = Instant::now();
    generator.until(start + span.measured)?;
    at_edges()?;
    let mut outcome = generator.tally.outcome;
    outcome.elapsed = start.elapsed();
    Ok(outcome)
}

struct Generator {
    target: SocketAddr,
    load: Load,
    tls: Option<Arc<ClientConfig>>,
    clients: Vec<Box<dyn Client>>,
    poller: Poller,
    tally: Tally,
    scratch: Vec<u8>,
}

impl Generator {
    fn new(target: SocketAddr, load: &Load, tls: Option<Arc<ClientConfig>>) -> Result<Self> {
        let tally = Tally {
            now: Instant::now(),
            next_id: 0,
            outcome: Outcome::default(),
            measuring: false,
            observer: None,
            pace: load.rate.map(|rate| Pace::new(rate, Instant::now())),
        };
        let (clients, scratch) = (Vec::new(), vec![0; SCRATCH]);
        let mut generator =
            Self { target, load: *load, tls, clients, poller: Poller::new()?, tally, scratch };
        for token in 0..load.connections {
            let client = generator.connect(token)?;
            generator.clients.push(client);
        }
        Ok(generator)
    }

    fn connect(&mut self, token: usize) -> Result<Box<dyn Client>> {
        let stream = TcpStream::connect_timeout(&self.target, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        self.poller.add(&stream, token)?;
        let mut client: Box<dyn Client> = match (self.load.protocol, &self.tls) {
            (_, Some(tls)) => Box::new(mutual::Client::new(stream, self.target, tls.clone(), &self.load)?),
            (Protocol::Http1, None) => Box::new(h1::Client::new(stream, &self.load)),
            (Protocol::Http2, None) => Box::new(h2::Client::new(stream, &self.load)),
        };
        client.start(&mut self.tally, &self.poller, token)?;
        Ok(client)
    }

    fn until(&mut self, end: Instant) -> Result<()> {
        let mut ready = Vec::new();
        self.tally.now = Instant::now();
        while self.tally.now < end && !self.tally.stopped() {
            let limit = self.tally.pace.as_ref().map_or(TICK, |pace| pace.until_next(self.tally.now));
            self.poller.wait(limit.min(TICK).min(end - self.tally.now), &mut ready)?;
            for event in &ready {
                self.tally.now = Instant::now();
                let turned =
                    self.clients[event.token].turn(*event, &mut self.scratch, &mut self.tally, &self.poller);
                if let Err(error) = turned {
                    self.replace(event.token, &error)?;
                }
            }
            if ready.is_empty() {
                self.tally.now = Instant::now();
            }
            self.send_due()?;
        }
        Ok(())
    }

    fn send_due(&mut self) -> Result<()> {
        while let Some((token, due)) = self.tally.pace.as_mut().and_then(|pace| pace.next(self.tally.now)) {
            let sent = self.clients[token].send(due, &mut self.tally, &self.poller, token);
            if let Err(error) = sent {
                self.replace(token, &error)?;
            }
        }
        Ok(())
    }

    fn replace(&mut self, token: usize, error: &dyn std::fmt::Display) -> Result<()> {
        self.tally.failed(self.clients[token].in_flight().max(1), error);
        if self.tally.outcome.errors > MAX_ERRORS {
            return Err(format!("more than {MAX_ERRORS} errors, the first one: {error}").into());
        }
        self.clients[token] = self.connect(token)?;
        Ok(())
    }
}
