use super::*;
use crate::observe::queue::Documents;
use crate::observe::test_record::{Exchange, request, response};
use crate::observe::trace::header::Format;
use crate::observe::trace::id::TraceId;
use crate::observe::trace::sampling::manifest::{Manifest, Rate};
use crate::stats::registry::Registry;

const HEADER: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8";

/// A connection manager's tracing, a worker, and what comes out of the queue.
struct Scene {
    tracing: HttpTracing,
    worker: WorkerSpans,
    shard: Shard,
    queue: Arc<Queue>,
}

impl Scene {
    fn new(rate: f64) -> Self {
        let registry = Registry::new();
        let queue = Queue::new(&registry, "xray");
        let settings = xray::Settings {
            daemon: xray::Daemon::default(),
            name: "m/n".into(),
            origin: "".into(),
            aws: "".into(),
            manifest: Manifest::of_default(Rate { fixed_target: 0, rate }),
            node_id: "".into(),
            mesh: "".into(),
            rich: false,
            central: None,
            propagation: Propagation::of(&[Format::XRay]),
        };
        let rules = LocalRules::new(settings.manifest.clone());
        let tracing = HttpTracing {
            tracer: Arc::new(Tracer::new(
                1,
                Encoder::XRay(settings, Place::known(Default::default())),
                Rules::Local(rules),
                Propagation::of(&[Format::XRay, Format::W3c, Format::B3, Format::Datadog]),
                queue.clone(),
                Instant::now(),
            )),
            direction: Direction::Outbound,
            shares: Shares { client: 1_000_000, random: 1_000_000, overall: 1_000_000 },
            tags: Vec::new(),
            operation: None,
            max_path: 256,
            attempts: false,
            silent: false,
            untrusted: false,
            answers: false,
            stats: TracingStats::new(&registry, "http.x.tracing."),
        };
        Self { tracing, worker: WorkerSpans::new(0, 1), shard: registry.shard(), queue }
    }

    fn begin(&mut self, head: &RequestHead) -> Span {
        self.tracing.begin(head, None, Instant::now(), false, &mut self.worker, &self.shard)
    }

    fn end(&mut self, span: &Span, exchange: &Exchange) {
        self.tracing.end(span, None, &exchange.record(), &exchange.request, &mut self.worker);
    }

    fn documents(&self) -> Vec<serde_json::Value> {
        let mut spare = Documents::default();
        let mut all = Vec::new();
        for lane in self.queue.lanes() {
            lane.take(&mut spare);
            all.extend(spare.iter().map(|document| serde_json::from_slice(document).unwrap()));
        }
        all
    }
}

fn asked(header: Option<&str>) -> RequestHead {
    let headers: Vec<_> = header.iter().map(|header| ("x-amzn-trace-id", *header)).collect();
    request("GET", "/a", "h", &headers)
}

fn sent(scene: &Scene, span: &Span, head: &mut RequestHead) -> String {
    scene.tracing.distrust(head);
    scene.tracing.inject(span, head);
    String::from_utf8(head.block.get(HeaderId::AmznTraceId).unwrap().to_vec()).unwrap()
}

#[test]
fn the_callers_decision_holds() {
    let mut scene = Scene::new(0.0);
    let mut head = asked(Some(&format!("{HEADER};Sampled=1;Lineage=a:1")));
    let span = scene.begin(&head);
    assert!(span.sampled, "no rule is asked");
    let id = String::from_utf8(span.id.hex().to_vec()).unwrap();
    let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
    assert_eq!(sent(&scene, &span, &mut head), format!("{root};Parent={id};Sampled=1;Lineage=a:1"));
    let mut scene = Scene::new(1.0);
    let mut head = asked(Some(&format!("{HEADER};Sampled=0")));
    let span = scene.begin(&head);
    assert!(!span.sampled);
    assert_eq!(
        sent(&scene, &span, &mut head),
        format!("{HEADER};Sampled=0"),
        "a hop that tells nothing is no parent"
    );
    scene.end(&span, &Exchange::example());
    assert!(scene.documents().is_empty());
}

#[test]
fn without_a_decision_rules_are_asked() {
    for (rate, decision) in [(0.0, "0"), (1.0, "1")] {
        let mut scene = Scene::new(rate);
        for header in [None, Some("garbage"), Some(HEADER), Some("Root=bad;Sampled=1")] {
            let mut head = asked(header);
            let span = scene.begin(&head);
            let text = sent(&scene, &span, &mut head);
            assert!(text.ends_with(&format!(";Sampled={decision}")), "{header:?}: {text}");
            let keeps = header == Some(HEADER);
            assert_eq!(text.starts_with("Root=1-5759e988-bd862e3fe1be46a994272793;"), keeps, "{text}");
        }
    }
}

