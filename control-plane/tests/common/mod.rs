//! Discovery clients that do by hand what a test says, and resources to serve them.
#![allow(dead_code, unused_imports)] // Each test file uses its part.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use outrigger::listen::Address;
use outrigger::server::{Config, ControlPlane};
use outrigger::snapshot::{NodeResources, StaticSource};
use outrigger_xds_protos::any::{self, unpack};
use outrigger_xds_protos::v3::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use outrigger_xds_protos::v3::{self, AdsClient, Status as RpcStatus};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Status, Streaming};

pub use outrigger_xds_protos::type_url::{
    CLUSTER as CDS, CLUSTER_LOAD_ASSIGNMENT as EDS, LISTENER as LDS, ROUTE_CONFIGURATION as RDS,
};

/// Every wait for something that must happen.
pub const LIMIT: Duration = Duration::from_secs(20);
/// Every wait for something that must not.
pub const SILENCE: Duration = Duration::from_millis(300);

pub const NODE: &str = "mesh/shop/virtualNode/front";

/// A node with EDS clusters and their endpoints; the text tells versions apart.
pub fn clusters(list: &[(&str, &str)]) -> NodeResources {
    let mut resources = NodeResources::default();
    for (name, content) in list {
        resources.insert(*name, &cluster(name, content));
        resources.insert(*name, &endpoints(name));
    }
    resources
}

/// The same with a listener whose routes, told apart by a text, come over RDS.
pub fn mesh(list: &[(&str, &str)], routes: &str) -> NodeResources {
    use v3::hcm::http_connection_manager::RouteSpecifier;
    let mut resources = clusters(list);
    let rds = v3::hcm::Rds { config_source: Some(ads()), route_config_name: "routes".into() };
    let specifier = Some(RouteSpecifier::Rds(rds));
    let manager = v3::hcm::HttpConnectionManager { route_specifier: specifier, ..Default::default() };
    let config = Some(v3::listener::filter::ConfigType::TypedConfig(any::pack(&manager)));
    let filters = vec![v3::listener::Filter { name: "http".into(), config_type: config }];
    let chain = v3::listener::FilterChain { filters, ..Default::default() };
    let listener =
        v3::listener::Listener { name: "in".into(), filter_chains: vec![chain], ..Default::default() };
    resources.insert("in", &listener);
    let internal_only_headers = vec![routes.to_owned()];
    let routes =
        v3::route::RouteConfiguration { name: "routes".into(), internal_only_headers, ..Default::default() };
    resources.insert("routes", &routes);
    resources
}

fn ads() -> v3::core::ConfigSource {
    let ads = v3::core::config_source::ConfigSourceSpecifier::Ads(v3::core::AggregatedConfigSource {});
    v3::core::ConfigSource { config_source_specifier: Some(ads), ..Default::default() }
}

pub fn cluster(name: &str, content: &str) -> v3::cluster::Cluster {
    use v3::cluster::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
    v3::cluster::Cluster {
        name: name.into(),
        alt_stat_name: content.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: Some(ads()), ..Default::default() }),
        ..Default::default()
    }
}

pub fn endpoints(name: &str) -> v3::endpoint::ClusterLoadAssignment {
    v3::endpoint::ClusterLoadAssignment { cluster_name: name.into(), ..Default::default() }
}

pub fn source(resources: NodeResources) -> Arc<StaticSource> {
    Arc::new(StaticSource::default().with(NODE, resources))
}

/// A control plane on loopback that passes updates on at once.
pub async fn start(resources: NodeResources) -> ControlPlane {
    start_with(resources, |_| {}).await
}

pub async fn start_with(resources: NodeResources, change: impl FnOnce(&mut Config)) -> ControlPlane {
    let mut config = Config::ephemeral();
    config.push_interval = Duration::ZERO;
    change(&mut config);
    ControlPlane::start(config, source(resources)).await.unwrap()
}

pub async fn channel(plane: &ControlPlane) -> Channel {
    channel_to(&plane.addresses().xds[0]).await
}

pub async fn channel_to(address: &Address) -> Channel {
    match address {
        Address::Tcp(address) => {
            Endpoint::try_from(format!("http://{address}")).unwrap().connect().await.unwrap()
        }
        Address::Unix(path) => {
            let path = path.clone();
            let connect = tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(path).await?)) }
            });
            Endpoint::from_static("http://unix").connect_with_connector(connect).await.unwrap()
        }
    }
}

pub fn node(id: &str) -> Option<v3::core::Node> {
    Some(v3::core::Node { id: id.into(), user_agent_name: "test".into(), ..Default::default() })
}

fn rejection(error: &str) -> Option<RpcStatus> {
    Some(RpcStatus { message: error.into(), ..Default::default() })
}

/// One stream of either variant.
pub struct Client<Q, S> {
    requests: mpsc::Sender<Q>,
    responses: Streaming<S>,
    node: Option<v3::core::Node>,
}

pub type Sotw = Client<DiscoveryRequest, DiscoveryResponse>;
pub type Delta = Client<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

