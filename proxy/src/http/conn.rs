//! One downstream connection: chooses the codec and drives it, request after request, under the
//! connection's own limits (idle, head and longest time, request count) and the drain signal.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::codec::{Downstream, NextRequest, StreamError, h1, h2};
use super::context::ConnContext;
use super::exchange;
use super::head::{BodyLength, HeaderBlock, RequestHead, ResponseHead, Version};
use super::local_reply::reason;
use super::response_headers;
use super::timers::after;
use crate::base::drain::{DrainPhase, DrainWatch};
use crate::base::error::DownstreamError;
use crate::config::listener::{CodecType, HttpSettings};
use crate::net::buffer::Buf;
use crate::net::deadline::{Deadline, earlier};
use crate::net::peek::H2_PREFACE;
use crate::net::stream::Stream;
use crate::upstream::connect::millis;

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
    if ctx.tls {
        ctx.local.stats.inc(stats.downstream_cx_ssl_total);
        ctx.local.stats.gauge_add(stats.downstream_cx_ssl_active, 1);
    }
    let protocol = choose(&ctx, &mut io, opened).await;
    let ending = match protocol {
        Some((Version::Http2, preread)) => Box::pin(serve_h2(&ctx, io, preread, opened)).await,
        Some((_, preread)) => serve_h1(&ctx, io, preread, opened).await,
        None => Ending::BY_CLIENT,
    };
    ending.count(&ctx);
    ctx.local.stats.gauge_add(stats.downstream_cx_active, -1);
    if ctx.tls {
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
    let limit = after(opened, ctx.settings.idle_timeout);
    let mut drained = pin!(ctx.drain.reached(DrainPhase::Closing));
    let mut closing = false;
    let mut preread = Buf::default();
    poll_fn(|cx| {
        if let Poll::Ready(found) = poll_preface(ctx, io, &mut preread, cx) {
            return Poll::Ready(found);
        }
        closing = closing || drained.as_mut().poll(cx).is_ready();
        let limit = if closing { earlier(limit, Some(opened + ARRIVAL)) } else { limit };
        deadline.poll_at(cx, limit).map(|()| None)
    })
    .await
    .map(|version| (version, preread))
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

async fn serve_h1(ctx: &ConnContext, io: Stream, preread: Buf, opened: Instant) -> Ending {
    let stats = &ctx.settings.stats;
    ctx.local.stats.inc(stats.downstream_cx_http1_total);
    ctx.local.stats.gauge_add(stats.downstream_cx_http1_active, 1);
    let options = Rc::new(h1_options(&ctx.settings));
    let mut conn = h1::ServerConn::new(io, preread, options, ctx.local.heads.clone());
    let mut deadline = Deadline::default();
    let (closing, terminating) =
        (pin!(ctx.drain.reached(DrainPhase::Closing)), pin!(ctx.drain.reached(DrainPhase::Terminating)));
    let mut drain = DrainWatch::new(&ctx.drain, DrainPhase::Closing, closing);
    let mut end = DrainWatch::new(&ctx.drain, DrainPhase::Terminating, terminating);
    let (mut served, mut since) = (0, opened);
    let ending = loop {
        let waiting = Waiting { since, head_since: None, opened, closing: false };
        let head = match next_h1(ctx, &mut conn, &mut deadline, &mut drain, waiting).await {
            Ok(head) => head,
            Err(ending) => break ending,
        };
        served += 1;
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

fn h1_options(settings: &HttpSettings) -> h1::ServerOptions {
    h1::ServerOptions {
        max_head_bytes: settings.max_head_bytes,
        max_fields: settings.max_fields,
        accept_http_10: settings.http1.accept_http_10,
        default_host_for_http_10: settings.http1.default_host_for_http_10.clone(),
        allow_absolute_url: settings.http1.allow_absolute_url,
        trailers: settings.http1.enable_trailers,
        header_case: settings.http1.header_case,
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
    if ctx.drain.is_draining() {
        ctx.local.stats.inc(ctx.settings.stats.downstream_cx_drain_close);
        return true;
    }
    false
}

fn count_bytes(ctx: &ConnContext, (received, sent): (u64, u64)) {
    ctx.local.stats.add(ctx.settings.stats.downstream_cx_rx_bytes_total, received);
    ctx.local.stats.add(ctx.settings.stats.downstream_cx_tx_bytes_total, sent);
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
async fn next_h1(
    ctx: &ConnContext,
    conn: &mut h1::ServerConn,
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
        Ok(NextRequest::Closed | NextRequest::Failed(_)) => return Err(Ending::BY_CLIENT),
        Ok(NextRequest::Invalid(error)) => error,
        Err(IdleEnd::SlowHead) => DownstreamError { status: 408, detail: "request_header_timeout" },
        Err(_) => {
            linger(ctx, conn, deadline).await;
            return Err(Ending::BY_US);
        }
    };
    refuse(ctx, conn, deadline, error).await;
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
        let oldest = after(self.opened, settings.max_connection_duration);
        let limit = if idle {
            self.closing = self.closing || drain.poll(cx).is_ready();
            let idle = earlier(after(self.since, settings.idle_timeout), oldest);
            if self.closing { earlier(idle, Some(self.since + ARRIVAL)) } else { idle }
        } else {
            let since = *self.head_since.get_or_insert_with(Instant::now);
            // A head that trickles in for ever is bounded even when nothing is configured.
            let allowed = if settings.request_headers_timeout.is_zero() {
                settings.stream_idle_timeout
            } else {
                settings.request_headers_timeout
            };
            after(since, allowed)
        };
        if deadline.poll_at(cx, limit).is_pending() {
            return Poll::Pending;
        }
        let (counter, end) = if !idle {
            (stats.downstream_rq_header_timeout, IdleEnd::SlowHead)
        } else if self.closing {
            (stats.downstream_cx_drain_close, IdleEnd::Drain)
        } else if oldest.is_some_and(|at| at <= Instant::now()) {
            (stats.downstream_cx_max_duration_reached, IdleEnd::MaxDuration)
        } else {
            (stats.downstream_cx_idle_timeout, IdleEnd::Idle)
        };
        ctx.local.stats.inc(counter);
        Poll::Ready(end)
    }
}

/// Answers a head that could not be understood, logs it, closes.
async fn refuse(
    ctx: &ConnContext,
    conn: &mut h1::ServerConn,
    deadline: &mut Deadline,
    error: DownstreamError,
) {
    let stats = &ctx.settings.stats;
    ctx.local.stats.inc(stats.downstream_cx_protocol_error);
    let mut summary = super::summary::Summary::begin(ctx, Version::Http11);
    summary.status = error.status;
    summary.details = error.detail.into();
    // To Envoy's codec a request without Host is a good one; its connection manager refuses it.
    let parsed = error.detail == "missing_host_header";
    if error.status != 408 && !parsed {
        summary.flags.insert(crate::base::error::ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR);
    }
    let body = if parsed { "" } else { reason(error.status) }.as_bytes();
    let mut response = ResponseHead {
        block: HeaderBlock::default(),
        status: error.status,
        version: Version::Http11,
        body: BodyLength::Fixed(body.len() as u64),
        upgrade: None,
    };
    if !body.is_empty() {
        response.block.append(b"content-type", b"text/plain");
    }
    let head = RequestHead::unparsed();
    response_headers::finish(&mut response, &head, &ctx.settings, &ctx.local, Instant::now());
    if conn.send_head(&response, true).is_ok() {
        summary.bytes_sent = body.len() as u64;
        send_text(ctx, conn, body, deadline).await;
    }
    summary.response = Some(response);
    summary.finish(&head);
    linger(ctx, conn, deadline).await;
}

/// Writes a short body; a client that does not read it is given up after the delayed-close time.
async fn send_text(ctx: &ConnContext, conn: &mut h1::ServerConn, mut text: &[u8], deadline: &mut Deadline) {
    use super::codec::BodySink;
    let limit = after(Instant::now(), ctx.settings.delayed_close_timeout);
    poll_fn(|cx| {
        while !text.is_empty() {
            match conn.poll_write(cx, text) {
                Poll::Ready(Ok(count)) => text = &text[count..],
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return deadline.poll_at(cx, limit),
            }
        }
        match conn.poll_finish(cx, None) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => deadline.poll_at(cx, limit),
        }
    })
    .await;
}

/// Closes so that the client can still read the last reply: FIN, then a bounded wait for its FIN.
async fn linger(ctx: &ConnContext, conn: &mut h1::ServerConn, deadline: &mut Deadline) {
    let limit = after(Instant::now(), ctx.settings.delayed_close_timeout);
    poll_fn(|cx| match conn.poll_close(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending if limit.is_none() => Poll::Ready(()),
        Poll::Pending => deadline.poll_at(cx, limit).map(|()| {
            ctx.local.stats.inc(ctx.settings.stats.downstream_cx_delayed_close_timeout);
        }),
    })
    .await;
}

async fn serve_h2(ctx: &Rc<ConnContext>, io: Stream, preread: Buf, opened: Instant) -> Ending {
    let stats = &ctx.settings.stats;
    ctx.local.stats.inc(stats.downstream_cx_http2_total);
    ctx.local.stats.gauge_add(stats.downstream_cx_http2_active, 1);
    let options = h2::Options {
        settings: ctx.settings.http2.clone(),
        max_head_bytes: ctx.settings.max_head_bytes,
        max_fields: ctx.settings.max_fields,
        tls: ctx.tls,
    };
    let ending = match h2::ServerConn::handshake(io, preread, options).await {
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
async fn accept_streams(ctx: &Rc<ConnContext>, mut conn: h2::ServerConn, opened: Instant) -> Ending {
    let open = Rc::new(std::cell::Cell::new(0u32));
    let mut clocks = H2Clocks::new(opened);
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

fn spawn_stream(
    ctx: &Rc<ConnContext>,
    head: RequestHead,
    stream: h2::ServerStream,
    open: &Rc<std::cell::Cell<u32>>,
) {
    let (ctx, open) = (ctx.clone(), open.clone());
    open.set(open.get() + 1);
    tokio::task::spawn_local(async move {
        let mut down = Downstream::H2(stream);
        exchange::run(&ctx, &mut down, head, &mut Deadline::default(), false).await;
        open.set(open.get() - 1);
    });
}

/// Idle and longest-life clocks of an HTTP/2 connection.
struct H2Clocks {
    opened: Instant,
    last_active: Instant,
    served: u32,
    draining: bool,
    deadline: Deadline,
}

impl H2Clocks {
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
        let idle = after(self.last_active, settings.idle_timeout);
        let oldest = after(self.opened, settings.max_connection_duration);
        if self.deadline.poll_at(cx, earlier(idle, oldest)).is_pending() {
            return Poll::Pending;
        }
        self.draining = true;
        let aged = oldest.is_some_and(|at| at <= Instant::now());
        let stats = &settings.stats;
        let counter =
            if aged { stats.downstream_cx_max_duration_reached } else { stats.downstream_cx_idle_timeout };
        ctx.local.stats.inc(counter);
        Poll::Ready(())
    }
}
