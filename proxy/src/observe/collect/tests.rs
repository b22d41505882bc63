use super::*;
use crate::config::publish;
use crate::stats::view::Value;

#[test]
fn memory_is_read_from_the_kernels_table() {
    let status = "VmPeak:\t 100 kB\nVmRSS:\t    2048 kB\nRssAnon:\t    1024 kB\nVmData:\t    4096 kB\n";
    let expected = Memory { allocated: 1 << 20, heap: 4 << 20, resident: 2 << 20 };
    assert_eq!(Memory::parse(status), expected);
    assert_eq!(Memory::parse(""), Memory::default());
    assert!(Memory::read().resident > 0);
}

#[test]
fn server_gauges_follow_the_vitals() {
    let registry = Registry::new();
    let (_publisher, snapshots) = publish::channel();
    let left = Some(Duration::from_secs(9 * 86_400 + 5));
    let vitals = Box::new(move || Vitals { state: 3, connections: 17, until_expiry: left });
    let collector = Collector::new(&registry, snapshots, Instant::now(), Constants::of(4), vitals);
    collector.initialized();
    collector.refresh();
    let view = registry.view();
    let read = |name: &str| view.find(name).map(|stat| view.value(stat));
    assert_eq!(read("server.state"), Some(Value::Gauge(3)));
    assert_eq!(read("server.live"), Some(Value::Gauge(0)));
    assert_eq!(read("server.total_connections"), Some(Value::Gauge(17)));
    assert_eq!(read("server.concurrency"), Some(Value::Gauge(4)));
    assert_eq!(read("server.days_until_first_cert_expiring"), Some(Value::Gauge(9)));
    assert_eq!(read("server.seconds_until_first_cert_expiring"), Some(Value::Gauge(9 * 86_400 + 5)));
    assert!(matches!(read("server.version"), Some(Value::Gauge(1..))));
    let Some(Value::Histogram(start)) = read("server.initialization_time_ms") else { panic!() };
    assert_eq!(start.cumulative.count(), 1);
    assert!(matches!(read("server.memory_physical_size"), Some(Value::Gauge(1..))));
}
