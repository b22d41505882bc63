//! One upstream try: pick a host, get a stream, send the request, wait for the response head.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::codec::{Downstream, StreamError};
use super::context::ConnContext;
use super::flow;
use super::head::{BodyLength, Method, RequestHead, ResponseHead, Version};
use super::pump::{Pump, PumpError};
use super::replay::{ReplayBuffer, RequestBody};
use super::timers::Timers;
use crate::base::error::ProxyError;
use crate::config::Cluster;
use crate::config::route::Forward;
use crate::upstream::breaker::ActiveRequest;
use crate::upstream::pool::{HostPool, Lease, connect, connect_raw};
use crate::upstream::view::ClusterState;

/// A request on its way to a host.
#[derive(Debug)]
pub struct Attempt {
    /// The stream.
    pub lease: Lease,
    /// Request body, client to host.
    pub request: Pump,
    /// How much of the replay buffer went out.
    pub sent: usize,
    /// The upstream stopped taking the request body; its response may still come.
    pub upstream_closed_body: bool,
    active: ActiveRequest,
}

/// Gets a stream on `pool`'s host, under the exchange's clocks. `client` is watched meanwhile, where its leaving shows.
pub async fn begin(
    ctx: &ConnContext,
    cluster: &Rc<ClusterState>,
    pool: &Rc<HostPool>,
    head: &RequestHead,
    forward: &Forward,
    timers: &mut Timers<'_>,
    client: Option<&mut Downstream<'_>>,
) -> Result<Attempt, ProxyError> {
    let active = count_active(ctx, cluster, pool, forward)?;
    let is_raw = forward.connect_terminate && head.method == Method::Connect;
    let lease = if is_raw {
        in_time(Box::pin(connect_raw(&ctx.local, cluster, pool)), timers, client).await?
    } else if let Some(lease) = pool.checkout(cluster.config(), head.version) {
        lease
    } else {
        let connecting = connect(&ctx.local, cluster, pool, head.version);
        in_time(Box::pin(connecting), timers, client).await?
    };
    timers.begin_try();
    Ok(Attempt::over(lease, active))
}

/// The same beside other attempts: the future borrows nothing and knows no clock.
pub fn begin_apart(
    ctx: &ConnContext,
    cluster: &Rc<ClusterState>,
    pool: &Rc<HostPool>,
    head: &RequestHead,
    forward: &Forward,
) -> Result<impl Future<Output = Result<Attempt, ProxyError>> + use<>, ProxyError> {
    let active = count_active(ctx, cluster, pool, forward)?;
    let (local, cluster, pool) = (ctx.local.clone(), cluster.clone(), pool.clone());
    let version = head.version;
    Ok(async move {
        let lease = match pool.checkout(cluster.config(), version) {
            Some(lease) => lease,
            None => connect(&local, &cluster, &pool, version).await?,
        };
        Ok(Attempt::over(lease, active))
    })
}

fn count_active(
    ctx: &ConnContext,
    cluster: &Rc<ClusterState>,
    pool: &Rc<HostPool>,
    forward: &Forward,
) -> Result<ActiveRequest, ProxyError> {
    ActiveRequest::begin(&ctx.local, cluster, pool, forward.priority).ok_or_else(|| {
        ctx.local.stats.inc(cluster.config().stats.upstream_rq_active_overflow);
        ProxyError::Overflow
    })
}

/// Waits for a connection under the exchange's clocks, and no longer than the client. Boxed: a request that finds a
/// free one must not carry the size of opening it.
async fn in_time(
    mut connecting: Pin<Box<impl Future<Output = Result<Lease, ProxyError>>>>,
    timers: &mut Timers<'_>,
    mut client: Option<&mut Downstream<'_>>,
) -> Result<Lease, ProxyError> {
    poll_fn(|cx| {
        if let Poll::Ready(lease) = connecting.as_mut().poll(cx) {
            return Poll::Ready(lease);
        }
        if client.as_mut().is_some_and(|client| client.poll_gone(cx).is_ready()) {
            return Poll::Ready(Err(ProxyError::ClientGone));
        }
        timers.poll(cx).map(Err)
    })
    .await
}

impl Attempt {
    fn over(lease: Lease, mut active: ActiveRequest) -> Self {
        active.sent();
        Self { lease, request: Pump::new(), sent: 0, upstream_closed_body: false, active }
    }

    /// Queues the request head.
    pub fn send(&mut self, head: &RequestHead, timers: &mut Timers<'_>) -> Result<(), ProxyError> {
        let body = if head.upgrade.is_some() { BodyLength::None } else { head.body };
        self.lease.stream.send_head(head, body).map_err(|error| self.failure(error))?;
        if head.asks_for_tunnel() && matches!(head.body, BodyLength::None | BodyLength::Fixed(0)) {
            timers.request_complete(timers.now());
            timers.start_try(timers.now());
        }
        Ok(())
    }

