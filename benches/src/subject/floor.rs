//! The floor: a relay that hands bytes from one socket to another and looks at none of them.
//!
//! It runs as a process of its own (`outrigger-benches relay LISTEN BACKEND`), so that it is measured like a proxy.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::Topology;
use crate::Result;
use crate::poll::{Outgoing, Poller, Ready, read};

const BUFFER: usize = 256 * 1024;

/// The command that runs this program as the relay.
pub(super) fn command(topology: &Topology) -> Result<(Command, TempDir)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("relay").arg(topology.listen.to_string()).arg(topology.backend.to_string());
    Ok((command, tempfile::tempdir()?))
}

struct End {
    stream: TcpStream,
    outgoing: Outgoing,
}

/// Relays until killed: one backend connection per accepted one, the ends of a pair under neighbouring tokens.
pub fn relay(listen: SocketAddr, backend: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let mut poller = Poller::new()?;
    let mut ends: Vec<Option<End>> = vec![None, None];
    let (mut ready, mut buffer) = (Vec::new(), vec![0; BUFFER]);
    poller.add(&listener, 0)?;
    loop {
        poller.wait(Duration::from_secs(1), &mut ready)?;
        for event in &ready {
            if event.token == 0 {
                accept(&listener, backend, &poller, &mut ends)?;
            } else if turn(*event, &poller, &mut ends, &mut buffer).is_err() {
                ends[event.token] = None;
                ends[event.token ^ 1] = None;
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    backend: SocketAddr,
    poller: &Poller,
    ends: &mut Vec<Option<End>>,
) -> Result<()> {
    while let Ok((downstream, _)) = listener.accept() {
        for stream in [downstream, TcpStream::connect(backend)?] {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            poller.add(&stream, ends.len())?;
            ends.push(Some(End { stream, outgoing: Outgoing::default() }));
        }
    }
    Ok(())
}

fn turn(event: Ready, poller: &Poller, ends: &mut [Option<End>], buffer: &mut [u8]) -> Result<()> {
    let other = event.token ^ 1;
    if event.writable
        && let Some(end) = &mut ends[event.token]
    {
        end.outgoing.flush(&end.stream, poller, event.token)?;
    }
    let Some(source) = ends[event.token].as_ref().filter(|_| event.readable) else { return Ok(()) };
    let Some(read) = read(&source.stream, buffer)? else { return Ok(()) };
    if read == 0 {
        return Err("closed".into());
    }
    let Some(sink) = &mut ends[other] else { return Ok(()) };
    sink.outgoing.buffer().extend_from_slice(&buffer[..read]);
    Ok(sink.outgoing.flush(&sink.stream, poller, other)?)
}
