use std::net::{Ipv6Addr, TcpStream};

use super::*;
use crate::config::listener::{Direction, Inspect};
use crate::stats::registry::Registry;
use crate::stats::scope::ListenerStats;

fn listener(address: &str, ipv4_compat: bool) -> Listener {
    Listener {
        access_logs: Vec::new(),
        name: "test".into(),
        address: address.parse().unwrap(),
        bind_to_port: true,
        ipv4_compat,
        use_original_dst: false,
        original_dst: false,
        inspect: Inspect::default(),
        listener_filters_timeout: std::time::Duration::ZERO,
        continue_on_timeout: false,
        direction: Direction::Unspecified,
        backlog: 16,
        ignores_connection_limit: false,
        bypasses_overload: false,
        chains: Vec::new(),
        default_chain: None,
        metadata: None,
        stats_prefix: "listener.test.".into(),
        stats: ListenerStats::new(&Registry::new(), "listener.test."),
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address)
}

#[test]
fn port_zero_gives_every_worker_the_same_port() {
    let sockets = ReusePort::new(3).bind(&listener("127.0.0.1:0", false)).unwrap();
    assert_ne!(sockets.address.port(), 0);
    assert_eq!(sockets.sockets.len(), 3);
    for socket in &sockets.sockets {
        assert_eq!(socket.local_addr().unwrap(), sockets.address);
    }
}

#[test]
fn connections_are_refused_until_it_listens() {
    let ports = ReusePort::new(2);
    let sockets = ports.bind(&listener("127.0.0.1:0", false)).unwrap();
    assert!(connect(sockets.address).is_err());
    ports.listen(&sockets, 16).unwrap();
    assert!(connect(sockets.address).is_ok());
}

#[test]
fn a_taken_port_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = ReusePort::new(1).bind(&listener(&address, false)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn zero_workers_still_bind_once() {
    assert_eq!(ReusePort::new(0).bind(&listener("127.0.0.1:0", false)).unwrap().sockets.len(), 1);
}

#[test]
fn ipv4_reaches_a_v6_wildcard_only_when_asked_for() {
    let ports = ReusePort::new(1);
    for compat in [false, true] {
        let Ok(sockets) = ports.bind(&listener("[::]:0", compat)) else {
            eprintln!("not run: no IPv6 on this machine");
            return;
        };
        ports.listen(&sockets, 16).unwrap();
        let port = sockets.address.port();
        assert!(connect((Ipv6Addr::LOCALHOST, port).into()).is_ok());
        assert_eq!(connect(([127, 0, 0, 1], port).into()).is_ok(), compat);
    }
}
