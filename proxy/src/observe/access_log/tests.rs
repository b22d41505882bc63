use std::path::Path;
use std::time::{Duration, Instant};

use super::filter::{Comparison, ComparisonOp};
use super::sink::Sinks;
use super::*;
use crate::base::error::ResponseFlags;
use crate::base::matcher::{HeaderMatch, HeaderMatchKind, StringMatch};
use crate::base::metadata::DynamicMetadata;
use crate::config::value_match::{MetadataMatch, MetadataPlace, MetadataSource, ValueMatch};
use crate::observe::record::Subject;
use crate::observe::test_record::Exchange;
use crate::stats::registry::Registry;
use crate::stats::scope::AccessLogStats;
use crate::stats::view::Value;

struct World {
    registry: Registry,
    sinks: Sinks,
}

impl World {
    fn new() -> Self {
        let registry = Registry::new();
        let sinks = Sinks::new(AccessLogStats::register(&registry), registry.shared().clone());
        Self { registry, sinks }
    }

    fn log(&self, path: &Path, format: &str, filter: LogFilter) -> AccessLog {
        let format = LogFormat::Text { format: Format::parse(format).unwrap(), omit_empty: false };
        AccessLog::new(format, filter, self.sinks.open(path).unwrap())
    }

    fn count(&self, name: &str) -> u64 {
        let view = self.registry.view();
        match view.value(view.find(name).unwrap()) {
            Value::Counter(count) | Value::Gauge(count) => count,
            other => panic!("{other:?}"),
        }
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn lines_reach_the_file_within_the_flush_interval_and_at_shutdown() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let log = world.log(&path, "%RESPONSE_CODE%\n", LogFilter::All);
    let exchange = Exchange::example();
    let mut worker = WorkerLogs::new(1);
    log.log(&exchange.record(), &mut worker);
    eventually("flushed by timer", || std::fs::read(&path).unwrap() == b"200\n");
    log.log(&exchange.record(), &mut worker);
    world.sinks.shutdown(Duration::from_secs(5));
    assert_eq!(std::fs::read(&path).unwrap(), b"200\n200\n");
    assert_eq!((world.count("access_log.written"), world.count("access_log.dropped")), (2, 0));
    assert_eq!(world.count("filesystem.write_failed"), 0);
}

#[test]
fn loggers_and_workers_share_the_sink_of_a_path_and_lines_stay_whole() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let logs: Vec<_> =
        (0..3).map(|at| world.log(&path, &format!("{at} %REQ(:PATH)%\n"), LogFilter::All)).collect();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let logs = &logs;
            scope.spawn(move || {
                let exchange = Exchange::example();
                let mut worker = WorkerLogs::new(seed);
                for at in 0..3000 {
                    logs[at % 3].log(&exchange.record(), &mut worker);
                }
            });
        }
    });
    world.sinks.shutdown(Duration::from_secs(5));
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 12_000);
    assert!(text.lines().all(|line| line[1..] == *" /server_info?a=%22b"));
}

#[test]
fn a_stuck_sink_costs_lines_and_neither_memory_nor_time() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(world.sinks.open(&path).is_err(), "no reader: refused, without waiting for one");
    let _reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let log = world.log(&path, &format!("{}\n", "x".repeat(1000)), LogFilter::All);
    let exchange = Exchange::example();
    let mut worker = WorkerLogs::new(1);
    let started = Instant::now();
    for _ in 0..20_000 {
        log.log(&exchange.record(), &mut worker);
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    eventually("drops are counted", || world.count("access_log.dropped") > 10_000);
    let started = Instant::now();
    world.sinks.shutdown(Duration::from_millis(300));
    assert!(started.elapsed() < Duration::from_secs(2), "shutdown is bounded");
}

#[test]
fn a_full_disk_is_counted_and_tried_again() {
    let world = World::new();
    let log = world.log(Path::new("/dev/full"), "x\n", LogFilter::All);
    let exchange = Exchange::example();
    let mut worker = WorkerLogs::new(1);
    log.log(&exchange.record(), &mut worker);
    eventually("the failure is counted", || world.count("filesystem.write_failed") == 1);
    log.log(&exchange.record(), &mut worker);
    eventually("the next batch fails too", || world.count("access_log.dropped") == 2);
    assert_eq!(world.count("access_log.written"), 0);
}

#[test]
fn a_renamed_file_is_left_when_asked_to_reopen() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let (path, rotated) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let log = world.log(&path, "x\n", LogFilter::All);
    let exchange = Exchange::example();
    let mut worker = WorkerLogs::new(1);
    log.log(&exchange.record(), &mut worker);
    eventually("written", || std::fs::read(&path).unwrap() == b"x\n");
    std::fs::rename(&path, &rotated).unwrap();
    world.sinks.reopen();
    log.log(&exchange.record(), &mut worker);
    world.sinks.shutdown(Duration::from_secs(5));
    assert_eq!(std::fs::read(&path).unwrap(), b"x\n");
    assert_eq!(std::fs::read(&rotated).unwrap(), b"x\n");
}

#[test]
fn a_path_that_cannot_be_opened_is_refused() {
    let world = World::new();
    assert!(world.sinks.open(Path::new("/nonexistent/dir/access.log")).is_err());
    assert!(world.sinks.open(Path::new("/dev/stdout")).is_ok());
    assert!(world.sinks.open(Path::new("/dev/stderr")).is_ok());
}

