//! Token buckets by descriptor: one for each that is configured, and one for each value met where any value will do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use foldhash::HashMap;
use smallvec::SmallVec;

use super::{BucketSize, TokenBucket};
use crate::config::filter::descriptor::DescriptorEntry;

/// Most bytes of a descriptor that a bucket is remembered by: beyond them values count as the same.
const LONGEST_KEY: usize = 1024;
/// How much longer than needed the order of meetings may grow before it is gone through.
const SLACK: usize = 16;

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

/// The buckets of one configuration, shared by all workers. Those of configured descriptors need no lock.
#[derive(Debug)]
pub struct DescriptorBuckets {
    fixed: HashMap<Box<[u8]>, Arc<DescriptorBucket>>,
    any: Vec<Wildcard>,
}

impl DescriptorBuckets {
    /// Full buckets for these; at most `most` at a time for each that stands for many.
    pub fn new(limits: &[DescriptorLimit], most: usize, now: Instant) -> Self {
        let mut buckets = Self { fixed: HashMap::default(), any: Vec::new() };
        for limit in limits {
            if limit.entries.iter().any(|entry| entry.value.is_empty()) {
                buckets.any.push(Wildcard { limit: limit.clone(), most: most.max(1), met: Mutex::default() });
            } else {
                let key = Descriptor::of(&limit.entries).0.into_boxed_slice();
                buckets.fixed.insert(key, Arc::new(limit.bucket(now)));
            }
        }
        buckets
    }

    /// The bucket of a descriptor; `None`: no limit is for it.
    pub fn get(&self, descriptor: &Descriptor, now: Instant) -> Option<Arc<DescriptorBucket>> {
        let fixed = self.fixed.get(&*descriptor.0).cloned();
        fixed.or_else(|| Some(self.any.iter().find(|any| any.fits(descriptor))?.bucket(descriptor, now)))
    }
}

impl DescriptorLimit {
    fn bucket(&self, now: Instant) -> DescriptorBucket {
        DescriptorBucket { tokens: TokenBucket::new(self.size, now), shadow: self.shadow }
    }
}

/// A descriptor that stands for many.
#[derive(Debug)]
struct Wildcard {
    limit: DescriptorLimit,
    most: usize,
    met: Mutex<Met>,
}

/// Buckets of the values met last.
#[derive(Debug, Default)]
struct Met {
    buckets: HashMap<Arc<[u8]>, (Arc<DescriptorBucket>, u64)>,
    /// Every meeting and its number, oldest first. Those with a later one do not count any more.
    order: VecDeque<(Arc<[u8]>, u64)>,
    meetings: u64,
}

impl Wildcard {
    fn fits(&self, descriptor: &Descriptor) -> bool {
        let mut texts = descriptor.texts();
        let fits = self.limit.entries.iter().all(|DescriptorEntry { key, value }| {
            texts.next() == Some(key.as_bytes())
                && texts.next().is_some_and(|met| value.is_empty() || met == value.as_bytes())
        });
        fits && texts.next().is_none()
    }

    fn bucket(&self, descriptor: &Descriptor, now: Instant) -> Arc<DescriptorBucket> {
        let key = &descriptor.0[..descriptor.0.len().min(LONGEST_KEY)];
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.bucket(key, self.most, || self.limit.bucket(now))
    }
}

impl Met {
    fn bucket(
        &mut self,
        key: &[u8],
        most: usize,
        new: impl FnOnce() -> DescriptorBucket,
    ) -> Arc<DescriptorBucket> {
        if let Some((bucket, last)) = self.buckets.get(key)
            && *last == self.meetings
        {
            return bucket.clone();
        }
        self.meetings += 1;
        let known = self.buckets.get_key_value(key).map(|(key, (bucket, _))| (key.clone(), bucket.clone()));
        let (key, bucket) = known.unwrap_or_else(|| (key.into(), Arc::new(new())));
        self.order.push_back((key.clone(), self.meetings));
        self.buckets.insert(key, (bucket.clone(), self.meetings));
        self.forget(most);
        bucket
    }

    /// Leaves at most `most` buckets, and an order that is not much longer than them.
    fn forget(&mut self, most: usize) {
        let Self { buckets, order, .. } = self;
        let is_last = |buckets: &HashMap<Arc<[u8]>, (_, u64)>, key: &Arc<[u8]>, number: u64| {
            buckets.get(key).is_some_and(|(_, last)| *last == number)
        };
        while buckets.len() > most
            && let Some((key, number)) = order.pop_front()
        {
            if is_last(buckets, &key, number) {
                buckets.remove(&key);
            }
        }
        if order.len() > 2 * most + SLACK {
            order.retain(|(key, number)| is_last(buckets, key, *number));
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

    #[test]
    fn a_descriptor_must_fit_entry_by_entry() {
        let now = Instant::now();
        let limits = [limit(&[("a", "1")], 1), limit(&[("a", "1"), ("b", "2")], 2), limit(&[("c", "")], 3)];
        let buckets = DescriptorBuckets::new(&limits, 5, now);
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
        let buckets = DescriptorBuckets::new(&[limit(&[("ip", "")], 1)], 3, now);
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
    fn whatever_is_met_the_books_stay_small_and_right() {
        let now = Instant::now();
        for seed in 0..50 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let most = rng.usize(1..20);
            let mut met = Met::default();
            let mut last: Vec<u8> = Vec::new();
            for _ in 0..2_000 {
                let key = rng.u8(0..40);
                let known = last.contains(&key);
                let mut is_new = false;
                met.bucket(&[key], most, || {
                    is_new = true;
                    limit(&[("k", "")], 1).bucket(now)
                });
                assert_eq!(is_new, !known, "seed {seed}");
                last.retain(|other| *other != key);
                last.push(key);
                if last.len() > most {
                    last.remove(0);
                }
                assert!(met.buckets.len() <= most && met.order.len() <= 2 * most + SLACK, "seed {seed}");
            }
        }
    }
}
