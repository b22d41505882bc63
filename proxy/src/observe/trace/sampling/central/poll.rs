//! Asks the service through the daemon, which signs what we send.

use std::sync::Weak;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{RulesPage, SamplingRule, Statistics, TargetsAnswer, TargetsRequest};
use super::{CentralRules, Now};
use crate::observe::trace::id::IdSource;
use crate::observe::trace::transport::{Client, Request};
use crate::stats::registry::{Registry, SharedShard};
use crate::stats::scope::SamplingStats;

/// Between two fetches of all rules, and between two reports; each with some more by chance, so that a fleet that was
/// started at once does not ask at once.
const RULES: Duration = Duration::from_secs(300);
const RULES_JITTER: f64 = 5.0;
const REPORT: Duration = Duration::from_secs(10);
const REPORT_JITTER: f64 = 0.1;
/// Rules that have changed are fetched at once, but not in a circle.
const SOON: Duration = Duration::from_secs(1);
/// After so many failures the time between reports grows no more.
const MAX_DOUBLINGS: u32 = 5;
/// Documents that the service takes at once.
const MAX_DOCUMENTS: usize = 25;
/// Rules and pages we read at most.
const MAX_RULES: usize = 1000;
const MAX_PAGES: usize = 50;

/// Keeps `rules` up to date for as long as they are used. `epoch` is where their seconds are counted from.
pub async fn follow(rules: Weak<CentralRules>, client: Client, registry: Registry, epoch: Instant) {
    let mut poll = Poll::new(client, &registry);
    loop {
        let Some(rules) = rules.upgrade() else { return };
        let pause = poll.round(&rules, epoch).await;
        drop(rules);
        tokio::time::sleep(pause).await;
    }
}

fn jitter(seconds: f64) -> Duration {
    Duration::from_secs_f64(fastrand::f64() * seconds)
}

/// 24 hexadecimal digits that nobody else has.
fn client_id() -> String {
    let mut ids = IdSource::default();
    let id = ids.trace(0).hex();
    String::from_utf8_lossy(&id[8..]).into_owned()
}

struct Poll {
    client: Client,
    id: String,
    /// Wall clock of the last fetch.
    fetched: Option<f64>,
    /// The change of rules that made us fetch them: clocks may differ, and once is enough.
    modified: Option<f64>,
    /// When rules are fetched next.
    fetch_at: Instant,
    /// Rounds in which something failed, in a row.
    failures: u32,
    stats: SamplingStats,
    shard: SharedShard,
}

impl Poll {
    fn new(client: Client, registry: &Registry) -> Self {
        Self {
            client,
            id: client_id(),
            fetched: None,
            modified: None,
            fetch_at: Instant::now(),
            failures: 0,
            stats: SamplingStats::new(registry, "tracing.xray.sampling."),
            shard: registry.shared().clone(),
        }
    }

    /// Asks for what is due. Returns the time until the next round: twice as long after each failure in a row.
    async fn round(&mut self, rules: &CentralRules, epoch: Instant) -> Duration {
        let fetched = if Instant::now() < self.fetch_at { Ok(()) } else { self.renew(rules, epoch).await };
        let reported = self.report(rules, epoch).await.inspect_err(|error| {
            self.shard.inc(self.stats.reports_failed);
            tracing::debug!("a report to X-Ray failed: {error}");
        });
        if fetched.is_err() || reported.is_err() {
            let longer = REPORT * (1 << self.failures.min(MAX_DOUBLINGS));
            self.failures += 1;
            return longer.min(RULES) + jitter(REPORT_JITTER);
        }
        self.failures = 0;
        if reported == Ok(true) {
            self.fetch_at = Instant::now();
            return SOON;
        }
        REPORT + jitter(REPORT_JITTER)
    }

    /// Fetches the rules; after a failure they stay due.
    async fn renew(&mut self, rules: &CentralRules, epoch: Instant) -> Result<(), String> {
        self.fetch(rules, epoch).await.inspect_err(|error| {
            self.shard.inc(self.stats.rules_failed);
            tracing::warn!("no sampling rules from the X-Ray daemon: {error}");
        })?;
        self.fetch_at = Instant::now() + RULES + jitter(RULES_JITTER);
        Ok(())
    }

    async fn fetch(&mut self, rules: &CentralRules, epoch: Instant) -> Result<(), String> {
        let now = Now::since(epoch);
        let mut all: Vec<SamplingRule> = Vec::new();
        let mut token = None;
        for _ in 0..MAX_PAGES {
            let page: RulesPage =
                self.ask("/GetSamplingRules", &serde_json::json!({ "NextToken": token })).await?;
            all.extend(page.sampling_rule_records.into_iter().filter_map(|record| record.sampling_rule));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() || all.len() >= MAX_RULES {
                break;
            }
        }
        all.truncate(MAX_RULES);
        let usable = rules.replace(all, now);
        self.shard.gauge_set(self.stats.rules, usable as i64);
        self.shard.inc(self.stats.rules_fetched);
        self.fetched = Some(now.wall);
        Ok(())
    }

    /// Reports what is due. True: the rules are to be fetched again.
    async fn report(&mut self, rules: &CentralRules, epoch: Instant) -> Result<bool, String> {
        let report = rules.report(&self.id, Now::since(epoch));
        let mut stale = false;
        for (i, part) in report.chunks(MAX_DOCUMENTS).enumerate() {
            match self.report_part(rules, part, epoch).await {
                Ok(changed) => stale |= changed,
                Err(error) => {
                    rules.take_back(&report[i * MAX_DOCUMENTS..]);
                    return Err(error);
                }
            }
        }
        Ok(stale)
    }

    async fn report_part(
        &mut self,
        rules: &CentralRules,
        part: &[Statistics],
        epoch: Instant,
    ) -> Result<bool, String> {
        let request = TargetsRequest {
            sampling_statistics_documents: part.iter().map(|one| one.counts.clone()).collect(),
            sampling_boost_statistics_documents: part.iter().filter_map(|one| one.boost.clone()).collect(),
        };
        let answer: TargetsAnswer = self.ask("/SamplingTargets", &request).await?;
        self.shard.inc(self.stats.reports_sent);
        rules.apply(&answer.sampling_target_documents, Now::since(epoch));
        let fetched = self.fetched.unwrap_or(f64::MAX);
        let modified = answer.last_rule_modification.filter(|modified| *modified > fetched);
        let news = modified.is_some() && modified != self.modified;
        self.modified = modified.or(self.modified);
        let refused = answer.unprocessed_statistics.iter().any(|one| one.error_code.starts_with('4'));
        Ok(news || refused)
    }

    async fn ask<A: DeserializeOwned>(&mut self, path: &str, body: &impl Serialize) -> Result<A, String> {
        let body = serde_json::to_vec(body).map_err(|error| error.to_string())?;
        let request = Request { path, content_type: "application/json", headers: &[], body };
        let answer = self.client.post(request).await?;
        match answer.status {
            200 => serde_json::from_slice(&answer.body).map_err(|error| error.to_string()),
            status => Err(format!("{path} answered {status}")),
        }
    }
}

#[cfg(test)]
mod tests;
