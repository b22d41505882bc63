//! Subsets: who is in them, and who serves a request that selects none.

use super::*;
use crate::config::subset::{Criterion, Fallback, MetadataValue, Selector, SelectorFallback, Subsets};

/// Keys and values that a request asks for.
type Asked<'a> = &'a [(&'a str, &'a str)];

fn text(value: &str) -> MetadataValue {
    MetadataValue::Text(value.into())
}

fn metadata(fields: &[(&str, &str)]) -> Metadata {
    Metadata::new(fields.iter().map(|(key, value)| Criterion::new(key, text(value))))
}

fn keys(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|name| (*name).into()).collect()
}

fn selector(names: &[&str]) -> Selector {
    Selector { keys: keys(names), fallback: None, single_host: false }
}

/// Envoy's documented example: seven hosts by stage, version and type.
fn example() -> HostSet {
    const HOSTS: [[&str; 4]; 7] = [
        ["prod", "1.0", "std", "true"],
        ["prod", "1.0", "std", ""],
        ["prod", "1.1", "std", ""],
        ["prod", "1.1", "std", ""],
        ["prod", "1.0", "bigmem", ""],
        ["prod", "1.1", "bigmem", ""],
        ["dev", "1.2-pre", "std", ""],
    ];
    hosts(7, |host| {
        let names = ["stage", "version", "type", "xlarge"];
        let values = HOSTS[host.uid as usize - 1];
        let fields: Vec<_> = names.into_iter().zip(values).filter(|(_, value)| !value.is_empty()).collect();
        host.metadata = Some(Arc::new(metadata(&fields)));
    })
}

fn scene(subsets: Subsets) -> Scene {
    let settings = Balancing { subsets: Some(Arc::new(subsets)), ..Balancing::of(LbPolicy::RoundRobin) };
    Scene::new(settings, example())
}

fn documented() -> Subsets {
    Subsets {
        selectors: vec![
            selector(&["stage", "type"]),
            selector(&["stage", "version"]),
            selector(&["version"]),
            selector(&["version", "xlarge"]),
        ],
        fallback: Fallback::Default,
        default: metadata(&[("stage", "prod"), ("type", "std"), ("version", "1.0")]),
        ..Subsets::default()
    }
}

fn picked(scene: &mut Scene, asked: Option<Asked<'_>>) -> Vec<usize> {
    let criteria = asked.map(metadata);
    let context = PickContext { criteria: criteria.as_ref(), ..PickContext::default() };
    let mut seen: Vec<usize> = (0..50).filter_map(|_| scene.pick_with(context).0).collect();
    seen.sort_unstable();
    seen.dedup();
    seen
}

