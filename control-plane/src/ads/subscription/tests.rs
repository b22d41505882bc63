use super::*;
use crate::ads::fixture::{names, set, strings};

fn wanted(subscription: &Subscription, set: &TypeSnapshot) -> Vec<String> {
    let resources: Vec<_> = subscription.wanted(set).cloned().collect();
    names(&resources).into_iter().map(str::to_owned).collect()
}

#[test]
fn an_empty_list_means_everything_until_a_name_was_used() {
    let mut subscription = Subscription::default();
    assert!(subscription.replace(&[], true).wildcard);
    assert!(subscription.is_wildcard());
    // Still: no name has been used.
    assert_eq!(subscription.replace(&[], true), Added::default());
    assert!(subscription.is_wildcard());

    assert_eq!(subscription.replace(&strings(["a"]), true).names, ["a".into()]);
    assert!(!subscription.is_wildcard());
    subscription.replace(&[], true);
    assert!(!subscription.is_wildcard(), "an empty list after a name means nothing");
    assert!(!subscription.covers("a"));
}

#[test]
fn the_star_counts_as_a_name() {
    let mut subscription = Subscription::default();
    assert!(subscription.replace(&strings(["*"]), true).wildcard);
    subscription.replace(&[], true);
    assert!(!subscription.is_wildcard());
}

#[test]
fn an_empty_list_means_nothing_for_piecemeal_types() {
    let mut subscription = Subscription::default();
    assert_eq!(subscription.replace(&[], false), Added::default());
    assert!(!subscription.is_wildcard());
    assert_eq!(
        subscription.replace(&strings(["*"]), false).names,
        ["*".into()],
        "and a star is a name like others"
    );
}

#[test]
fn star_and_names_coexist() {
    let mut subscription = Subscription::default();
    let added = subscription.replace(&strings(["*", "a"]), true);
    assert!(added.wildcard);
    assert_eq!(added.names, ["a".into()]);
    assert_eq!(wanted(&subscription, &set([("a", "1"), ("b", "1")])), ["a", "b"]);
    subscription.replace(&strings(["a"]), true);
    assert_eq!(wanted(&subscription, &set([("a", "1"), ("b", "1")])), ["a"]);
}

#[test]
fn replacing_reports_only_new_names_and_subscribing_all() {
    let mut sotw = Subscription::default();
    sotw.replace(&strings(["a", "b"]), false);
    assert_eq!(sotw.replace(&strings(["b", "c"]), false).names, ["c".into()]);
    assert!(!sotw.covers("a"));

    let mut delta = Subscription::default();
    delta.subscribe(&strings(["a", "b"]), false);
    assert_eq!(delta.subscribe(&strings(["b", "c"]), false).names, ["b".into(), "c".into()]);
    assert!(delta.covers("a"));
}

#[test]
fn delta_keeps_the_legacy_wildcard_when_names_are_added() {
    let mut subscription = Subscription::default();
    assert!(subscription.subscribe(&[], true).wildcard);
    assert!(!subscription.subscribe(&strings(["a"]), true).wildcard);
    assert!(subscription.is_wildcard(), "only unsubscribing * ends it");
    assert!(subscription.unsubscribe("*", true));
    assert!(subscription.covers("a") && !subscription.covers("b"));
    assert!(subscription.unsubscribe("a", true));
    assert!(
        !subscription.subscribe(&[], true).wildcard,
        "an empty list after the first request changes nothing"
    );
    assert!(!subscription.is_wildcard());
}

#[test]
fn unsubscribing_what_was_not_subscribed_is_nothing() {
    let mut subscription = Subscription::default();
    subscription.subscribe(&strings(["a"]), true);
    assert!(!subscription.unsubscribe("b", true));
    assert!(!subscription.unsubscribe("*", true));
}

#[test]
fn versions_depend_on_what_is_wanted_and_nothing_else() {
    let (mut some, mut all) = (Subscription::default(), Subscription::default());
    some.replace(&strings(["a", "missing"]), false);
    all.replace(&[], true);
    let full = set([("a", "1"), ("b", "1")]);
    assert_eq!(some.version(&full), some.version(&set([("a", "1"), ("b", "2")])));
    assert_ne!(some.version(&full), some.version(&set([("a", "2"), ("b", "1")])));
    assert_eq!(all.version(&full), full.version());
    assert_eq!(some.version(&full), set([("a", "1")]).version());
}