    /// Sends as much of the body as the host takes, until the final response head arrives.
    pub async fn response(
        &mut self,
        ctx: &ConnContext,
        down: &mut Downstream<'_>,
        head: &RequestHead,
        replay: &mut ReplayBuffer,
        timers: &mut Timers<'_>,
    ) -> Result<ResponseHead, ProxyError> {
        // What follows a request to tunnel is for the tunnel, and there may be none.
        let held = head.asks_for_tunnel();
        let outcome = poll_fn(|cx| {
            if !held {
                self.poll_request(cx, ctx, down, replay, timers)?;
            }
            if let Poll::Ready(response) = self.poll_response(cx, ctx, down) {
                return Poll::Ready(response);
            }
            if (held || timers.is_request_complete()) && down.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(ProxyError::ClientGone));
            }
            timers.poll(cx).map(Err)
        })
        .await;
        outcome.map(|response| as_upgrade(head, response))
    }

    /// Moves the request body. An upstream that stops reading may have answered already: that decides.
    pub fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        ctx: &ConnContext,
        down: &mut Downstream<'_>,
        replay: &mut ReplayBuffer,
        timers: &mut Timers<'_>,
    ) -> Result<(), ProxyError> {
        if self.request.is_done() || self.upstream_closed_body {
            return Ok(());
        }
        let before = self.request.bytes;
        let polled = self.pump_request(cx, ctx, down, replay);
        let now = timers.now();
        if self.request.bytes != before {
            timers.touch(now);
        }
        if replay.is_ended() {
            timers.request_complete(now);
        }
        match polled {
            Poll::Ready(Ok(())) => timers.start_try(now),
            Poll::Ready(Err(PumpError::Sink(_))) => self.upstream_closed_body = true,
            Poll::Ready(Err(PumpError::Source(error))) => return Err(client_failure(error)),
            Poll::Pending => {}
        }
        Ok(())
    }

    /// One step of the request body.
    pub fn pump_request(
        &mut self,
        cx: &mut Context<'_>,
        ctx: &ConnContext,
        down: &mut Downstream<'_>,
        replay: &mut ReplayBuffer,
    ) -> Poll<Result<(), PumpError>> {
        let mut body = RequestBody { down, replay, sent: &mut self.sent };
        let polled = self.request.poll(cx, &mut body, &mut self.lease.stream);
        flow::of_request(ctx, self.active.cluster(), &mut self.request);
        polled
    }

    /// The cluster that it goes to.
    pub fn cluster(&self) -> &Cluster {
        self.active.cluster()
    }

    /// Nothing more goes up.
    pub fn stop(&mut self, ctx: &ConnContext) {
        flow::end_request(ctx, self.active.cluster(), &mut self.request);
    }

    /// The final response head; interim ones are passed on.
    pub fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        ctx: &ConnContext,
        down: &mut Downstream<'_>,
    ) -> Poll<Result<ResponseHead, ProxyError>> {
        loop {
            match self.lease.stream.poll_head(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.failure(error))),
                Poll::Ready(Ok(head)) if head.status < 200 && head.upgrade.is_none() => {
                    // We answered 100 ourselves unless told to leave that to the upstream.
                    let wanted = head.status != 100 || ctx.settings.proxy_100_continue;
                    if wanted && down.send_informational(&head).is_err() {
                        return Poll::Ready(Err(ProxyError::ClientGone));
                    }
                }
                Poll::Ready(Ok(head)) => return Poll::Ready(Ok(head)),
            }
        }
    }

    /// What an upstream stream error before the response means.
    fn failure(&self, error: StreamError) -> ProxyError {
        match error {
            StreamError::Protocol(text) => ProxyError::UpstreamProtocol(text),
            StreamError::Reset { refused } if self.lease.is_multiplexed() => {
                ProxyError::UpstreamReset { refused }
            }
            StreamError::Closed | StreamError::Reset { .. } | StreamError::Io(_) => {
                ProxyError::UpstreamClosed { reused: self.lease.reused }
            }
        }
    }
}

/// HTTP/2 accepts an upgrade with a 200 (RFC 8441); above the seam that is the 101 of HTTP/1.
fn as_upgrade(head: &RequestHead, mut response: ResponseHead) -> ResponseHead {
    if let (Some(kind), Some(_), Version::Http2) = (head.upgrade, response.upgrade, response.version) {
        response.status = 101;
        response.upgrade = Some(response.block.push_text(head.block.bytes(kind)));
    }
    response
}

/// What a client stream error means.
pub fn client_failure(error: StreamError) -> ProxyError {
    match error {
        StreamError::Protocol(detail) => {
            ProxyError::Downstream(crate::base::error::DownstreamError { status: 400, detail })
        }
        StreamError::Closed | StreamError::Reset { .. } | StreamError::Io(_) => ProxyError::ClientGone,
    }
}
