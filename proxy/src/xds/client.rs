//! The life of the stream to the control plane: dial, open, read, back off, again.
//!
//! Owns the connection and nothing of the configuration: what arrives goes to the engine's driver as [`Event`]s, what
//! is to be sent comes back through the channel that [`Event::Opened`] carries. Invariants: attempts are spaced by
//! full-jitter back-off that only a received message resets; both directions are bounded, so a server that floods is
//! slowed by flow control and one that does not read is given up. Source: Envoy `GrpcMux`, gRFC A57.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use outrigger_xds_protos::v3::{AdsClient, SdsClient};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::protocol::{Request, Response, Variant};
use super::settings::{AdsSettings, Attestation, Metadata};
use crate::config::cluster::HostAddress;
use crate::config::secret::ClientTls;

mod backoff;
mod connect;

#[cfg(test)]
mod tests;

pub use backoff::Backoff;

/// Requests that may wait for the server to read them. It answers each before it gets the next, so more than a
/// few means that it stopped reading.
const OUTGOING: usize = 256;

/// HTTP/2 PING interval when the cluster sets none: a peer that vanished without a FIN is noticed within a minute.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// The PING must be answered within.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Where to connect, as of now. Empty addresses: wait.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Tried in turn.
    pub addresses: Vec<HostAddress>,
    /// TLS of the cluster.
    pub tls: Option<Arc<ClientTls>>,
    /// Connect and handshake; zero is the default of five seconds.
    pub connect_timeout: Duration,
    /// PING interval and timeout of the cluster; zero is ours.
    pub ping: (Duration, Duration),
}

/// What happens to the stream.
#[derive(Debug)]
pub enum Event {
    /// A stream is being opened; the first requests go in here.
    Opened(Requests),
    /// The server accepted the stream.
    Accepted,
    /// A response.
    Response(Response),
    /// The stream ended, or could not be opened.
    Closed,
}

/// Into an open stream. Whoever drops it gives the stream up: it ends, and the next one begins.
#[derive(Debug)]
pub struct Requests {
    sender: mpsc::Sender<Request>,
    _held: oneshot::Sender<Infallible>,
}

impl Requests {
    /// Queues a request. False: the server does not read, or the stream is over already.
    pub fn send(&self, request: Request) -> bool {
        self.sender.try_send(request).is_ok()
    }
}

/// Why a stream ended.
enum End {
    /// The receiver of events is gone: stop.
    Abandoned,
    /// Anything else.
    Lost {
        /// For the log.
        reason: String,
        /// A message had been received, so this may be routine (maximum connection age).
        spoke: bool,
        /// The server found our PINGs too frequent.
        calm: bool,
    },
}

/// Which of the server's methods is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `AggregatedDiscoveryService`
    Aggregated,
    /// `SecretDiscoveryService`
    Secrets,
}

/// The client.
pub struct Client {
    service: Service,
    settings: AdsSettings,
    reach: watch::Receiver<Reach>,
    events: mpsc::Sender<Event>,
    backoff: Backoff,
    ping_interval: Duration,
    turn: usize,
    channels: watch::Sender<Option<Channel>>,
}

impl Client {
    /// A client that reports to `events` and connects to what `reach` says.
    pub fn new(
        service: Service,
        settings: AdsSettings,
        reach: watch::Receiver<Reach>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let backoff = Backoff::new(settings.backoff.0, settings.backoff.1);
        let channels = watch::Sender::new(None);
        Self { service, settings, reach, events, backoff, ping_interval: PING_INTERVAL, turn: 0, channels }
    }

    /// The connection of the open stream, for other calls to the same control plane; `None` while there is none.
    pub fn channels(&self) -> watch::Receiver<Option<Channel>> {
        self.channels.subscribe()
    }

