//! One downstream connection: chooses the codec and drives it, request after request, under the
//! connection's own limits (idle, head and longest time, request count) and the drain signal.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::context::ConnContext;
use super::head::Version;
use super::timers::after;
use crate::base::drain::DrainPhase;
use crate::base::error::ResponseFlags;
use crate::config::listener::CodecType;
use crate::config::overload::{ScaledTimer, ShedPoint};
use crate::net::buffer::Buf;
use crate::net::deadline::{Deadline, earlier};
use crate::net::peek::H2_PREFACE;
use crate::net::stream::Stream;
use crate::upstream::connect::millis;

mod h1;
mod h2;
mod refusal;
mod resets;

/// How long a client whose listener has closed has for its next request, from connecting or from its last answer: one
/// that was not told to close may be sending already.
const ARRIVAL: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub async fn serve(ctx: Rc<ConnContext>, mut io: Stream) {
    let opened = Instant::now();
    let settings = ctx.settings.clone();
    let stats = &settings.stats;
    ctx.local.stats.inc(stats.downstream_cx_total);
    ctx.local.stats.gauge_add(stats.downstream_cx_active, 1);
    if ctx.is_tls() {
        ctx.local.stats.inc(stats.downstream_cx_ssl_total);
        ctx.local.stats.gauge_add(stats.downstream_cx_ssl_active, 1);
    }
    let protocol = choose(&ctx, &mut io, opened).await;
    let shed = protocol.is_some() && ctx.sheds(ShedPoint::Codec);
    if shed {
        ctx.local.stats.inc(stats.downstream_rq_overload_close);
    }
    let version = protocol.as_ref().map(|(version, _)| *version);
    let ending = match protocol {
        Some(_) if shed => Ending::BY_US,
        Some((Version::Http2, preread)) => Box::pin(h2::serve(&ctx, io, preread, opened)).await,
        Some((_, preread)) => h1::serve(&ctx, io, preread, opened).await,
        None => Ending::BY_CLIENT,
    };
    // Bytes that are no request are of no protocol.
    if ctx.course.flags.get() == ResponseFlags::NONE {
        ctx.course.protocol.set(version);
    }
    ending.count(&ctx);
    ctx.local.stats.gauge_add(stats.downstream_cx_active, -1);
    if ctx.is_tls() {
        ctx.local.stats.gauge_add(stats.downstream_cx_ssl_active, -1);
    }
    ctx.local.stats.inc(stats.downstream_cx_destroy);
    ctx.local.stats.record(stats.downstream_cx_length_ms, millis(opened.elapsed()));
}

/// Who closed a connection, and whether with requests on it.
#[derive(Clone, Copy)]
struct Ending {
    by_client: bool,
    active_requests: bool,
}

impl Ending {
    const BY_CLIENT: Ending = Ending { by_client: true, active_requests: false };
    const BY_US: Ending = Ending { by_client: false, active_requests: false };

    fn count(self, ctx: &ConnContext) {
        let stats = &ctx.settings.stats;
        let (of_kind, of_kind_active) = if self.by_client {
            (stats.downstream_cx_destroy_remote, stats.downstream_cx_destroy_remote_active_rq)
        } else {
            (stats.downstream_cx_destroy_local, stats.downstream_cx_destroy_local_active_rq)
        };
        ctx.local.stats.inc(of_kind);
        if self.active_requests {
            ctx.local.stats.inc(of_kind_active);
            ctx.local.stats.inc(stats.downstream_cx_destroy_active_rq);
        }
    }
}

/// The protocol of the connection and bytes read to find out. `None`: it closed or stayed silent.
async fn choose(ctx: &ConnContext, io: &mut Stream, opened: Instant) -> Option<(Version, Buf)> {
    match (ctx.settings.codec, io.alpn()) {
        (CodecType::Http1, _) => return Some((Version::Http11, Buf::default())),
        (CodecType::Http2, _) | (CodecType::Auto, Some(b"h2")) => {
            return Some((Version::Http2, Buf::default()));
        }
        (CodecType::Auto, Some(_)) => return Some((Version::Http11, Buf::default())),
        (CodecType::Auto, None) => {}
    }
    let mut deadline = Deadline::default();
    let limit = || after(opened, ctx.local.scaled(ScaledTimer::ConnectionIdle, ctx.settings.idle_timeout));
    let mut drained = pin!(ctx.drain.reached(DrainPhase::Closing));
    let mut closing = false;
    let mut preread = Buf::default();
    poll_fn(|cx| {
        if let Poll::Ready(found) = poll_preface(ctx, io, &mut preread, cx) {
            return Poll::Ready(found);
        }
        closing = closing || drained.as_mut().poll(cx).is_ready();
        let arrival = closing.then(|| opened + ARRIVAL);
        until(ctx, &mut deadline, cx, || earlier(limit(), arrival)).map(|()| None)
    })
    .await
    .map(|version| (version, preread))
}

/// Ready once the moment that `limit` tells has passed; it is asked again while timers may shrink.
fn until(
    ctx: &ConnContext,
    deadline: &mut Deadline,
    cx: &mut Context<'_>,
    limit: impl Fn() -> Option<Instant>,
) -> Poll<()> {
    const SCALED: &[ScaledTimer] = &[ScaledTimer::ConnectionIdle, ScaledTimer::ConnectionMax];
    loop {
        let limit = limit();
        ready!(deadline.poll_at(cx, ctx.local.look_at(SCALED, limit)));
        if limit.is_some_and(|limit| limit <= Instant::now()) {
            return Poll::Ready(());
        }
    }
}

/// Reads until the first bytes are, or cannot be, the HTTP/2 preface.
fn poll_preface(
    ctx: &ConnContext,
    io: &mut Stream,
    preread: &mut Buf,
    cx: &mut Context<'_>,
) -> Poll<Option<Version>> {
    loop {
        let seen = preread.len().min(H2_PREFACE.len());
        if preread.filled()[..seen] != H2_PREFACE[..seen] {
            return Poll::Ready(Some(Version::Http11));
        }
        if seen == H2_PREFACE.len() {
            return Poll::Ready(Some(Version::Http2));
        }
        match io.poll_read_ready(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(None),
            Poll::Ready(Ok(())) => {}
        }
        if preread.capacity() == 0 {
            *preread = ctx.local.bufs.take();
        }
        match io.poll_read(cx, preread.spare_mut()) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(None),
            Poll::Ready(Ok(count)) => preread.advance(count),
        }
    }
}

fn is_last(ctx: &ConnContext, served: u32) -> bool {
    let limit = ctx.settings.max_requests_per_connection;
    if limit > 0 && served >= limit {
        ctx.local.stats.inc(ctx.settings.stats.downstream_cx_max_requests_reached);
        return true;
    }
    if ctx.ends_keepalive() {
        ctx.local.stats.inc(ctx.settings.stats.downstream_cx_overload_disable_keepalive);
        return true;
    }
    if ctx.is_draining() {
        ctx.local.stats.inc(ctx.settings.stats.downstream_cx_drain_close);
        return true;
    }
    ctx.sheds(ShedPoint::GoAway)
}

fn count_bytes(ctx: &ConnContext, (received, sent): (u64, u64)) {
    ctx.local.stats.add(ctx.settings.stats.downstream_cx_rx_bytes_total, received);
    ctx.local.stats.add(ctx.settings.stats.downstream_cx_tx_bytes_total, sent);
    let (before, after) = ctx.course.bytes.get();
    ctx.course.bytes.set((before + received, after + sent));
}
