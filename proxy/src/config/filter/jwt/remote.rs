//! Keys that are fetched. The last set that came is shared by all workers; one of them fetches at a time, whoever needs
//! it. Source: `envoy.extensions.filters.http.jwt_authn.v3.RemoteJwks`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use outrigger_jwt::Keys;
use tokio::sync::Notify;

use crate::config::call::Callee;
use crate::stats::scope::JwtStats;

/// A set is fetched again so long before it expires, where that happens in the background.
const AHEAD: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct RemoteKeys {
    /// Where the set is.
    pub callee: Callee,
    /// `Host` of the request for it.
    pub authority: Box<str>,
    /// Its path and query.
    pub path: Box<str>,
    /// It is asked for over TLS, by its URI.
    pub https: bool,
    /// How long a set is good.
    pub cache: Duration,
    /// Fetched before anybody asks, and after a failure again after this. A set then serves until there is another.
    pub background: Option<Duration>,
    /// Fetches count here.
    pub stats: JwtStats,
    held: ArcSwap<Held>,
    fetching: AtomicBool,
    over: Notify,
}

#[derive(Debug, Default)]
struct Held {
    keys: Option<Arc<Keys>>,
    /// Good until then; before the first fetch never.
    until: Option<Instant>,
    /// Not to be fetched again in the background before.
    next: Option<Instant>,
}

/// The one fetch that is under way. Dropped without an outcome it has failed.
#[derive(Debug)]
pub struct Fetch {
    of: Arc<RemoteKeys>,
    outcome: Option<Keys>,
}

impl RemoteKeys {
    /// Nothing was fetched yet.
    pub fn new(
        callee: Callee,
        (https, authority, path): (bool, Box<str>, Box<str>),
        cache: Duration,
        background: Option<Duration>,
        stats: JwtStats,
    ) -> Self {
        Self {
            callee,
            authority,
            path,
            https,
            cache,
            background,
            stats,
            held: ArcSwap::default(),
            fetching: AtomicBool::new(false),
            over: Notify::new(),
        }
    }

    /// The keys that are good at `now`.
    pub fn current(&self, now: Instant) -> Option<Arc<Keys>> {
        let held = self.held.load();
        let good = self.background.is_some() || held.until.is_some_and(|until| now < until);
        held.keys.clone().filter(|_| good)
    }

    /// The keys of the last fetch, whatever their age; `None` when it has failed.
    pub fn latest(&self) -> Option<Arc<Keys>> {
        self.held.load().keys.clone()
    }

    /// Whether the background should fetch at `now`.
    pub fn is_due(&self, now: Instant) -> bool {
        let next = self.held.load().next;
        self.background.is_some() && next.is_none_or(|next| now >= next)
    }

    /// Begins a fetch, unless one is under way.
    pub fn begin(self: &Arc<Self>) -> Option<Fetch> {
        let free = !self.fetching.swap(true, Ordering::AcqRel);
        free.then(|| Fetch { of: self.clone(), outcome: None })
    }

    /// Told of the end of a fetch that was under way when this was called and enabled.
    pub fn over(&self) -> tokio::sync::futures::Notified<'_> {
        self.over.notified()
    }
}

impl Fetch {
    /// What is fetched.
    pub fn of(&self) -> &Arc<RemoteKeys> {
        &self.of
    }

    /// It has brought these.
    pub fn succeeded(mut self, keys: Keys) {
        self.outcome = Some(keys);
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        let (of, now) = (&self.of, Instant::now());
        let held = match self.outcome.take() {
            Some(keys) => Held {
                keys: Some(Arc::new(keys)),
                until: now.checked_add(of.cache),
                next: now.checked_add(of.cache.saturating_sub(AHEAD).max(Duration::from_secs(1))),
            },
            None => Held {
                // In the background the set before goes on serving.
                keys: of.latest().filter(|_| of.background.is_some()),
                until: None,
                next: now.checked_add(of.background.unwrap_or_default()),
            },
        };
        of.held.store(Arc::new(held));
        of.fetching.store(false, Ordering::Release);
        of.over.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ClusterId;
    use crate::stats::registry::Registry;

    fn remote(background: Option<Duration>) -> Arc<RemoteKeys> {
        let callee = Callee { cluster: ClusterId(0), timeout: Duration::ZERO, retry: None };
        let stats = JwtStats::for_manager(&Registry::new(), "p", "");
        let place = (false, "h".into(), "/".into());
        Arc::new(RemoteKeys::new(callee, place, Duration::from_secs(60), background, stats))
    }

    fn keys() -> Keys {
        Keys::parse(br#"{"keys": [{"kty": "oct", "k": "YWJj"}]}"#).unwrap()
    }

    #[test]
    fn one_fetches_at_a_time_and_sets_expire() {
        let remote = remote(None);
        let start = Instant::now();
        assert!(remote.current(start).is_none() && !remote.is_due(start));
        let fetch = remote.begin().unwrap();
        assert!(remote.begin().is_none());
        fetch.succeeded(keys());
        let now = Instant::now();
        assert!(remote.current(now).is_some());
        assert!(remote.current(now + Duration::from_secs(61)).is_none());
        drop(remote.begin().unwrap());
        assert!(remote.current(now).is_none() && remote.latest().is_none());
    }

    #[test]
    fn in_the_background_a_set_serves_until_there_is_another() {
        let remote = remote(Some(Duration::from_secs(3)));
        assert!(remote.is_due(Instant::now()));
        remote.begin().unwrap().succeeded(keys());
        let now = Instant::now();
        assert!(!remote.is_due(now) && !remote.is_due(now + Duration::from_secs(54)));
        assert!(remote.is_due(now + Duration::from_secs(56)));
        drop(remote.begin().unwrap());
        let now = Instant::now();
        assert!(remote.current(now + Duration::from_secs(3_600)).is_some());
        assert!(!remote.is_due(now) && remote.is_due(now + Duration::from_secs(3)));
    }
}
