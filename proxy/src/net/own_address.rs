//! The address by which other machines know this one.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// A documentation address (RFC 5737): nobody is there, and nothing is sent to find the way to it.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// The source address of connections to elsewhere; loopback where there is no way out.
pub fn own_address() -> IpAddr {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    let route = socket.and_then(|socket| socket.connect(ELSEWHERE).and_then(|()| socket.local_addr()));
    route.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}