#[test]
fn who_asks_is_told() {
    let mut scene = Scene::new(1.0);
    let span = scene.begin(&asked(Some(&format!("{HEADER};Sampled=?"))));
    let mut answered = response(200, &[]);
    scene.tracing.answer(&span, &mut answered);
    let told = answered.block.get(HeaderId::AmznTraceId).unwrap();
    assert_eq!(told, b"Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1");
    let mut own = response(200, &[("x-amzn-trace-id", "Root=app")]);
    scene.tracing.answer(&span, &mut own);
    assert_eq!(
        own.block.get(HeaderId::AmznTraceId),
        Some(&b"Root=app"[..]),
        "the application's answer stands"
    );
    let quiet = scene.begin(&asked(None));
    let mut unasked = response(200, &[]);
    scene.tracing.answer(&quiet, &mut unasked);
    assert_eq!(unasked.block.get(HeaderId::AmznTraceId), None);
}

#[test]
fn a_recorded_exchange_is_one_document() {
    let mut scene = Scene::new(1.0);
    let exchange = Exchange::example();
    let span = scene.begin(&exchange.request);
    scene.end(&span, &exchange);
    let documents = scene.documents();
    assert_eq!(documents.len(), 1);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(documents[0]["id"], text(&span.id.hex()));
    assert_eq!(documents[0]["trace_id"], text(&span.trace_id.xray()));
    assert_eq!(documents[0]["annotations"]["direction"], "egress");
    let took = documents[0]["end_time"].as_f64().unwrap() - documents[0]["start_time"].as_f64().unwrap();
    assert!((0.006..0.008).contains(&took), "{took}");
}

#[test]
fn reasons_are_counted_as_by_envoy() {
    let mut scene = Scene::new(1.0);
    scene.tracing.shares = Shares { client: 1_000_000, random: 0, overall: 1_000_000 };
    let mut random = Rng::with_seed(1);
    let mut reason = |headers: &[(&str, &str)], internal, shares| {
        scene.tracing.shares = shares;
        scene.tracing.reason(&request("GET", "/", "h", headers), shares, internal, &mut random)
    };
    let only_client = Shares { client: 1_000_000, random: 0, overall: 1_000_000 };
    let none = Shares { overall: 0, ..only_client };
    let (client, force) = ([("x-client-trace-id", "1")], [("x-envoy-force-trace", "true")]);
    let found = [
        reason(&client, false, only_client),
        reason(&force, true, only_client),
        reason(&force, false, only_client),
        reason(&client, false, none),
        reason(&[], false, Shares { random: 1_000_000, ..only_client }),
    ];
    let stats = &scene.tracing.stats;
    assert_eq!(
        found,
        [
            stats.client_enabled,
            stats.service_forced,
            stats.not_traceable,
            stats.not_traceable,
            stats.random_sampling
        ]
    );
}

#[test]
fn the_first_format_with_a_context_is_honoured_and_all_go_out() {
    let mut scene = Scene::new(0.0);
    let trace = "4efaaf4d1e8720b39541901950019ee5";
    let traceparent = format!("00-{trace}-53995c3f42cd8ad8-01");
    let b3 = format!("{}-00000000000000ab-0", "1".repeat(32));
    let mut head = request("GET", "/", "h", &[("b3", &b3), ("traceparent", &traceparent)]);
    let span = scene.begin(&head);
    assert_eq!((span.trace_id, span.sampled), (TraceId::parse_hex(trace.as_bytes()).unwrap(), true));
    scene.tracing.inject(&span, &mut head);
    let get =
        |name: &str| String::from_utf8(head.block.get_by_name(name.as_bytes()).unwrap().to_vec()).unwrap();
    let id = String::from_utf8(span.id.hex().to_vec()).unwrap();
    assert_eq!(get("traceparent"), format!("00-{trace}-{id}-01"));
    assert_eq!(
        get("x-amzn-trace-id"),
        format!("Root=1-4efaaf4d-1e8720b39541901950019ee5;Parent={id};Sampled=1")
    );
    assert_eq!((get("b3"), get("x-b3-traceid")), (format!("{trace}-{id}-1"), trace.to_owned()));
    assert_eq!(get("x-datadog-parent-id"), span.id.0.to_string());
    let mut head = request("GET", "/", "h", &[("b3", "1")]);
    let span = scene.begin(&head);
    assert!(span.sampled && span.parent.is_none(), "only a decision came");
    scene.tracing.inject(&span, &mut head);
    assert!(head.block.get_by_name(b"traceparent").is_some());
}