#[test]
fn the_last_logger_of_a_path_writes_out_and_ends_its_thread() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let exchange = Exchange::example();
    let mut worker = WorkerLogs::new(1);
    for round in 0..3 {
        let log = world.log(&path, &format!("{round}\n"), LogFilter::All);
        log.log(&exchange.record(), &mut worker);
    }
    eventually("all are written", || {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort();
        lines == ["0", "1", "2"]
    });
}

fn passes(filter: LogFilter, record: &Record<'_>) -> bool {
    filter.passes(record, &mut WorkerLogs::new(1))
}

#[test]
fn filters_decide_by_status_duration_flags_and_headers() {
    let exchange = Exchange::example();
    let record = exchange.record();
    let compare = |op, value| Comparison { op, value };
    assert!(passes(LogFilter::StatusCode(compare(ComparisonOp::AtLeast, 200)), &record));
    assert!(!passes(LogFilter::StatusCode(compare(ComparisonOp::AtLeast, 400)), &record));
    assert!(!passes(LogFilter::StatusCode(compare(ComparisonOp::NotEqual, 200)), &record));
    assert!(passes(LogFilter::Duration(compare(ComparisonOp::AtMost, 7)), &record));
    assert!(!passes(LogFilter::AnyFlag, &record));
    let failed = Record { flags: ResponseFlags::NO_ROUTE_FOUND, ..exchange.record() };
    assert!(passes(LogFilter::AnyFlag, &failed));
    assert!(
        !passes(LogFilter::Flags(ResponseFlags::NONE), &failed),
        "flags that never occur are not any flag"
    );
    assert!(!passes(LogFilter::Flags(ResponseFlags::NO_HEALTHY_UPSTREAM), &failed));
    let header = |name: &str, value: &str| {
        let kind = HeaderMatchKind::Value(StringMatch::Prefix(value.into()));
        LogFilter::Header(HeaderMatch { name: name.into(), kind, invert: false, missing_as_empty: false })
    };
    assert!(passes(header("user-agent", "curl"), &record));
    assert!(passes(header(":method", "GET"), &record));
    assert!(!passes(header("absent", ""), &record));
    assert!(passes(LogFilter::Or(vec![header("absent", ""), LogFilter::NotHealthCheck]), &record));
    assert!(!passes(LogFilter::And(vec![header("absent", ""), LogFilter::All]), &record));
}

#[test]
fn sampling_takes_its_share_of_requests_by_their_identifier() {
    let mut exchange = Exchange::example();
    let mut worker = WorkerLogs::new(7);
    let sampled = |numerator, independent| LogFilter::Sampled { numerator, denominator: 10_000, independent };
    let share = sampled(2500, true);
    let hits = (0..10_000).filter(|_| share.passes(&exchange.record(), &mut worker)).count();
    assert!((2300..2700).contains(&hits), "{hits}");
    assert!(!sampled(0, true).passes(&exchange.record(), &mut worker));
    assert!(sampled(10_000, true).passes(&exchange.record(), &mut worker));
    // 0x87612c0c % 10000 = 2428.
    assert!(!sampled(2428, false).passes(&exchange.record(), &mut worker));
    assert!(sampled(2429, false).passes(&exchange.record(), &mut worker));
    exchange.request.block.set(b"x-request-id", b"no uuid");
    let hits = (0..10_000).filter(|_| sampled(2500, false).passes(&exchange.record(), &mut worker)).count();
    assert!((2300..2700).contains(&hits), "{hits}");
}

#[test]
fn grpc_statuses_and_moments_are_told_apart() {
    let mut exchange = Exchange::example();
    let only = |code: u32, exclude| LogFilter::GrpcStatus { codes: 1 << code, exclude };
    // A plain 200 has no status: UNKNOWN, as in Envoy.
    assert!(passes(only(2, false), &exchange.record()) && !passes(only(0, false), &exchange.record()));
    exchange.trailers.append(b"grpc-status", b"14");
    assert!(passes(only(14, false), &exchange.record()) && !passes(only(14, true), &exchange.record()));
    assert!(passes(LogFilter::LogType { http: true, tcp: false, unnamed: false }, &exchange.record()));
    assert!(!passes(LogFilter::LogType { http: false, tcp: true, unnamed: false }, &exchange.record()));
    let tcp = Record { subject: Subject::TcpSession, ..exchange.record() };
    assert!(passes(LogFilter::LogType { http: false, tcp: true, unnamed: false }, &tcp));
}

#[test]
fn a_metadata_filter_looks_at_what_filters_left() {
    let exchange = Exchange::example();
    let mut left = DynamicMetadata::default();
    left.merge("auth", serde_json::Map::from_iter([("who".to_owned(), "cart".into())]));
    let filter = |name: &str, text: &str, missing| LogFilter::Metadata {
        wanted: Some(Arc::new(MetadataMatch {
            place: MetadataPlace {
                source: MetadataSource::Request,
                namespace: "auth".into(),
                path: vec![name.into()],
            },
            value: ValueMatch::Text(StringMatch::Exact(text.into())),
            invert: false,
        })),
        missing,
    };
    let (bare, known) = (exchange.record(), Record { dynamic: Some(&left), ..exchange.record() });
    assert!(passes(filter("who", "cart", false), &known) && !passes(filter("who", "price", true), &known));
    for record in [&bare, &known] {
        assert!(passes(filter("what", "x", true), record) && !passes(filter("what", "x", false), record));
        for missing in [true, false] {
            assert_eq!(passes(LogFilter::Metadata { wanted: None, missing }, record), missing);
        }
    }
}
