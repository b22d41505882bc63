//! The values met of a descriptor that stands for many: each with a bucket, those met last.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::HashMap;

use super::DescriptorBucket;

/// How much longer than needed the order of meetings may grow before it is gone through.
const SLACK: usize = 16;

/// Buckets of the values met last.
#[derive(Debug, Default)]
pub(super) struct Met {
    buckets: HashMap<Arc<[u8]>, (Arc<DescriptorBucket>, u64)>,
    /// Every meeting and its number, oldest first. Those with a later one do not count any more.
    order: VecDeque<(Arc<[u8]>, u64)>,
    meetings: u64,
}

impl Met {
    /// The bucket of a value; `new` makes one for a value that is not remembered. At most `most` are.
    pub(super) fn bucket(
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
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::live::{BucketSize, TokenBucket};

    #[test]
    fn whatever_is_met_the_books_stay_small_and_right() {
        let now = Instant::now();
        let size = BucketSize { max_tokens: 1, tokens_per_fill: 1, fill_interval: Duration::from_secs(1) };
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
                    DescriptorBucket { tokens: TokenBucket::new(size, now), shadow: false }
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
