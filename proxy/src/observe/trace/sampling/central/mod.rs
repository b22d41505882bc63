//! Rules of the X-Ray service, the same for every process: each takes part in a rule's reservoir as the service tells
//! it, and reports what it has seen. Source: AWS X-Ray "Using sampling rules", `GetSamplingRules`,
//! `GetSamplingTargets`.

pub mod poll;
mod rule;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwapOption;
use fastrand::Rng;

use super::manifest::Manifest;
use super::{LocalRules, Memory, Request, glob};
use rule::RuleState;
use wire::{SamplingRule, Statistics, Target};

/// Rules that are this old are no longer believed, seconds.
const RULES_LIVE: u32 = 3600;

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Seconds since the tracer began: what requests are counted by.
    pub second: u32,
    /// Seconds since 1970: what the service speaks in.
    pub wall: f64,
}

impl Now {
    /// Now.
    pub fn since(epoch: Instant) -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { second: epoch.elapsed().as_secs() as u32, wall: wall.as_secs_f64() }
    }

    /// The second of a moment of the service's.
    fn second_of(self, wall: f64) -> u32 {
        (f64::from(self.second) + wall - self.wall).clamp(0.0, f64::from(u32::MAX)) as u32
    }
}

/// The service's rules, as far as they are known, and local ones for when they are not.
#[derive(Debug)]
pub struct CentralRules {
    /// `ServiceName` and `ServiceType` of ours.
    name: Box<str>,
    kind: Box<str>,
    current: ArcSwapOption<RuleSet>,
    fallback: LocalRules,
    /// Slots given to rules so far: each name keeps its own.
    slots: AtomicU64,
}

/// Names a rule for as long as the process lives, whatever becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleSlot(usize);

/// Rules in order of priority. Those that can never match us are left out.
#[derive(Debug)]
struct RuleSet {
    rules: Vec<Arc<RuleState>>,
    expires: u32,
}

impl CentralRules {
    /// Without any rule of the service's yet, for spans with this name and origin.
    pub fn new(name: &str, kind: &str) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            current: ArcSwapOption::empty(),
            fallback: LocalRules::new(Manifest::default()),
            slots: AtomicU64::new(0),
        }
    }

    /// Decides about a request in `second`, and says which rule wants to know how it ends.
    pub fn decide(
        &self,
        request: &Request<'_>,
        second: u32,
        memory: &mut Memory,
        random: &mut Rng,
    ) -> (bool, Option<RuleSlot>) {
        let set = self.current.load();
        let rules = set.as_ref().filter(|set| second < set.expires).map_or(&[][..], |set| &set.rules);
        match rules.iter().find(|rule| rule.matches(request)) {
            Some(rule) => {
                (rule.decide(second, memory, random), rule.has_boost().then(|| RuleSlot(rule.slot())))
            }
            None => (self.fallback.decide(request, second, memory, random), None),
        }
    }

    /// Counts the end of a request about which this rule has decided: rules raise their rate when much fails. The request
    /// itself may look otherwise by now.
    pub fn ended(&self, rule: RuleSlot, failed: bool, sampled: bool, memory: &Memory) {
        let set = self.current.load();
        let rules = set.as_ref().map_or(&[][..], |set| &set.rules);
        if let Some(rule) = rules.iter().find(|known| known.slot() == rule.0) {
            rule.ended(failed, sampled, memory);
        }
    }

    /// Takes the service's rules and says how many can apply to us. What was counted and promised under a rule's name
    /// stays.
    pub fn replace(&self, rules: Vec<SamplingRule>, now: Now) -> usize {
        let old = self.current.load_full();
        let known = |name: &str| old.as_ref()?.rules.iter().find(|state| *state.name() == *name).cloned();
        let mut usable: Vec<SamplingRule> = rules.into_iter().filter(|rule| self.is_usable(rule)).collect();
        usable.sort_by(|one, other| one.order().cmp(&other.order()));
        let states = usable.into_iter().map(|rule| {
            let live = known(&rule.rule_name).map(|state| state.live().clone());
            Arc::new(RuleState::new(rule, live, || self.slots.fetch_add(1, Ordering::Relaxed) as usize))
        });
        let set = RuleSet { rules: states.collect(), expires: now.second.saturating_add(RULES_LIVE) };
        let usable = set.rules.len();
        self.current.store(Some(Arc::new(set)));
        usable
    }

    /// Version 1, for any resource, without attributes, and for us.
    fn is_usable(&self, rule: &SamplingRule) -> bool {
        let ours =
            |pattern: &str, text: &str| text.is_empty() || glob::matches(pattern.as_bytes(), text.as_bytes());
        rule.version == 1
            && rule.resource_arn == "*"
            && rule.attributes.is_empty()
            && ours(&rule.service_name, &self.name)
            && ours(&rule.service_type, &self.kind)
    }

    /// What is due to be reported; it counts as reported until [`CentralRules::take_back`].
    pub fn report(&self, client: &str, now: Now) -> Vec<Statistics> {
        let set = self.current.load_full();
        let rules = set.iter().flat_map(|set| &set.rules);
        rules.filter_map(|rule| rule.report(client, &self.name, now)).collect()
    }

    /// A report did not arrive.
    pub fn take_back(&self, report: &[Statistics]) {
        let set = self.current.load_full();
        for statistics in report {
            let mut rules = set.iter().flat_map(|set| &set.rules);
            if let Some(rule) = rules.find(|rule| *rule.name() == *statistics.counts.rule_name) {
                rule.take_back(statistics);
            }
        }
    }

    /// Takes what the service answered to a report.
    pub fn apply(&self, targets: &[Target], now: Now) {
        let set = self.current.load_full();
        for target in targets {
            let mut rules = set.iter().flat_map(|set| &set.rules);
            if let Some(rule) = rules.find(|rule| *rule.name() == *target.rule_name) {
                rule.apply(target, now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
