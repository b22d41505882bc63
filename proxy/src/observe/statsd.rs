//! StatsD and DogStatsD: statistics pushed as datagrams at every `stats_flush_interval`.
//!
//! Counters go as what they counted since the flush before, gauges as they are, histograms as their buckets'
//! values with a sample rate that says how often each occurred. Nothing waits for the receiver: the sockets
//! never block, and what the kernel does not take is lost, as StatsD is.
//! Source: `envoy.config.metrics.v3.StatsdSink`, `DogStatsdSink`.

mod line;

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;

use super::mesh;
use crate::stats::interval::{Change, Interval, Recorder};
use crate::stats::registry::Registry;
use crate::stats::tags::StatsConfig;
use line::Line;

/// One configured sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// Where the receiver listens.
    pub target: Target,
    /// Before every name, with a dot.
    pub prefix: String,
    /// DogStatsD: names without their tags, and these behind them.
    pub tags: bool,
    /// Several lines share a datagram up to this size; 0 gives each its own.
    pub max_datagram: usize,
}

/// Where a receiver listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// UDP.
    Udp(SocketAddr),
    /// Unix datagram socket.
    Unix(PathBuf),
}

/// Pushes to all sinks.
#[derive(Debug)]
pub struct Pusher {
    recorder: Recorder,
    config: Arc<StatsConfig>,
    /// App Mesh's metrics, when they are on.
    mesh: Option<mesh::Reader>,
    channels: Vec<Channel>,
}

impl Pusher {
    /// A pusher whose first interval begins with the process.
    pub fn new(
        registry: &Registry,
        config: Arc<StatsConfig>,
        mesh: Option<mesh::Reader>,
        sinks: &[Sink],
    ) -> Self {
        let channels = sinks.iter().cloned().map(Channel::new).collect();
        Self { recorder: Recorder::new(registry), config, mesh, channels }
    }

    /// Pushes what happened since the call before. Takes milliseconds: call it from a thread that may.
    pub fn push(&mut self) {
        let interval = self.recorder.advance();
        for channel in &mut self.channels {
            channel.connect();
        }
        self.statistics(&interval);
        self.mesh_metrics(&interval);
        self.channels.iter_mut().for_each(Channel::flush);
    }

    fn statistics(&mut self, interval: &Interval) {
        let view = interval.view();
        for stat in interval.stats().filter(|stat| view.is_used(*stat)) {
            let full = view.name(stat);
            if !self.config.matcher.admits(&full) {
                continue;
            }
            let extracted = self.config.tags.extract(&full);
            let change = interval.change(stat);
            for channel in &mut self.channels {
                let (name, tags) = match channel.sink.tags {
                    true => (extracted.name.as_str(), extracted.tags.as_slice()),
                    false => (full.as_str(), [].as_slice()),
                };
                channel.write(name, tags, &change);
            }
        }
    }

    /// `appmesh.<metric>` with the extension's tags; without tags they would all be one.
    fn mesh_metrics(&mut self, interval: &Interval) {
        let Some(reader) = &mut self.mesh else { return };
        for (side, metrics) in reader.metrics(interval) {
            // The node's own tags are on every statistic.
            let own = self.config.tags.extract("appmesh");
            let tags: Vec<_> = own.tags.iter().copied().chain(side.tags()).collect();
            for (metric, change) in metrics {
                let name = format!("appmesh.{}", metric.name());
                let with_tags = self.channels.iter_mut().filter(|channel| channel.sink.tags);
                with_tags.for_each(|channel| channel.write(&name, &tags, &change));
            }
        }
    }
}

/// A sink and its socket.
#[derive(Debug)]
struct Channel {
    sink: Sink,
    socket: Option<Socket>,
    datagram: Vec<u8>,
    /// The last push failed: told once.
    failing: bool,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Socket {
    fn open(target: &Target) -> std::io::Result<Self> {
        match target {
            Target::Udp(address) => {
                let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(local)?;
                socket.set_nonblocking(true)?;
                socket.connect(address)?;
                Ok(Socket::Udp(socket))
            }
            Target::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                socket.connect(path)?;
                Ok(Socket::Unix(socket))
            }
        }
    }

    fn send(&self, datagram: &[u8]) -> std::io::Result<usize> {
        match self {
            Socket::Udp(socket) => socket.send(datagram),
            Socket::Unix(socket) => socket.send(datagram),
        }
    }
}

impl Channel {
    fn new(sink: Sink) -> Self {
        Self { sink, socket: None, datagram: Vec::new(), failing: false }
    }

    /// A Unix receiver that was restarted is another socket.
    fn connect(&mut self) {
        if self.socket.is_some() && !self.failing {
            return;
        }
        match Socket::open(&self.sink.target) {
            Ok(socket) => (self.socket, self.failing) = (Some(socket), false),
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &std::io::Error) {
        if !self.failing {
            tracing::warn!(target = ?self.sink.target, %error, "statistics cannot be pushed");
        }
        self.failing = true;
    }

    fn write(&mut self, name: &str, tags: &[(&str, &str)], change: &Change) {
        let line = Line { prefix: &self.sink.prefix, name, tags };
        let lines = match change {
            Change::Counter(count) => vec![line.value(count, "c", None)],
            Change::Gauge(value) => vec![line.value(value, "g", None)],
            Change::Histogram(values) => {
                let line = |(value, count)| line.value(&value, "ms", (count > 1).then_some(count));
                values.values().map(line).collect()
            }
        };
        lines.iter().for_each(|line| self.append(line));
    }

    fn append(&mut self, line: &str) {
        if !self.datagram.is_empty() && self.datagram.len() + 1 + line.len() > self.sink.max_datagram {
            self.flush();
        }
        if !self.datagram.is_empty() {
            self.datagram.push(b'\n');
        }
        self.datagram.extend_from_slice(line.as_bytes());
    }

    fn flush(&mut self) {
        let datagram = std::mem::take(&mut self.datagram);
        if datagram.is_empty() {
            return;
        }
        let sent = self.socket.as_ref().map(|socket| socket.send(&datagram));
        if let Some(Err(error)) = sent {
            // Nobody listens yet, or the receiver is behind: StatsD loses what it loses.
            self.failed(&error);
        }
        self.datagram = datagram;
        self.datagram.clear();
    }
}

#[cfg(test)]
mod tests;
