//! Whether a trace that starts here is recorded.

pub mod central;
pub mod glob;
pub mod manifest;
pub mod reservoir;

use fastrand::Rng;

use manifest::{Manifest, Rate};
use reservoir::{Empty, Reservoir};

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Host header.
    pub host: &'a [u8],
    /// Method.
    pub method: &'a [u8],
    /// Path and query.
    pub target: &'a [u8],
}

impl Request<'_> {
    /// Path without query.
    fn path(&self) -> &[u8] {
        memchr::memchr(b'?', self.target).map_or(self.target, |at| &self.target[..at])
    }
}

/// What one worker remembers of the reservoirs.
#[derive(Debug, Default)]
pub struct Memory {
    /// Which worker.
    worker: usize,
    /// By rule; of the service's rules, and of local ones.
    empty: Vec<Empty>,
    local: Vec<Empty>,
}

impl Memory {
    /// Nothing yet.
    pub fn new(worker: usize) -> Self {
        Self { worker, ..Self::default() }
    }

    fn of(&mut self, slot: usize) -> &Empty {
        find(&mut self.empty, slot)
    }
}

fn find(empty: &mut Vec<Empty>, slot: usize) -> &Empty {
    if slot >= empty.len() {
        empty.resize_with(slot + 1, Empty::default);
    }
    &empty[slot]
}

/// Rules of a manifest with what they have used up.
#[derive(Debug)]
pub struct LocalRules {
    manifest: Manifest,
    /// One per rule, and the default's behind them.
    reservoirs: Vec<Reservoir>,
}

impl LocalRules {
    /// Nothing is used up yet.
    pub fn new(manifest: Manifest) -> Self {
        let reservoirs = (0..=manifest.rules.len()).map(|_| Reservoir::default()).collect();
        Self { manifest, reservoirs }
    }

    /// Decides in the `second` since some fixed moment.
    pub fn decide(&self, request: &Request<'_>, second: u32, memory: &mut Memory, random: &mut Rng) -> bool {
        let (index, rate) = self.find(request);
        let empty = find(&mut memory.local, index);
        self.reservoirs[index].take(rate.fixed_target, second, empty) || random.f64() < rate.rate
    }

    /// The rule that applies; the default stands behind the last.
    fn find(&self, request: &Request<'_>) -> (usize, Rate) {
        let holds = |pattern: &Option<Box<str>>, text: &[u8]| {
            pattern.as_ref().is_none_or(|pattern| glob::matches(pattern.as_bytes(), text))
        };
        let found = self.manifest.rules.iter().position(|rule| {
            holds(&rule.host, request.host)
                && holds(&rule.http_method, request.method)
                && holds(&rule.url_path, request.target)
        });
        match found {
            Some(index) => (index, self.manifest.rules[index].rate),
            None => (self.manifest.rules.len(), self.manifest.default),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::trace::sampling::manifest::Rule;

    fn request(target: &'static str) -> Request<'static> {
        Request { host: b"a.local", method: b"GET", target: target.as_bytes() }
    }

    fn sampled(rules: &LocalRules, target: &'static str, second: u32, count: usize) -> usize {
        let (mut memory, mut random) = (Memory::default(), Rng::with_seed(3));
        (0..count).filter(|_| rules.decide(&request(target), second, &mut memory, &mut random)).count()
    }

    #[test]
    fn one_in_a_second_and_a_share_of_the_rest() {
        let rules = LocalRules::new(Manifest::of_default(Rate { fixed_target: 1, rate: 0.0 }));
        assert_eq!((sampled(&rules, "/", 0, 50), sampled(&rules, "/", 1, 50)), (1, 1));
        let rules = LocalRules::new(Manifest::default());
        let recorded = sampled(&rules, "/", 0, 100_000);
        assert!((4_700..5_300).contains(&recorded), "1 and 5 % of the rest: {recorded}");
        let all = LocalRules::new(Manifest::of_default(Rate { fixed_target: 0, rate: 1.0 }));
        assert_eq!(sampled(&all, "/", 0, 50), 50);
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rule = |path: &str, fixed_target| Rule {
            host: Some("*.LOCAL".into()),
            http_method: None,
            url_path: Some(path.into()),
            rate: Rate { fixed_target, rate: 0.0 },
        };
        let manifest = Manifest {
            rules: vec![rule("/a", 2), rule("/a*", 3)],
            default: Rate { fixed_target: 5, rate: 0.0 },
        };
        let rules = LocalRules::new(manifest);
        assert_eq!(sampled(&rules, "/a", 0, 50), 2);
        assert_eq!(sampled(&rules, "/a?x", 0, 50), 3, "the query takes part, as in Envoy");
        assert_eq!(sampled(&rules, "/b", 0, 50), 5);
    }
}
