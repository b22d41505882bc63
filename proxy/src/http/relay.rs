//! The way back: a response head and its body to the client, while the rest of the request may still be
//! going up; tunnels after an upgrade; and local replies.

mod cut;

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Instant;

use super::attempt::Attempt;
use super::codec::{BodySource, Downstream, Fill, StreamError};
use super::context::ConnContext;
use super::exchange::Exchange;
use super::filter::{Throttle, Throttled};
use super::flow;
use super::head::ResponseHead;
use super::pump::{Fixed, Pump, PumpError};
use super::replay::ReplayBuffer;
use super::timers::Timers;
use crate::base::details::Detail;
use crate::net::deadline::Deadline;
use cut::Cut;

/// Sends `response` down with its body: the number of bytes that went up through a tunnel.
/// Failures after the head reset the stream; they are recorded, not returned.
pub async fn run(
    exchange: &mut Exchange<'_>,
    attempt: &mut Attempt,
    response: ResponseHead,
    down: &mut Downstream<'_>,
    replay: &mut ReplayBuffer,
    timers: &mut Timers<'_>,
) -> u64 {
    let tunnel = response.upgrade.is_some();
    exchange.summary.status = response.status;
    exchange.summary.details = Detail::VIA_UPSTREAM.into();
    exchange.summary.count_upstream(response.status);
    exchange.last |= exchange.ctx.is_draining();
    let sent = down.send_head(&response, exchange.last);
    exchange.summary.response = Some(response);
    exchange.summary.timing.response_begun = Some(timers.now());
    let (mut ahead, mut back) = (Pump::new(), Response { body: Pump::new(), throttle: None });
    let cut = match sent {
        Err(_) => Err(Cut::Client),
        Ok(()) if tunnel => {
            timers.enter_tunnel();
            let ended = tunnel_both(exchange.ctx, attempt, down, &mut ahead, &mut back.body, timers).await;
            flow::end_request(exchange.ctx, attempt.cluster(), &mut ahead);
            ended
        }
        Ok(()) => {
            back.throttle = exchange.filters.as_mut().and_then(|filters| filters.throttle.take());
            let ctx = exchange.ctx;
            poll_fn(|cx| poll_bodies(cx, ctx, attempt, down, replay, &mut back, timers)).await
        }
    };
    let mut body = back.body;
    exchange.summary.timing.upstream_body = body.begun;
    exchange.summary.timing.upstream_complete = body.is_done().then(|| timers.now());
    exchange.summary.bytes_sent = body.bytes;
    exchange.summary.trailers = body.take_trailers();
    let complete = attempt.request.is_done() || ahead.is_done();
    match cut {
        Ok(()) => {
            exchange.summary.count_upstream_time(timers.request_completed_at());
            exchange.summary.count_budget(timers);
            exchange.broken |= tunnel || !complete;
        }
        Err(cut) => {
            attempt.lease.cut(matches!(cut, Cut::Upstream(StreamError::Closed | StreamError::Io(_))));
            cut.count(exchange, attempt.lease.is_multiplexed(), timers);
            cut.record(exchange, attempt.lease.is_multiplexed(), down);
        }
    }
    if !complete || !body.is_done() {
        attempt.lease.stream.cancel();
    }
    ahead.bytes
}

/// The response on its way down.
struct Response {
    body: Pump,
    /// What slows it, where a filter asks for that.
    throttle: Option<Throttle>,
}

