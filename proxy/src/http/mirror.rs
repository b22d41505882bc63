//! Mirroring: copies of requests for other clusters, whose answers nobody waits for.
//!
//! A copy runs as a task of its own and reads the body from a [`Feed`] that the original fills as it reads from the
//! client. The original never waits: a copy that falls [`MOST_BEHIND`] bytes behind is given up and counted.

mod feed;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::sleep;

use super::codec::{BodySource, Fill};
use super::edits;
use super::exchange::Exchange;
use super::head::{BodyLength, HeaderBlock, RequestHead};
use super::header_id::HeaderId;
use super::pump::{Pump, PumpError};
use crate::base::error::ProxyError;
use crate::config::live::Priority;
use crate::config::mirror::Mirror;
use crate::config::route::EntryCluster;
use crate::upstream::breaker::ActiveRequest;
use crate::upstream::lb::PickContext;
use crate::upstream::local::Local;
use crate::upstream::outlier::{self, LocalFailure};
use crate::upstream::pool::{HostPool, Lease, connect};
use crate::upstream::view::ClusterState;
use feed::{Body, Feed};

pub use feed::MOST_BEHIND;

/// Bytes after which the original lets other tasks run: a fast client would otherwise outrun every copy.
const TURN: usize = 256 * 1024;

/// Longest life of a copy whose route has no timeout.
const LONGEST: Duration = Duration::from_secs(300);

/// The copies of one request that take its body. Dropped before its end, it ends them too.
#[derive(Debug)]
pub struct Copies {
    feeds: SmallVec<[Rc<Feed>; 1]>,
    since_turn: usize,
}

impl Copies {
    /// Hands on what was read from the client.
    pub fn push(&mut self, bytes: &[u8]) {
        self.since_turn += bytes.len();
        self.feeds.iter().for_each(|feed| feed.push(bytes));
    }

    /// The body is complete.
    pub fn finish(&mut self, trailers: Option<&HeaderBlock>) {
        self.feeds.drain(..).for_each(|feed| feed.finish(trailers.map(HeaderBlock::copy)));
    }

    /// True once in a while: let others run before reading on.
    pub fn turn_is_over(&mut self) -> bool {
        let over = self.since_turn > TURN && !self.feeds.is_empty();
        if over {
            self.since_turn = 0;
        }
        over
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.feeds.iter().for_each(|feed| feed.abandon());
    }
}

/// Starts the copies of a request on its way to `cluster`; what there is to do for them while its body is read.
/// `timeout`: that of the route, zero is none.
pub fn start(
    exchange: &Exchange<'_>,
    mirrors: &[Mirror],
    cluster: &Rc<ClusterState>,
    timeout: Duration,
) -> Option<Box<Copies>> {
    const PER_MILLION: u64 = 1_000_000;
    let mut copies = Copies { feeds: SmallVec::new(), since_turn: 0 };
    for mirror in mirrors {
        let left_out = mirror.share_ppm.is_some_and(|share| exchange.random % PER_MILLION >= share.into());
        let Some(target) = target(exchange, mirror).filter(|_| !left_out) else { continue };
        let local = exchange.ctx.local.clone();
        let feed = Feed::new(&local, cluster.config());
        let copy = Copy { head: head(exchange, mirror), local, cluster: target };
        if copy.head.body == BodyLength::None {
            feed.finish(None);
        } else {
            copies.feeds.push(feed.clone());
        }
        let limit = if timeout.is_zero() { LONGEST } else { timeout };
        tokio::task::spawn_local(copy.run(Body::of(feed), limit));
    }
    (!copies.feeds.is_empty()).then(|| Box::new(copies))
}

/// The cluster of the copy; `None` when there is none of that name.
fn target(exchange: &Exchange<'_>, mirror: &Mirror) -> Option<Rc<ClusterState>> {
    let id = match &mirror.cluster {
        EntryCluster::Named(id) => *id,
        EntryCluster::Header(name) => {
            let name = std::str::from_utf8(exchange.head.lines(name).next()?).ok()?;
            *exchange.view.snapshot.cluster_names.get(name)?
        }
    };
    exchange.view.cluster(id).cloned()
}

/// The head of the copy.
fn head(exchange: &Exchange<'_>, mirror: &Mirror) -> RequestHead {
    let mut head = exchange.head.copy();
    for edit in &mirror.edits {
        let values = edits::render(&edit.request_add, &exchange.summary.record(Some(&exchange.head)));
        edits::apply_request(edit, &values, &mut head.block);
    }
    head.block.replace(HeaderId::EnvoyInternal, b"true");
    let own = exchange.ctx.local.own_address.to_string();
    head.block.append(b"x-forwarded-for", own.as_bytes());
    head.block.join(b"x-forwarded-for", b",", None);
    if let Some(host) = &mirror.host {
        head.set_authority(host.as_bytes());
    } else if mirror.mark_host {
        let marked = marked(head.authority());
        head.set_authority(&marked);
    }
    head
}

