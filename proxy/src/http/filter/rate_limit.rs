//! `envoy.filters.http.local_ratelimit`: a token per request, or 429.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::{Call, Running, State, Verdict, descriptors};
use crate::base::details::Detail;
use crate::base::error::ResponseFlags;
use crate::config::filter::descriptor::DescriptorRule;
use crate::config::filter::rate_limit::{Limit, RateLimit};
use crate::config::filter::{HttpFilter, RouteFilter};
use crate::config::live::{DescriptorBucket, TokenBucket};
use crate::http::edits;
use crate::http::head::HeaderBlock;
use crate::http::local_reply::LocalReply;

/// gRPC's RESOURCE_EXHAUSTED.
const RESOURCE_EXHAUSTED: u32 = 8;

/// What the response tells about the bucket.
#[derive(Debug)]
pub(super) struct Told {
    limit: u32,
    remaining: u64,
    /// Seconds until there is a token.
    reset: u64,
}

impl Told {
    fn about(bucket: &TokenBucket, now: Instant) -> Self {
        let wait = bucket.next_token(now);
        Self {
            limit: bucket.size().max_tokens,
            remaining: bucket.remaining(now),
            reset: wait.as_secs() + u64::from(wait.subsec_nanos() > 0),
        }
    }

    pub(super) fn write(&self, block: &mut HeaderBlock) {
        let mut text = itoa::Buffer::new();
        block.append(b"x-ratelimit-limit", text.format(self.limit).as_bytes());
        block.append(b"x-ratelimit-remaining", text.format(self.remaining).as_bytes());
        block.append(b"x-ratelimit-reset", text.format(self.reset).as_bytes());
    }
}

/// What the buckets say of one request.
#[derive(Default)]
struct Finding {
    allowed: bool,
    /// What refuses it only counts.
    shadow: bool,
    /// About the bucket that decided.
    told: Option<Told>,
    /// Whether the response tells about it.
    tell: bool,
}

/// One request at its buckets.
#[derive(Clone, Copy)]
struct Asking<'r> {
    config: &'r RateLimit,
    now: Instant,
    /// What a token costs: a bucket that is shared by so many gives this one its part of them.
    members: u64,
}

impl Asking<'_> {
    /// Takes tokens, or says no.
    fn take(&self, bucket: &TokenBucket, hits: u64) -> bool {
        bucket.take_all(hits.saturating_mul(self.members), self.now)
    }

    /// What the default bucket says, alone.
    fn default(&self, bucket: Option<&TokenBucket>) -> Finding {
        let allowed = bucket.is_none_or(|bucket| self.take(bucket, 1));
        let Self { config, now, .. } = self;
        let told = bucket.filter(|_| config.tell || (!allowed && config.retry_after));
        Finding {
            allowed,
            shadow: false,
            told: told.map(|bucket| Told::about(bucket, *now)),
            tell: config.tell,
        }
    }
}

pub(super) fn request<'r>(
    running: &mut Running<'r>,
    filter: &'r HttpFilter,
    own: &'r RateLimit,
    call: &mut Call<'_, 'r>,
) -> Verdict {
    let config = running.levels.settings(filter.id, own, |config| match config {
        RouteFilter::RateLimit(config) => Some(&**config),
        _ => None,
    });
    if !call.draw(config.enabled_ppm) {
        return Verdict::Pass;
    }
    let shard = &call.ctx.local.stats;
    shard.inc(config.stats.enabled);
    let Finding { allowed, shadow, told, tell } = find(config, call);
    let reset = told.as_ref().map(|told| told.reset);
    if let Some(told) = told.filter(|_| tell) {
        running.keep(State::Told(told));
    }
    if allowed {
        shard.inc(config.stats.ok);
        return Verdict::Pass;
    }
    shard.inc(config.stats.rate_limited);
    if shadow {
        shard.inc(config.stats.shadow_mode);
        return Verdict::Pass;
    }
    if !call.draw(config.enforced_ppm) {
        let values = edits::render(&config.request_add, &call.summary.record(Some(&*call.head)));
        edits::add_to_request(&config.request_add, &values, &mut call.head.block);
        return Verdict::Pass;
    }
    shard.inc(config.stats.enforced);
    running.answer_add = &config.response_add;
    Verdict::Answer(Box::new(refusal(config, reset.filter(|_| config.retry_after))))
}

