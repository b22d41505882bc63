//! Bytes: decoding requests, encoding [`Push`]es.
//!
//! Responses are encoded from resources that were encoded long before, so a push to a thousand clients copies bytes
//! and serialises nothing. The two response messages are therefore declared here, with nested messages as the byte
//! strings they are on the wire; field numbers are those of `envoy.service.discovery.v3`.

use bytes::Bytes;
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::machine::Push;
use outrigger_xds_protos::v3::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};

const CONTROL_PLANE: &str = concat!("outrigger/", env!("CARGO_PKG_VERSION"));

#[derive(Clone, PartialEq, Message)]
struct ControlPlane {
    #[prost(string, tag = "1")]
    identifier: String,
}

#[derive(Clone, PartialEq, Message)]
struct SotwResponse {
    #[prost(string, tag = "1")]
    version_info: String,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    resources: Vec<Bytes>,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
    #[prost(message, optional, tag = "6")]
    control_plane: Option<ControlPlane>,
}

#[derive(Clone, PartialEq, Message)]
struct DeltaResource {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(bytes = "bytes", tag = "2")]
    resource: Bytes,
    #[prost(string, tag = "3")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct DeltaResponse {
    #[prost(string, tag = "1")]
    system_version_info: String,
    #[prost(message, repeated, tag = "2")]
    resources: Vec<DeltaResource>,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
    #[prost(string, repeated, tag = "6")]
    removed_resources: Vec<String>,
    #[prost(message, optional, tag = "7")]
    control_plane: Option<ControlPlane>,
}

/// A request message of one of the variants, with what its responses look like.
pub trait Request: Message + Default + 'static {
    /// The response message for a push.
    fn response(push: &Push) -> impl Message;
}

impl Request for DiscoveryRequest {
    fn response(push: &Push) -> impl Message {
        SotwResponse {
            version_info: push.version.to_string(),
            resources: push.resources.iter().map(|r| r.any.clone()).collect(),
            type_url: push.type_url.as_str().to_owned(),
            nonce: push.nonce.to_string(),
            control_plane: control_plane(),
        }
    }
}

impl Request for DeltaDiscoveryRequest {
    fn response(push: &Push) -> impl Message {
        let resource = |r: &std::sync::Arc<crate::snapshot::Resource>| DeltaResource {
            version: r.version.to_string(),
            resource: r.any.clone(),
            name: r.name.to_string(),
        };
        DeltaResponse {
            system_version_info: push.version.to_string(),
            resources: push.resources.iter().map(resource).collect(),
            type_url: push.type_url.as_str().to_owned(),
            nonce: push.nonce.to_string(),
            removed_resources: push.removed.iter().map(ToString::to_string).collect(),
            control_plane: control_plane(),
        }
    }
}

fn control_plane() -> Option<ControlPlane> {
    Some(ControlPlane { identifier: CONTROL_PLANE.to_owned() })
}

/// The gRPC codec of a variant: `R` in, [`Push`] out.
#[derive(Debug)]
pub struct XdsCodec<R>(std::marker::PhantomData<R>);

impl<R> Default for XdsCodec<R> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<R: Request> Codec for XdsCodec<R> {
    type Encode = Push;
    type Decode = R;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        Self::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Self::default()
    }
}

impl<R: Request> Encoder for XdsCodec<R> {
    type Item = Push;
    type Error = Status;

    fn encode(&mut self, push: Push, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        R::response(&push).encode(into).map_err(|e| Status::internal(e.to_string()))
    }
}

impl<R: Request> Decoder for XdsCodec<R> {
    type Item = R;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<R>, Status> {
        R::decode(from).map(Some).map_err(|e| Status::invalid_argument(format!("malformed request: {e}")))
    }
}

#[cfg(test)]
mod tests;
