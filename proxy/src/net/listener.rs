//! Binds listening sockets: one per worker and listener, all in one SO_REUSEPORT group.
//!
//! Owns the socket options, not the sockets. The group is bound as a whole before any traffic and keeps its size
//! for life, because closing a member resets the connections queued on it. Source: socket(7), ip(7), ipv6(7).

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use crate::config::listener::Listener;
use crate::config::live::ListenerSockets;
use crate::config::outside::Ports;

#[cfg(test)]
mod tests;

/// Binds for a fixed number of workers.
#[derive(Clone, Copy, Debug)]
pub struct ReusePort {
    workers: usize,
}

impl ReusePort {
    /// One socket per worker, at least one.
    pub fn new(workers: usize) -> Self {
        Self { workers: workers.max(1) }
    }
}

impl Ports for ReusePort {
    fn bind(&self, listener: &Listener) -> io::Result<ListenerSockets> {
        let first = bind_one(listener.address, listener.ipv4_compat)?;
        // With port 0 the kernel chose; the rest of the group takes the same.
        let address = first.local_addr()?;
        let rest = (1..self.workers).map(|_| bind_one(address, listener.ipv4_compat));
        let sockets = std::iter::once(Ok(first)).chain(rest).collect::<io::Result<_>>()?;
        Ok(ListenerSockets { address, sockets })
    }

    fn listen(&self, sockets: &ListenerSockets, backlog: u32) -> io::Result<()> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        sockets.sockets.iter().try_for_each(|socket| SockRef::from(socket).listen(backlog))
    }
}

/// Binds nothing and agrees to everything: for checking a configuration.
#[derive(Clone, Copy, Debug)]
pub struct DryRun;

impl Ports for DryRun {
    fn bind(&self, listener: &Listener) -> io::Result<ListenerSockets> {
        Ok(ListenerSockets { address: listener.address, sockets: Vec::new() })
    }

    fn listen(&self, _: &ListenerSockets, _: u32) -> io::Result<()> {
        Ok(())
    }
}

/// Lets a listening socket answer no new handshake (SYN); those under way still complete. A client that knocks meanwhile
/// tries again a second later, when the socket has closed or another process has taken over.
pub fn refuse_handshakes(socket: &impl AsFd) -> io::Result<()> {
    // Classic BPF over the TCP header, whose 14th byte holds the flags.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    SockRef::from(socket).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

/// Ends listening, whoever else holds the socket.
pub fn close(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).shutdown(Shutdown::Both)
}

fn bind_one(address: SocketAddr, ipv4_compat: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!ipv4_compat)?;
    }
    // A restarted process must not wait for connections of the old one in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}
