//! Addresses and names of both ends of both connections.

use std::net::{IpAddr, SocketAddr};

use super::super::Out;
use super::super::operator::{AddressPart, AttemptedPart, Whose};
use super::text;
use crate::config::cluster::{Host, HostAddress};
use crate::observe::record::Record;

pub(super) fn host_name(record: &Record<'_>, port: bool, out: &mut Out<'_>) -> bool {
    let Some(host) = record.upstream_host else { return false };
    text(name_of(host, port), out)
}

/// Its name, else its address.
fn name_of(host: &Host, port: bool) -> &str {
    let name = if host.hostname.is_empty() { &host.display } else { &host.hostname };
    if port { name } else { without_port(name) }
}

/// Of every attempt that had a connection, in order.
pub(super) fn attempted(record: &Record<'_>, part: AttemptedPart, out: &mut Out<'_>) -> bool {
    let all = record.earlier.iter().map(|earlier| &**earlier).chain(record.upstream);
    let mut any = false;
    for upstream in all {
        if any {
            out.plain(b",");
        }
        any = true;
        match part {
            AttemptedPart::ConnectionId => out.number(upstream.id),
            AttemptedPart::Address { port: true } => out.text(upstream.host.display.as_bytes()),
            AttemptedPart::Address { port: false } => {
                out.text(without_port(&upstream.host.display).as_bytes())
            }
            AttemptedPart::Name { port } => out.text(name_of(&upstream.host, port).as_bytes()),
        }
    }
    any
}

fn without_port(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => name,
    }
}

pub(super) fn address(record: &Record<'_>, whose: Whose, part: AddressPart, out: &mut Out<'_>) -> bool {
    let address = match whose {
        Whose::DownstreamRemote => Some(record.downstream_remote),
        Whose::DownstreamDirectRemote => Some(record.downstream_direct_remote),
        Whose::DownstreamLocal => Some(record.downstream_local),
        Whose::DownstreamDirectLocal => record.downstream.map(|downstream| downstream.own_address),
        Whose::UpstreamLocal => record.upstream.and_then(|upstream| upstream.local_address),
        Whose::UpstreamRemote => return upstream_remote(record, part, out),
    };
    let Some(address) = address else { return false };
    socket_address(address, part, out);
    true
}

/// The address of the connected host: missing when no connection was made.
fn upstream_remote(record: &Record<'_>, part: AddressPart, out: &mut Out<'_>) -> bool {
    let connected = record.upstream_host.filter(|_| record.upstream.is_some());
    match connected.map(|host| &host.address) {
        Some(HostAddress::Ip(address)) => socket_address(*address, part, out),
        Some(HostAddress::Pipe(path)) if part != AddressPart::Port => {
            out.text(path.as_os_str().as_encoded_bytes());
        }
        _ => return false,
    }
    true
}

fn socket_address(address: SocketAddr, part: AddressPart, out: &mut Out<'_>) {
    if part == AddressPart::Port {
        return out.number(address.port().into());
    }
    match address.ip() {
        IpAddr::V4(ip) => {
            for (at, octet) in ip.octets().into_iter().enumerate() {
                if at > 0 {
                    out.plain(b".");
                }
                out.number(octet.into());
            }
        }
        IpAddr::V6(ip) if part == AddressPart::Whole => out.display(format_args!("[{ip}]")),
        IpAddr::V6(ip) => out.display(ip),
    }
    if part == AddressPart::Whole {
        out.plain(b":");
        out.number(address.port().into());
    }
}
