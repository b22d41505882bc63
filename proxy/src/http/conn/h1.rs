//! HTTP/1.1: one task drives the connection, one request at a time.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::refusal::{linger, log_cut_short, refuse};
use super::{ARRIVAL, Ending, count_bytes, is_last, until};
use crate::base::LARGEST_BUFFER;
use crate::base::details::Detail;
use crate::base::drain::{DrainPhase, DrainWatch};
use crate::base::error::DownstreamError;
use crate::config::listener::HttpSettings;
use crate::config::overload::{ScaledTimer, ShedPoint};
use crate::http::codec::h1::{ServerConn, ServerOptions};
use crate::http::codec::{Downstream, NextRequest};
use crate::http::context::ConnContext;
use crate::http::exchange;
use crate::http::head::RequestHead;
use crate::http::timers::after;
use crate::net::buffer::Buf;
use crate::net::deadline::{Deadline, earlier};
use crate::net::stream::Stream;

/// Serves request after request.
pub(super) async fn serve(ctx: &ConnContext, io: Stream, preread: Buf, opened: Instant) -> Ending {
    let stats = &ctx.settings.stats;
    ctx.local.stats.inc(stats.downstream_cx_http1_total);
    ctx.local.stats.gauge_add(stats.downstream_cx_http1_active, 1);
    let mut conn = ServerConn::new(io, preread, Rc::new(options(&ctx.settings)), ctx.local.heads.clone());
    let mut deadline = Deadline::default();
    let (closing, terminating) =
        (pin!(ctx.drain.reached(DrainPhase::Closing)), pin!(ctx.drain.reached(DrainPhase::Terminating)));
    let mut drain = DrainWatch::new(&ctx.drain, DrainPhase::Closing, closing);
    let mut end = DrainWatch::new(&ctx.drain, DrainPhase::Terminating, terminating);
    let (mut served, mut since) = (0, opened);
    let ending = loop {
        let waiting = Waiting { since, head_since: None, opened, closing: false };
        let head = match next(ctx, &mut conn, &mut deadline, &mut drain, waiting).await {
            Ok(head) => head,
            Err(ending) => break ending,
        };
        served += 1;
        ctx.course.protocol.set(Some(head.version));
        if ctx.sheds(ShedPoint::GoAwayAndClose) {
            break Ending::BY_US;
        }
        if ctx.sheds(ShedPoint::Http1Dispatch) {
            ctx.local.stats.inc(stats.downstream_rq_overload_close);
            let error = DownstreamError { status: 500, detail: Detail::OVERLOAD };
            refuse(ctx, &mut conn, &mut deadline, error, None).await;
            break Ending::BY_US;
        }
        let last = is_last(ctx, served);
        // Boxed: an idle connection must not carry the size of a request in flight.
        let outcome = {
            let mut down = Downstream::H1(&mut conn);
            let exchange = Box::pin(exchange::run(ctx, &mut down, head, &mut deadline, last));
            until_cut(ctx, exchange, &mut end).await
        };
        since = outcome.ended;
        count_bytes(ctx, conn.take_wire_bytes());
        if !conn.finish_exchange(outcome.head) || outcome.close {
            if !outcome.client_gone {
                ctx.course.closed.set("deferred_close_on_drained_connection");
            }
            linger(ctx, &mut conn, &mut deadline).await;
            break Ending { by_client: outcome.client_gone, active_requests: outcome.client_gone };
        }
    };
    count_bytes(ctx, conn.take_wire_bytes());
    ctx.local.stats.gauge_add(stats.downstream_cx_http1_active, -1);
    ending
}

/// Runs an exchange. When the drain time is over it finds that out at once, and ends.
async fn until_cut<T>(
    ctx: &ConnContext,
    mut exchange: Pin<Box<impl Future<Output = T>>>,
    end: &mut DrainWatch<'_, impl Future<Output = ()>>,
) -> T {
    poll_fn(|cx| {
        let polled = exchange.as_mut().poll(cx);
        if polled.is_ready() || ctx.cut.get() || end.poll(cx).is_pending() {
            return polled;
        }
        ctx.cut.set(true);
        exchange.as_mut().poll(cx)
    })
    .await
}

