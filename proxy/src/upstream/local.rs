//! What one worker owns and lends to every request and connection on it. Never leaves its thread.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use tokio::sync::Notify;

use super::view::View;
use crate::base::turn::TurnClock;
use crate::config::live::Overload;
use crate::config::overload::{ScaledTimer, ShedPoint};
use crate::http::head::HeadPool;
use crate::net::buffer::BufPool;
use crate::net::own_address::own_address;
use crate::observe::access_log::sink::WorkerLogs;
use crate::observe::tap::Tap;
use crate::observe::trace::tracer::WorkerSpans;
use crate::stats::registry::Shard;

/// How late a timer may notice that it has shrunk.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Worker-local state.
#[derive(Debug)]
pub struct Local {
    /// Worker index.
    pub index: usize,
    /// This worker's statistics shard.
    pub stats: Shard,
    /// Free buffers.
    pub bufs: Rc<BufPool>,
    /// Free storage of message heads, over the same buffers.
    pub heads: Rc<HeadPool>,
    /// Room for request bodies that may have to be sent again.
    pub replay: Rc<ReplayStore>,
    /// This worker's part of every access log.
    pub logs: RefCell<WorkerLogs>,
    /// How other machines know this one.
    pub own_address: IpAddr,
    /// This worker's part of every tracer.
    pub spans: RefCell<WorkerSpans>,
    /// How loaded the process is, where an overload manager is configured.
    pub overload: Option<Arc<Overload>>,
    /// Health checks are to be failed.
    pub failing: Arc<AtomicBool>,
    /// Calls the main runtime, see [`crate::config::publish::Subscriber::attention`].
    pub attention: Arc<Notify>,
    /// Who watches requests.
    pub tap: Arc<Tap>,
    /// Some access log tells what streams take on the wire: HTTP/2 connections made from now on measure it.
    pub measures: Cell<bool>,
    /// The time.
    pub clock: TurnClock,
    rng: RefCell<Rng>,
    view: RefCell<Rc<View>>,
    date: RefCell<DateCache>,
    next_connection: Cell<u64>,
}

impl Local {
    /// Fresh state for worker `index`.
    pub fn new(index: usize, stats: Shard, mut rng: Rng, attention: Arc<Notify>, tap: Arc<Tap>) -> Self {
        let bufs = Rc::<BufPool>::default();
        Self {
            index,
            stats,
            heads: HeadPool::new(Rc::clone(&bufs)),
            bufs,
            replay: Rc::default(),
            logs: RefCell::new(WorkerLogs::new(rng.u64(..))),
            own_address: own_address(),
            overload: None,
            failing: Arc::default(),
            spans: RefCell::new(WorkerSpans::new(index, rng.u64(..))),
            attention,
            tap,
            measures: Cell::new(false),
            clock: TurnClock::default(),
            rng: RefCell::new(rng),
            view: RefCell::default(),
            date: RefCell::new(DateCache::new(Instant::now())),
            next_connection: Cell::new(index as u64),
        }
    }

    /// With an overload manager.
    pub fn with_process(self, overload: Option<Arc<Overload>>, failing: Arc<AtomicBool>) -> Self {
        Self { overload, failing, ..self }
    }

    /// The world as this worker sees it now; hold it for one request or one connection decision.
    #[inline]
    pub fn view(&self) -> Rc<View> {
        self.view.borrow().clone()
    }

    /// Switches to the next world. Requests that hold the old one finish with it.
    pub fn set_view(&self, next: Rc<View>) -> Rc<View> {
        self.view.replace(next)
    }

    /// Whether load is shed at this point, this time; counted.
    #[inline]
    pub fn sheds(&self, point: ShedPoint) -> bool {
        let Some(overload) = &self.overload else { return false };
        let counter = self.random(|rng| overload.shed.sheds(point, rng));
        counter.inspect(|counter| self.stats.inc(*counter)).is_some()
    }

    /// The timeout that is in force where `full` is configured.
    #[inline]
    pub fn scaled(&self, timer: ScaledTimer, full: Duration) -> Duration {
        self.overload.as_ref().map_or(full, |overload| overload.timers.timeout(timer, full))
    }