#[test]
fn requests_reach_the_hosts_that_the_documentation_says() {
    let mut scene = scene(documented());
    let cases: [(Asked<'_>, &[usize]); 8] = [
        (&[("stage", "prod"), ("type", "std")], &[0, 1, 2, 3]),
        (&[("stage", "prod"), ("type", "bigmem")], &[4, 5]),
        (&[("stage", "dev"), ("type", "std")], &[6]),
        (&[("version", "1.0")], &[0, 1, 4]),
        (&[("version", "1.2-pre")], &[6]),
        (&[("version", "1.0"), ("xlarge", "true")], &[0]),
        // No such subset, no such selector: the default.
        (&[("version", "9")], &[0, 1]),
        (&[("stage", "prod")], &[0, 1]),
    ];
    for (asked, want) in cases {
        assert_eq!(picked(&mut scene, Some(asked)), want, "{asked:?}");
    }
    assert_eq!(picked(&mut scene, None), [0, 1]);
    assert_eq!(scene.balancer.subsets().unwrap().len(), 3 + 3 + 3 + 1);
}

#[test]
fn fallbacks_of_the_cluster() {
    let with = |fallback| picked(&mut scene(Subsets { fallback, ..documented() }), Some(&[("version", "9")]));
    assert!(with(Fallback::None).is_empty());
    assert_eq!(with(Fallback::Any), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(with(Fallback::Default), [0, 1]);
}

#[test]
fn fallbacks_of_a_selector_come_first() {
    let with = |fallback| {
        let versions = Selector { fallback: Some(fallback), ..selector(&["stage", "version"]) };
        let selectors = vec![versions, selector(&["stage"])];
        let mut scene = scene(Subsets { selectors, ..documented() });
        picked(&mut scene, Some(&[("stage", "dev"), ("version", "9")]))
    };
    assert!(with(SelectorFallback::Common(Fallback::None)).is_empty());
    assert_eq!(with(SelectorFallback::Common(Fallback::Any)).len(), 7);
    assert_eq!(with(SelectorFallback::Common(Fallback::Default)), [0, 1]);
    assert_eq!(with(SelectorFallback::Keys(keys(&["stage"]))), [6]);
    // Fewer keys that no selector has: the cluster's.
    assert_eq!(with(SelectorFallback::Keys(keys(&["version"]))), [0, 1]);
}

#[test]
fn any_host_when_the_default_subset_has_none() {
    let missing = metadata(&[("stage", "test")]);
    let with = |panic_mode_any| {
        let mut scene = scene(Subsets { default: missing.clone(), panic_mode_any, ..documented() });
        (picked(&mut scene, None).len(), scene.pick_with(PickContext::default()).1)
    };
    assert_eq!(with(false).0, 0);
    let (hosts, notes) = with(true);
    assert_eq!(hosts, 7);
    assert!(notes.has(Note::SubsetFallbackPanic) && !notes.has(Note::SubsetFallback));
}

#[test]
fn a_subset_follows_the_health_of_its_hosts() {
    let mut scene = scene(documented());
    let asked: Asked<'_> = &[("version", "1.0")];
    assert_eq!(picked(&mut scene, Some(asked)), [0, 1, 4]);
    scene.host(1).live.health.set(Health::FAILED_OUTLIER);
    assert_eq!(scene.refresh(), Some(vec![1]));
    assert_eq!(picked(&mut scene, Some(asked)), [0, 4]);
    // Two of three: the subset is in panic, the cluster is not.
    scene.host(4).live.health.set(Health::FAILED_OUTLIER);
    scene.refresh();
    assert_eq!(picked(&mut scene, Some(asked)), [0, 1, 4]);
    assert_eq!(picked(&mut scene, Some(&[("version", "1.1")])), [2, 3, 5]);
}

#[test]
fn lists_stand_for_each_of_their_elements_where_that_is_asked_for() {
    let set = || {
        hosts(2, |host| {
            let versions = MetadataValue::List(vec![text("1"), text("2")]);
            let value = if host.uid == 1 { versions } else { text("2") };
            host.metadata = Some(Arc::new(Metadata::new([Criterion::new("version", value)])));
        })
    };
    let with = |list_as_any, version| {
        let subsets = Subsets { selectors: vec![selector(&["version"])], list_as_any, ..Subsets::default() };
        let settings = Balancing { subsets: Some(Arc::new(subsets)), ..Balancing::of(LbPolicy::RoundRobin) };
        picked(&mut Scene::new(settings, set()), Some(&[("version", version)]))
    };
    assert_eq!((with(true, "1"), with(true, "2")), (vec![0], vec![0, 1]));
    assert_eq!((with(false, "1").len(), with(false, "2")), (0, vec![1]));
}

#[test]
fn a_subset_can_be_held_to_one_host() {
    let single = Selector { single_host: true, ..selector(&["version"]) };
    let mut scene = scene(Subsets { selectors: vec![single], ..documented() });
    assert_eq!(picked(&mut scene, Some(&[("version", "1.1")])), [2]);
    assert_eq!(scene.balancer.subsets().unwrap().duplicates(), 2 + 2);
}
