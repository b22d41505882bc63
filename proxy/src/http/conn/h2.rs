//! HTTP/2: one task accepts, every stream has its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::resets::Resets;
use super::{Ending, count_bytes, is_last, until};
use crate::base::drain::DrainPhase;
use crate::base::error::ResponseFlags;
use crate::config::overload::{ScaledTimer, ShedPoint};
use crate::http::codec::h2::{NoRequest, Options, Refused, ServerConn, ServerStream};
use crate::http::codec::{Downstream, StreamError};
use crate::http::context::ConnContext;
use crate::http::exchange;
use crate::http::head::{RequestHead, Version};
use crate::http::summary::Summary;
use crate::http::timers::after;
use crate::net::buffer::Buf;
use crate::net::deadline::{Deadline, earlier};
use crate::net::stream::Stream;

/// Accepts streams until the connection ends.
pub(super) async fn serve(ctx: &Rc<ConnContext>, io: Stream, preread: Buf, opened: Instant) -> Ending {
    let stats = &ctx.settings.stats;
    ctx.local.stats.inc(stats.downstream_cx_http2_total);
    ctx.local.stats.gauge_add(stats.downstream_cx_http2_active, 1);
    let options = Options {
        settings: ctx.settings.http2.clone(),
        max_head_bytes: ctx.settings.max_head_bytes,
        max_fields: ctx.settings.max_fields,
        tls: ctx.is_tls(),
        send_buffer: ctx.settings.buffer_limit,
        measured: ctx.local.measures.get(),
    };
    let ending = match ServerConn::handshake(io, preread, options).await {
        Ok(conn) => accept_streams(ctx, conn, opened).await,
        Err(_) => {
            ctx.local.stats.inc(stats.downstream_cx_protocol_error);
            ctx.course.flags.set(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR);
            Ending::BY_US
        }
    };
    ctx.local.stats.gauge_add(stats.downstream_cx_http2_active, -1);
    ending
}

