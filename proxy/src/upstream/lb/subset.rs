//! Subsets: hosts grouped by metadata, each group with a balancer of its own. A request selects one with criteria whose
//! keys are those of a selector. Source: Envoy's `SubsetLoadBalancer`.

use fastrand::Rng;
use smallvec::SmallVec;

use super::lists::Lists;
use super::world::World;
use crate::config::HostSet;
use crate::config::subset::{Criterion, Fallback, Metadata, MetadataValue, SelectorFallback, Subsets};

/// Combinations of list elements that one host is taken into per selector.
const MAX_COMBINATIONS: usize = 1024;

/// The subsets of one host set.
#[derive(Debug)]
pub struct SubsetIndex {
    /// Subsets by the sum of their criteria's hashes.
    by_hash: foldhash::HashMap<u64, SmallVec<[u32; 1]>>,
    subsets: Vec<Subset>,
    /// Hosts of the default subset.
    default: Subset,
    /// Hosts left out of a subset that has one already.
    duplicates: u64,
}

/// Some hosts with their balancer, which is built when it is first used.
#[derive(Debug, Default)]
pub struct Subset {
    criteria: Vec<Criterion>,
    members: Vec<u32>,
    lists: Option<Lists>,
}

/// Who serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selected {
    /// This subset.
    Subset(usize),
    /// Hosts of a fallback: the selector's.
    BySelector(Fallback),
    /// Or the cluster's.
    ByCluster(Fallback),
}

impl SubsetIndex {
    /// The subsets that the hosts' metadata make.
    pub fn new(settings: &Subsets, hosts: &HostSet) -> Self {
        let mut index = Self {
            by_hash: foldhash::HashMap::default(),
            subsets: Vec::new(),
            default: Subset::default(),
            duplicates: 0,
        };
        for (at, host) in hosts.hosts.iter().enumerate() {
            let metadata = host.metadata.as_deref();
            let has = |wanted: &Criterion| {
                let found = metadata.and_then(|metadata| metadata.get(&wanted.key));
                found.is_some_and(|found| matches(found, &wanted.value, settings.list_as_any))
            };
            if settings.default.0.iter().all(has) {
                index.default.members.push(at as u32);
            }
            let Some(metadata) = metadata else { continue };
            for selector in &settings.selectors {
                for criteria in combinations(metadata, &selector.keys, settings.list_as_any) {
                    index.add(criteria, at as u32, selector.single_host);
                }
            }
        }
        index
    }

    fn add(&mut self, criteria: Vec<Criterion>, host: u32, single: bool) {
        let hash = sum(criteria.iter());
        let known = self.by_hash.entry(hash).or_default();
        let found = known.iter().copied().find(|id| self.subsets[*id as usize].criteria == criteria);
        let id = found.unwrap_or_else(|| {
            known.push(self.subsets.len() as u32);
            self.subsets.push(Subset { criteria, ..Subset::default() });
            self.subsets.len() as u32 - 1
        });
        let members = &mut self.subsets[id as usize].members;
        if single && !members.is_empty() {
            self.duplicates += u64::from(!members.contains(&host));
        } else if members.last() != Some(&host) {
            members.push(host);
        }
    }

    /// Who serves a request with these criteria.
    pub fn select(&self, settings: &Subsets, criteria: Option<&Metadata>) -> Selected {
        let Some(criteria) = criteria.filter(|criteria| !criteria.0.is_empty()) else {
            return Selected::ByCluster(settings.fallback);
        };
        let mut keys: Option<&[Box<str>]> = None;
        // Every turn goes on with fewer keys.
        for _ in 0..=criteria.0.len() {
            if let Some(id) = self.find(criteria, keys) {
                return Selected::Subset(id);
            }
            let selector = settings.selectors.iter().find(|selector| {
                let asked = asked(criteria, keys).map(|criterion| &criterion.key);
                asked.eq(selector.keys.iter())
            });
            match selector.and_then(|selector| selector.fallback.as_ref()) {
                None => break,
                Some(SelectorFallback::Common(fallback)) => return Selected::BySelector(*fallback),
                Some(SelectorFallback::Keys(fewer)) => keys = Some(fewer),
            }
        }
        Selected::ByCluster(settings.fallback)
    }

    fn find(&self, criteria: &Metadata, keys: Option<&[Box<str>]>) -> Option<usize> {
        let candidates = self.by_hash.get(&sum(asked(criteria, keys)))?;
        let is_it = |id: &&u32| self.subsets[**id as usize].criteria.iter().eq(asked(criteria, keys));
        candidates.iter().find(is_it).map(|id| *id as usize)
    }

    /// The balancer of a subset.
    pub(super) fn lists<'w>(
        &mut self,
        id: usize,
        world: impl FnOnce() -> World<'w>,
        rng: &mut Rng,
    ) -> Option<&mut Lists> {
        Some(self.subsets.get_mut(id)?.lists(world, rng))
    }

    /// The balancer of the default subset.
    pub(super) fn default_lists<'w>(
        &mut self,
        world: impl FnOnce() -> World<'w>,
        rng: &mut Rng,
    ) -> &mut Lists {
        self.default.lists(world, rng)
    }

    /// Forgets all balancers: the hosts' health has changed.
    pub fn invalidate(&mut self) {
        self.default.lists = None;
        self.subsets.iter_mut().for_each(|subset| subset.lists = None);
    }

    /// Number of subsets.
    pub fn len(&self) -> usize {
        self.subsets.len()
    }

    /// Hosts left out of subsets of a single host.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Subsets that `other` has as well.
    pub fn shared_with(&self, other: &Self) -> usize {
        let known = |subset: &&Subset| {
            let ids = other.by_hash.get(&sum(subset.criteria.iter()));
            ids.is_some_and(|ids| {
                ids.iter().any(|id| other.subsets[*id as usize].criteria == subset.criteria)
            })
        };
        self.subsets.iter().filter(known).count()
    }
}

impl Subset {
    fn lists<'w>(&mut self, world: impl FnOnce() -> World<'w>, rng: &mut Rng) -> &mut Lists {
        self.lists.get_or_insert_with(|| Lists::new(&world(), &self.members, rng))
    }
}

/// The criteria with these keys, all of them by default.
fn asked<'a>(criteria: &'a Metadata, keys: Option<&'a [Box<str>]>) -> impl Iterator<Item = &'a Criterion> {
    criteria.0.iter().filter(move |criterion| keys.is_none_or(|keys| keys.contains(&criterion.key)))
}

fn sum<'a>(criteria: impl Iterator<Item = &'a Criterion>) -> u64 {
    criteria.fold(0, |sum, criterion| sum.wrapping_add(criterion.hash))
}

fn matches(found: &MetadataValue, wanted: &MetadataValue, list_as_any: bool) -> bool {
    match found {
        MetadataValue::List(values) if list_as_any => values.contains(wanted),
        found => found == wanted,
    }
}

/// The criteria that a host's metadata meet for these keys; none when it lacks a key.
fn combinations(metadata: &Metadata, keys: &[Box<str>], list_as_any: bool) -> Vec<Vec<Criterion>> {
    let mut found: Vec<Vec<Criterion>> = vec![Vec::with_capacity(keys.len())];
    for key in keys {
        let values = match metadata.get(key) {
            None => return Vec::new(),
            Some(MetadataValue::List(values)) if list_as_any => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        let extended = found.iter().flat_map(|start| {
            values.iter().map(|value| {
                let mut next = start.clone();
                next.push(Criterion::new(key, value.clone()));
                next
            })
        });
        found = extended.take(MAX_COMBINATIONS).collect();
    }
    found
}
