//! A scripted ADS server over real gRPC: the test reads every request and decides every answer.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, stream};
use outrigger_xds_protos::v3::AdsServer;
use outrigger_xds_protos::v3::AggregatedDiscoveryService;
use outrigger_xds_protos::v3::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpIncoming;
use tonic::{Status, Streaming};

use crate::xds::protocol::{Request, Response};

/// Longest wait for anything to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server. Dropping it closes the port and every stream.
pub(in crate::xds) struct AdsHarness {
    pub(in crate::xds) address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
    server: JoinHandle<()>,
}

/// One stream.
pub(in crate::xds) struct Session {
    pub(in crate::xds) metadata: MetadataMap,
    requests: mpsc::Receiver<Request>,
    answers: mpsc::Sender<Result<Response, Status>>,
}

impl AdsHarness {
    pub(in crate::xds) async fn start() -> Self {
        Self::at(([127, 0, 0, 1], 0).into()).await
    }

    /// At an address where another one may have been.
    pub(in crate::xds) async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (service, sessions) = service();
        let serving = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener));
        let server = tokio::spawn(async move { serving.await.unwrap() });
        Self { address, sessions, server }
    }

    /// On a Unix socket.
    pub(in crate::xds) fn at_socket(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (service, sessions) = service();
        let incoming = stream::poll_fn(move |context| {
            listener.poll_accept(context).map(|accepted| Some(accepted.map(|(stream, _)| stream)))
        });
        let serving = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming);
        let server = tokio::spawn(async move { serving.await.unwrap() });
        Self { address: ([0, 0, 0, 0], 0).into(), sessions, server }
    }

    /// The next stream that is opened.
    pub(in crate::xds) async fn session(&mut self) -> Session {
        tokio::time::timeout(PATIENCE, self.sessions.recv()).await.expect("a stream").unwrap()
    }
}

impl Drop for AdsHarness {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Session {
    /// The next request; `None` when the client closed the stream.
    pub(in crate::xds) async fn request(&mut self) -> Option<Request> {
        tokio::time::timeout(PATIENCE, self.requests.recv()).await.expect("a request")
    }

    pub(in crate::xds) async fn answer(&self, response: Response) {
        self.answers.send(Ok(response)).await.unwrap();
    }

    /// False once the client has given the stream up.
    pub(in crate::xds) async fn try_answer(&self, response: Response) -> bool {
        self.answers.send(Ok(response)).await.is_ok()
    }

    pub(in crate::xds) async fn fail(self, status: Status) {
        self.answers.send(Err(status)).await.unwrap();
    }
}

struct Service(mpsc::Sender<Session>);

fn service() -> (AdsServer<Service>, mpsc::Receiver<Session>) {
    let (sender, sessions) = mpsc::channel(16);
    let service = AdsServer::new(Service(sender)).max_encoding_message_size(usize::MAX);
    (service, sessions)
}

type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

impl Service {
    async fn open<Q: Send + 'static, A: 'static>(
        &self,
        call: tonic::Request<Streaming<Q>>,
        wrap: fn(Q) -> Request,
        unwrap: fn(Response) -> A,
    ) -> Answers<A> {
        let metadata = call.metadata().clone();
        let mut incoming = call.into_inner();
        let (to_test, requests) = mpsc::channel(64);
        let (answers, mut from_test) = mpsc::channel::<Result<Response, Status>>(64);
        self.0.send(Session { metadata, requests, answers }).await.unwrap();
        tokio::spawn(async move {
            while let Ok(Some(request)) = incoming.message().await {
                if to_test.send(wrap(request)).await.is_err() {
                    return;
                }
            }
        });
        Box::pin(stream::poll_fn(move |context| {
            from_test.poll_recv(context).map(|answer| answer.map(|answer| answer.map(unwrap)))
        }))
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Answers<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        call: tonic::Request<Streaming<DiscoveryRequest>>,
    ) -> Result<tonic::Response<Self::StreamAggregatedResourcesStream>, Status> {
        let answers = self.open(call, Request::Sotw, |answer| match answer {
            Response::Sotw(answer) => answer,
            Response::Delta(_) => panic!("the stream speaks state of the world"),
        });
        Ok(tonic::Response::new(answers.await))
    }

    async fn delta_aggregated_resources(
        &self,
        call: tonic::Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<tonic::Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let answers = self.open(call, Request::Delta, |answer| match answer {
            Response::Delta(answer) => answer,
            Response::Sotw(_) => panic!("the stream speaks delta"),
        });
        Ok(tonic::Response::new(answers.await))
    }
}
