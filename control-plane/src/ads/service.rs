//! Which gRPC method is which stream: the aggregated service, and one service per type, both variants each.
//!
//! One dispatcher in place of a generated server per service: all methods are the same machine, with or without a
//! fixed type. Unary `Fetch*` methods (REST polling) are not offered.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use http::{Request, Response};
use hyper::body::Incoming;
use outrigger_xds_protos::identity;
use outrigger_xds_protos::load::MAX_REPORT_BYTES;
use outrigger_xds_protos::v3::load_service::LoadReportingServer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService};
use tonic::{Status, Streaming};

use super::issue;
use super::machine::Push;
use super::peer::Peer;
use super::protocol::{DeltaProtocol, Protocol, SotwProtocol};
use super::refusal::{refuse, unauthenticated};
use super::server::MAX_REQUEST_BYTES;
use super::session::{self, Context};
use super::wire::XdsCodec;
use crate::access::Denied;
use crate::load::LoadReports;
use crate::metrics::Refusal;
use crate::snapshot::TypeUrl;

/// The two protocol variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// State of the world.
    Sotw,
    /// Incremental.
    Delta,
}

impl Variant {
    /// As shown and counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sotw => "sotw",
            Self::Delta => "delta",
        }
    }
}

/// The method of load reports.
const LOAD_REPORTS: &str = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats";

/// A discovery method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// Protocol variant.
    pub variant: Variant,
    /// The only type of the stream; `None` on the aggregated service.
    pub type_url: Option<TypeUrl>,
}

impl Method {
    /// The method at a request path.
    pub fn at(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix("/envoy.service.")?.split_once('/')?;
        let (type_url, suffix) = match service {
            "discovery.v3.AggregatedDiscoveryService" => (None, "AggregatedResources"),
            "listener.v3.ListenerDiscoveryService" => (Some(TypeUrl::LISTENER), "Listeners"),
            "route.v3.RouteDiscoveryService" => (Some(TypeUrl::ROUTE), "Routes"),
            "cluster.v3.ClusterDiscoveryService" => (Some(TypeUrl::CLUSTER), "Clusters"),
            "endpoint.v3.EndpointDiscoveryService" => (Some(TypeUrl::ENDPOINTS), "Endpoints"),
            "secret.v3.SecretDiscoveryService" => (Some(TypeUrl::SECRET), "Secrets"),
            _ => return None,
        };
        let variant = match method.strip_suffix(suffix)? {
            "Stream" => Variant::Sotw,
            "Delta" => Variant::Delta,
            _ => return None,
        };
        Some(Self { variant, type_url })
    }

    /// The customary abbreviation of the service.
    pub fn service(&self) -> &'static str {
        self.type_url.as_ref().map_or("ADS", TypeUrl::short)
    }
}

/// The discovery services, for one connection.
#[derive(Clone)]
pub struct Service {
    context: Arc<Context>,
    peer: Peer,
}

impl Service {
    /// The services for a connection with `peer`.
    pub fn new(context: Arc<Context>, peer: Peer) -> Self {
        Self { context, peer }
    }

    /// Finds out who calls, before anything is said.
    async fn authenticated(self, request: Request<Incoming>) -> Response<Body> {
        let authorization =
            request.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match self.context.gate.admit(self.peer.shown(authorization), SystemTime::now()).await {
            Ok(grant) => {
                tracing::debug!(target: "audit", peer = self.peer.address(), "known: {}", grant.name());
                let Self { context, peer } = self;
                Self { context, peer: peer.let_in(grant) }.dispatch(request).await
            }
            Err(Denied(reason)) => {
                tracing::warn!(target: "audit", peer = self.peer.address(), "denied: {reason}");
                refuse(&self.context, Refusal::Unauthenticated, unauthenticated()).into_http()
            }
        }
    }

    async fn dispatch(self, request: Request<Incoming>) -> Response<Body> {
        if request.uri().path() == LOAD_REPORTS {
            return self.load_reports(request).await;
        }
        if request.uri().path() == identity::METHOD {
            return issue::answer(self.context, self.peer, request).await;
        }
        let Some(method) = Method::at(request.uri().path()) else {
            let known = "the discovery services of Envoy v3, aggregated and per type, streaming only, and load reports";
            let text = format!("no method {}; offered are {known}", request.uri().path());
            return Status::unimplemented(text).into_http();
        };
        match method.variant {
            Variant::Sotw => self.stream::<SotwProtocol>(method, request).await,
            Variant::Delta => self.stream::<DeltaProtocol>(method, request).await,
        }
    }

    async fn load_reports(self, request: Request<Incoming>) -> Response<Body> {
        let reports = LoadReports::new(self.context, self.peer);
        let mut server = LoadReportingServer::new(reports).max_decoding_message_size(MAX_REPORT_BYTES);
        let Ok(response) = tower::Service::call(&mut server, request).await;
        response
    }

    async fn stream<P: Protocol>(self, method: Method, request: Request<Incoming>) -> Response<Body> {
        Grpc::new(XdsCodec::<P::Wire>::default())
            .max_decoding_message_size(MAX_REQUEST_BYTES)
            .streaming(Start { service: self, method, protocol: std::marker::PhantomData::<P> }, request)
            .await
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.authenticated(request).await) })
    }
}

/// Starts the session of one stream.
struct Start<P> {
    service: Service,
    method: Method,
    protocol: std::marker::PhantomData<P>,
}

impl<P: Protocol> StreamingService<P::Wire> for Start<P> {
    type Response = Push;
    type ResponseStream = ReceiverStream<Result<Push, Status>>;
    type Future = std::future::Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<P::Wire>>) -> Self::Future {
        let context = &self.service.context;
        let Ok(permit) = Arc::clone(&context.streams).try_acquire_owned() else {
            context.metrics.refused(Refusal::Limit);
            return std::future::ready(Err(Status::resource_exhausted(
                "too many streams on this control plane",
            )));
        };
        // One response may wait for the transport; while it does, no further one is made.
        let (responses, receiver) = mpsc::channel(1);
        let open = self.service.peer.stream_opened();
        let session = session::run::<P>(
            Arc::clone(context),
            self.service.peer.clone(),
            self.method.clone(),
            request.into_inner(),
            responses,
        );
        tokio::spawn(async move {
            session.await;
            drop((permit, open));
        });
        std::future::ready(Ok(tonic::Response::new(ReceiverStream::new(receiver))))
    }
}

#[cfg(test)]
mod tests;