    /// Runs until the receiver of events or the source of addresses is gone.
    pub async fn run(mut self) {
        loop {
            let Ok(reach) =
                self.reach.wait_for(|reach| !reach.addresses.is_empty()).await.map(|reach| reach.clone())
            else {
                return;
            };
            let address = reach.addresses[self.turn % reach.addresses.len()].clone();
            match self.stream(&reach, &address).await {
                End::Abandoned => return,
                End::Lost { reason, spoke, calm } => self.lost(&address, &reason, spoke, calm),
            }
            if self.events.send(Event::Closed).await.is_err() {
                return;
            }
            tokio::time::sleep(self.backoff.next(fastrand::f64())).await;
        }
    }

    fn lost(&mut self, address: &HostAddress, reason: &str, spoke: bool, calm: bool) {
        self.turn = self.turn.wrapping_add(1);
        let (server, what) = match self.service {
            Service::Aggregated => ("control plane", "configuration"),
            Service::Secrets => ("SDS server", "secret"),
        };
        if spoke {
            tracing::info!("stream to {server} {address:?} ended, reconnecting: {reason}");
        } else {
            tracing::warn!("no {what} from {server} {address:?}: {reason}");
        }
        if calm {
            self.ping_interval = self.ping_interval.saturating_mul(2);
            tracing::info!("control plane asks for fewer PINGs: now every {:?}", self.ping_interval);
        }
    }

    /// One stream from dialling to its end.
    async fn stream(&mut self, reach: &Reach, address: &HostAddress) -> End {
        if self.settings.metadata.is_secret() && reach.tls.is_none() && !stays_here(address) {
            let reason = "a token or proof is never sent in plain text; set OUTRIGGER_XDS_ROOTS".to_owned();
            return End::Lost { reason, spoke: false, calm: false };
        }
        let ping_interval = if reach.ping.0.is_zero() { self.ping_interval } else { reach.ping.0 };
        let dial = connect::Dial { reach, address, authority: &self.settings.authority, ping_interval };
        let channel = match dial.channel().await {
            Ok(channel) => channel,
            Err(reason) => return End::Lost { reason, spoke: false, calm: false },
        };
        let (sender, receiver) = mpsc::channel(OUTGOING);
        let (held, given_up) = oneshot::channel();
        // Before the call: many servers send their response headers only with the first answer.
        if self.events.send(Event::Opened(Requests { sender, _held: held })).await.is_err() {
            return End::Abandoned;
        }
        self.channels.send_replace(Some(channel.clone()));
        let end = tokio::select! {
            end = self.speak(channel, receiver) => end,
            _ = given_up => {
                End::Lost { reason: "it does not read what it is sent".to_owned(), spoke: false, calm: false }
            }
        };
        self.channels.send_replace(None);
        end
    }

    async fn speak(&mut self, channel: Channel, requests: mpsc::Receiver<Request>) -> End {
        match self.settings.variant {
            Variant::StateOfTheWorld => self.speak_sotw(channel, requests).await,
            Variant::Delta => self.speak_delta(channel, requests).await,
        }
    }

    async fn speak_sotw(&mut self, channel: Channel, requests: mpsc::Receiver<Request>) -> End {
        let call = self
            .call(requests, |request| match request {
                Request::Sotw(request) => Some(request),
                Request::Delta(_) => None,
            })
            .await;
        let limit = self.settings.max_response;
        let stream = match self.service {
            Service::Aggregated => {
                let mut client = AdsClient::new(channel).max_decoding_message_size(limit);
                client.stream_aggregated_resources(call).await
            }
            Service::Secrets => {
                let mut client = SdsClient::new(channel).max_decoding_message_size(limit);
                client.stream_secrets(call).await
            }
        };
        match stream {
            Ok(stream) => self.read(stream.into_inner(), Response::Sotw).await,
            Err(status) => ended(&status, false),
        }
    }

    async fn speak_delta(&mut self, channel: Channel, requests: mpsc::Receiver<Request>) -> End {
        let call = self
            .call(requests, |request| match request {
                Request::Delta(request) => Some(request),
                Request::Sotw(_) => None,
            })
            .await;
        let limit = self.settings.max_response;
        let stream = match self.service {
            Service::Aggregated => {
                let mut client = AdsClient::new(channel).max_decoding_message_size(limit);
                client.delta_aggregated_resources(call).await
            }
            Service::Secrets => {
                let mut client = SdsClient::new(channel).max_decoding_message_size(limit);
                client.delta_secrets(call).await
            }
        };
        match stream {
            Ok(stream) => self.read(stream.into_inner(), Response::Delta).await,
            Err(status) => ended(&status, false),
        }
    }

