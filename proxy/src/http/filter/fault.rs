//! `envoy.filters.http.fault`: delays, aborts and slow responses on purpose.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Call, Running, State, Throttle, Verdict};
use crate::base::details::Detail;
use crate::base::error::ResponseFlags;
use crate::config::filter::fault::{Abort, AbortStatus, Fault, FaultFilter, Share};
use crate::config::filter::{HttpFilter, RouteFilter};
use crate::http::head::HeaderBlock;
use crate::http::local_reply::LocalReply;
use crate::http::route::header_matches;
use crate::stats::registry::Counter;
use crate::stats::scope::FaultCallerStats;
use crate::upstream::local::Local;

/// A request with a fault: counted once, whatever faults it has, until dropped.
#[derive(Debug)]
pub(super) struct Active<'r> {
    filter: &'r FaultFilter,
    local: &'r Local,
}

impl<'r> Active<'r> {
    fn begin(filter: &'r FaultFilter, local: &'r Local) -> Self {
        filter.active.fetch_add(1, Ordering::Relaxed);
        local.stats.gauge_add(filter.stats.active_faults, 1);
        Self { filter, local }
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.filter.active.fetch_sub(1, Ordering::Relaxed);
        self.local.stats.gauge_add(self.filter.stats.active_faults, -1);
    }
}

pub(super) fn request<'r>(
    running: &mut Running<'r>,
    filter: &'r HttpFilter,
    fault: &'r FaultFilter,
    call: &mut Call<'_, 'r>,
) -> Verdict {
    let settings = running.levels.settings(filter.id, &fault.settings, |config| match config {
        RouteFilter::Fault(settings) => Some(&**settings),
        _ => None,
    });
    if !running.waited {
        if overflows(fault, settings, call) || !applies(settings, call) {
            return Verdict::Pass;
        }
        slow_response(running, fault, settings, call);
        if let Some(delay) = delay(settings, call) {
            call.ctx.local.stats.inc(fault.stats.delays_injected);
            count_caller(fault, settings, call, |stats| stats.delays_injected);
            call.summary.flags.insert(ResponseFlags::FAULT_DELAY);
            begin(running, fault, call);
            return Verdict::Delay(delay);
        }
    }
    match settings.abort.as_ref().and_then(|abort| abort_reply(abort, call)) {
        Some(reply) => {
            call.ctx.local.stats.inc(fault.stats.aborts_injected);
            count_caller(fault, settings, call, |stats| stats.aborts_injected);
            begin(running, fault, call);
            Verdict::Answer(Box::new(reply))
        }
        None => Verdict::Pass,
    }
}

/// Counts a fault of the caller that names itself.
fn count_caller(
    fault: &FaultFilter,
    settings: &Fault,
    call: &Call<'_, '_>,
    counter: impl FnOnce(&FaultCallerStats) -> Counter,
) {
    let name = call.head.block.get_by_name(b"x-envoy-downstream-service-cluster");
    let Some(name) = name.filter(|name| !name.is_empty() && !settings.no_caller_stats) else { return };
    if let Some(stats) = std::str::from_utf8(name).ok().and_then(|name| fault.callers.of(name)) {
        call.ctx.local.stats.inc(counter(&stats));
    }
}

/// Counts the request as one with a fault, once.
fn begin<'r>(running: &mut Running<'r>, fault: &'r FaultFilter, call: &Call<'_, 'r>) {
    let at = running.next;
    if !running.states.iter().any(|(owner, _)| *owner == at) {
        running.keep(State::Fault { _active: Active::begin(fault, &call.ctx.local) });
    }
}

fn overflows(fault: &FaultFilter, settings: &Fault, call: &Call<'_, '_>) -> bool {
    let reached = |active: &AtomicU64, max: u32| active.load(Ordering::Relaxed) >= u64::from(max);
    let is_over = settings.max_active.is_some_and(|max| reached(&fault.active, max));
    if is_over {
        call.ctx.local.stats.inc(fault.stats.faults_overflow);
    }
    is_over
}

fn applies(settings: &Fault, call: &Call<'_, '_>) -> bool {
    let node = || call.head.block.get_by_name(b"x-envoy-downstream-service-node");
    (settings.upstream_cluster.is_none() || settings.upstream_cluster == call.cluster)
        && (settings.downstream_nodes.is_empty()
            || node().is_some_and(|node| settings.downstream_nodes.iter().any(|one| one.as_bytes() == node)))
        && settings.headers.iter().all(|matcher| header_matches(matcher, call.head))
}

