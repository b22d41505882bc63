//! Token buckets by descriptor: one for each that is configured, and one for each value met where any value will do.

mod met;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use foldhash::HashMap;
use smallvec::SmallVec;

use met::Met;

use super::{BucketSize, TokenBucket};
use crate::config::filter::descriptor::DescriptorEntry;

/// Most bytes of a descriptor that a bucket is remembered by: beyond them values count as the same.
const LONGEST_KEY: usize = 1024;

/// Keys and values in their order, as one run of bytes: each with its length before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptor(SmallVec<[u8; 96]>);

impl Descriptor {
    /// Of these entries.
    pub fn of(entries: &[DescriptorEntry]) -> Self {
        let mut descriptor = Self::default();
        for DescriptorEntry { key, value } in entries {
            descriptor.push(key, value.as_bytes());
        }
        descriptor
    }

    /// Adds an entry.
    pub fn push(&mut self, key: &str, value: &[u8]) {
        for text in [key.as_bytes(), value] {
            // Heads are far smaller than this.
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            self.0.extend_from_slice(&length.to_le_bytes());
            self.0.extend_from_slice(text);
        }
    }

    fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk()?;
            let (text, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = after;
            Some(text)
        })
    }
}

/// A descriptor that has a bucket.
#[derive(Clone, Debug)]
pub struct DescriptorLimit {
    /// Its entries. An empty value stands for any: then each value has a bucket of its own.
    pub entries: Vec<DescriptorEntry>,
    /// The bucket.
    pub size: BucketSize,
    /// Refusals are counted and do not happen (`shadow_mode`).
    pub shadow: bool,
}

/// A bucket and whether its refusals count only.
#[derive(Debug)]
pub struct DescriptorBucket {
    /// The tokens.
    pub tokens: TokenBucket,
    /// `shadow_mode`
    pub shadow: bool,
}

/// Which descriptors have buckets, and of what size.
#[derive(Debug)]
pub struct DescriptorLimits {
    limits: Vec<DescriptorLimit>,
    /// By the whole descriptor, those that stand for themselves.
    fixed: HashMap<Box<[u8]>, usize>,
    /// Those that stand for many, in their order.
    any: Vec<usize>,
    /// Buckets at a time of each that stands for many.
    most: usize,
}

impl DescriptorLimits {
    /// These, with at most `most` buckets at a time for each that stands for many.
    pub fn new(limits: Vec<DescriptorLimit>, most: usize) -> Self {
        let (mut fixed, mut any) = (HashMap::default(), Vec::new());
        for (at, limit) in limits.iter().enumerate() {
            if limit.is_any() {
                any.push(at);
            } else {
                fixed.insert(Descriptor::of(&limit.entries).0.into_boxed_slice(), at);
            }
        }
        Self { limits, fixed, any, most: most.max(1) }
    }

    /// Nothing has a bucket.
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    /// The number of the limit that is for a descriptor.
    fn find(&self, descriptor: &Descriptor) -> Option<usize> {
        let fixed = self.fixed.get(&*descriptor.0).copied();
        fixed.or_else(|| self.any.iter().copied().find(|at| self.limits[*at].fits(descriptor)))
    }
}

/// The buckets of one configuration.
#[derive(Debug)]
pub struct DescriptorBuckets {
    limits: Arc<DescriptorLimits>,
    store: Store,
}

/// Where they are, by the number of their limit.
#[derive(Debug)]
enum Store {
    /// Shared by all workers. Those of descriptors that stand for themselves need no lock.
    All(Box<[Kept]>),
    /// Those that were needed so far. Only the worker of the connection comes here.
    Needed(Mutex<HashMap<usize, Kept>>),
}

impl DescriptorBuckets {
    /// Full buckets for the process.
    pub fn of_process(limits: &Arc<DescriptorLimits>, now: Instant) -> Self {
        let kept = limits.limits.iter().map(|limit| Kept::of(limit, now)).collect();
        Self { limits: limits.clone(), store: Store::All(kept) }
    }

    /// Buckets for a connection, each made when it is first needed.
    pub fn of_connection(limits: &Arc<DescriptorLimits>) -> Self {
        Self { limits: limits.clone(), store: Store::Needed(Mutex::default()) }
    }

    /// The bucket of a descriptor; `None`: no limit is for it.
    pub fn get(&self, descriptor: &Descriptor, now: Instant) -> Option<Arc<DescriptorBucket>> {
        let at = self.limits.find(descriptor)?;
        let limit = &self.limits.limits[at];
        let bucket = |kept: &Kept| kept.bucket(descriptor, limit, self.limits.most, now);
        Some(match &self.store {
            Store::All(kept) => bucket(&kept[at]),
            Store::Needed(kept) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                bucket(kept.entry(at).or_insert_with(|| Kept::of(limit, now)))
            }
        })
    }
}

impl DescriptorLimit {
    fn bucket(&self, now: Instant) -> DescriptorBucket {
        DescriptorBucket { tokens: TokenBucket::new(self.size, now), shadow: self.shadow }
    }

    fn is_any(&self) -> bool {
        self.entries.iter().any(|entry| entry.value.is_empty())
    }