    /// When to look at a scaled timer that runs out at `at`: pressure may have changed before.
    #[inline]
    pub fn look_at(&self, timers: &[ScaledTimer], at: Option<Instant>) -> Option<Instant> {
        let Some(overload) = &self.overload else { return at };
        let scales = timers.iter().any(|timer| overload.timers.scales(*timer));
        if scales { at.map(|at| at.min(Instant::now() + LOOK_AGAIN)) } else { at }
    }

    /// Runs `draw` with this worker's random numbers.
    #[inline]
    pub fn random<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.rng.borrow_mut())
    }

    /// A number for a new downstream connection, unique in the process (workers count in strides).
    pub fn connection_id(&self) -> u64 {
        const STRIDE: u64 = 1 << 16;
        self.next_connection.replace(self.next_connection.get() + STRIDE)
    }

    /// Calls `with` with the `date` header value for `now` (RFC 9110, 5.6.7), formatted once a second.
    #[inline]
    pub fn with_date<T>(&self, now: Instant, with: impl FnOnce(&[u8]) -> T) -> T {
        let mut date = self.date.borrow_mut();
        date.refresh(now);
        with(&date.text)
    }
}

/// Bytes of request bodies that one worker keeps for retries, all requests together. Without room a request is
/// sent once: many long uploads must not become as much memory.
#[derive(Debug, Default)]
pub struct ReplayStore(Cell<usize>);

impl ReplayStore {
    /// Most bytes of one worker.
    pub const MAX: usize = 64 << 20;

    /// Takes room for `bytes` more; `false` when there is none.
    pub fn take(&self, bytes: usize) -> bool {
        let next = self.0.get().saturating_add(bytes);
        let fits = next <= Self::MAX;
        if fits {
            self.0.set(next);
        }
        fits
    }

    /// Gives room back.
    pub fn give(&self, bytes: usize) {
        self.0.set(self.0.get().saturating_sub(bytes));
    }
}

/// The current `date` value.
#[derive(Debug)]
struct DateCache {
    text: [u8; 29],
    valid_until: Instant,
}

impl DateCache {
    fn new(now: Instant) -> Self {
        let mut cache = Self { text: [0; 29], valid_until: now };
        cache.rewrite(now);
        cache
    }

    #[inline]
    fn refresh(&mut self, now: Instant) {
        if now >= self.valid_until {
            self.rewrite(now);
        }
    }

    fn rewrite(&mut self, now: Instant) {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.text = http_date(wall.as_secs());
        let rest = 1_000_000_000 - u64::from(wall.subsec_nanos());
        self.valid_until = now + std::time::Duration::from_nanos(rest);
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` for seconds since the epoch.
fn http_date(seconds: u64) -> [u8; 29] {
    const DAYS: &[u8] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let weekday = (days % 7) as usize * 3;
    text[..3].copy_from_slice(&DAYS[weekday..weekday + 3]);
    text[8..11].copy_from_slice(&MONTHS[(month - 1) * 3..month * 3]);
    two_digits(&mut text[5..7], day as u64);
    two_digits(&mut text[12..14], year / 100);
    two_digits(&mut text[14..16], year % 100);
    two_digits(&mut text[17..19], clock / 3600);
    two_digits(&mut text[20..22], clock / 60 % 60);
    two_digits(&mut text[23..25], clock % 60);
    text
}

fn two_digits(out: &mut [u8], value: u64) {
    out[0] = b'0' + (value / 10 % 10) as u8;
    out[1] = b'0' + (value % 10) as u8;
}

/// Year, month (1..=12) and day of a count of days since 1970-01-01, proleptic Gregorian.
fn civil_from_days(days: u64) -> (u64, usize, usize) {
    // Years counted from 0000-03-01, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month as usize, day as usize)
}

#[cfg(test)]
mod tests {
    use super::http_date;

    #[test]
    fn dates_follow_rfc_9110() {
        assert_eq!(&http_date(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&http_date(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&http_date(951_782_400), b"Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(&http_date(4_107_542_399), b"Sun, 28 Feb 2100 23:59:59 GMT");
    }
}
