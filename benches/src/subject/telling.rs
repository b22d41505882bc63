//! What a sidecar tells about its requests, and who listens while it is measured: an X-Ray daemon and a log file.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Result;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// A segment of this share of the requests, per cent.
    Segments(u8),
    /// Those, and the metrics that are told unless others are chosen, as EMF each second.
    SegmentsAndMetrics(u8),
    /// A line of each request in Envoy's format.
    Lines,
}

/// The listeners of one run, gone when dropped.
#[derive(Debug)]
pub(super) struct Telling {
    told: Told,
    daemon: Daemon,
    files: tempfile::TempDir,
}

impl Telling {
    /// Listens for what is told.
    pub(super) fn to(told: Told) -> Result<Self> {
        Ok(Self { told, daemon: Daemon::start()?, files: tempfile::tempdir()? })
    }

    /// The environment it needs.
    pub(super) fn variables(&self) -> &'static [(&'static str, &'static str)] {
        match self.told {
            Told::SegmentsAndMetrics(_) => &[("OUTRIGGER_EMF", "stdout"), ("OUTRIGGER_EMF_INTERVAL_S", "1")],
            Told::Segments(_) | Told::Lines => &[],
        }
    }

    /// Switches it on in a connection manager.
    pub(super) fn configure(&self, manager: &mut Value) {
        match self.told {
            Told::Segments(share) | Told::SegmentsAndMetrics(share) => {
                manager["tracing"] = json!({"provider": provider(self.daemon.address, share)});
            }
            Told::Lines => {
                manager["access_log"] = json!([{"name": "envoy.access_loggers.file", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": self.files.path().join("access.log"),
                }}]);
            }
        }
    }
}

fn provider(daemon: SocketAddr, share: u8) -> Value {
    let rules =
        json!({"version": 2, "default": {"fixed_target": 0, "rate": f64::from(share) / 100.0}}).to_string();
    json!({"name": "envoy.tracers.xray", "typed_config": {
        "@type": "type.googleapis.com/envoy.config.trace.v3.XRayConfig",
        "daemon_endpoint": {"protocol": "UDP", "address": daemon.ip().to_string(), "port_value": daemon.port()},
        "segment_name": "mesh/bench",
        "sampling_rule_manifest": {"inline_string": rules},
    }})
}

/// Takes datagrams and forgets them.
#[derive(Debug)]
struct Daemon {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (address, over) = (socket.local_addr()?, Arc::new(AtomicBool::new(false)));
        let told = over.clone();
        let reader = std::thread::spawn(move || {
            let mut datagram = vec![0; 64 << 10];
            while !told.load(Ordering::Relaxed) {
                let _ = socket.recv(&mut datagram);
            }
        });
        Ok(Self { address, over, reader: Some(reader) })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
