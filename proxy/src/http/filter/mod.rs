//! HTTP filters between connection manager and router: in order on requests, in reverse on responses.
//!
//! An enum, so that dispatch inlines. Filters are synchronous; one that has to wait says so in its [`Verdict`], and
//! the exchange waits for it. A filter keeps state for a request only when it has something to do later.

pub(crate) mod authz;
mod concurrency;
mod cors;
mod descriptors;
mod fault;
mod headers;
mod health;
pub mod jwt;
mod query;
mod rate_limit;
mod rbac;
mod throttle;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use super::context::ConnContext;
use super::head::{RequestHead, ResponseHead};
use super::local_reply::LocalReply;
use super::replay::ReplayBuffer;
use super::route::Found;
use super::summary::Summary;
use crate::base::ids::ClusterId;
use crate::config::filter::health::HealthFilter;
use crate::config::filter::{FilterKind, HttpFilter, Levels};
use crate::config::route::HeaderAdd;
use crate::config::value_match::{MetadataPlace, Seen};

pub use throttle::{Throttle, Throttled};

/// What the filters make of a request so far.
#[derive(Debug)]
pub enum Verdict {
    /// All have seen it: on to the router.
    Pass,
    /// This answers it.
    Answer(Box<LocalReply>),
    /// Ask again after this time.
    Delay(Duration),
    /// Ask again when the body is here.
    Collect {
        /// At most this many bytes of it.
        most: u32,
        /// Of a longer one the beginning is enough.
        partial: bool,
    },
    /// Ask again when this is over.
    Wait(Waiting),
    /// A filter has changed what routes look at: find the route anew, then go on.
    Reroute,
}

/// Something that a filter waits for. It borrows nothing, and dropping it ends it.
pub struct Waiting(pub Pin<Box<dyn Future<Output = Waited>>>);

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting")
    }
}

/// What came of it.
#[derive(Debug)]
pub enum Waited {
    /// A service was asked.
    Answered(Box<authz::Answered>),
    /// Keys of this provider were fetched, or could not be.
    Keys(usize),
}

/// The request body, as far as it was collected.
#[derive(Clone, Copy, Debug)]
pub struct Collected<'b> {
    /// Its bytes.
    pub bytes: &'b [u8],
    /// There are no more of them.
    pub whole: bool,
}

impl Collected<'_> {
    /// Its first bytes: another filter may have wanted more of them.
    fn first(self, most: u32) -> Self {
        let most = self.bytes.len().min(most as usize);
        Self { bytes: &self.bytes[..most], whole: self.whole && most == self.bytes.len() }
    }
}

/// A request as filters see it.
#[derive(Debug)]
pub struct Call<'a, 'r> {
    /// Its connection.
    pub ctx: &'r ConnContext,
    /// Its head.
    pub head: &'a mut RequestHead,
    /// Its story so far.
    pub summary: &'a mut Summary<'r>,
    /// Its route.
    pub found: Option<Found<'r>>,
    /// The cluster that the route chose for it.
    pub cluster: Option<ClusterId>,
}

impl Call<'_, '_> {
    /// True for `ppm` of a million requests.
    fn draw(&self, ppm: u32) -> bool {
        const ALL: u32 = 1_000_000;
        ppm >= ALL || (ppm > 0 && self.ctx.local.random(|rng| rng.u32(..ALL)) < ppm)
    }

    /// A value of metadata: left by a filter, or of the request's route.
    fn metadata(&self, place: &MetadataPlace) -> Option<Seen<'_>> {
        let route = self.found.and_then(|found| found.route.metadata.as_deref());
        place.find(self.summary.metadata.as_deref(), route)
    }

    /// When the request arrived.
    fn now(&self) -> Instant {
        self.summary.timing.started
    }
}

/// The filters of one request under way.
#[derive(Debug)]
pub struct Running<'r> {
    filters: &'r [HttpFilter],
    levels: Levels<'r>,
    /// The next filter to see the request.
    next: usize,
    /// The next filter has waited as it asked to.
    waited: bool,
    /// What came of it.
    reached: Option<Waited>,
    /// The route is to be found anew before the filter after this one.
    reroute: bool,
    /// What filters, by position, have to do with the response or at the end.
    states: Vec<(usize, State<'r>)>,
    /// Slows the response body.
    pub throttle: Option<Throttle>,
    /// The request body, when a filter wanted the whole.
    pub body: Option<ReplayBuffer>,
    /// Headers of the answer that a filter gave.
    pub answer_add: &'r [HeaderAdd],
}

