use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::observe::trace::sampling::{Memory, Request as Asked};
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

/// A daemon that serves these rules and answers one report after another, then with nothing in particular; it keeps what
/// it was asked.
#[derive(Debug)]
struct Service(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    rules: Value,
    reports: VecDeque<Value>,
    asked: Vec<(String, Value)>,
}

impl Script {
    fn answer(&mut self, path: &str, body: Value) -> String {
        self.asked.push((path.to_owned(), body));
        match path {
            "/GetSamplingRules" => self.rules.to_string(),
            "/SamplingTargets" => self.reports.pop_front().unwrap_or_else(|| json!({})).to_string(),
            other => panic!("{other} was asked for"),
        }
    }
}

impl Dial for Service {
    fn dial<'a>(&'a self, _target: &'a Target) -> Dialling<'a> {
        Box::pin(async {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            tokio::spawn(serve(theirs, self.0.clone()));
            Ok(Box::new(ours) as _)
        })
    }
}

/// One request.
async fn serve(mut stream: DuplexStream, script: Arc<Mutex<Script>>) {
    let mut request = Vec::new();
    let (body, length) = loop {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let Some(end) = text.find("\r\n\r\n") else { continue };
        let length = text.split_once("content-length: ").unwrap().1.split("\r\n").next().unwrap();
        break (end + 4, length.parse::<usize>().unwrap());
    };
    while request.len() < body + length {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
    }
    let path = String::from_utf8_lossy(&request).split(' ').nth(1).unwrap().to_owned();
    let answer = script.lock().unwrap().answer(&path, serde_json::from_slice(&request[body..]).unwrap());
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
    stream.write_all(format!("{head}{answer}").as_bytes()).await.unwrap();
}

/// A process with so many rules, one for each path, and its daemon.
struct Scene {
    script: Arc<Mutex<Script>>,
    poll: Poll,
    rules: CentralRules,
    epoch: Instant,
}

impl Scene {
    fn new(rules: usize, reports: &[Value]) -> Self {
        let rule = |i: usize| {
            json!({"SamplingRule": {"RuleName": format!("r{i}"), "Priority": i, "Version": 1, "FixedRate": 0.0,
                "ReservoirSize": 0, "URLPath": format!("/{i}")}})
        };
        let rules: Vec<Value> = (0..rules).map(rule).collect();
        let script = Script {
            rules: json!({ "SamplingRuleRecords": rules }),
            reports: reports.iter().cloned().collect(),
            asked: Vec::new(),
        };
        let script = Arc::new(Mutex::new(script));
        let target = Target::Address("daemon".into(), 2000);
        let client = Client::http1(target, Arc::new(Service(script.clone())));
        Self {
            script,
            poll: Poll::new(client, &Registry::new()),
            rules: CentralRules::new("shop/cart", ""),
            epoch: Instant::now(),
        }
    }

    /// A round; what it asked for, and the whole seconds until the next.
    async fn round(&mut self) -> (Vec<String>, u64) {
        let pause = self.poll.round(&self.rules, self.epoch).await;
        let asked = std::mem::take(&mut self.script.lock().unwrap().asked);
        (asked.into_iter().map(|(path, _)| path).collect(), pause.as_secs())
    }

    /// A request for each of the first rules.
    fn requests(&self, rules: usize) {
        let (mut memory, mut random) = (Memory::new(0), fastrand::Rng::with_seed(1));
        for i in 0..rules {
            let path = format!("/{i}");
            let request = Asked { host: b"h", method: b"GET", target: path.as_bytes() };
            self.rules.decide(&request, 0, &mut memory, &mut random);
        }
    }
}

const FETCH: &str = "/GetSamplingRules";
const REPORT_TO: &str = "/SamplingTargets";

/// Wall clock in a year that has not come.
const LATER: f64 = 4e9;

#[tokio::test]
async fn changed_rules_are_fetched_at_once_and_once() {
    let changed = json!({ "LastRuleModification": LATER });
    let mut scene = Scene::new(1, &[changed.clone(), changed]);
    assert_eq!(scene.round().await, (vec![FETCH.to_owned()], 10));
    scene.requests(1);
    assert_eq!(scene.round().await, (vec![REPORT_TO.to_owned()], 1), "at once, but not in a circle");
    assert_eq!(scene.round().await, (vec![FETCH.to_owned()], 10));
    // The same change is told again, when the next report is due.
    scene.epoch -= Duration::from_secs(20);
    scene.requests(1);
    assert_eq!(scene.round().await, (vec![REPORT_TO.to_owned()], 10));
    assert_eq!(scene.round().await, (Vec::new(), 10));
    let old = json!({ "LastRuleModification": 1.0 });
    let mut scene = Scene::new(1, &[old]);
    scene.round().await;
    scene.requests(1);
    assert_eq!(scene.round().await, (vec![REPORT_TO.to_owned()], 10), "older than what we have");
}

#[tokio::test]
async fn what_was_not_processed_tells_of_rules_that_are_gone_or_of_a_service_in_trouble() {
    for (code, fetches) in [("400", true), ("404", true), ("500", false), ("503", false)] {
        let refused =
            json!({"UnprocessedStatistics": [{"RuleName": "r0", "ErrorCode": code, "Message": "m"}]});
        let mut scene = Scene::new(1, &[refused]);
        scene.round().await;
        scene.requests(1);
        let pause = if fetches { 1 } else { 10 };
        assert_eq!(scene.round().await, (vec![REPORT_TO.to_owned()], pause), "{code}");
        assert_eq!(scene.round().await.0.contains(&FETCH.to_owned()), fetches, "{code}");
    }
}

#[tokio::test]
async fn a_report_is_of_25_rules_at_most() {
    let mut scene = Scene::new(60, &[]);
    scene.round().await;
    scene.requests(60);
    scene.poll.round(&scene.rules, scene.epoch).await;
    let asked = std::mem::take(&mut scene.script.lock().unwrap().asked);
    let documents: Vec<&Vec<Value>> =
        asked.iter().map(|(_, body)| body["SamplingStatisticsDocuments"].as_array().unwrap()).collect();
    assert_eq!(documents.iter().map(|part| part.len()).collect::<Vec<_>>(), [25, 25, 10]);
    let mut names: Vec<&str> =
        documents.into_iter().flatten().map(|one| one["RuleName"].as_str().unwrap()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 60, "each once");
}

#[tokio::test]
async fn rules_are_fetched_every_five_minutes() {
    let mut scene = Scene::new(1, &[]);
    let before = Instant::now();
    assert_eq!(scene.round().await.0, [FETCH]);
    let next = scene.poll.fetch_at;
    let (least, most) = (Duration::from_secs(300), Duration::from_secs(306));
    assert!((before + least..=before + most).contains(&next), "{:?}", next - before);
    assert_eq!(scene.round().await.0, Vec::<String>::new(), "not before");
    scene.poll.fetch_at = Instant::now();
    assert_eq!(scene.round().await.0, [FETCH]);
}
