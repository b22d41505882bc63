//! What stands behind the data plane in every section.

use std::net::SocketAddr;

use outrigger_tests::Result;
use outrigger_tests::bootstrap::{cluster, over_http2};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Closing, Echo, Judge, Upstream};
use serde_json::Value;

/// Upstreams and the clusters that name them:
/// `a`, `b`, `c` echo over HTTP/1, `h2` over HTTP/2; `empty` has no hosts, nobody listens at `refused`, and
/// `closing` ends each connection at the first request. `judge` and `judge-grpc` are an authorization service.
pub struct World {
    echoes: Vec<(&'static str, Upstream)>,
    closing: Upstream,
    judge: Upstream,
    refused: Port,
}

impl World {
    /// Starts the upstreams.
    pub fn start() -> Result<Self> {
        let echo = |name| Ok((name, Upstream::start(Echo::new(name))?));
        Ok(Self {
            echoes: ["a", "b", "c", "h2"].into_iter().map(echo).collect::<Result<_>>()?,
            closing: Upstream::start(Closing::BeforeResponse)?,
            judge: Upstream::start(Judge::default())?,
            refused: Port::lease()?,
        })
    }

    /// The address of an upstream, by the name of its cluster.
    pub fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        let echoes = self.echoes.iter().map(|(name, upstream)| (*name, upstream.address()));
        echoes.chain([("closing", self.closing.address()), ("refused", self.refused.address())]).collect()
    }

    /// All clusters.
    pub fn clusters(&self) -> Vec<Value> {
        let of = |(name, address): (&str, SocketAddr)| match name {
            "h2" => over_http2(cluster(name, &[address])),
            _ => cluster(name, &[address]),
        };
        let judge = [self.judge.address()];
        let rest =
            [cluster("empty", &[]), cluster("judge", &judge), over_http2(cluster("judge-grpc", &judge))];
        self.addresses().into_iter().map(of).chain(rest).collect()
    }
}
