use super::*;

fn of(values: &[u64]) -> Distribution {
    let buckets = Buckets::default();
    let add = |cell: &AtomicU64, count| {
        cell.fetch_add(count, Ordering::Relaxed);
    };
    values.iter().for_each(|value| buckets.record(*value, add));
    Distribution::collect([&buckets].into_iter())
}

#[test]
fn every_value_falls_between_its_buckets_bounds() {
    let mut value = 0u64;
    while value < 10u64.pow(13) {
        let (group, index) = place(value);
        let (lower, upper) = bounds((group * PER_GROUP + index) as u16);
        let v = value as f64;
        assert!(value == 0 && upper == 0.0 || lower < v && v <= upper, "{value}: {lower}..{upper}");
        value += 1 + value / 97;
    }
}

#[test]
fn the_middle_of_a_bucket_is_within_some_six_percent() {
    for bucket in 12..BUCKETS as u16 {
        let (lower, upper) = bounds(bucket);
        if upper > lower + 1.0 {
            let middle = (lower + upper) / 2.0;
            assert!((upper - middle) / upper <= 0.066, "{lower}..{upper}");
        }
    }
}

#[test]
fn exported_bounds_count_exactly() {
    let values: Vec<u64> = (1..=5000).collect();
    let distribution = of(&values);
    for bound in [1u64, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000] {
        assert_eq!(distribution.count_le(bound as f64), bound, "le {bound}");
    }
    assert_eq!(distribution.count_le(0.5), 0);
    assert_eq!(distribution.count(), 5000);
    assert_eq!(distribution.sum(), 5000 * 5001 / 2);
}

#[test]
fn quantiles_are_exact_for_small_integers_and_close_for_large() {
    let distribution = of(&[4, 5, 6, 6]);
    assert_eq!(distribution.quantile(0.0), 4.0);
    assert_eq!(distribution.quantile(50.0), 5.0);
    assert_eq!(distribution.quantile(100.0), 6.0);
    let wide = of(&(1..=1000).collect::<Vec<_>>());
    assert!((wide.quantile(99.0) - 990.0).abs() < 990.0 * 0.06, "{}", wide.quantile(99.0));
    assert!(Distribution::default().quantile(50.0).is_nan());
    assert_eq!(of(&[0, 0]).quantile(99.0), 0.0);
}

#[test]
fn huge_values_count_in_the_last_bucket() {
    let distribution = of(&[u64::MAX, 10u64.pow(13)]);
    assert_eq!(distribution.count(), 2);
    assert!(distribution.quantile(50.0).is_finite());
}

#[test]
fn an_interval_is_the_difference_of_two_copies() {
    let buckets = Buckets::default();
    let add = |cell: &AtomicU64, count| {
        cell.fetch_add(count, Ordering::Relaxed);
    };
    buckets.record(3, add);
    let first = Distribution::collect([&buckets].into_iter());
    buckets.record(3, add);
    buckets.record(700, add);
    let second = Distribution::collect([&buckets].into_iter());
    let interval = second.since(&first);
    assert_eq!((interval.count(), interval.sum()), (2, 703));
    assert!(second.since(&second).is_empty());
}
