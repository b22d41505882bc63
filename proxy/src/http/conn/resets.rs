//! What a client may make us begin in vain: requests that are reset before they have an answer (CVE-2023-44487, and
//! CVE-2025-8671 for those that we are made to reset). Source: Envoy's
//! `ConnectionManagerImpl::maybeDrainDueToPrematureResets`.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Requests after which the share of those reset early counts (`overload.premature_reset_total_stream_count`).
const REQUESTS: u64 = 500;
/// A request that lived for more whole seconds than this was not reset early
/// (`overload.premature_reset_min_stream_lifetime_seconds`).
const EARLY: u64 = 1;

/// The ends of one connection's requests.
#[derive(Debug, Default)]
pub(super) struct Resets {
    ended: Cell<u64>,
    early: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

impl Resets {
    /// A request ended, with an answer or without, after this time.
    pub(super) fn ended(&self, answered: bool, took: Duration) {
        self.ended.set(self.ended.get() + 1);
        if !answered && took.as_secs() <= EARLY {
            self.early.set(self.early.get() + 1);
            if self.are_too_many() {
                self.waker.take().into_iter().for_each(Waker::wake);
            }
        }
    }

    /// Half of what was begun was in vain, or will have been whatever follows.
    pub(super) fn are_too_many(&self) -> bool {
        let early = self.early.get();
        early > 0 && early * 2 >= self.ended.get().max(REQUESTS)
    }

    /// Ready when there were too many.
    pub(super) fn poll_too_many(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.are_too_many() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(ends: impl IntoIterator<Item = (bool, u64)>) -> bool {
        let resets = Resets::default();
        ends.into_iter().for_each(|(answered, seconds)| resets.ended(answered, Duration::from_secs(seconds)));
        resets.are_too_many()
    }

    #[test]
    fn half_of_five_hundred_reset_early_are_too_many() {
        assert!(!after([(false, 0); 249]));
        assert!(after([(false, 0); 250]));
        assert!(after([(false, 1); 250]));
        assert!(!after([(false, 2); 1000]), "they had their time");
        assert!(!after([(true, 0); 1000]), "they had an answer");
        let mixed = |good: usize, bad: usize| {
            after(std::iter::repeat_n((true, 0), good).chain(std::iter::repeat_n((false, 0), bad)))
        };
        assert!(!mixed(1000, 999));
        assert!(mixed(1000, 1000));
    }
}