/// Both bodies until the response is complete.
fn poll_bodies(
    cx: &mut Context<'_>,
    ctx: &ConnContext,
    attempt: &mut Attempt,
    down: &mut Downstream<'_>,
    replay: &mut ReplayBuffer,
    Response { body, throttle }: &mut Response,
    timers: &mut Timers<'_>,
) -> Poll<Result<(), Cut>> {
    let before = (attempt.request.bytes, body.bytes);
    if !attempt.request.is_done() && !attempt.upstream_closed_body {
        match attempt.pump_request(cx, ctx, down, replay) {
            Poll::Ready(Err(PumpError::Source(_))) => return Poll::Ready(Err(Cut::Client)),
            Poll::Ready(Err(PumpError::Sink(_))) => attempt.upstream_closed_body = true,
            Poll::Ready(Ok(())) => timers.sent(timers.now()),
            Poll::Pending => {}
        }
        if replay.is_ended() {
            timers.request_complete(timers.now());
        }
    }
    let source = &mut attempt.lease.stream;
    let moved = match throttle {
        None => body.poll(cx, source, down),
        Some(throttle) => body.poll(cx, &mut Throttled { source, throttle }, down),
    };
    flow::of_response(ctx, attempt.cluster(), body);
    match moved {
        Poll::Ready(Ok(())) => {
            body.begun = body.begun.or_else(|| (body.bytes > 0).then(|| timers.now()));
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(PumpError::Source(error))) => return Poll::Ready(Err(Cut::Upstream(error))),
        Poll::Ready(Err(PumpError::Sink(_))) => return Poll::Ready(Err(Cut::Client)),
        Poll::Pending => {}
    }
    if before != (attempt.request.bytes, body.bytes) {
        timers.touch(timers.now());
        body.begun = body.begun.or_else(|| (body.bytes > 0).then(|| timers.now()));
    }
    if replay.is_ended() && down.poll_gone(cx).is_ready() {
        return Poll::Ready(Err(Cut::Client));
    }
    timers.poll(cx).map(|error| Err(Cut::Timer(error)))
}

/// After an upgrade both halves carry opaque bytes; each direction ends on its own.
async fn tunnel_both(
    ctx: &ConnContext,
    attempt: &mut Attempt,
    down: &mut Downstream<'_>,
    ahead: &mut Pump,
    back: &mut Pump,
    timers: &mut Timers<'_>,
) -> Result<(), Cut> {
    poll_fn(|cx| {
        let before = (ahead.bytes, back.bytes);
        let up = ahead.poll(cx, down, &mut attempt.lease.stream);
        let dn = back.poll(cx, &mut attempt.lease.stream, down);
        flow::of_request(ctx, attempt.cluster(), ahead);
        flow::of_response(ctx, attempt.cluster(), back);
        if before != (ahead.bytes, back.bytes) {
            timers.touch(timers.now());
        }
        match (up, dn) {
            (Poll::Ready(Err(PumpError::Source(_))), _) | (_, Poll::Ready(Err(PumpError::Sink(_)))) => {
                Poll::Ready(Err(Cut::Client))
            }
            (Poll::Ready(Err(PumpError::Sink(error))), _)
            | (_, Poll::Ready(Err(PumpError::Source(error)))) => Poll::Ready(Err(Cut::Upstream(error))),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => timers.poll(cx).map(|error| Err(Cut::Timer(error))),
        }
    })
    .await
}

/// Sends an answer of our own. A client that does not take it within the stream idle timeout is cut.
pub async fn local(
    exchange: &mut Exchange<'_>,
    response: ResponseHead,
    down: &mut Downstream<'_>,
    deadline: &mut Deadline,
) {
    let request_complete = poll_fn(|cx| Poll::Ready(request_is_complete(down, cx))).await;
    exchange.last |= !request_complete || exchange.ctx.is_draining();
    exchange.broken |= !request_complete;
    if !request_complete {
        exchange.ctx.local.stats.inc(exchange.ctx.settings.stats.downstream_rq_response_before_rq_complete);
    }
    let mut body = Pump::new();
    let sent = down.send_head(&response, exchange.last);
    exchange.summary.response = Some(response);
    exchange.summary.timing.response_begun = Some(exchange.ctx.local.clock.now());
    if sent.is_ok() {
        let limit = super::timers::after(Instant::now(), exchange.ctx.settings.stream_idle_timeout);
        let mut source = Fixed { left: &exchange.summary.local_body };
        let finished = poll_fn(|cx| match body.poll(cx, &mut source, down) {
            Poll::Ready(done) => Poll::Ready(done.is_ok()),
            Poll::Pending if exchange.ctx.cut.get() => Poll::Ready(false),
            Poll::Pending => deadline.poll_at(cx, limit).map(|()| false),
        })
        .await;
        exchange.broken |= !finished;
    }
    exchange.summary.bytes_sent = body.bytes;
}

/// Whether the client's request has been read to its end, without waiting for more of it.
fn request_is_complete(down: &mut Downstream<'_>, cx: &mut Context<'_>) -> bool {
    matches!(down.poll_fill(cx), Poll::Ready(Ok(Fill::End)))
}
