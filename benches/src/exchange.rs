//! One request at a time on a connection, for scenarios that count exchanges rather than load.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::Result;
use crate::scenario::{HEADER, HOST, PREFIX};

/// Connections from one source address, so that ports do not run short.
const PER_SOURCE: usize = 5_000;
/// Bytes in the body of each response.
pub const BODY: usize = 100;

/// The `number`th connection.
pub fn connect(address: SocketAddr, number: usize) -> Result<TcpStream> {
    let source = Ipv4Addr::new(127, 0, 1, (number / PER_SOURCE) as u8 + 1);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&address.into(), Duration::from_secs(5))?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(socket.into())
}

/// Sends the request that every proxy routes.
pub fn send(connection: &mut TcpStream) -> Result<()> {
    let (name, value) = HEADER;
    let request = format!("GET {PREFIX}x HTTP/1.1\r\nHost: {HOST}\r\n{name}: {value}\r\n\r\n");
    Ok(connection.write_all(request.as_bytes())?)
}

/// Reads the response to its end.
pub fn receive(connection: &mut TcpStream) -> Result<()> {
    let mut response = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = connection.read(&mut chunk)?;
        response.extend_from_slice(&chunk[..read]);
        let body = memchr::memmem::find(&response, b"\r\n\r\n").map(|end| response.len() - end - 4);
        match body {
            Some(BODY) if response.starts_with(b"HTTP/1.1 200") => return Ok(()),
            Some(BODY..) => return Err("a wrong response".into()),
            _ if read == 0 => return Err("closed before the end of a response".into()),
            _ => {}
        }
    }
}