/// Spawns a task per stream until the connection ends.
async fn accept_streams(ctx: &Rc<ConnContext>, mut conn: ServerConn, opened: Instant) -> Ending {
    let open = Rc::new(Cell::new(0u32));
    let resets = Rc::new(Resets::default());
    let mut clocks = Clocks::new(opened);
    let mut drained = pin!(ctx.drain.reached(DrainPhase::Draining));
    let mut terminated = pin!(ctx.drain.reached(DrainPhase::Terminating));
    loop {
        let next = poll_fn(|cx| {
            if let Poll::Ready(next) = conn.poll_accept(cx) {
                return Poll::Ready(next);
            }
            if !clocks.draining && drained.as_mut().poll(cx).is_ready() {
                ctx.local.stats.inc(ctx.settings.stats.downstream_cx_drain_close);
                clocks.draining = true;
                conn.graceful_shutdown();
                cx.waker().wake_by_ref();
            }
            if terminated.as_mut().poll(cx).is_ready() || resets.poll_too_many(cx).is_ready() {
                return Poll::Ready(None);
            }
            if clocks.poll(ctx, open.get(), cx).is_ready() {
                conn.graceful_shutdown();
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
        if resets.are_too_many() {
            hang_up(ctx, &mut conn).await;
            return Ending { by_client: false, active_requests: open.get() > 0 };
        }
        count_bytes(ctx, conn.take_wire_bytes());
        while let Some(refused) = conn.take_refused() {
            log_refused(ctx, refused, &resets);
        }
        match next {
            Some(Err(NoRequest::Refused(refused))) => log_refused(ctx, refused, &resets),
            Some(Ok((head, stream))) => {
                clocks.served += 1;
                ctx.course.protocol.set(Some(Version::Http2));
                if ctx.sheds(ShedPoint::GoAwayAndClose) {
                    conn.abrupt_shutdown();
                    clocks.draining = true;
                    continue;
                }
                clocks.last_active = Instant::now();
                if is_last(ctx, clocks.served) && !clocks.draining {
                    clocks.draining = true;
                    conn.graceful_shutdown();
                }
                spawn_stream(ctx, head, stream, &open, &resets);
            }
            Some(Err(NoRequest::Broken(StreamError::Protocol(_)))) => {
                ctx.local.stats.inc(ctx.settings.stats.downstream_cx_protocol_error);
                ctx.course.flags.set(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR);
                return Ending { by_client: false, active_requests: open.get() > 0 };
            }
            Some(Err(NoRequest::Broken(_))) | None => {
                return Ending { by_client: !clocks.draining, active_requests: open.get() > 0 };
            }
        }
    }
}

fn spawn_stream(
    ctx: &Rc<ConnContext>,
    head: RequestHead,
    stream: ServerStream,
    open: &Rc<Cell<u32>>,
    resets: &Rc<Resets>,
) {
    let (ctx, open, resets) = (ctx.clone(), open.clone(), resets.clone());
    open.set(open.get() + 1);
    tokio::task::spawn_local(async move {
        let mut down = Downstream::H2(stream);
        let outcome = exchange::run(&ctx, &mut down, head, &mut Deadline::default(), false).await;
        open.set(open.get() - 1);
        resets.ended(outcome.answered, outcome.took);
    });
}

/// A request that the codec refused leaves a line as in Envoy, and counts as one that was begun in vain.
fn log_refused(ctx: &ConnContext, refused: Refused, resets: &Resets) {
    let mut summary = Summary::begin(ctx, Version::Http2);
    summary.status = refused.status;
    summary.details = refused.details.into();
    summary.flags.insert(match refused.too_large {
        true => ResponseFlags::DOWNSTREAM_REMOTE_RESET,
        false => ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR,
    });
    ctx.local.stats.inc(ctx.settings.stats.downstream_rq_rx_reset);
    summary.finish(&RequestHead { version: Version::Http2, ..RequestHead::unparsed() });
    resets.ended(false, Duration::ZERO);
}

/// Ends a connection whose client begins requests only to reset them.
async fn hang_up(ctx: &ConnContext, conn: &mut ServerConn) {
    tracing::debug!("{} resets too many requests", ctx.connection.peer);
    ctx.local.stats.inc(ctx.settings.stats.downstream_rq_too_many_premature_resets);
    conn.enhance_your_calm();
    let flushed = poll_fn(|cx| {
        while let Some(Ok(_) | Err(NoRequest::Refused(_))) = ready!(conn.poll_accept(cx)) {}
        Poll::Ready(())
    });
    // A client that does not read goes without.
    let _ = tokio::time::timeout(ctx.settings.delayed_close_timeout, flushed).await;
    count_bytes(ctx, conn.take_wire_bytes());
}

/// Idle and longest-life clocks of an HTTP/2 connection.
struct Clocks {
    opened: Instant,
    last_active: Instant,
    served: u32,
    draining: bool,
    deadline: Deadline,
}

impl Clocks {
    fn new(opened: Instant) -> Self {
        Self {
            opened,
            last_active: Instant::now(),
            served: 0,
            draining: false,
            deadline: Deadline::default(),
        }
    }

    /// Ready once, when the connection should go away.
    fn poll(&mut self, ctx: &ConnContext, open: u32, cx: &mut Context<'_>) -> Poll<()> {
        if self.draining {
            return Poll::Pending;
        }
        if open > 0 {
            self.last_active = Instant::now();
        }
        let settings = &ctx.settings;
        let scaled = |timer, full| ctx.local.scaled(timer, full);
        let idle = || after(self.last_active, scaled(ScaledTimer::ConnectionIdle, settings.idle_timeout));
        let oldest =
            || after(self.opened, scaled(ScaledTimer::ConnectionMax, settings.max_connection_duration));
        ready!(until(ctx, &mut self.deadline, cx, || earlier(idle(), oldest())));
        let aged = oldest().is_some_and(|at| at <= Instant::now());
        self.draining = true;
        let stats = &settings.stats;
        let counter =
            if aged { stats.downstream_cx_max_duration_reached } else { stats.downstream_cx_idle_timeout };
        ctx.local.stats.inc(counter);
        Poll::Ready(())
    }
}
