//! What a client gets whose bytes are no request: an answer, a line in the log, and time to read it.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use crate::base::details::Detail;
use crate::base::error::{DownstreamError, ResponseFlags};
use crate::http::codec::BodySink;
use crate::http::codec::h1::ServerConn;
use crate::http::context::ConnContext;
use crate::http::head::{BodyLength, HeaderBlock, RequestHead, ResponseHead, Version};
use crate::http::local_reply::reason;
use crate::http::response_headers;
use crate::http::summary::Summary;
use crate::http::timers::after;
use crate::net::deadline::Deadline;

/// The client has gone before its head was whole: as in Envoy a request that was begun.
pub(super) fn log_cut_short(ctx: &ConnContext, begun: Option<Instant>) {
    let mut summary = Summary::begin(ctx, Version::Http11);
    summary.began(begun);
    summary.flags.insert(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION);
    summary.details = Detail::DOWNSTREAM_REMOTE_DISCONNECT.into();
    ctx.local.stats.inc(ctx.settings.stats.downstream_rq_rx_reset);
    summary.finish(&RequestHead::unparsed());
}

/// Answers a head that could not be understood or did not come in time, logs it, closes.
pub(super) async fn refuse(
    ctx: &ConnContext,
    conn: &mut ServerConn,
    deadline: &mut Deadline,
    error: DownstreamError,
    begun: Option<Instant>,
) {
    let stats = &ctx.settings.stats;
    // To Envoy's codec such a request is a good one; its connection manager refuses it.
    let refused = conn.take_refused();
    let understood = refused.is_some();
    // 500 is for those who are refused under load, 408 for slow ones.
    if !matches!(error.status, 408 | 500) && !understood {
        ctx.local.stats.inc(stats.downstream_cx_protocol_error);
    }
    if error.detail == Detail::PATH_NORMALIZATION_FAILED {
        ctx.local.stats.inc(stats.downstream_rq_failed_path_normalization);
    }
    tracing::debug!(
        "a request of {} is refused: {} {}",
        ctx.connection.peer,
        error.status,
        error.detail.text()
    );
    let mut summary = Summary::begin(ctx, Version::Http11);
    summary.began(begun);
    summary.status = error.status;
    summary.details = error.detail.into();
    if error.status != 408 && !understood {
        summary.flags.insert(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR);
        ctx.course.flags.set(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR);
    }
    let body = if understood { "" } else { reason(error.status) }.as_bytes();
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
    let head = refused.map_or_else(RequestHead::unparsed, |head| *head);
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
async fn send_text(ctx: &ConnContext, conn: &mut ServerConn, mut text: &[u8], deadline: &mut Deadline) {
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
pub(super) async fn linger(ctx: &ConnContext, conn: &mut ServerConn, deadline: &mut Deadline) {
    let limit = after(Instant::now(), ctx.settings.delayed_close_timeout);
    poll_fn(|cx| match conn.poll_close(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending if limit.is_none() => Poll::Ready(()),
        Poll::Pending => deadline.poll_at(cx, limit).map(|()| {
            ctx.local.stats.inc(ctx.settings.stats.downstream_cx_delayed_close_timeout);
            ctx.course.closed.set("triggered_delayed_close_timeout");
        }),
    })
    .await;
}
