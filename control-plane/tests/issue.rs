//! Certificates on request: how many there may be, for a node and for all, and what is said beyond that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests are tests.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::channel;
use http::uri::PathAndQuery;
use outrigger::ads::issue::IssueLimits;
use outrigger::quota::Terms;
use outrigger::server::{Config, ControlPlane};
use outrigger::snapshot::{Audience, NoResources, NodeResources, NotCertified, ResourceSource, UnknownNode};
use outrigger_xds_protos::identity::{IssueRequest, IssueResponse, METHOD};
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

/// Signs for every node while it is not closed, and counts who came.
#[derive(Default)]
struct Signs {
    closed: AtomicBool,
    came: AtomicUsize,
}

impl ResourceSource for Signs {
    fn resources(&self, node_id: &str, _: Audience) -> Result<NodeResources, NoResources> {
        Err(UnknownNode::new(node_id, "has nothing", [""; 0]).into())
    }

    fn certify(&self, node_id: &str, _: &[u8]) -> Result<String, NotCertified> {
        self.came.fetch_add(1, Ordering::SeqCst);
        while self.closed.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Ok(format!("chain of {node_id}"))
    }

    fn canonical_id(&self, node_id: &str) -> Option<String> {
        node_id.rsplit('/').next().map(str::to_owned)
    }
}

async fn start(node: Terms, all: Terms) -> (ControlPlane, Arc<Signs>) {
    let mut config = Config::ephemeral();
    config.issues = IssueLimits { node, all };
    let signs = Arc::<Signs>::default();
    let source = Arc::clone(&signs) as Arc<dyn ResourceSource>;
    (ControlPlane::start(config, source).await.unwrap(), signs)
}

async fn ask(channel: Channel, node: &str) -> Result<String, Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let request = tonic::Request::new(IssueRequest { node_id: node.to_owned(), request: vec![1] });
    let codec = ProstCodec::<IssueRequest, IssueResponse>::default();
    let answer = client.unary(request, PathAndQuery::from_static(METHOD), codec).await;
    answer.map(|answer| answer.into_inner().chain)
}

/// The code, and that it says what there was too much of.
fn refused(answer: Result<String, Status>) -> (Code, bool) {
    let status = answer.unwrap_err();
    (status.code(), status.message().contains("for this node"))
}

#[tokio::test]
async fn a_node_has_its_share_whatever_it_is_called_and_all_have_theirs() {
    let terms = |burst| Terms { burst, per_second: 0.0, at_once: 100 };
    let (plane, _) = start(terms(3), terms(5)).await;
    let channel = channel(&plane).await;
    for node in ["mesh/m/virtualNode/a", "arn:aws:appmesh:r:1:mesh/m/virtualNode/a", "a"] {
        assert_eq!(ask(channel.clone(), node).await.unwrap(), format!("chain of {node}"));
    }
    assert_eq!(refused(ask(channel.clone(), "a").await), (Code::ResourceExhausted, true));
    for _ in 0..2 {
        ask(channel.clone(), "b").await.unwrap();
    }
    assert_eq!(refused(ask(channel.clone(), "b").await), (Code::ResourceExhausted, false));
    let counted = plane.metrics().render();
    assert!(counted.contains("outrigger_xds_refused_streams_total{reason=\"limit\"} 2"), "{counted}");
}

#[tokio::test]
async fn only_so_many_are_signed_at_once() {
    let terms = |at_once| Terms { burst: 100, per_second: 0.0, at_once };
    let (plane, signs) = start(terms(2), terms(3)).await;
    let channel = channel(&plane).await;
    signs.closed.store(true, Ordering::SeqCst);
    let ask_aside = |node| tokio::spawn(ask(channel.clone(), node));
    let waiting = ["a", "a", "b"].map(ask_aside);
    while signs.came.load(Ordering::SeqCst) < waiting.len() {
        tokio::task::yield_now().await;
    }
    assert_eq!(refused(ask(channel.clone(), "a").await), (Code::ResourceExhausted, true));
    assert_eq!(refused(ask(channel.clone(), "c").await), (Code::ResourceExhausted, false));
    signs.closed.store(false, Ordering::SeqCst);
    for one in waiting {
        assert!(one.await.unwrap().is_ok());
    }
    assert!(ask(channel.clone(), "a").await.is_ok(), "who is done makes room");
}