impl<Q, S> Client<Q, S> {
    pub async fn send(&self, request: Q) {
        self.requests.send(request).await.unwrap();
    }

    /// The next response.
    pub async fn next(&mut self) -> S {
        let message = tokio::time::timeout(LIMIT, self.responses.message()).await;
        message.expect("a response in time").expect("a response, no error").expect("a response, no end")
    }

    /// Whatever comes next.
    pub async fn message(&mut self) -> Result<Option<S>, Status> {
        self.responses.message().await
    }

    /// The end of the stream, which must come before any further response.
    pub async fn end(&mut self) -> Result<(), Status> {
        let message = tokio::time::timeout(LIMIT, self.responses.message()).await.expect("an end in time");
        message.map(|message| assert!(message.is_none(), "a response in place of the end"))
    }

    pub async fn silence(&mut self) {
        let message = tokio::time::timeout(SILENCE, self.responses.message()).await;
        assert!(message.is_err(), "no response was due");
    }
}

impl Sotw {
    pub async fn open(channel: Channel, node_id: &str) -> Self {
        let (requests, receiver) = mpsc::channel(16);
        let stream = AdsClient::new(channel).max_decoding_message_size(usize::MAX);
        let stream = { stream }.stream_aggregated_resources(ReceiverStream::new(receiver)).await.unwrap();
        Self { requests, responses: stream.into_inner(), node: node(node_id) }
    }

    /// Subscribes. The node goes with the first request only.
    pub async fn ask(&mut self, type_url: &str, names: &[&str]) {
        let request = DiscoveryRequest {
            node: self.node.take(),
            type_url: type_url.into(),
            resource_names: names.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        self.send(request).await;
    }

    pub async fn ack(&mut self, response: &DiscoveryResponse, names: &[&str]) {
        self.answer(response, names, None).await;
    }

    pub async fn answer(&mut self, response: &DiscoveryResponse, names: &[&str], error: Option<&str>) {
        let request = DiscoveryRequest {
            version_info: if error.is_none() { response.version_info.clone() } else { String::new() },
            type_url: response.type_url.clone(),
            resource_names: names.iter().map(ToString::to_string).collect(),
            response_nonce: response.nonce.clone(),
            error_detail: error.and_then(rejection),
            ..Default::default()
        };
        self.send(request).await;
    }
}

impl Delta {
    pub async fn open(channel: Channel, node_id: &str) -> Self {
        let (requests, receiver) = mpsc::channel(16);
        let stream = AdsClient::new(channel).max_decoding_message_size(usize::MAX);
        let stream = { stream }.delta_aggregated_resources(ReceiverStream::new(receiver)).await.unwrap();
        Self { requests, responses: stream.into_inner(), node: node(node_id) }
    }

    pub async fn ask(&mut self, type_url: &str, names: &[&str], held: &[(String, String)]) {
        let request = DeltaDiscoveryRequest {
            node: self.node.take(),
            type_url: type_url.into(),
            resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
            initial_resource_versions: held.iter().cloned().collect(),
            ..Default::default()
        };
        self.send(request).await;
    }

    pub async fn answer(&mut self, response: &DeltaDiscoveryResponse, error: Option<&str>) {
        let request = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error.and_then(rejection),
            ..Default::default()
        };
        self.send(request).await;
    }
}

/// Names of the resources in a response; those of a state-of-the-world response are read from the messages.
pub trait Names {
    fn names(&self) -> Vec<String>;
}

impl Names for DiscoveryResponse {
    fn names(&self) -> Vec<String> {
        let name = |any| match self.type_url.as_str() {
            CDS => unpack::<v3::cluster::Cluster>(any).unwrap().name,
            EDS => unpack::<v3::endpoint::ClusterLoadAssignment>(any).unwrap().cluster_name,
            LDS => unpack::<v3::listener::Listener>(any).unwrap().name,
            RDS => unpack::<v3::route::RouteConfiguration>(any).unwrap().name,
            other => panic!("no such type here: {other}"),
        };
        self.resources.iter().map(name).collect()
    }
}

impl Names for DeltaDiscoveryResponse {
    fn names(&self) -> Vec<String> {
        self.resources.iter().map(|r| r.name.clone()).collect()
    }
}

/// A page of the admin endpoint.
pub async fn admin(plane: &ControlPlane, path: &str) -> String {
    page(&plane.addresses().admin.as_ref().unwrap().to_string(), path).await
}

/// A page of the HTTP server at an address.
pub async fn page(address: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    body.to_owned()
}

/// The status of a type of the only connected node, once it satisfies a condition.
pub async fn status(plane: &ControlPlane, kind: &str, wanted: &str) -> serde_json::Value {
    let poll = async {
        loop {
            let page: serde_json::Value = serde_json::from_str(&admin(plane, "/nodes").await).unwrap();
            let status = &page["nodes"][0]["types"][kind];
            if status["status"] == wanted {
                return status.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, poll).await.unwrap_or_else(|_| panic!("{kind} is not {wanted} in /nodes"))
}

/// Waits for a condition.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let poll = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, poll).await.unwrap_or_else(|_| panic!("{what}"));
}