    /// The call: requests of this variant as they come, and the configured metadata.
    async fn call<M>(
        &self,
        mut requests: mpsc::Receiver<Request>,
        unwrap: fn(Request) -> Option<M>,
    ) -> tonic::Request<impl Stream<Item = M> + use<M>> {
        let requests = stream::poll_fn(move |context| requests.poll_recv(context));
        let mut call =
            tonic::Request::new(requests.filter_map(move |request| std::future::ready(unwrap(request))));
        *call.metadata_mut() = grpc_metadata(&self.settings.metadata).await;
        call
    }

    async fn read<M>(&mut self, mut stream: Streaming<M>, wrap: fn(M) -> Response) -> End {
        if self.events.send(Event::Accepted).await.is_err() {
            return End::Abandoned;
        }
        let mut spoke = false;
        loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    spoke = true;
                    self.backoff.reset();
                    if self.events.send(Event::Response(wrap(message))).await.is_err() {
                        return End::Abandoned;
                    }
                }
                Ok(None) => {
                    return End::Lost { reason: "closed by the server".to_owned(), spoke, calm: false };
                }
                Err(status) => return ended(&status, spoke),
            }
        }
    }
}

fn ended(status: &Status, spoke: bool) -> End {
    let calm = status.code() == Code::ResourceExhausted && asks_for_calm(status);
    End::Lost { reason: format!("{:?}: {}", status.code(), status.message()), spoke, calm }
}

/// Whether the connection ended with HTTP/2 ENHANCE_YOUR_CALM, which gRPC servers send for too many PINGs.
fn asks_for_calm(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
        }
        source = error.source();
    }
    false
}

/// The bearer token in a file. Reasons do not show it.
fn bearer(file: &std::path::Path) -> Result<AsciiMetadataValue, String> {
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(file).map_err(|error| error.to_string())?);
    of_token(text.trim()).ok_or_else(|| "holds no token".to_owned())
}

fn of_token(token: &str) -> Option<AsciiMetadataValue> {
    let header = zeroize::Zeroizing::new(format!("Bearer {token}"));
    let mut value = header.parse::<AsciiMetadataValue>().ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A new proof of an AWS identity.
async fn proof(attestation: &Attestation) -> Result<AsciiMetadataValue, String> {
    let proof = attestation.0.proof(std::time::SystemTime::now()).await?;
    of_token(&proof).ok_or_else(|| "the proof is no text".to_owned())
}

/// Whether what is sent there in plain text stays on this machine.
fn stays_here(address: &HostAddress) -> bool {
    match address {
        HostAddress::Ip(address) => address.ip().to_canonical().is_loopback(),
        HostAddress::Pipe(_) => true,
    }
}

/// What goes along with a call: configured entries, and what proves who we are.
pub(super) async fn grpc_metadata(metadata: &Metadata) -> MetadataMap {
    let mut map = MetadataMap::new();
    for (name, value) in &metadata.entries {
        // Checked when the settings were read.
        if let (Ok(name), Ok(value)) = (name.parse::<AsciiMetadataKey>(), value.parse::<AsciiMetadataValue>())
        {
            map.append(name, value);
        }
    }
    if let Some(file) = &metadata.token_file {
        match bearer(file) {
            Ok(value) => drop(map.insert("authorization", value)),
            Err(reason) => {
                tracing::warn!("{}: {reason}; the control plane is asked without it", file.display())
            }
        }
    }
    if let Some(attestation) = &metadata.aws {
        match proof(attestation).await {
            Ok(value) => drop(map.insert("authorization", value)),
            Err(reason) => tracing::warn!("{reason}; the control plane is asked without a proof"),
        }
    }
    map
}
