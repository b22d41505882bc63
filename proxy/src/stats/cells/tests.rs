use super::*;
use crate::stats::registry::Registry;

#[test]
fn gauges_keep_value_and_touched_mark_apart() {
    for value in [0, 1, -1, 1 << 40, -(1 << 40)] {
        assert_eq!(unpack_gauge(pack_gauge(value)), (value, true));
    }
    assert_eq!(unpack_gauge(0), (0, false));
}

#[test]
fn status_tables_are_bounded_and_keep_classes_right() {
    let table = CodeTable::default();
    for status in 200..300 {
        table.record(status);
    }
    table.record(200);
    let counts: Vec<_> = table.iter().collect();
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 101);
    assert_eq!(counts[0], (200, 2));
    assert_eq!(counts.len(), FIRST_CODES + MORE_CODES + 1);
    assert_eq!(*counts.last().unwrap(), (2, 100 - (FIRST_CODES + MORE_CODES) as u64));
}

#[test]
fn handles_past_the_end_do_nothing() {
    let registry = Registry::new();
    let shard = registry.shard();
    shard.inc(Counter(u32::MAX));
    shard.gauge_add(Gauge(u32::MAX), 1);
    shard.record(Histogram(u32::MAX), 1);
    shard.status(StatusCodes(u32::MAX), 200);
}

#[test]
fn the_shared_shard_counts_from_many_threads() {
    let registry = Registry::new();
    let (counter, gauge) = (registry.counter("c"), registry.gauge("g"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let shared = registry.shared().clone();
            scope.spawn(move || {
                for _ in 0..1000 {
                    shared.inc(counter);
                    shared.gauge_add(gauge, 2);
                    shared.gauge_add(gauge, -1);
                }
            });
        }
    });
    assert_eq!(registry.shared().cells.scalar(counter.0), 4000);
    assert_eq!(unpack_gauge(registry.shared().cells.scalar(gauge.0)), (4000, true));
    registry.shared().gauge_set(gauge, 7);
    assert_eq!(unpack_gauge(registry.shared().cells.scalar(gauge.0)), (7, true));
}
