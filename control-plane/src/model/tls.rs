//! TLS termination and origination.

use crate::diagnostics::Place;

/// `listener.tls`: termination at a node or gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Whether TLS is demanded.
    pub mode: TlsMode,
    /// What the listener presents.
    pub certificate: ListenerCertificate,
    /// Client certificate checking, if any.
    pub validation: Option<Validation>,
    /// Where it is written.
    pub at: Place,
}

/// Whether a listener demands TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// TLS only.
    Strict,
    /// TLS or plain text on one port, told apart by sniffing.
    Permissive,
    /// Plain text only.
    Disabled,
}

/// What a listener presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerCertificate {
    /// A certificate in AWS Certificate Manager.
    Acm {
        /// Its ARN.
        certificate_arn: String,
        /// Where it is written.
        at: Place,
    },
    /// Files of the proxy.
    File(CertificateFiles),
    /// A secret of the local SDS server.
    Sds(String),
}

/// Certificate chain and key as files in the proxy's file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM chain.
    pub certificate_chain: String,
    /// PEM key.
    pub private_key: String,
}

/// How a peer's certificate is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// Which roots are trusted.
    pub trust: Trust,
    /// Accepted names; empty: the default check.
    pub subject_alternative_names: Vec<String>,
}

/// Which roots are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Private certificate authorities, 1..=3; client policies only.
    Acm {
        /// Their ARNs.
        certificate_authority_arns: Vec<String>,
        /// Where they are written.
        at: Place,
    },
    /// A PEM bundle in the proxy's file system.
    File(String),
    /// A secret of the local SDS server.
    Sds(String),
}

/// `clientPolicy.tls`: origination towards backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// `true` (default): TLS is a must; `false`: only where the server offers it.
    pub enforce: Option<bool>,
    /// Target ports that the policy covers; empty: all.
    pub ports: Vec<u16>,
    /// What is presented when the server asks.
    pub certificate: Option<ClientCertificate>,
    /// How the server is checked.
    pub validation: Validation,
    /// Where it is written.
    pub at: Place,
}

impl ClientTls {
    /// Whether the policy is for a port of the target.
    pub fn covers(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.contains(&port)
    }
}

/// What a client presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Files of the proxy.
    File(CertificateFiles),
    /// A secret of the local SDS server.
    Sds(String),
}
