//! Sends batches of spans. A collector that is slow or gone costs spans; workers never wait for it.

use std::sync::Arc;
use std::time::Duration;

use super::answer::{self, GRPC_PREFIX, Outcome};
use super::{Form, Settings, datadog, otlp, zipkin};
use crate::observe::platform::Place;
use crate::observe::queue::{Documents, Queue};
use crate::observe::trace::transport::{Client, Dial, Request};

/// How long spans wait for company.
const COMPANY: Duration = Duration::from_secs(1);
/// Spans in one request.
const MAX_BATCH: usize = 1000;
/// Tries of one batch.
const MAX_TRIES: u32 = 4;

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
        let mut documents = documents.iter().peekable();
        while documents.peek().is_some() {
            let batch: Vec<&[u8]> = documents.by_ref().take(MAX_BATCH).collect();
            self.deliver(&batch, queue).await;
        }
    }

    /// Sends a batch, again where its collector wants that. What comes meanwhile waits in the lanes, as far as they go.
    async fn deliver(&mut self, batch: &[&[u8]], queue: &Queue) {
        let (stats, shard) = (&queue.shared().stats, &queue.shared().shard);
        let count = batch.len() as u64;
        let mut tries = 1;
        loop {
            match self.send(batch).await {
                Outcome::Taken { rejected } => {
                    let rejected = rejected.min(count);
                    shard.add(stats.spans_dropped, rejected);
                    return shard.add(stats.spans_sent, count - rejected);
                }
                Outcome::Again { after, why } if tries < MAX_TRIES && !queue.is_stopped() => {
                    tracing::debug!(target = ?self.settings.target, why, "spans are sent again");
                    queue.pause(answer::pause(after, tries, fastrand::f64())).await;
                    tries += 1;
                }
                Outcome::Again { why, .. } | Outcome::Refused(why) => {
                    shard.add(stats.spans_failed, count);
                    tracing::debug!(target = ?self.settings.target, why, "spans were not taken");
                    return;
                }
            }
        }
    }

    async fn send(&mut self, batch: &[&[u8]]) -> Outcome {
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
        let request = Request { path: &settings.path, content_type, headers, body };
        answer::judge(settings.form, client.post(request).await)
    }
}

fn grpc(message: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(GRPC_PREFIX + message.len());
    body.push(0);
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(message);
    body
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::observe::platform::Platform;
    use crate::observe::trace::collector::Sampling;
    use crate::observe::trace::header::Propagation;
    use crate::observe::trace::transport::{Dialling, Target};
    use crate::stats::registry::Registry;
    use crate::stats::view::Value;

    /// Answers each connection with the next of these; with none of them nobody is there.
    #[derive(Debug)]
    struct Busy(Mutex<VecDeque<&'static str>>);

    impl Dial for Busy {
        fn dial<'a>(&'a self, _target: &'a Target) -> Dialling<'a> {
            Box::pin(async {
                let answer =
                    self.0.lock().unwrap().pop_front().ok_or(std::io::ErrorKind::ConnectionRefused)?;
                let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"[{}]") && theirs.read_buf(&mut request).await.unwrap() > 0 {}
                    let rest = "content-length: 0\r\nconnection: close\r\n\r\n";
                    theirs.write_all(format!("HTTP/1.1 {answer}\r\n{rest}").as_bytes()).await.unwrap();
                });
                Ok(Box::new(ours) as _)
            })
        }
    }

    /// What was sent, dropped and failed, and answers that nobody wanted.
    async fn sent(answers: &[&'static str]) -> ([u64; 3], usize) {
        let registry = Registry::new();
        let queue = Queue::new(&registry, "test");
        let busy = Arc::new(Busy(Mutex::new(answers.iter().copied().collect())));
        let settings = Settings {
            target: Target::Address("collector".into(), 1),
            authority: "".into(),
            secure: false,
            path: "/".into(),
            service: "".into(),
            node_id: "".into(),
            form: Form::ZipkinJson,
            attempts: false,
            sampling: Sampling::Manager,
            propagation: Propagation::of(&[]),
        };
        let client = Client::http1(settings.target.clone(), busy.clone());
        let mut sender = Sender { settings, place: Place::known(Platform::default()), client };
        sender.deliver(&[b"{}"], &queue).await;
        let view = registry.view();
        let count = |name: &str| match view.find(&format!("tracing.test.{name}")).map(|stat| view.value(stat))
        {
            Some(Value::Counter(count)) => count,
            other => panic!("{name}: {other:?}"),
        };
        let left = busy.0.lock().unwrap().len();
        (["spans_sent", "spans_dropped", "spans_failed"].map(count), left)
    }

    #[tokio::test]
    async fn a_busy_collector_gets_its_spans_when_it_says() {
        const LATER: &str = "503 X\r\nretry-after: 0";
        const LIMITED: &str = "429 X\r\nretry-after: 0";
        assert_eq!(sent(&[LATER, LIMITED, LATER, "202 X"]).await, ([1, 0, 0], 0));
        assert_eq!(sent(&[LATER, LATER, LATER, LATER, "202 X"]).await, ([0, 0, 1], 1), "not for ever");
        assert_eq!(sent(&["400 X", "202 X"]).await, ([0, 0, 1], 1), "what is wrong stays wrong");
    }
}
