//! Ports that stay free until their user binds them.
//!
//! A port is leased by an exclusive lock on a file that all test processes of the machine share, and lies below the
//! range the kernel takes outgoing ports from, so neither a parallel test nor a client connection can take it.

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use socket2::{Domain, Socket, Type};

use crate::Result;

const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

/// A port on loopback that nobody else will be given while this value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lease: File,
}

impl Port {
    /// Leases a free port.
    pub fn lease() -> Result<Self> {
        let directory = lease_dir()?;
        let start = std::process::id() as u16;
        (FIRST..LAST)
            .map(|offset| FIRST + (offset - FIRST + start) % (LAST - FIRST))
            .find_map(|number| Self::try_lease(&directory, number))
            .ok_or_else(|| format!("no free port in {FIRST}..{LAST}").into())
    }

    /// The port number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1` with this port.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }

    fn try_lease(directory: &std::path::Path, number: u16) -> Option<Self> {
        let path = directory.join(number.to_string());
        let lease = OpenOptions::new().create(true).write(true).truncate(false).open(path).ok()?;
        lease.try_lock().ok()?;
        is_free(number).then_some(Self { number, _lease: lease })
    }
}

/// Looks without listening: a program that is being started elsewhere in this process may hold a copy of the socket
/// for a moment, and only a listening one would be in the way of the port's user.
fn is_free(number: u16) -> bool {
    let bind = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, number)).into())
    };
    bind().is_ok()
}

fn lease_dir() -> std::io::Result<PathBuf> {
    let directory =
        std::env::temp_dir().join(format!("outrigger-ports-{}", rustix::process::getuid().as_raw()));
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::Port;

    #[test]
    fn leases_are_distinct_and_bindable() {
        let leases: Vec<_> = (0..16).map(|_| Port::lease().unwrap()).collect();
        let mut numbers: Vec<_> = leases.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 16);
        std::net::TcpListener::bind(leases[0].address()).unwrap();
    }
}
