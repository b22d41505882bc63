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
/// Documents that the service takes at once.
const MAX_DOCUMENTS: usize = 25;
/// Rules and pages we read at most.
const MAX_RULES: usize = 1000;
const MAX_PAGES: usize = 50;

/// Keeps `rules` up to date for as long as they are used. `epoch` is where their seconds are counted from.
pub async fn follow(rules: Weak<CentralRules>, client: Client, registry: Registry, epoch: Instant) {
    let stats = SamplingStats::new(&registry, "tracing.xray.sampling.");
    let shard = registry.shared().clone();
    let mut poll = Poll { client, id: client_id(), fetched: None, stats, shard };
    let mut fetch_at = Instant::now();
    loop {
        let Some(rules) = rules.upgrade() else { return };
        if Instant::now() >= fetch_at {
            fetch_at = match poll.fetch(&rules, epoch).await {
                Ok(()) => Instant::now() + RULES + jitter(RULES_JITTER),
                // The next report is a good time to try again.
                Err(error) => {
                    poll.shard.inc(poll.stats.rules_failed);
                    tracing::warn!("no sampling rules from the X-Ray daemon: {error}");
                    Instant::now()
                }
            };
        }
        match poll.report(&rules, epoch).await {
            Ok(true) => fetch_at = Instant::now(),
            Ok(false) => {}
            Err(error) => {
                poll.shard.inc(poll.stats.reports_failed);
                tracing::debug!("a report to X-Ray failed: {error}");
            }
        }
        let again = fetch_at <= Instant::now() && poll.fetched.is_some();
        drop(rules);
        if !again {
            tokio::time::sleep(REPORT + jitter(REPORT_JITTER)).await;
        } else {
            // Rules have changed: fetched at once, but not in a circle.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
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
    stats: SamplingStats,
    shard: SharedShard,
}

impl Poll {
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
        let modified = answer.last_rule_modification.is_some_and(|modified| modified > fetched);
        let refused = answer.unprocessed_statistics.iter().any(|one| one.error_code.starts_with('4'));
        Ok(modified || refused)
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
