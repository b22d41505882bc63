//! Names of DNS clusters into addresses: one task per cluster on the main runtime, resolving again and again.
//!
//! Owns schedules and the last good answers; which hosts they become is the compiler's business. Invariants: the first
//! round of a task is reported within [`LOOKUP_LIMIT`], whatever happens; a failed lookup keeps the addresses of the
//! last good one, an empty success does not. Source: Envoy STRICT_DNS and LOGICAL_DNS, `dns_refresh_rate`,
//! `dns_failure_refresh_rate`, `respect_dns_ttl`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::cluster::DnsSettings;
use crate::config::outside::{QueryId, Resolution, ResolveCommand};

mod hosts;
mod lookup;

#[cfg(test)]
mod tests;

pub use lookup::Lookup;

/// Longest time of one lookup, all servers and retries included.
pub const LOOKUP_LIMIT: Duration = Duration::from_secs(15);

/// Lookups under way at once: a start with thousands of names must not look like an attack to the name server.
const CONCURRENT: usize = 128;
/// Addresses taken from one answer: more than any service publishes, less than what hurts.
const MAX_ADDRESSES: usize = 1000;

/// What a name resolved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// In the order of the answer, preferred family first; may be empty.
    pub addresses: Vec<IpAddr>,
    /// Shortest time to live of the records; `None` when they have none (hosts file, literal).
    pub ttl: Option<Duration>,
    /// Why there is no address.
    pub absent: Option<&'static str>,
}

/// Runs the tasks that `commands` start, until its sender or the receiver of answers is gone.
pub async fn run(
    lookup: Lookup,
    mut commands: mpsc::UnboundedReceiver<ResolveCommand>,
    answers: mpsc::Sender<Resolution>,
) {
    let shared = Arc::new(Shared { lookup, slots: Semaphore::new(CONCURRENT), answers });
    let mut tasks: HashMap<QueryId, JoinHandle<()>> = HashMap::new();
    while let Some(command) = commands.recv().await {
        match command {
            ResolveCommand::Start { id, cluster, settings } => {
                let task = Task::new(id, cluster, settings, shared.clone());
                tasks.insert(id, tokio::spawn(task.run()));
            }
            ResolveCommand::Stop(id) => {
                tasks.remove(&id).inspect(JoinHandle::abort);
            }
        }
    }
    tasks.values().for_each(JoinHandle::abort);
}

struct Shared {
    lookup: Lookup,
    slots: Semaphore,
    answers: mpsc::Sender<Resolution>,
}

/// One cluster's names.
struct Task {
    id: QueryId,
    cluster: Arc<str>,
    settings: DnsSettings,
    names: Vec<Name>,
    shared: Arc<Shared>,
}

/// The state of one name.
struct Name {
    due: Instant,
    /// As of the last success.
    addresses: Option<Vec<IpAddr>>,
    /// Failures since then.
    failures: u32,
    /// Why the last lookup brought no address; `None`: it brought some.
    problem: Option<String>,
}

impl Task {
    fn new(id: QueryId, cluster: Arc<str>, settings: DnsSettings, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let names =
            settings.names.iter().map(|_| Name { due: now, addresses: None, failures: 0, problem: None });
        let names = names.collect();
        Self { id, cluster, settings, names, shared }
    }

    async fn run(mut self) {
        loop {
            let resolution = self.round().await;
            if self.shared.answers.send(resolution).await.is_err() {
                return;
            }
            let Some(due) = self.names.iter().map(|name| name.due).min() else { return };
            tokio::time::sleep_until(due).await;
        }
    }

    /// Looks up every name that is due, side by side.
    async fn round(&mut self) -> Resolution {
        let now = Instant::now();
        let due: Vec<usize> = (0..self.names.len()).filter(|index| self.names[*index].due <= now).collect();
        let lookups = due.iter().map(|index| self.look_up(*index));
        let outcomes = futures_util::future::join_all(lookups).await;
        let failures = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        for (index, outcome) in due.iter().zip(outcomes) {
            self.take(*index, outcome, fastrand::f64());
        }
        Resolution {
            id: self.id,
            addresses: self.names.iter().map(|name| name.addresses.clone()).collect(),
            attempts: due.len() as u32,
            failures: failures as u32,
            problem: self.problem(),
        }
    }

    /// Of the first name that has one.
    fn problem(&self) -> Option<Arc<str>> {
        let mut names = self.settings.names.iter().zip(&self.names);
        names.find_map(|(name, state)| {
            let problem = state.problem.as_ref()?;
            Some(format!("{:?}: {problem}", name.hostname).into())
        })
    }

    async fn look_up(&self, index: usize) -> Result<Found, String> {
        let hostname = &self.settings.names[index].hostname;
        let lookup = async {
            let _slot = self.shared.slots.acquire().await;
            self.shared.lookup.addresses(hostname, self.settings.family).await
        };
        let outcome = tokio::time::timeout(LOOKUP_LIMIT, lookup).await;
        outcome.unwrap_or_else(|_| Err(format!("no answer within {LOOKUP_LIMIT:?}")))
    }

    fn take(&mut self, index: usize, outcome: Result<Found, String>, random: f64) {
        let name = &mut self.names[index];
        let pause = match outcome {
            Ok(mut found) => {
                found.addresses.truncate(MAX_ADDRESSES);
                name.failures = 0;
                name.problem = found.absent.map(str::to_owned).filter(|_| found.addresses.is_empty());
                name.addresses = Some(found.addresses);
                pause_after_success(&self.settings, found.ttl)
            }
            Err(reason) => {
                if name.failures == 0 {
                    let hostname = &self.settings.names[index].hostname;
                    tracing::warn!("cluster {:?}: cannot resolve {hostname:?}: {reason}", self.cluster);
                }
                name.failures = name.failures.saturating_add(1);
                name.problem = Some(reason);
                pause_after_failure(&self.settings, name.failures, random)
            }
        };
        name.due = Instant::now() + pause;
    }
}

/// The refresh rate, or what the records say. A time to live of zero says nothing.
fn pause_after_success(settings: &DnsSettings, ttl: Option<Duration>) -> Duration {
    let ttl = ttl.filter(|ttl| settings.respect_ttl && !ttl.is_zero());
    ttl.unwrap_or(settings.refresh)
}

/// A window that doubles with every failure up to its ceiling, of which at least half is waited: names fail
/// together when their server does, and must not come back together.
fn pause_after_failure(settings: &DnsSettings, failures: u32, random: f64) -> Duration {
    let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let ceiling = settings.failure_refresh_max.max(settings.failure_refresh);
    let window = settings.failure_refresh.saturating_mul(factor).min(ceiling);
    window.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}