/// `host-shadow`, before the port.
fn marked(authority: &[u8]) -> Vec<u8> {
    let host = super::route::without_port(authority);
    [host, b"-shadow", &authority[host.len()..]].concat()
}

/// A copy on its way.
struct Copy {
    head: RequestHead,
    local: Rc<Local>,
    cluster: Rc<ClusterState>,
}

impl Copy {
    /// From the pick of a host to the end of its answer, for at most `limit`.
    async fn run(self, body: Body, limit: Duration) {
        let (config, shard) = (self.cluster.config(), &self.local.stats);
        let pick = PickContext::default();
        let Some(pool) = self.cluster.pick(&self.local, pick, None, Priority::Default) else {
            shard.inc(config.stats.upstream_cx_none_healthy);
            return self.count(503);
        };
        let Some(mut active) = ActiveRequest::begin(&self.local, &self.cluster, &pool, Priority::Default)
        else {
            shard.inc(config.stats.upstream_rq_active_overflow);
            return self.count(503);
        };
        match self.carry(&pool, &mut active, body, limit).await {
            Ok(status) => {
                outlier::response(&self.local, config, &pool.host, status);
                self.count(status);
            }
            Err(error) => {
                if let Some(failure) = LocalFailure::of(&error) {
                    outlier::failed(&self.local, config, &pool.host, failure);
                }
                if matches!(error, ProxyError::RequestTimeout) {
                    shard.inc(config.stats.upstream_rq_timeout);
                }
                self.count(if matches!(error, ProxyError::RequestTimeout) { 504 } else { 503 });
            }
        }
    }

    fn count(&self, status: u16) {
        self.cluster.config().stats.count_response(&self.local.stats, status, true);
    }

    async fn carry(
        &self,
        pool: &Rc<HostPool>,
        active: &mut ActiveRequest,
        body: Body,
        limit: Duration,
    ) -> Result<u16, ProxyError> {
        let mut late = pin!(sleep(limit));
        let mut lease = {
            let mut connecting = pin!(self.lease(pool));
            poll_fn(|cx| match connecting.as_mut().poll(cx) {
                Poll::Ready(lease) => Poll::Ready(lease),
                Poll::Pending => late.as_mut().poll(cx).map(|()| Err(ProxyError::RequestTimeout)),
            })
            .await?
        };
        active.sent();
        outlier::connected(self.cluster.config(), &pool.host);
        let mut passage = Passage { body, request: Pump::new(), stuck: false, status: None };
        let sent = lease.stream.send_head(&self.head, self.head.body);
        let outcome = match sent {
            Err(_) => Err(ProxyError::UpstreamClosed { reused: lease.reused }),
            Ok(()) => {
                poll_fn(|cx| match passage.poll(cx, &mut lease) {
                    Poll::Ready(outcome) => Poll::Ready(outcome),
                    Poll::Pending => late.as_mut().poll(cx).map(|()| Err(ProxyError::RequestTimeout)),
                })
                .await
            }
        };
        if outcome.is_err() || !passage.request.is_done() {
            lease.stream.cancel();
        }
        lease.finish(&self.local, self.cluster.config());
        outcome
    }

    async fn lease(&self, pool: &Rc<HostPool>) -> Result<Lease, ProxyError> {
        match pool.checkout(self.cluster.config(), self.head.version) {
            Some(lease) => Ok(lease),
            None => connect(&self.local, &self.cluster, pool, self.head.version).await,
        }
    }
}

/// The two bodies of a copy: one goes up, the other is thrown away.
struct Passage {
    body: Body,
    request: Pump,
    /// The upstream takes no more of the request.
    stuck: bool,
    status: Option<u16>,
}

impl Passage {
    fn poll(&mut self, cx: &mut Context<'_>, lease: &mut Lease) -> Poll<Result<u16, ProxyError>> {
        let closed = ProxyError::UpstreamClosed { reused: lease.reused };
        if !self.stuck && !self.request.is_done() {
            match self.request.poll(cx, &mut self.body, &mut lease.stream) {
                Poll::Ready(Err(PumpError::Source(_))) => return Poll::Ready(Err(ProxyError::ClientGone)),
                Poll::Ready(Err(PumpError::Sink(_))) => self.stuck = true,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        while self.status.is_none() {
            match lease.stream.poll_head(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(closed)),
                Poll::Ready(Ok(head)) => self.status = (head.status >= 200).then_some(head.status),
            }
        }
        loop {
            match lease.stream.poll_fill(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(closed)),
                Poll::Ready(Ok(Fill::End)) => return Poll::Ready(self.status.ok_or(closed)),
                Poll::Ready(Ok(Fill::Data)) => {
                    let count = lease.stream.chunk().len();
                    lease.stream.consume(count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_marked_before_their_port() {
        for (host, want) in
            [("a.test", "a.test-shadow"), ("a.test:80", "a.test-shadow:80"), ("[::1]:80", "[::1]-shadow:80")]
        {
            assert_eq!(marked(host.as_bytes()), want.as_bytes());
        }
    }
}
