//! HTTP/2: one task accepts, every stream has its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::{Ending, count_bytes, is_last, until};
use crate::base::drain::DrainPhase;
use crate::config::overload::{ScaledTimer, ShedPoint};
use crate::http::codec::h2::{Options, ServerConn, ServerStream};
use crate::http::codec::{Downstream, StreamError};
use crate::http::context::ConnContext;
use crate::http::exchange;
use crate::http::head::RequestHead;
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
        tls: ctx.tls,
        send_buffer: ctx.settings.buffer_limit,
        measured: ctx.local.measures.get(),
    };
    let ending = match ServerConn::handshake(io, preread, options).await {
        Ok(conn) => accept_streams(ctx, conn, opened).await,
        Err(_) => {
            ctx.local.stats.inc(stats.downstream_cx_protocol_error);
            Ending::BY_US
        }
    };
    ctx.local.stats.gauge_add(stats.downstream_cx_http2_active, -1);
    ending
}

/// Spawns a task per stream until the connection ends.
async fn accept_streams(ctx: &Rc<ConnContext>, mut conn: ServerConn, opened: Instant) -> Ending {
    let open = Rc::new(Cell::new(0u32));
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
            if terminated.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            if clocks.poll(ctx, open.get(), cx).is_ready() {
                conn.graceful_shutdown();
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
        count_bytes(ctx, conn.take_wire_bytes());
        match next {
            Some(Ok((head, stream))) => {
                clocks.served += 1;
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
                spawn_stream(ctx, head, stream, &open);
            }
            Some(Err(StreamError::Protocol(_))) => {
                ctx.local.stats.inc(ctx.settings.stats.downstream_cx_protocol_error);
                return Ending { by_client: false, active_requests: open.get() > 0 };
            }
            Some(Err(_)) | None => {
                return Ending { by_client: !clocks.draining, active_requests: open.get() > 0 };
            }
        }
    }
}

fn spawn_stream(ctx: &Rc<ConnContext>, head: RequestHead, stream: ServerStream, open: &Rc<Cell<u32>>) {
    let (ctx, open) = (ctx.clone(), open.clone());
    open.set(open.get() + 1);
    tokio::task::spawn_local(async move {
        let mut down = Downstream::H2(stream);
        exchange::run(&ctx, &mut down, head, &mut Deadline::default(), false).await;
        open.set(open.get() - 1);
    });
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
