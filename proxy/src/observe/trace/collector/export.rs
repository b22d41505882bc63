//! Sends batches of spans. A collector that is slow or gone costs spans; workers never wait for it.

use std::sync::Arc;
use std::time::Duration;

use super::{Form, Settings, datadog, otlp, zipkin};
use crate::observe::platform::Place;
use crate::observe::queue::{Documents, Queue};
use crate::observe::trace::transport::{Client, Dial, Request};

/// How long spans wait for company.
const COMPANY: Duration = Duration::from_secs(1);
/// Spans in one request.
const MAX_BATCH: usize = 1000;
/// gRPC: no compression, and the length of the message.
const GRPC_PREFIX: usize = 5;

/// Sends what comes through `queue` until it is stopped and empty.
pub async fn export(settings: Settings, queue: Arc<Queue>, dial: Arc<dyn Dial>, place: Place) {
    let client = match settings.form {
        Form::OtlpGrpc => Client::http2(settings.target.clone(), dial),
        _ => Client::http1(settings.target.clone(), dial),
    };
    let client = client.called(&settings.authority, settings.secure);
    let mut sender = Sender { settings, place, client };
    let mut spare = Documents::default();
    while queue.ready(COMPANY).await {
        for lane in queue.lanes() {
            lane.take(&mut spare);
            sender.send_all(&spare, &queue).await;
        }
    }
}

/// The way to one collector.
struct Sender {
    settings: Settings,
    place: Place,
    client: Client,
}

impl Sender {
    async fn send_all(&mut self, documents: &Documents, queue: &Queue) {
        let (stats, shard) = (&queue.shared().stats, &queue.shared().shard);
        let mut documents = documents.iter().peekable();
        while documents.peek().is_some() {
            let batch: Vec<&[u8]> = documents.by_ref().take(MAX_BATCH).collect();
            match self.send(&batch).await {
                Ok(()) => shard.add(stats.spans_sent, batch.len() as u64),
                Err(error) => {
                    shard.add(stats.spans_failed, batch.len() as u64);
                    tracing::debug!(target = ?self.settings.target, %error, "spans were not taken");
                }
            }
        }
    }

    async fn send(&mut self, batch: &[&[u8]]) -> Result<(), String> {
        let Self { settings, place, client } = self;
        let spans = batch.iter().copied();
        let count = batch.len().to_string();
        let (content_type, body) = match settings.form {
            Form::OtlpGrpc => ("application/grpc", grpc(&otlp::frame(settings, place.now(), spans))),
            Form::OtlpHttp => ("application/x-protobuf", otlp::frame(settings, place.now(), spans)),
            Form::ZipkinJson => ("application/json", zipkin::json_frame(spans)),
            Form::ZipkinProto => ("application/x-protobuf", batch.concat()),
            Form::Datadog => ("application/msgpack", datadog::frame(spans)),
        };
        let headers: &[(&'static str, &str)] = match settings.form {
            Form::OtlpGrpc => &[("te", "trailers")],
            Form::Datadog => &[("x-datadog-trace-count", &count), ("datadog-meta-lang", "rust")],
            _ => &[],
        };
        let answer = client.post(Request { path: &settings.path, content_type, headers, body }).await?;
        match (answer.status, answer.grpc_status, settings.form) {
            (200, Some(0), Form::OtlpGrpc) => Ok(()),
            (status, code, Form::OtlpGrpc) => Err(format!("answered {status}, gRPC status {code:?}")),
            (200..=299, ..) => Ok(()),
            (status, ..) => Err(format!("answered {status}")),
        }
    }
}

fn grpc(message: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(GRPC_PREFIX + message.len());
    body.push(0);
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(message);
    body
}