    fn fits(&self, descriptor: &Descriptor) -> bool {
        let mut texts = descriptor.texts();
        let fits = self.entries.iter().all(|DescriptorEntry { key, value }| {
            texts.next() == Some(key.as_bytes())
                && texts.next().is_some_and(|met| value.is_empty() || met == value.as_bytes())
        });
        fits && texts.next().is_none()
    }
}

/// What there is of one limit.
#[derive(Debug)]
enum Kept {
    /// The bucket of a descriptor that stands for itself.
    One(Arc<DescriptorBucket>),
    /// Those of one that stands for many.
    Many(Mutex<Met>),
}

impl Kept {
    fn of(limit: &DescriptorLimit, now: Instant) -> Self {
        if limit.is_any() { Self::Many(Mutex::default()) } else { Self::One(Arc::new(limit.bucket(now))) }
    }

    fn bucket(
        &self,
        descriptor: &Descriptor,
        limit: &DescriptorLimit,
        most: usize,
        now: Instant,
    ) -> Arc<DescriptorBucket> {
        match self {
            Self::One(bucket) => bucket.clone(),
            Self::Many(met) => {
                let key = &descriptor.0[..descriptor.0.len().min(LONGEST_KEY)];
                let mut met = met.lock().unwrap_or_else(PoisonError::into_inner);
                met.bucket(key, most, || limit.bucket(now))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry(key: &str, value: &str) -> DescriptorEntry {
        DescriptorEntry { key: key.into(), value: value.into() }
    }

    fn limit(entries: &[(&str, &str)], max_tokens: u32) -> DescriptorLimit {
        let size = BucketSize { max_tokens, tokens_per_fill: 1, fill_interval: Duration::from_secs(3600) };
        let entries = entries.iter().map(|(key, value)| entry(key, value)).collect();
        DescriptorLimit { entries, size, shadow: false }
    }

    fn descriptor(entries: &[(&str, &str)]) -> Descriptor {
        Descriptor::of(&entries.iter().map(|(key, value)| entry(key, value)).collect::<Vec<_>>())
    }

    fn process(limits: Vec<DescriptorLimit>, most: usize, now: Instant) -> DescriptorBuckets {
        DescriptorBuckets::of_process(&Arc::new(DescriptorLimits::new(limits, most)), now)
    }

    #[test]
    fn a_descriptor_must_fit_entry_by_entry() {
        let now = Instant::now();
        let limits = [limit(&[("a", "1")], 1), limit(&[("a", "1"), ("b", "2")], 2), limit(&[("c", "")], 3)];
        let buckets = process(limits.into(), 5, now);
        let size =
            |entries: &[(&str, &str)]| Some(buckets.get(&descriptor(entries), now)?.tokens.size().max_tokens);
        assert_eq!(size(&[("a", "1")]), Some(1));
        assert_eq!(size(&[("a", "1"), ("b", "2")]), Some(2));
        assert_eq!(size(&[("c", "anything")]), Some(3));
        assert_eq!(size(&[("c", "")]), Some(3));
        for other in [&[("a", "2")][..], &[("b", "2"), ("a", "1")], &[("c", "x"), ("c", "x")], &[]] {
            assert_eq!(size(other), None, "{other:?}");
        }
    }

    #[test]
    fn each_value_has_a_bucket_and_those_met_last_are_kept() {
        let now = Instant::now();
        let buckets = process(vec![limit(&[("ip", "")], 1)], 3, now);
        let take = |value: &str| {
            buckets.get(&descriptor(&[("ip", value)]), now).is_some_and(|found| found.tokens.take(now))
        };
        assert!(take("a") && take("b") && take("c"));
        assert!(!take("a"), "met again: b is the oldest now");
        assert!(take("d"), "takes the place of b");
        assert!(!take("a") && !take("c") && !take("d"));
        assert!(take("b"), "forgotten");
    }

    #[test]
    fn a_connection_makes_the_buckets_it_needs() {
        let now = Instant::now();
        let limits = (0..1000).map(|number| limit(&[("a", &number.to_string())], 1));
        let limits = limits.chain([limit(&[("ip", "")], 1)]).collect();
        let limits = Arc::new(DescriptorLimits::new(limits, 2));
        let (one, other) =
            (DescriptorBuckets::of_connection(&limits), DescriptorBuckets::of_connection(&limits));
        let take = |buckets: &DescriptorBuckets, key: &str, value: &str| {
            let found = buckets.get(&descriptor(&[(key, value)]), now);
            found.is_some_and(|found| found.tokens.take(now))
        };
        let made = |buckets: &DescriptorBuckets| match &buckets.store {
            Store::All(kept) => kept.len(),
            Store::Needed(kept) => kept.lock().unwrap().len(),
        };
        assert!(take(&one, "a", "7") && !take(&one, "a", "7"));
        assert!(take(&other, "a", "7"), "a bucket of its own");
        assert!(take(&one, "ip", "x") && take(&one, "ip", "y") && !take(&one, "ip", "x"));
        assert!(!take(&one, "b", "7"));
        assert_eq!((made(&one), made(&other)), (2, 1));
    }
}