fn find<'r>(config: &'r RateLimit, call: &Call<'_, 'r>) -> Finding {
    let now = call.now();
    let members = if config.shared { call.ctx.local.view().own_members() } else { 1 };
    let asking = Asking { config, now, members };
    let buckets = match &config.limit {
        None => return asking.default(None),
        Some(Limit::Process(buckets)) => buckets,
        Some(Limit::Connection(sizes)) => call.ctx.buckets.get_or_init(|| Box::new(sizes.of_connection(now))),
    };
    match (&config.descriptors, &buckets.by_descriptor) {
        (Some(descriptors), Some(by_descriptor)) => {
            let made = descriptors::of_request(descriptors, call);
            let by_rate = made.iter().filter_map(|(descriptor, rule)| {
                Some(Match { bucket: by_descriptor.get(descriptor, now)?, rule })
            });
            let default = buckets.default.as_ref();
            told_apart(by_rate.collect(), default, descriptors.always_default, asking)
        }
        _ => asking.default(buckets.default.as_ref()),
    }
}

/// A bucket of the request's own.
struct Match<'r> {
    bucket: Arc<DescriptorBucket>,
    rule: &'r DescriptorRule,
}

impl Match<'_> {
    fn finding(&self, allowed: bool, Asking { config, now, .. }: Asking<'_>) -> Finding {
        let tell = self.rule.tell.unwrap_or(config.tell);
        let told = tell || (!allowed && config.retry_after);
        Finding {
            allowed,
            shadow: !allowed && self.bucket.shadow,
            told: told.then(|| Told::about(&self.bucket.tokens, now)),
            tell,
        }
    }
}

/// A token of each bucket of its own, of the slowest first, and of the default one where that is wanted. What a shadow
/// says counts where nothing else refuses: it hides no limit.
fn told_apart(
    mut matches: SmallVec<[Match<'_>; 1]>,
    default: Option<&TokenBucket>,
    always_default: bool,
    asking: Asking<'_>,
) -> Finding {
    let Asking { config, now, .. } = asking;
    let rate = |one: &Match<'_>| one.bucket.tokens.size().rate();
    matches.sort_by(|one, other| rate(one).total_cmp(&rate(other)));
    let mut shadow = None;
    for one in &matches {
        if asking.take(&one.bucket.tokens, one.rule.hits) {
            continue;
        }
        if !one.bucket.shadow {
            return one.finding(false, asking);
        }
        shadow = shadow.or(Some(one));
    }
    let Some(slowest) = matches.first() else { return asking.default(default) };
    match (default.filter(|_| always_default), shadow) {
        (Some(default), _) if !asking.take(default, 1) => Finding {
            told: (config.tell || config.retry_after).then(|| Told::about(default, now)),
            tell: config.tell,
            ..Finding::default()
        },
        (_, Some(shadow)) => shadow.finding(false, asking),
        (_, None) => slowest.finding(true, asking),
    }
}

fn refusal(config: &RateLimit, retry_after: Option<u64>) -> LocalReply {
    let details = Detail::LOCAL_RATE_LIMITED;
    let mut reply = LocalReply::new(config.status, ResponseFlags::RATE_LIMITED, details, details.text());
    reply.grpc_status = config.resource_exhausted.then_some(RESOURCE_EXHAUSTED);
    if let Some(seconds) = retry_after {
        reply.headers.push((b"retry-after".into(), seconds.to_string().into_bytes()));
    }
    reply
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::live::BucketSize;

    #[test]
    fn a_response_tells_the_size_what_is_left_and_the_seconds_to_the_next_token() {
        let start = Instant::now();
        let size = BucketSize { max_tokens: 2, tokens_per_fill: 1, fill_interval: Duration::from_secs(90) };
        let bucket = TokenBucket::new(size, start);
        let told = |bucket: &TokenBucket| {
            let mut block = HeaderBlock::default();
            Told::about(bucket, start).write(&mut block);
            block.iter().map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect::<Vec<_>>()
        };
        assert!(bucket.take(start));
        assert_eq!(told(&bucket), ["2", "1", "0"]);
        assert!(bucket.take(start));
        assert_eq!(told(&bucket), ["2", "0", "90"]);
    }
}
