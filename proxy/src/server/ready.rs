//! `outrigger-proxy ready`: asks the local admin endpoint whether the proxy is LIVE and configured.
//!
//! LIVE is what `/ready` says, as Envoy's does. Configured is more (`/configured`): every list that discovery was to
//! bring was accepted once, and whatever it named is in place; no listener is without its port. What is refused later
//! leaves the last good state in place, and the proxy configured.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::environment::AdminBind;

/// How long it all may take: a probe must answer before its own time limit.
const LIMIT: Duration = Duration::from_millis(900);
/// How much of the reasons is read, bytes.
const MAX_REPLY: usize = 8 * 1024;

/// What the admin endpoint said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// LIVE and configured.
    Ready,
    /// Not, and why.
    Not(String),
}

/// Asks the admin endpoint.
pub fn ask(admin: &AdminBind) -> io::Result<Readiness> {
    let start = Instant::now();
    let reply = match admin {
        AdminBind::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, LIMIT)?;
            stream.set_write_timeout(Some(LIMIT))?;
            exchange(stream, start, |stream, left| stream.set_read_timeout(Some(left)))
        }
        AdminBind::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_write_timeout(Some(LIMIT))?;
            exchange(stream, start, |stream, left| stream.set_read_timeout(Some(left)))
        }
    }?;
    let text = String::from_utf8_lossy(&reply);
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(Readiness::Ready),
        Some(_) => Ok(Readiness::Not(body.trim_end().replace('\n', "; "))),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// One request and its reply, or as much of it as counts.
fn exchange<S: Read + Write>(
    mut stream: S,
    start: Instant,
    limit: impl Fn(&S, Duration) -> io::Result<()>,
) -> io::Result<Vec<u8>> {
    // HTTP/1.0: the reply comes as it is and ends with the connection.
    stream.write_all(b"GET /configured HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
    let (mut reply, mut piece) = (Vec::new(), [0; 1024]);
    while reply.len() < MAX_REPLY {
        let left = LIMIT.checked_sub(start.elapsed()).filter(|left| !left.is_zero());
        limit(&stream, left.ok_or(io::ErrorKind::TimedOut)?)?;
        match stream.read(&mut piece)? {
            0 => break,
            count => reply.extend_from_slice(&piece[..count]),
        }
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    fn told(reply: &'static [u8]) -> io::Result<Readiness> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            stream.read_exact(&mut [0; 45])?;
            stream.write_all(reply)
        });
        let said = ask(&AdminBind::Tcp(address));
        server.join().unwrap()?;
        said
    }

    #[test]
    fn a_unix_socket_is_asked_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            stream.read_exact(&mut [0; 45])?;
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nOK\n")
        });
        assert_eq!(ask(&AdminBind::Unix(path)).unwrap(), Readiness::Ready);
        server.join().unwrap().unwrap();
    }

    #[test]
    fn reasons_are_told_on_one_line() {
        let refused = b"HTTP/1.0 503 Service Unavailable\r\ncontent-length: 8\r\n\r\none\ntwo\n";
        assert_eq!(told(refused).unwrap(), Readiness::Not("one; two".to_owned()));
        assert_eq!(told(b"HTTP/1.0 200 OK\r\n\r\nOK\n").unwrap(), Readiness::Ready);
        assert!(told(b"SSH-2.0\r\n").is_err());
    }
}
