//! Certificates for sidecars that keep their keys: one call, one certificate, for the caller's own node alone.
//!
//! A signature costs, and some authorities ask money for it: each node may have so many, and all together too. Who is
//! refused asks again later; the certificate in use lasts for a third of its life.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use http::Request;
use hyper::body::Incoming;
use outrigger_xds_protos::identity::{IssueRequest, IssueResponse};
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Response, Status};
use tonic_prost::ProstCodec;

use super::peer::Peer;
use super::refusal::refuse;
use super::session::Context;
use crate::metrics::Refusal;
use crate::quota::{Quota, Terms};
use crate::snapshot::NotCertified;

/// Largest message: a node id and a request.
const MAX_MESSAGE: usize = 16 << 10;

/// How many certificates there may be; a restart of a whole mesh fits.
#[derive(Debug, Clone, Copy)]
pub struct IssueLimits {
    /// For one node: all replicas of a service are one.
    pub node: Terms,
    /// For all nodes together.
    pub all: Terms,
}

impl Default for IssueLimits {
    fn default() -> Self {
        Self {
            node: Terms { burst: 512, per_second: 16.0, at_once: 32 },
            all: Terms { burst: 4096, per_second: 256.0, at_once: 256 },
        }
    }
}

/// What was issued lately.
#[derive(Debug)]
pub struct Issues {
    node: Quota,
    all: Quota,
}

impl Issues {
    /// Within these limits.
    pub fn new(limits: IssueLimits) -> Self {
        Self { node: Quota::new(limits.node), all: Quota::new(limits.all) }
    }
}

/// Answers one call.
pub(super) async fn answer(
    context: Arc<Context>,
    peer: Peer,
    request: Request<Incoming>,
) -> http::Response<Body> {
    let codec = ProstCodec::<IssueResponse, IssueRequest>::default();
    Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE).unary(Issue { context, peer }, request).await
}

struct Issue {
    context: Arc<Context>,
    peer: Peer,
}

impl UnaryService<IssueRequest> for Issue {
    type Response = IssueResponse;
    type Future = Pin<Box<dyn Future<Output = Result<Response<IssueResponse>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<IssueRequest>) -> Self::Future {
        let (context, peer) = (Arc::clone(&self.context), self.peer.clone());
        // A task of its own: who hangs up and calls again has what is under way still counted.
        let issued = tokio::spawn(async move { issue(&context, &peer, request.into_inner()).await });
        Box::pin(async move { issued.await.map_err(|e| Status::internal(e.to_string()))?.map(Response::new) })
    }
}

async fn issue(context: &Context, peer: &Peer, asked: IssueRequest) -> Result<IssueResponse, Status> {
    let IssueRequest { node_id, request } = asked;
    let generation = context.store.current();
    context.permit(peer, &node_id, &generation, "a certificate")?;
    // Ids have several forms; those that nobody knows cost little, and share one place.
    let node = generation.canonical_id(&node_id).unwrap_or_default();
    let now = Instant::now();
    let own = context.issues.node.enter(&node, now);
    let own = own.ok_or_else(|| exhausted(context, peer, &node_id, NODE))?;
    let Some(_all) = context.issues.all.enter("", now) else {
        own.give_back();
        return Err(exhausted(context, peer, &node_id, ALL));
    };
    let chain = context.store.certify(&generation, node_id, request).await.map_err(|reason| {
        tracing::warn!(target: "audit", peer = peer.address(), "no certificate: {reason}");
        status(&reason)
    })?;
    Ok(IssueResponse { chain })
}

const NODE: &str = "too many certificates for this node";
const ALL: &str = "too many certificates at the moment";

fn exhausted(context: &Context, peer: &Peer, node: &str, what: &'static str) -> Status {
    tracing::warn!(target: "audit", peer = peer.address(), node, "denied a certificate: {what}");
    refuse(context, Refusal::Limit, Status::resource_exhausted(format!("{what}; ask again later")))
}

fn status(reason: &NotCertified) -> Status {
    match reason {
        NotCertified::NoAuthority => Status::unimplemented(reason.to_string()),
        NotCertified::Unknown(_) => Status::not_found(reason.to_string()),
        NotCertified::Request(_) => Status::invalid_argument(reason.to_string()),
        // What went wrong here is in our log.
        NotCertified::Failed(_) => Status::unavailable("the authority cannot sign at the moment"),
    }
}
