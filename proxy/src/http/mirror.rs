//! Mirroring: copies of requests for other clusters, whose answers nobody waits for.
//!
//! A copy runs as a task of its own and reads the body from a [`Feed`] that the original fills as it reads from the
//! client. The original never waits: a copy that falls [`MOST_BEHIND`] bytes behind is given up and counted.

mod feed;

use std::rc::Rc;
use std::time::Duration;

use smallvec::SmallVec;

use super::edits;
use super::exchange::Exchange;
use super::head::{BodyLength, HeaderBlock, RequestHead};
use super::header_id::HeaderId;
use super::subrequest::{Keep, Subrequest};
use crate::config::mirror::Mirror;
use crate::config::route::EntryCluster;
use crate::upstream::view::ClusterState;
use feed::{Body, Feed};

pub use feed::MOST_BEHIND;

/// Bytes after which the original lets other tasks run: a fast client would otherwise outrun every copy.
const TURN: usize = 256 * 1024;

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
        let head = head(exchange, mirror);
        if head.body == BodyLength::None {
            feed.finish(None);
        } else {
            copies.feeds.push(feed.clone());
        }
        let copy =
            Subrequest { head, local, cluster: target, part: None, limit: timeout, keep: Keep::Nothing };
        tokio::task::spawn_local(async move { drop(copy.run(&mut Body::of(feed)).await) });
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