/// What a filter keeps of a request.
#[derive(Debug)]
enum State<'r> {
    Told(rate_limit::Told),
    Cors(cors::Allowed<'r>),
    Fault {
        _active: fault::Active<'r>,
    },
    Passed(concurrency::Passed<'r>),
    HealthCheck {
        filter: &'r HealthFilter,
        asked: bool,
    },
    Granted(Vec<authz::Edit>),
    /// The keys of this provider of tokens were waited for.
    Fetched(usize),
}

impl<'r> Running<'r> {
    /// Before the first filter.
    pub fn new(filters: &'r [HttpFilter], levels: Levels<'r>) -> Self {
        Self {
            filters,
            levels,
            next: 0,
            waited: false,
            reached: None,
            reroute: false,
            states: Vec::new(),
            throttle: None,
            body: None,
            answer_add: &[],
        }
    }

    /// Runs filters on the request until one answers or wants to wait. After a wait this goes on where it was.
    pub fn request(&mut self, call: &mut Call<'_, 'r>) -> Verdict {
        while let Some(filter) = self.filters.get(self.next) {
            let verdict =
                if self.levels.is_on(filter) { self.request_one(filter, call) } else { Verdict::Pass };
            self.waited = false;
            match verdict {
                Verdict::Pass => {
                    self.next += 1;
                    if std::mem::take(&mut self.reroute) {
                        return Verdict::Reroute;
                    }
                }
                Verdict::Answer(_) | Verdict::Reroute => return verdict,
                Verdict::Delay(_) | Verdict::Collect { .. } | Verdict::Wait(_) => {
                    self.waited = true;
                    return verdict;
                }
            }
        }
        Verdict::Pass
    }

    /// What the filter waited for has come.
    pub fn reach(&mut self, waited: Waited) {
        self.reached = Some(waited);
    }

    /// Another route counts from here on.
    pub fn follow(&mut self, levels: Levels<'r>) {
        self.levels = levels;
    }

    /// The body, when a filter wanted it.
    fn collected(&self) -> Option<Collected<'_>> {
        let body = self.body.as_ref()?;
        Some(Collected { bytes: body.kept(), whole: body.is_ended() })
    }

    #[inline]
    fn request_one(&mut self, filter: &'r HttpFilter, call: &mut Call<'_, 'r>) -> Verdict {
        match &filter.kind {
            FilterKind::RateLimit(own) => rate_limit::request(self, filter, own, call),
            FilterKind::Fault(fault) => fault::request(self, filter, fault, call),
            FilterKind::Cors(stats) => cors::request(self, filter, stats, call),
            FilterKind::Buffer { max_request_bytes } => self.buffer(filter, *max_request_bytes, call),
            FilterKind::Rbac(own) => rbac::request(self, filter, own, call),
            FilterKind::Jwt(own) => jwt::request(self, filter, own, call),
            FilterKind::Authz(own) => authz::request(self, filter, own, call),
            FilterKind::Concurrency(limit) => concurrency::request(self, limit, call),
            FilterKind::Headers(mutation) => {
                headers::request(mutation, self.levels.configs(filter.id), call);
                Verdict::Pass
            }
            FilterKind::Health(health) => health::request(self, health, call),
        }
    }

    fn buffer(&self, filter: &HttpFilter, own: u32, call: &Call<'_, '_>) -> Verdict {
        use crate::config::filter::RouteFilter;
        use crate::http::head::BodyLength;
        let limit = self.levels.settings(filter.id, Some(own), |config| match config {
            RouteFilter::Buffer(limit) => Some(*limit),
            _ => None,
        });
        match limit {
            Some(most) if !self.waited && call.head.body != BodyLength::None => {
                Verdict::Collect { most, partial: false }
            }
            _ => Verdict::Pass,
        }
    }

    /// Runs filters on a response, from the last to the first: those that the request never reached included, as
    /// in Envoy.
    pub fn response(&mut self, call: &Call<'_, 'r>, response: &mut ResponseHead) {
        for (at, filter) in self.filters.iter().enumerate().rev() {
            if let FilterKind::Headers(mutation) = &filter.kind
                && self.levels.is_on(filter)
            {
                headers::response(mutation, self.levels.configs(filter.id), call, response);
            }
            if matches!(filter.kind, FilterKind::Health(_)) && self.levels.is_on(filter) {
                health::response(call, response);
            }
            for (_, state) in self.states.iter().filter(|(owner, _)| *owner == at) {
                match state {
                    State::Told(told) => told.write(&mut response.block),
                    State::Cors(allowed) => allowed.write(&mut response.block),
                    State::HealthCheck { filter, asked } => health::answered(filter, *asked, call, response),
                    State::Granted(edits) => edits.iter().for_each(|edit| edit.write(&mut response.block)),
                    State::Fault { .. } | State::Passed(_) | State::Fetched(_) => {}
                }
            }
        }
    }

    /// The client has the whole response.
    pub fn complete(&mut self, now: Instant) {
        for (_, state) in &mut self.states {
            if let State::Passed(passed) = state {
                passed.complete(now);
            }
        }
    }

    fn keep(&mut self, state: State<'r>) {
        self.states.push((self.next, state));
    }
}
