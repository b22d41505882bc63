use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::observe::trace::transport::{Dial, Dialling, Target};

const NO_RULES: &str = r#"{"SamplingRuleRecords":[]}"#;

/// A daemon that answers each connection with the next of these; `None`: nobody is there.
#[derive(Debug, Default)]
struct Daemon(Mutex<VecDeque<Option<u16>>>);

impl Dial for Daemon {
    fn dial<'a>(&'a self, _target: &'a Target) -> Dialling<'a> {
        Box::pin(async {
            let status = self.0.lock().unwrap().pop_front().flatten();
            let status = status.ok_or(std::io::ErrorKind::ConnectionRefused)?;
            let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"}") && theirs.read_buf(&mut request).await.unwrap() > 0 {}
                let (length, close) = (NO_RULES.len(), "connection: close");
                let answer =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{close}\r\n\r\n{NO_RULES}");
                theirs.write_all(answer.as_bytes()).await.unwrap();
            });
            Ok(Box::new(ours) as _)
        })
    }
}

#[tokio::test]
async fn a_daemon_that_fails_is_asked_less_and_less() {
    let daemon = Arc::new(Daemon::default());
    let target = Target::Address("daemon".into(), 2000);
    let registry = Registry::new();
    let mut poll = Poll::new(Client::http1(target, daemon.clone()), &registry);
    let (rules, epoch) = (CentralRules::new("shop/cart", "AWS::AppMesh::Proxy"), Instant::now());
    let steps = [
        (Some(200), 10),
        (None, 10),
        (Some(429), 20),
        (None, 40),
        (Some(503), 80),
        (Some(429), 160),
        (None, 300),
        (None, 300),
        (Some(200), 10),
        (Some(429), 10),
    ];
    for (i, (answer, seconds)) in steps.into_iter().enumerate() {
        daemon.0.lock().unwrap().push_back(answer);
        poll.fetch_at = Instant::now();
        let pause = poll.round(&rules, epoch).await.as_secs_f64();
        let expected = f64::from(seconds);
        assert!((expected..=expected + REPORT_JITTER).contains(&pause), "step {i}: {pause}");
        assert!(daemon.0.lock().unwrap().is_empty(), "each round asks once");
    }
    let view = registry.view();
    let failed = view.find("tracing.xray.sampling.rules_failed").map(|stat| view.value(stat));
    assert_eq!(failed, Some(crate::stats::view::Value::Counter(8)));
}
