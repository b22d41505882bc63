//! The two protocol variants as a session sees them: their messages taken apart, and who sends them.

use outrigger_xds_protos::identity;
use outrigger_xds_protos::v3::core::Node;
use outrigger_xds_protos::v3::core::node::UserAgentVersionType;
use outrigger_xds_protos::v3::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use tonic::Status;

use super::delta::{Delta, DeltaRequest};
use super::machine::Machine;
use super::sotw::{Sotw, SotwRequest};
use super::wire;
use crate::snapshot::Audience;

/// ARNs of mesh resources stay below 700 bytes.
const MAX_NODE_ID: usize = 1024;
const MAX_USER_AGENT: usize = 128;
/// How much of a client's error text is kept. Texts are for people; some clients send megabytes.
const MAX_ERROR_TEXT: usize = 4096;

/// A protocol variant: its messages and its machine.
pub trait Protocol: Send + Sync + 'static {
    /// The request message.
    type Wire: wire::Request;
    /// The machine of one type.
    type Machine: Machine<Request: Send + Sync> + Send;

    /// Takes a request message apart.
    fn split(wire: Self::Wire) -> Envelope<<Self::Machine as Machine>::Request>;
}

/// What every request says beside its own business.
pub struct Envelope<R> {
    /// Who it is; guaranteed on the first request of a stream only.
    pub node: Option<Node>,
    /// The type; may be empty where the method says it.
    pub type_url: String,
    /// The rest.
    pub request: R,
}

/// State of the world.
pub struct SotwProtocol;

impl Protocol for SotwProtocol {
    type Wire = DiscoveryRequest;
    type Machine = Sotw;

    fn split(wire: DiscoveryRequest) -> Envelope<SotwRequest> {
        let request = SotwRequest {
            version: wire.version_info,
            names: wire.resource_names,
            nonce: wire.response_nonce,
            error: wire.error_detail.map(|status| bounded(status.message, MAX_ERROR_TEXT)),
        };
        Envelope { node: wire.node, type_url: wire.type_url, request }
    }
}

/// Delta.
pub struct DeltaProtocol;

impl Protocol for DeltaProtocol {
    type Wire = DeltaDiscoveryRequest;
    type Machine = Delta;

    fn split(wire: DeltaDiscoveryRequest) -> Envelope<DeltaRequest> {
        let request = DeltaRequest {
            subscribe: wire.resource_names_subscribe,
            unsubscribe: wire.resource_names_unsubscribe,
            initial_versions: wire.initial_resource_versions.into_iter().collect(),
            nonce: wire.response_nonce,
            error: wire.error_detail.map(|status| bounded(status.message, MAX_ERROR_TEXT)),
        };
        Envelope { node: wire.node, type_url: wire.type_url, request }
    }
}

/// The node of a first request.
///
/// # Errors
/// When there is none, or its id cannot be one.
pub fn identify(node: Option<&Node>) -> Result<&Node, Status> {
    match node {
        None => Err(Status::invalid_argument("the first request of a stream must carry a node")),
        Some(node) if node.id.is_empty() => Err(Status::invalid_argument("node.id is empty")),
        Some(node) if node.id.len() > MAX_NODE_ID => Err(Status::invalid_argument("node.id is too long")),
        Some(node) => Ok(node),
    }
}

/// Name and version of a client's software, as far as it says.
pub fn user_agent(node: &Node) -> String {
    let version = match &node.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentVersion(text)) => text.clone(),
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => build
            .version
            .as_ref()
            .map_or(String::new(), |v| format!("{}.{}.{}", v.major_number, v.minor_number, v.patch)),
        None => String::new(),
    };
    bounded(format!("{} {version}", node.user_agent_name).trim().to_owned(), MAX_USER_AGENT)
}

/// What kind of client it is: gRPC libraries of every language introduce themselves as `gRPC ...`, sidecars that keep
/// their keys by a client feature.
pub fn audience(node: &Node) -> Audience {
    let name = node.user_agent_name.as_bytes();
    let is_grpc = name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"grpc"));
    let own_key = node.client_features.iter().any(|feature| feature == identity::OWN_KEY);
    match (is_grpc, own_key) {
        (true, _) => Audience::GrpcClient,
        (false, true) => Audience::KeyHolder,
        (false, false) => Audience::Proxy,
    }
}

/// Cuts a text from outside to so many bytes, at a character.
pub(crate) fn bounded(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_libraries_are_told_from_proxies() {
        let of = |name: &str| audience(&Node { user_agent_name: name.into(), ..Default::default() });
        for name in ["gRPC C-core linux", "gRPC Go", "gRPC Java", "grpc-node"] {
            assert_eq!(of(name), Audience::GrpcClient, "{name}");
        }
        for name in ["envoy", "outrigger-proxy", "", "gR"] {
            assert_eq!(of(name), Audience::Proxy, "{name}");
        }
        let client_features = vec![identity::OWN_KEY.to_owned()];
        assert_eq!(audience(&Node { client_features, ..Default::default() }), Audience::KeyHolder);
    }
}
