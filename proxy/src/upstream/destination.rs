//! Where a request to an ORIGINAL_DST cluster goes, when a header of its own says so. Source: Envoy's
//! `OriginalDstCluster::LoadBalancer::requestOverrideHost`.

use std::net::SocketAddr;

use super::local::Local;
use super::view::ClusterState;
use crate::config::cluster::Discovery;
use crate::http::head::RequestHead;
use crate::net::orig_dst::canonical;

/// The address and port in the header that `cluster` looks at. `None`: it looks at none, the request has none, or it
/// is no address, which is counted; then the connection's destination decides.
pub fn named(cluster: &ClusterState, head: &RequestHead, local: &Local) -> Option<SocketAddr> {
    let Discovery::OriginalDst { header: Some(name), .. } = &cluster.config().discovery else { return None };
    let value = head.lines(name).next()?;
    let address = parse(value);
    if address.is_none() {
        local.stats.inc(cluster.config().stats.original_dst_host_invalid);
    }
    address
}

/// `10.0.0.5:80` or `[fd00::5]:80`.
fn parse(value: &[u8]) -> Option<SocketAddr> {
    std::str::from_utf8(value).ok()?.parse().ok().map(canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_with_ports_are_destinations() {
        for (value, want) in [
            ("10.0.0.5:80", Some("10.0.0.5:80")),
            ("[fd00::5]:80", Some("[fd00::5]:80")),
            ("[::ffff:10.0.0.5]:80", Some("10.0.0.5:80")),
            ("10.0.0.5", None),
            ("fd00::5:80", None),
            ("localhost:80", None),
            ("10.0.0.5:80, 10.0.0.6:80", None),
            ("10.0.0.5:65536", None),
            (" 10.0.0.5:80", None),
            ("", None),
        ] {
            assert_eq!(parse(value.as_bytes()), want.map(|text| text.parse().unwrap()), "{value:?}");
        }
        assert_eq!(parse(b"10.0.0.5:80\xff"), None);
    }
}
