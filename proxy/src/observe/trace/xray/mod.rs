//! X-Ray: segment documents and the daemon they go to.

pub mod document;
pub mod udp;

use super::header::Propagation;
use super::sampling::manifest::Manifest;
use super::transport::Target;

/// Where segments go: host and port, the host a name or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// IP address or name.
    pub host: Box<str>,
    /// UDP port.
    pub port: u16,
}

impl Default for Daemon {
    /// Where the daemon and the CloudWatch agent listen.
    fn default() -> Self {
        Self { host: "127.0.0.1".into(), port: 2000 }
    }
}

/// Settings of a tracer. Source: `envoy.config.trace.v3.XRayConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The daemon.
    pub daemon: Daemon,
    /// Name of every segment: what the service map calls us.
    pub name: Box<str>,
    /// `origin`: the type of our node in the map.
    pub origin: Box<str>,
    /// `aws`: JSON of an object, or empty.
    pub aws: Box<str>,
    /// Local sampling rules.
    pub manifest: Manifest,
    /// `node.id`, as an annotation.
    pub node_id: Box<str>,
    /// The mesh whose members have segments of their own; empty: unknown.
    pub mesh: Box<str>,
    /// Tell more than App Mesh did: each try, why something failed, and where we run.
    pub rich: bool,
    /// Where the service's sampling rules are asked for; `None`: those of the manifest hold.
    pub central: Option<Target>,
    /// Headers.
    pub propagation: Propagation,
}

/// Longest document: with its header line it fits into a datagram and the daemon's buffer.
const MAX_DOCUMENT: usize = 65_000;
/// Longest segment name, characters.
const MAX_NAME: usize = 200;

/// `name` in X-Ray's alphabet: letters, digits and blanks of any script and `_ . : / % & # = + \ - @`.
pub fn segment_name(name: &str) -> Box<str> {
    let valid = |c: &char| c.is_alphanumeric() || *c == ' ' || "_.:/%&#=+\\-@".contains(*c);
    name.chars().filter(valid).take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_keep_to_the_alphabet() {
        assert_eq!(&*super::segment_name("shop/cart-vn"), "shop/cart-vn");
        assert_eq!(&*super::segment_name("a\"b\n(c)*d!é"), "abcdé");
        assert_eq!(super::segment_name(&"x".repeat(300)).len(), 200);
    }
}
