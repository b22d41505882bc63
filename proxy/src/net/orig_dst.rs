//! The destination a connection had before interception redirected it (`SO_ORIGINAL_DST`, v4 and v6).

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

/// The original destination, when the kernel redirected this connection. `None` for a direct connection:
/// without a conntrack entry, or when the answer is the address the socket is bound to anyway.
pub fn original_destination(tcp: &TcpStream) -> Option<SocketAddr> {
    let local = tcp.local_addr().ok()?;
    let socket = SockRef::from(tcp);
    // A v4 connection on a dual-stack v6 socket answers only to the v4 option.
    let found = if is_v4(&local) { socket.original_dst_v4() } else { socket.original_dst_v6() };
    let address = canonical(found.ok()?.as_socket()?);
    (address != canonical(local)).then_some(address)
}

fn is_v4(address: &SocketAddr) -> bool {
    address.is_ipv4() || matches!(address, SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some())
}

/// Writes a v4-mapped v6 address as v4, so that addresses compare and print the same on either socket kind.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
