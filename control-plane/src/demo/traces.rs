//! What X-Ray's daemon would hear of the demo's requests: a receiver on loopback in its place. Every request is traced.
//!
//! Source: the daemon's UDP protocol, a line of JSON that names the format and then one segment.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Result;

/// The header that carries traces.
pub const HEADER: &str = "x-amzn-trace-id";
/// Segments that are kept.
const KEPT: usize = 1024;
/// Largest datagram there is.
const DATAGRAM: usize = 64 * 1024;
/// How long the hops of a request are waited for: sidecars send what they have now and then.
const PATIENCE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(25);

/// The receiver; it ends when dropped.
pub struct Traces {
    address: SocketAddr,
    heard: Arc<Mutex<VecDeque<Value>>>,
    _receiver: JoinSet<()>,
}

impl Traces {
    /// Listens.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start() -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, heard) = (socket.local_addr()?, Arc::<Mutex<VecDeque<Value>>>::default());
        let (mut receiver, keep) = (JoinSet::new(), Arc::clone(&heard));
        receiver.spawn(async move {
            let mut datagram = vec![0; DATAGRAM];
            while let Ok(length) = socket.recv(&mut datagram).await {
                let Some(segment) = segment(&datagram[..length]) else { continue };
                let mut heard = keep.lock().unwrap_or_else(PoisonError::into_inner);
                if heard.len() == KEPT {
                    heard.pop_front();
                }
                heard.push_back(segment);
            }
        });
        Ok(Self { address, heard, _receiver: receiver })
    }

    /// What the App Mesh image is told, so that its sidecar sends every trace here.
    pub fn environment(&self) -> Vec<(String, String)> {
        let pairs = [
            ("ENABLE_ENVOY_XRAY_TRACING", "1".to_owned()),
            ("XRAY_SAMPLING_RATE", "1".to_owned()),
            ("AWS_XRAY_DAEMON_ADDRESS", self.address.to_string()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// A line per hop of the request whose application was told of `header`; waits until `hops` of them were heard.
    pub async fn text(&self, header: &Value, hops: usize) -> String {
        let Some(root) = header.as_str().and_then(root) else { return String::new() };
        let deadline = Instant::now() + PATIENCE;
        let segments = loop {
            let segments = self.of(root);
            if segments.len() >= hops || Instant::now() >= deadline {
                break segments;
            }
            tokio::time::sleep(POLL).await;
        };
        let mut text = String::new();
        for segment in &segments {
            let _ = write!(text, "\n      trace {}", line(segment));
        }
        if segments.len() < hops {
            let _ = write!(text, "\n      trace {root}: {} of {hops} hops were heard of", segments.len());
        }
        text
    }

    /// Segments of one trace, by their beginning.
    fn of(&self, root: &str) -> Vec<Value> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<_> = heard.iter().filter(|segment| segment["trace_id"] == root).cloned().collect();
        found.sort_by(|one, other| start(one).total_cmp(&start(other)));
        found
    }
}

fn segment(datagram: &[u8]) -> Option<Value> {
    let newline = datagram.iter().position(|byte| *byte == b'\n')?;
    serde_json::from_slice(&datagram[newline + 1..]).ok()
}

/// `Root=1-...` among the fields of the header.
fn root(header: &str) -> Option<&str> {
    header.split(';').find_map(|field| field.trim().strip_prefix("Root="))
}

fn start(segment: &Value) -> f64 {
    segment["start_time"].as_f64().unwrap_or_default()
}

/// Trace, segment and its parent, name, direction, duration, flags.
fn line(segment: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let took = (segment["end_time"].as_f64().unwrap_or_default() - start(segment)) * 1000.0;
    let flags: Vec<_> =
        ["error", "fault", "throttle"].into_iter().filter(|flag| segment[flag] == true).collect();
    format!(
        "{} {} below {}: {} {} in {took:.1} ms, {}",
        word(&segment["trace_id"]),
        word(&segment["id"]),
        word(&segment["parent_id"]),
        word(&segment["name"]),
        word(&segment["annotations"]["direction"]),
        if flags.is_empty() { "ok".to_owned() } else { flags.join("+") },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hops_of_a_request_are_told_in_order() {
        let traces = Traces::start().await.unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let send = async |id: &str, start: f64, more: Value| {
            let mut segment = serde_json::json!({"trace_id": "1-a-b", "id": id, "name": "m/n",
                "start_time": start, "end_time": start + 0.0025, "annotations": {"direction": "egress"}});
            if let (Some(segment), Value::Object(more)) = (segment.as_object_mut(), more) {
                segment.extend(more);
            }
            let datagram = format!("{{\"format\":\"json\",\"version\":1}}\n{segment}");
            sender.send_to(datagram.as_bytes(), traces.address).await.unwrap();
        };
        sender.send_to(b"no segment", traces.address).await.unwrap();
        send("second", 2.0, serde_json::json!({"parent_id": "first", "fault": true})).await;
        send("first", 1.0, Value::Null).await;
        send("other", 1.5, serde_json::json!({"trace_id": "1-c-d"})).await;
        let text = traces.text(&"Self=x; Root=1-a-b;Sampled=1".into(), 2).await;
        assert_eq!(
            text,
            "\n      trace 1-a-b first below -: m/n egress in 2.5 ms, ok\
             \n      trace 1-a-b second below first: m/n egress in 2.5 ms, fault"
        );
        assert_eq!(traces.text(&Value::Null, 1).await, "");
    }
}