fn slow_response<'r>(
    running: &mut Running<'r>,
    fault: &'r FaultFilter,
    settings: &Fault,
    call: &Call<'_, 'r>,
) {
    let Some(rate) = &settings.response_rate else { return };
    let block = &call.head.block;
    let asked = || number(block, b"x-envoy-fault-throughput-response").filter(|rate| *rate > 0);
    let Some(kib_per_second) = rate.fixed.or_else(asked) else { return };
    let from_header = rate.fixed.is_none();
    let share = share(rate.share, from_header, block, b"x-envoy-fault-throughput-response-percentage");
    if call.draw(share) {
        call.ctx.local.stats.inc(fault.stats.response_rl_injected);
        begin(running, fault, call);
        running.throttle = Some(Throttle::new(kib_per_second, call.now()));
    }
}

fn delay(settings: &Fault, call: &Call<'_, '_>) -> Option<Duration> {
    let delay = settings.delay.as_ref()?;
    let block = &call.head.block;
    let asked = || number(block, b"x-envoy-fault-delay-request").map(Duration::from_millis);
    let length = delay.fixed.or_else(asked).filter(|length| !length.is_zero())?;
    let from_header = delay.fixed.is_none();
    let share = share(delay.share, from_header, block, b"x-envoy-fault-delay-request-percentage");
    call.draw(share).then_some(length)
}

fn abort_reply(abort: &Abort, call: &Call<'_, '_>) -> Option<LocalReply> {
    let block = &call.head.block;
    let status = match abort.status {
        AbortStatus::Header => asked_status(block)?,
        fixed => fixed,
    };
    let from_header = abort.status == AbortStatus::Header;
    let share = share(abort.share, from_header, block, b"x-envoy-fault-abort-request-percentage");
    if !call.draw(share) {
        return None;
    }
    let (http, grpc) = match status {
        AbortStatus::Http(status) => (status, None),
        AbortStatus::Grpc(status) => (200, Some(status)),
        AbortStatus::Header => return None,
    };
    let mut reply =
        LocalReply::new(http, ResponseFlags::FAULT_ABORT, Detail::FAULT_ABORT, "fault filter abort");
    reply.grpc_status = grpc;
    if !abort.body.is_empty() {
        reply.body = abort.body.as_bytes().to_vec().into();
    }
    Some(reply)
}

/// The status that the request's own headers ask for.
fn asked_status(block: &HeaderBlock) -> Option<AbortStatus> {
    let http = number(block, b"x-envoy-fault-abort-request");
    if let Some(status) = http.filter(|status| (200..600).contains(status)) {
        return Some(AbortStatus::Http(status as u16));
    }
    let grpc = number(block, b"x-envoy-fault-abort-grpc-request")?;
    u32::try_from(grpc).ok().map(AbortStatus::Grpc)
}

/// The share in force: with faults that headers ask for, a header may also lower it.
fn share(configured: Share, from_header: bool, block: &HeaderBlock, name: &[u8]) -> u32 {
    let cap = if from_header { number(block, name).and_then(|cap| u32::try_from(cap).ok()) } else { None };
    configured.per_million(cap)
}

fn number(block: &HeaderBlock, name: &[u8]) -> Option<u64> {
    std::str::from_utf8(block.get_by_name(name)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(fields: &[(&str, &str)]) -> HeaderBlock {
        let mut block = HeaderBlock::default();
        for (name, value) in fields {
            block.append(name.as_bytes(), value.as_bytes());
        }
        block
    }

    #[test]
    fn headers_ask_for_an_http_status_before_a_grpc_one() {
        let asked = |fields: &[(&str, &str)]| asked_status(&block(fields));
        let (http, grpc) = ("x-envoy-fault-abort-request", "x-envoy-fault-abort-grpc-request");
        assert_eq!(asked(&[(http, "503"), (grpc, "5")]), Some(AbortStatus::Http(503)));
        assert_eq!(asked(&[(http, "600"), (grpc, "5")]), Some(AbortStatus::Grpc(5)));
        assert_eq!(asked(&[(http, "nonsense")]), None);
        assert_eq!(asked(&[]), None);
    }

    #[test]
    fn a_header_lowers_the_share_of_faults_that_headers_ask_for_and_never_raises_it() {
        let configured = Share { numerator: 40, unit: 10_000 };
        let percentage = "x-envoy-fault-delay-request-percentage";
        let in_force = |value: &str, from_header| {
            share(configured, from_header, &block(&[(percentage, value)]), percentage.as_bytes())
        };
        assert_eq!(in_force("10", true), 100_000);
        assert_eq!(in_force("90", true), 400_000);
        assert_eq!(in_force("x", true), 400_000);
        assert_eq!(in_force("10", false), 400_000);
    }
}
