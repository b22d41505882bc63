//! The gRPC service: streams in both variants over the shared state.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outrigger_xds_protos::v3::core::Node;
use outrigger_xds_protos::v3::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use outrigger_xds_protos::v3::{AdsServer, AggregatedDiscoveryService};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::{Event, Kind, Push, Shared, delta, sotw};

const MAX_MESSAGE: usize = 64 << 20;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let ads = Ads { shared, streams: AtomicUsize::new(0) };
    let service =
        AdsServer::new(ads).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
    let server = tonic::transport::Server::builder().add_service(service);
    let _ = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
}

struct Ads {
    shared: Arc<Shared>,
    streams: AtomicUsize,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Ok(self.open::<sotw::Stream>(request.into_inner()))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Ok(self.open::<delta::Stream>(request.into_inner()))
    }
}

impl Ads {
    fn open<V: Variant>(&self, requests: Streaming<V::Request>) -> Response<Responses<V::Response>> {
        let (sender, receiver) = mpsc::channel(64);
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        let conversation =
            Conversation { stream, shared: self.shared.clone(), variant: V::default(), sender };
        tokio::spawn(conversation.run(requests));
        Response::new(Box::pin(ReceiverStream::new(receiver)))
    }
}

/// What differs between the two variants.
trait Variant: Default + Send + 'static {
    type Request: Send + 'static;
    type Response: Send + 'static;
    const DELTA: bool;

    fn node(request: &Self::Request) -> Option<&Node>;
    fn request_type(request: &Self::Request) -> &str;
    fn request(&mut self, request: &Self::Request) -> Vec<Kind>;
    fn due(&mut self, shared: &Shared) -> Vec<Self::Response>;
    fn pushed(&mut self, push: Push) -> Option<Self::Response>;
    fn response_type(response: &Self::Response) -> &str;
    fn sent(response: &Self::Response) -> Kind;
}

struct Conversation<V: Variant> {
    stream: usize,
    shared: Arc<Shared>,
    variant: V,
    sender: mpsc::Sender<Result<V::Response, Status>>,
}

impl<V: Variant> Conversation<V> {
    async fn run(mut self, mut requests: Streaming<V::Request>) {
        let (mut changed, mut pushes) = (self.shared.changed.subscribe(), self.shared.pushes.subscribe());
        let mut opened = false;
        loop {
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => self.hear(&request, !std::mem::replace(&mut opened, true)),
                    _ => break,
                },
                _ = changed.changed() => {}
                push = pushes.recv() => match push {
                    Ok(Push::End(code)) => {
                        let _ = self.sender.send(Err(Status::new(code, "as scripted"))).await;
                        break;
                    }
                    Ok(push) => if let Some(response) = self.variant.pushed(push) {
                        self.send(response).await;
                    },
                    Err(_) => break,
                },
            }
            for response in self.variant.due(&self.shared) {
                self.send(response).await;
            }
        }
        self.record("", Kind::Closed);
    }

    fn hear(&mut self, request: &V::Request, first: bool) {
        let type_url = V::request_type(request).to_owned();
        if first {
            let node = V::node(request).cloned().map(Box::new);
            self.record(&type_url, Kind::Opened { node, delta: V::DELTA });
        }
        for kind in self.variant.request(request) {
            self.record(&type_url, kind);
        }
    }

    async fn send(&mut self, response: V::Response) {
        self.record(V::response_type(&response), V::sent(&response));
        // A client that went away ends the loop at its next read.
        let _ = self.sender.send(Ok(response)).await;
    }

    fn record(&self, type_url: &str, kind: Kind) {
        self.shared.record(Event { stream: self.stream, type_url: type_url.to_owned(), kind });
    }
}

impl Variant for sotw::Stream {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    const DELTA: bool = false;

    fn node(request: &DiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn request_type(request: &DiscoveryRequest) -> &str {
        &request.type_url
    }

    fn request(&mut self, request: &DiscoveryRequest) -> Vec<Kind> {
        self.request(request)
    }

    fn due(&mut self, shared: &Shared) -> Vec<DiscoveryResponse> {
        self.due(&shared.resources())
    }

    fn pushed(&mut self, push: Push) -> Option<DiscoveryResponse> {
        let Push::StateOfTheWorld(mut response) = push else { return None };
        self.pushed(&mut response);
        Some(response)
    }

    fn response_type(response: &DiscoveryResponse) -> &str {
        &response.type_url
    }

    fn sent(response: &DiscoveryResponse) -> Kind {
        sotw::sent(response)
    }
}

impl Variant for delta::Stream {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    const DELTA: bool = true;

    fn node(request: &DeltaDiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn request_type(request: &DeltaDiscoveryRequest) -> &str {
        &request.type_url
    }

    fn request(&mut self, request: &DeltaDiscoveryRequest) -> Vec<Kind> {
        self.request(request)
    }

    fn due(&mut self, shared: &Shared) -> Vec<DeltaDiscoveryResponse> {
        self.due(&shared.resources())
    }

    fn pushed(&mut self, push: Push) -> Option<DeltaDiscoveryResponse> {
        let Push::Delta(mut response) = push else { return None };
        self.pushed(&mut response);
        Some(response)
    }

    fn response_type(response: &DeltaDiscoveryResponse) -> &str {
        &response.type_url
    }

    fn sent(response: &DeltaDiscoveryResponse) -> Kind {
        delta::sent(response)
    }
}
