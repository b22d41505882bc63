use outrigger_xds_protos::any::pack;
use outrigger_xds_protos::v3::{cluster::Cluster, discovery::Resource, endpoint::ClusterLoadAssignment};

use super::super::resource::ResourceType::{Cluster as Cds, Endpoints as Eds, Routes as Rds};
use super::*;

fn cluster(name: &str, version: &str) -> Resource {
    let body = Cluster { name: name.into(), ..Default::default() };
    Resource { name: name.into(), version: version.into(), resource: Some(pack(&body)), ..Default::default() }
}

fn assignment(name: &str, version: &str) -> Resource {
    let body = ClusterLoadAssignment { cluster_name: name.into(), ..Default::default() };
    Resource { name: name.into(), version: version.into(), resource: Some(pack(&body)), ..Default::default() }
}

fn response(
    kind: ResourceType,
    nonce: &str,
    resources: Vec<Resource>,
    removed: &[&str],
) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        nonce: nonce.into(),
        type_url: kind.type_url().into(),
        resources,
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

fn fault(name: &str) -> Fault {
    Fault { name: name.into(), reason: "lb_policy: not supported".into() }
}

fn names(list: &[&str]) -> Interest {
    Interest::named(list.iter().map(|name| (*name).into()))
}

/// Subscribed, unsubscribed, and the versions reported, sorted.
fn parts(request: &DeltaDiscoveryRequest) -> (Vec<&str>, Vec<&str>, Vec<(&str, &str)>) {
    let mut versions: Vec<_> = request
        .initial_resource_versions
        .iter()
        .map(|(name, version)| (name.as_str(), version.as_str()))
        .collect();
    versions.sort_unstable();
    let subscribe = request.resource_names_subscribe.iter().map(String::as_str).collect();
    let unsubscribe = request.resource_names_unsubscribe.iter().map(String::as_str).collect();
    (subscribe, unsubscribe, versions)
}

fn with_clusters() -> Delta {
    let mut machine = Delta::default();
    machine.want(Cds, Interest::everything());
    assert_eq!(machine.opened().len(), 1);
    machine
}

fn take(machine: &mut Delta, response: DeltaDiscoveryResponse, refuse: &[&str]) -> DeltaDiscoveryRequest {
    let update = machine.received(response).unwrap();
    let mut faults = update.faults.clone();
    faults.extend(refuse.iter().map(|name| fault(name)));
    machine.answer(&update, &faults)
}

#[test]
fn first_wildcard_request_is_empty() {
    let mut machine = Delta::default();
    machine.want(Cds, Interest::everything());
    let requests = machine.opened();
    assert_eq!(requests[0].type_url, Cds.type_url());
    assert_eq!(parts(&requests[0]), (vec![], vec![], vec![]));
    assert_eq!(requests[0].response_nonce, "");
}

#[test]
fn wildcard_with_names_is_spelled_out() {
    let mut machine = Delta::default();
    machine.want(Cds, Interest { wildcard: true, names: ["a".into()].into() });
    assert_eq!(parts(&machine.opened()[0]).0, ["*", "a"]);
}

#[test]
fn nothing_wanted_is_never_asked_first() {
    let mut machine = Delta::default();
    machine.want(Eds, names(&[]));
    assert!(machine.opened().is_empty());
}

#[test]
fn changes_are_differences() {
    let mut machine = with_clusters();
    assert_eq!(parts(&machine.want(Eds, names(&["a", "b"])).unwrap()), (vec!["a", "b"], vec![], vec![]));
    assert_eq!(parts(&machine.want(Eds, names(&["b", "c"])).unwrap()), (vec!["c"], vec!["a"], vec![]));
    assert_eq!(parts(&machine.want(Eds, names(&[])).unwrap()), (vec![], vec!["b", "c"], vec![]));
    assert_eq!(machine.want(Eds, names(&[])), None);
}

#[test]
fn leaving_the_wildcard_unsubscribes_the_star() {
    let mut machine = with_clusters();
    assert_eq!(parts(&machine.want(Cds, names(&["a"])).unwrap()), (vec!["a"], vec!["*"], vec![]));
    assert_eq!(parts(&machine.want(Cds, Interest::everything()).unwrap()), (vec!["*"], vec!["a"], vec![]));
}

#[test]
fn spontaneous_requests_have_no_nonce_and_answers_have_their_own() {
    let mut machine = with_clusters();
    let ack = take(&mut machine, response(Cds, "n1", vec![cluster("a", "1")], &[]), &[]);
    assert_eq!((&*ack.response_nonce, ack.error_detail), ("n1", None));
    assert_eq!(machine.want(Eds, names(&["a"])).unwrap().response_nonce, "");
}

