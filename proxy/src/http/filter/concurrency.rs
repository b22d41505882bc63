//! `envoy.filters.http.adaptive_concurrency`: as many requests at once as the upstream answers quickly.

use std::time::Instant;

use super::{Call, Running, State, Verdict};
use crate::base::details::Detail;
use crate::base::error::ResponseFlags;
use crate::config::filter::concurrency::Concurrency;
use crate::http::local_reply::LocalReply;
use crate::upstream::local::Local;

/// A request that was let through; what it tells the controller when dropped.
#[derive(Debug)]
pub(super) struct Passed<'r> {
    filter: &'r Concurrency,
    local: &'r Local,
    began: Instant,
    /// When it was answered to the end.
    ended: Option<Instant>,
}

impl Passed<'_> {
    /// The answer is complete.
    pub(super) fn complete(&mut self, now: Instant) {
        self.ended = Some(now);
    }
}

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        let (now, complete) = (self.ended.unwrap_or(self.began), self.ended.is_some());
        let Self { filter, local, began, .. } = self;
        local.random(|rng| filter.controller.end(*began, now, complete, rng));
    }
}

pub(super) fn request<'r>(
    running: &mut Running<'r>,
    filter: &'r Concurrency,
    call: &Call<'_, 'r>,
) -> Verdict {
    let (local, began) = (&*call.ctx.local, call.now());
    if !filter.enabled {
        return Verdict::Pass;
    }
    if filter.controller.begin(began, &local.stats) {
        running.keep(State::Passed(Passed { filter, local, began, ended: None }));
        return Verdict::Pass;
    }
    let (details, body) = (Detail::CONCURRENCY_LIMIT, "reached concurrency limit");
    Verdict::Answer(Box::new(LocalReply::new(filter.status, ResponseFlags::NONE, details, body)))
}