fn options(settings: &HttpSettings) -> ServerOptions {
    ServerOptions {
        max_head_bytes: settings.max_head_bytes,
        max_fields: settings.max_fields,
        accept_http_10: settings.http1.accept_http_10,
        default_host_for_http_10: settings.http1.default_host_for_http_10.clone(),
        allow_absolute_url: settings.http1.allow_absolute_url,
        trailers: settings.http1.enable_trailers,
        header_case: settings.http1.header_case,
        large_reads: settings.buffer_limit >= LARGEST_BUFFER,
    }
}

/// Why an idle connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IdleEnd {
    Idle,
    MaxDuration,
    SlowHead,
    Drain,
}

/// The next request head, or how the connection ends (an error was answered already).
async fn next(
    ctx: &ConnContext,
    conn: &mut ServerConn,
    deadline: &mut Deadline,
    drain: &mut DrainWatch<'_, impl Future<Output = ()>>,
    mut waiting: Waiting,
) -> Result<RequestHead, Ending> {
    let next = poll_fn(|cx| match conn.poll_request(cx) {
        Poll::Ready(next) => Poll::Ready(Ok(next)),
        Poll::Pending => waiting.poll(ctx, conn.is_idle(), deadline, drain, cx).map(Err),
    })
    .await;
    let error = match next {
        Ok(NextRequest::Request(head)) => return Ok(head),
        Ok(NextRequest::Closed) => return Err(Ending::BY_CLIENT),
        Ok(NextRequest::Failed(_)) => {
            log_cut_short(ctx, waiting.head_since);
            return Err(Ending { by_client: true, active_requests: true });
        }
        Ok(NextRequest::Invalid(error)) => error,
        Err(IdleEnd::SlowHead) => {
            conn.begin_refusal();
            DownstreamError { status: 408, detail: Detail::REQUEST_HEADER_TIMEOUT }
        }
        Err(_) => {
            linger(ctx, conn, deadline).await;
            return Err(Ending::BY_US);
        }
    };
    refuse(ctx, conn, deadline, error, waiting.head_since).await;
    Err(Ending::BY_US)
}

/// Clocks between two requests.
struct Waiting {
    since: Instant,
    head_since: Option<Instant>,
    opened: Instant,
    closing: bool,
}

impl Waiting {
    fn poll(
        &mut self,
        ctx: &ConnContext,
        idle: bool,
        deadline: &mut Deadline,
        drain: &mut DrainWatch<'_, impl Future<Output = ()>>,
        cx: &mut Context<'_>,
    ) -> Poll<IdleEnd> {
        let (settings, stats) = (&ctx.settings, &ctx.settings.stats);
        let scaled = |timer, full| ctx.local.scaled(timer, full);
        let oldest =
            || after(self.opened, scaled(ScaledTimer::ConnectionMax, settings.max_connection_duration));
        if idle {
            self.closing = self.closing || drain.poll(cx).is_ready();
            let arrival = self.closing.then(|| self.since + ARRIVAL);
            let quiet = || after(self.since, scaled(ScaledTimer::ConnectionIdle, settings.idle_timeout));
            ready!(until(ctx, deadline, cx, || earlier(earlier(quiet(), oldest()), arrival)));
        } else {
            let since = *self.head_since.get_or_insert_with(Instant::now);
            // A head that trickles in for ever is bounded even when nothing is configured.
            let allowed = if settings.request_headers_timeout.is_zero() {
                settings.stream_idle_timeout
            } else {
                settings.request_headers_timeout
            };
            ready!(deadline.poll_at(cx, after(since, allowed)));
        }
        let (counter, end) = if !idle {
            (stats.downstream_rq_header_timeout, IdleEnd::SlowHead)
        } else if self.closing {
            (stats.downstream_cx_drain_close, IdleEnd::Drain)
        } else if oldest().is_some_and(|at| at <= Instant::now()) {
            (stats.downstream_cx_max_duration_reached, IdleEnd::MaxDuration)
        } else {
            (stats.downstream_cx_idle_timeout, IdleEnd::Idle)
        };
        ctx.local.stats.inc(counter);
        Poll::Ready(end)
    }
}