#[test]
fn nack_names_the_resource() {
    let mut machine = with_clusters();
    let nack =
        take(&mut machine, response(Cds, "n1", vec![cluster("a", "1"), cluster("b", "1")], &[]), &["b"]);
    assert_eq!(nack.response_nonce, "n1");
    assert_eq!(nack.error_detail.unwrap().message, "Cluster \"b\": lb_policy: not supported");
}

#[test]
fn versions_are_reported_on_the_first_request_of_a_new_stream_only() {
    let mut machine = with_clusters();
    machine.want(Eds, names(&["a", "b"])).unwrap();
    take(&mut machine, response(Cds, "n1", vec![cluster("a", "c1")], &[]), &[]);
    take(&mut machine, response(Eds, "n2", vec![assignment("a", "e1")], &[]), &[]);
    machine.closed();
    let requests = machine.opened();
    assert_eq!(parts(&requests[0]), (vec![], vec![], vec![("a", "c1")]));
    assert_eq!(parts(&requests[1]), (vec!["a", "b"], vec![], vec![("a", "e1")]));
    assert_eq!(parts(&machine.want(Eds, names(&["a", "b", "c"])).unwrap()), (vec!["c"], vec![], vec![]));
}

#[test]
fn a_refused_resource_is_not_known_after_a_reconnect() {
    let mut machine = with_clusters();
    take(&mut machine, response(Cds, "n1", vec![cluster("a", "1"), cluster("b", "1")], &[]), &["b"]);
    machine.closed();
    assert_eq!(parts(&machine.opened()[0]).2, [("a", "1")]);
}

#[test]
fn a_refused_change_is_reported_with_the_version_that_is_held() {
    let mut machine = with_clusters();
    take(&mut machine, response(Cds, "n1", vec![cluster("a", "1")], &[]), &[]);
    take(&mut machine, response(Cds, "n2", vec![cluster("a", "2")], &[]), &["a"]);
    machine.closed();
    assert_eq!(parts(&machine.opened()[0]).2, [("a", "1")], "version 2 comes again, and so would a removal");
}

#[test]
fn removed_resources_are_forgotten() {
    let mut machine = with_clusters();
    take(&mut machine, response(Cds, "n1", vec![cluster("a", "1"), cluster("b", "1")], &[]), &[]);
    let ack = take(&mut machine, response(Cds, "n2", vec![], &["a", "never-heard-of"]), &[]);
    assert_eq!(ack.error_detail, None);
    machine.closed();
    assert_eq!(parts(&machine.opened()[0]).2, [("b", "1")]);
}

#[test]
fn unsubscribed_resources_are_forgotten() {
    let mut machine = with_clusters();
    machine.want(Eds, names(&["a", "b"])).unwrap();
    take(&mut machine, response(Eds, "n", vec![assignment("a", "1"), assignment("b", "1")], &[]), &[]);
    machine.want(Eds, names(&["b"])).unwrap();
    machine.closed();
    machine.want(Eds, names(&["a", "b"]));
    assert_eq!(parts(&machine.opened()[1]), (vec!["a", "b"], vec![], vec![("b", "1")]));
}

#[test]
fn a_name_both_sent_and_removed_is_refused() {
    let mut machine = with_clusters();
    let update =
        machine.received(response(Cds, "n", vec![cluster("a", "1"), cluster("b", "1")], &["a"])).unwrap();
    assert_eq!(update.resources.len(), 1);
    assert!(update.removed.is_empty());
    let nack = machine.answer(&update, &update.faults);
    assert_eq!(nack.error_detail.unwrap().message, "Cluster \"a\": is both sent and removed in one response");
}

#[test]
fn a_heartbeat_changes_nothing() {
    let mut machine = with_clusters();
    take(&mut machine, response(Cds, "n1", vec![cluster("a", "1")], &[]), &[]);
    let heartbeat = Resource { name: "a".into(), version: "1".into(), ..Default::default() };
    let update = machine.received(response(Cds, "n2", vec![heartbeat], &[])).unwrap();
    assert!(update.resources.is_empty() && update.removed.is_empty() && update.faults.is_empty());
    assert_eq!(machine.answer(&update, &[]).response_nonce, "n2");
    machine.closed();
    assert_eq!(parts(&machine.opened()[0]).2, [("a", "1")]);
}

#[test]
fn an_unwatched_type_is_dropped_and_an_unrequested_resource_ignored() {
    let mut machine = with_clusters();
    assert!(machine.received(response(Rds, "n", vec![], &[])).is_none());
    machine.want(Eds, names(&["a"])).unwrap();
    let update = machine.received(response(Eds, "n", vec![assignment("z", "1")], &[])).unwrap();
    assert!(update.resources.is_empty() && update.faults.is_empty());
}

#[test]
fn an_empty_response_is_acked() {
    let mut machine = with_clusters();
    assert_eq!(take(&mut machine, response(Cds, "n1", vec![], &[]), &[]).response_nonce, "n1");
}
