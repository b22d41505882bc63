//! Certificate requests of sidecars: our own service beside Envoy's, on the connection of the aggregated stream.
//!
//! A sidecar that keeps its key says so with [`OWN_KEY`] among its client features. Where another proxy gets the secret
//! [`SECRET`] with a private key in it, this one gets it as a `generic_secret`; it answers with a call of
//! [`METHOD`], and again when its certificate is due or the secret's text changes. The text: a line that stands for the
//! authority that signs at the moment, then a line for each name the certificate will have.

use prost::Message;

/// The client feature of a sidecar that makes its own key.
pub const OWN_KEY: &str = "outrigger.own_key";
/// The secret with a node's own identity.
pub const SECRET: &str = "outrigger:identity";
/// The method: [`IssueRequest`] in, [`IssueResponse`] out.
pub const METHOD: &str = "/outrigger.identity.v1.CertificateService/Issue";

/// Asks for a certificate.
#[derive(Clone, PartialEq, Message)]
pub struct IssueRequest {
    /// Who asks, as in `node.id` of discovery.
    #[prost(string, tag = "1")]
    pub node_id: String,
    /// PKCS#10 in DER. Its key and its proof of possession count; what else it asks for does not.
    #[prost(bytes = "vec", tag = "2")]
    pub request: Vec<u8>,
}

/// The certificate.
#[derive(Clone, PartialEq, Message)]
pub struct IssueResponse {
    /// PEM, leaf first.
    #[prost(string, tag = "1")]
    pub chain: String,
}
