//! Certificates for sidecars that keep their keys: one call, one certificate, for the caller's own node alone.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use outrigger_xds_protos::identity::{IssueRequest, IssueResponse};
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Response, Status};
use tonic_prost::ProstCodec;

use super::server::Peer;
use super::session::{self, Context};
use crate::metrics::Refusal;
use crate::snapshot::NotCertified;

/// Largest message: a node id and a request.
const MAX_MESSAGE: usize = 16 << 10;

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
        Box::pin(async move { issue(&context, &peer, request.into_inner()).await.map(Response::new) })
    }
}

async fn issue(context: &Context, peer: &Peer, asked: IssueRequest) -> Result<IssueResponse, Status> {
    let IssueRequest { node_id, request } = asked;
    if !peer.may_be(&node_id) {
        let (peer, node) = (peer.address(), node_id);
        tracing::warn!(target: "audit", peer, node, "denied a certificate: not a node of this client");
        context.metrics.refused(Refusal::Unauthenticated);
        return Err(session::unauthenticated());
    }
    let chain = context.store.certify(node_id, request).await.map_err(|reason| {
        tracing::warn!(target: "audit", peer = peer.address(), "no certificate: {reason}");
        status(&reason)
    })?;
    Ok(IssueResponse { chain })
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