/// What anybody may send: recorded at our cost, under identifiers of their choice.
#[test]
fn callers_that_are_not_trusted_decide_nothing() {
    let header = format!("{HEADER};Sampled=1;Lineage=a:1");
    let traceparent = "00-4efaaf4d1e8720b39541901950019ee5-53995c3f42cd8ad8-01";
    let forged = [
        ("x-amzn-trace-id", header.as_str()),
        ("traceparent", traceparent),
        ("tracestate", "a=b"),
        ("b3", "1"),
        ("x-datadog-origin", "x"),
        ("x-client-trace-id", "1"),
        ("x-other", "stays"),
    ];
    for (rate, decision) in [(0.0, "0"), (1.0, "1")] {
        let mut scene = Scene::new(rate);
        scene.tracing.untrusted = true;
        let mut head = request("GET", "/", "h", &forged);
        let span = scene.begin(&head);
        assert_eq!((span.sampled, span.parent), (rate > 0.0, None));
        let text = sent(&scene, &span, &mut head);
        assert!(text.ends_with(&format!(";Sampled={decision}")) && !text.contains("5759e988"), "{text}");
        for gone in [&b"tracestate"[..], b"x-datadog-origin", b"x-client-trace-id"] {
            assert_eq!(head.block.get_by_name(gone), None);
        }
        let parent = head.block.get_by_name(b"traceparent").unwrap();
        assert!(!parent.starts_with(&traceparent.as_bytes()[..35]));
        assert_eq!(head.block.get_by_name(b"x-other"), Some(&b"stays"[..]));
    }
    let mut scene = Scene::new(1.0);
    scene.tracing.direction = Direction::Inbound;
    for (untrusted, expected) in [(false, Some("theirs")), (true, None)] {
        scene.tracing.untrusted = untrusted;
        let mut head = request("GET", "/", "h", &[("x-envoy-decorator-operation", "theirs")]);
        let mut span = scene.begin(&head);
        scene.tracing.decorate_request(&mut span, None, &mut head);
        assert_eq!((span.operation.as_deref(), head.block.iter().count()), (expected, 0));
    }
    // Formats that are not ours to write are discarded as well.
    let mut scene = Scene::new(1.0);
    scene.tracing.untrusted = true;
    scene.tracing.silent = true;
    let mut head = request("GET", "/", "h", &forged);
    let span = scene.begin(&head);
    scene.tracing.distrust(&mut head);
    scene.tracing.inject(&span, &mut head);
    assert_eq!(head.block.iter().map(|(name, _)| name).collect::<Vec<_>>(), [b"x-other"]);
}

#[test]
fn all_callers_are_told_where_that_is_wanted() {
    let mut scene = Scene::new(1.0);
    scene.tracing.answers = true;
    let span = scene.begin(&asked(Some(&format!("{HEADER};Sampled=1"))));
    let mut answered = response(200, &[]);
    scene.tracing.answer(&span, &mut answered);
    let told = answered.block.get(HeaderId::AmznTraceId);
    assert_eq!(told, Some(&b"Root=1-5759e988-bd862e3fe1be46a994272793"[..]));
    let mut own = response(200, &[("x-amzn-trace-id", "Root=app")]);
    scene.tracing.answer(&span, &mut own);
    assert_eq!(own.block.get(HeaderId::AmznTraceId), Some(&b"Root=app"[..]));
}

/// A rewrite changes what rules look at; the end belongs to the rule that decided.
#[test]
fn a_request_ends_with_the_rule_that_it_began_with() {
    use crate::observe::trace::sampling::central::Now;
    let rules = Arc::new(CentralRules::new("m/n", ""));
    let rule = |name: &str, priority: u32, path: &str| {
        serde_json::from_value(serde_json::json!({"RuleName": name, "Priority": priority, "Version": 1,
            "FixedRate": 1.0, "URLPath": path, "SamplingRateBoost": {"MaxRate": 1.0}}))
    };
    let now = Now { second: 0, wall: 1000.0 };
    rules.replace(vec![rule("api", 1, "/api/*").unwrap(), rule("Default", 10_000, "*").unwrap()], now);
    let mut scene = Scene::new(0.0);
    let queue = scene.queue.clone();
    let settings = match &scene.tracing.tracer.encoder {
        Encoder::XRay(settings, _) => settings.clone(),
        Encoder::Collector(_) => unreachable!(),
    };
    let encoder = Encoder::XRay(settings, Place::known(Default::default()));
    let propagation = Propagation::of(&[Format::XRay]);
    scene.tracing.tracer =
        Arc::new(Tracer::new(2, encoder, Rules::Central(rules.clone()), propagation, queue, Instant::now()));
    let span = scene.begin(&request("GET", "/api/items", "h", &[]));
    let mut exchange = Exchange::example();
    exchange.request = request("GET", "/items", "h", &[]);
    exchange.response.status = 500;
    scene.end(&span, &exchange);
    let report = rules.report("c", now);
    let ends = report.iter().map(|one| (&*one.counts.rule_name, one.boost.as_ref().unwrap().anomaly_count));
    assert_eq!(ends.collect::<Vec<_>>(), [("api", 1)]);
}
