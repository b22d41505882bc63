use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::stats::registry::Registry;
use crate::stats::view::Value as Read;

/// Parses a document and holds it against the format's rules.
pub(in crate::observe::emf) fn check(text: &str) -> Json {
    assert!(text.len() <= 16 * 1024, "{} bytes", text.len());
    assert!(!text.contains(['\n', '\r']), "{text}");
    let document: Json = serde_json::from_str(text).unwrap();
    assert!(document["_aws"]["Timestamp"].is_u64());
    let directives = document["_aws"]["CloudWatchMetrics"].as_array().unwrap();
    assert_eq!(directives.len(), 1);
    let sets = directives[0]["Dimensions"].as_array().unwrap();
    assert!(!sets.is_empty());
    for name in sets.iter().flat_map(|set| set.as_array().unwrap()) {
        let value = document[name.as_str().unwrap()].as_str().unwrap();
        let printable = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        assert!(printable && !value.trim().is_empty() && value.len() <= 1024, "{value:?}");
    }
    for set in sets.iter().map(|set| set.as_array().unwrap()) {
        let distinct: BTreeSet<_> = set.iter().map(|name| name.as_str().unwrap()).collect();
        assert!(set.len() <= 30 && distinct.len() == set.len(), "{set:?}");
    }
    let metrics = directives[0]["Metrics"].as_array().unwrap();
    assert!((1..=100).contains(&metrics.len()));
    let names: BTreeSet<_> = metrics.iter().map(|metric| metric["Name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), metrics.len(), "a metric is named once");
    for name in names {
        let value = &document[name];
        if let Some(values) = value.get("Values") {
            let (values, counts) = (values.as_array().unwrap(), value["Counts"].as_array().unwrap());
            assert!(values.len() == counts.len() && (1..=100).contains(&values.len()));
            assert_eq!(counts.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), value["Count"]);
        } else {
            assert!(value.is_number(), "{name}: {value}");
        }
    }
    document
}

fn frame() -> Frame<'static> {
    Frame {
        timestamp: 1,
        namespace: "N",
        resolution: 60,
        log_group: Some("/mesh"),
        properties: &[("TaskId", "t")],
    }
}

fn distribution(values: impl IntoIterator<Item = u64>) -> Distribution {
    let registry = Registry::new();
    let histogram = registry.histogram("h");
    values.into_iter().for_each(|value| registry.shared().record(histogram, value));
    let view = registry.view();
    match view.value(view.find("h").unwrap()) {
        Read::Histogram(value) => value.cumulative,
        other => panic!("{other:?}"),
    }
}

fn group(metrics: Vec<(String, Value)>) -> Group {
    let metrics = metrics.into_iter().map(|(name, value)| Metric { name, unit: "Count", value }).collect();
    Group { metrics, ..Group::default() }
}

fn documents(group: &Group) -> Vec<Json> {
    let mut out = Vec::new();
    group.write(&frame(), &mut out);
    out.iter().map(|text| check(text)).collect()
}

#[test]
fn many_metrics_and_many_values_are_told_in_several_documents() {
    let names = (0..250).map(|i| (format!("m{i}"), Value::One(i))).collect();
    let told = documents(&group(names));
    assert_eq!(told.len(), 3);
    let sum: u64 = told.iter().flat_map(|d| d.as_object().unwrap().values()).filter_map(Json::as_u64).sum();
    assert_eq!(sum, (0..250).sum::<u64>());
    let wide = distribution((0..13).flat_map(|power| (1..100).map(move |i| i * 10u64.pow(power))));
    let told =
        documents(&group(vec![("time".into(), Value::Many(wide.clone())), ("n".into(), Value::One(7))]));
    assert!(told.len() > 1);
    let count: u64 = told.iter().map(|document| document["time"]["Count"].as_u64().unwrap()).sum();
    assert_eq!(count, wide.count());
    assert_eq!(told.iter().filter(|document| document.get("n").is_some()).count(), 1);
}

/// Recorded values above 20 are known by the middle of their bucket only, their sum exactly.
#[test]
fn sums_are_exact_in_however_many_documents() {
    let exact = |values: Vec<u64>| {
        let sum: u64 = values.iter().sum();
        let told = documents(&group(vec![("time".into(), Value::Many(distribution(values)))]));
        let told: Vec<_> = told.into_iter().map(|document| document["time"].clone()).collect();
        let sums: f64 = told.iter().map(|time| time["Sum"].as_f64().unwrap()).sum();
        assert!((sums - sum as f64).abs() <= sum as f64 * 1e-9, "{sums} of {sum}");
        for time in &told {
            let [least, most, sum, count] =
                ["Min", "Max", "Sum", "Count"].map(|name| time[name].as_f64().unwrap());
            assert!(least * count <= sum * 1.000_001 && sum <= most * count * 1.000_001, "{time}");
        }
        told
    };
    let one = exact(vec![1043]);
    assert_eq!((&one[0]["Sum"], &one[0]["Min"], &one[0]["Max"]), (&1043.into(), &1043.into(), &1043.into()));
    assert_eq!(exact(vec![21, 21, 1001])[0]["Sum"], 1043);
    assert!(exact((0..13).flat_map(|power| (1..100).map(move |i| i * 10u64.pow(power))).collect()).len() > 1);
}

proptest! {
    #[test]
    fn whatever_a_peer_names_a_document_is_one_valid_line(
        dimensions in proptest::collection::vec((any::<String>(), 0usize..4), 0..8),
        values in proptest::collection::vec(any::<u64>().prop_map(|v| v >> (v % 64)), 0..300),
        count in any::<u64>(),
    ) {
        let mut group = group(vec![("Count".into(), Value::One(count))]);
        if !values.is_empty() {
            group.metrics.push(Metric { name: "Time".into(), unit: "Milliseconds", value: Value::Many(distribution(values)) });
        }
        for (at, (value, repeat)) in dimensions.into_iter().enumerate() {
            group.dimensions.push((format!("D{at}"), value.repeat(repeat)));
        }
        group.sets = vec![group.dimensions.iter().map(|(name, _)| name.clone()).collect(), Vec::new()];
        let told = documents(&group);
        prop_assert!(!told.is_empty());
        prop_assert_eq!(told[0]["Count"].as_u64(), Some(count));
    }
}
