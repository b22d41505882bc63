use outrigger_xds_protos::any::pack;
use outrigger_xds_protos::v3::{cluster::Cluster, endpoint::ClusterLoadAssignment, wkt::Any};

use super::super::resource::ResourceType::{
    Cluster as Cds, Endpoints as Eds, Listener as Lds, Routes as Rds,
};
use super::*;

fn cluster(name: &str) -> Any {
    pack(&Cluster { name: name.into(), ..Default::default() })
}

fn assignment(name: &str) -> Any {
    pack(&ClusterLoadAssignment { cluster_name: name.into(), ..Default::default() })
}

fn response(kind: ResourceType, version: &str, nonce: &str, resources: Vec<Any>) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: version.into(),
        nonce: nonce.into(),
        type_url: kind.type_url().into(),
        resources,
        ..Default::default()
    }
}

fn fault(name: &str) -> Fault {
    Fault { name: name.into(), reason: "lb_policy: not supported".into() }
}

fn names(list: &[&str]) -> Interest {
    Interest::named(list.iter().map(|name| (*name).into()))
}

/// Type, version, names and nonce of a request.
fn parts(request: &DiscoveryRequest) -> (&str, Vec<&str>, &str) {
    let names = request.resource_names.iter().map(String::as_str).collect();
    (&request.version_info, names, &request.response_nonce)
}

/// A machine with an open stream and a wildcard on clusters.
fn with_clusters() -> Sotw {
    let mut machine = Sotw::default();
    assert_eq!(machine.want(Cds, Interest::everything()), None, "no stream yet");
    assert_eq!(machine.opened().len(), 1);
    machine
}

fn accept(machine: &mut Sotw, response: DiscoveryResponse) -> DiscoveryRequest {
    let update = machine.received(response).unwrap();
    let faults = update.faults.clone();
    machine.answer(&update, &faults)
}

#[test]
fn first_request_is_empty_and_means_everything() {
    let mut machine = Sotw::default();
    machine.want(Cds, Interest::everything());
    let requests = machine.opened();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].type_url, Cds.type_url());
    assert_eq!(parts(&requests[0]), ("", vec![], ""));
}

#[test]
fn wildcard_is_spelled_out_once_a_name_was_used() {
    let mut machine = Sotw::default();
    machine.want(Lds, names(&["a"]));
    assert_eq!(parts(&machine.opened()[0]).1, ["a"]);
    let request = machine.want(Lds, Interest::everything()).unwrap();
    assert_eq!(parts(&request).1, ["*"], "an empty list would now mean nothing");
    let both = Interest { wildcard: true, names: ["b".into()].into() };
    assert_eq!(parts(&machine.want(Lds, both).unwrap()).1, ["*", "b"]);
}

#[test]
fn a_new_stream_forgets_that_names_were_used() {
    let mut machine = Sotw::default();
    machine.want(Lds, names(&["a"]));
    machine.opened();
    machine.want(Lds, Interest::everything());
    machine.closed();
    assert_eq!(parts(&machine.opened()[0]).1, Vec::<&str>::new());
}

#[test]
fn nothing_wanted_is_never_asked_first_but_is_said_later() {
    let mut machine = Sotw::default();
    machine.want(Eds, names(&[]));
    assert!(machine.opened().is_empty(), "an empty first request would mean everything");
    machine.want(Eds, names(&["a"])).unwrap();
    assert_eq!(parts(&machine.want(Eds, names(&[])).unwrap()).1, Vec::<&str>::new());
}

#[test]
fn ack_carries_the_new_version_and_the_nonce() {
    let mut machine = with_clusters();
    let ack = accept(&mut machine, response(Cds, "7", "n1", vec![cluster("a")]));
    assert_eq!(parts(&ack), ("7", vec![], "n1"));
    assert_eq!(ack.error_detail, None);
}

#[test]
fn nack_carries_the_previous_version_and_names_the_resource() {
    let mut machine = with_clusters();
    accept(&mut machine, response(Cds, "7", "n1", vec![cluster("a")]));
    let update = machine.received(response(Cds, "8", "n2", vec![cluster("a"), cluster("b")])).unwrap();
    let nack = machine.answer(&update, &[fault("b")]);
    assert_eq!(parts(&nack), ("7", vec![], "n2"));
    assert_eq!(nack.error_detail.unwrap().message, "Cluster \"b\": lb_policy: not supported");
}

#[test]
fn first_nack_has_no_version_to_report() {
    let mut machine = with_clusters();
    let update = machine.received(response(Cds, "8", "n1", vec![cluster("a")])).unwrap();
    assert_eq!(parts(&machine.answer(&update, &[fault("a")])), ("", vec![], "n1"));
}

#[test]
fn every_request_echoes_the_last_nonce() {
    let mut machine = with_clusters();
    machine.want(Eds, names(&["a"])).unwrap();
    accept(&mut machine, response(Eds, "1", "e1", vec![assignment("a")]));
    accept(&mut machine, response(Eds, "2", "e2", vec![assignment("a")]));
    let request = machine.want(Eds, names(&["a", "b"])).unwrap();
    assert_eq!(parts(&request), ("2", vec!["a", "b"], "e2"));
}

#[test]
fn nonces_are_per_type() {
    let mut machine = with_clusters();
    machine.want(Eds, names(&["a"])).unwrap();
    accept(&mut machine, response(Cds, "1", "c1", vec![cluster("a")]));
    let ack = accept(&mut machine, response(Eds, "1", "e1", vec![assignment("a")]));
    assert_eq!(ack.response_nonce, "e1");
}

#[test]
fn a_reconnect_keeps_versions_and_drops_nonces() {
    let mut machine = with_clusters();
    machine.want(Eds, names(&["a"])).unwrap();
    accept(&mut machine, response(Cds, "7", "n1", vec![cluster("a")]));
    accept(&mut machine, response(Eds, "3", "n2", vec![assignment("a")]));
    machine.closed();
    let requests = machine.opened();
    assert_eq!(parts(&requests[0]), ("7", vec![], ""));
    assert_eq!(parts(&requests[1]), ("3", vec!["a"], ""));
}

#[test]
fn a_reconnect_with_an_unanswered_name_reports_no_version() {
    let mut machine = with_clusters();
    machine.want(Eds, names(&["a"])).unwrap();
    accept(&mut machine, response(Eds, "3", "n2", vec![assignment("a")]));
    machine.closed();
    assert_eq!(machine.want(Eds, names(&["a", "b"])), None);
    assert_eq!(parts(&machine.opened()[1]), ("", vec!["a", "b"], ""));
}

#[test]
fn a_reconnect_after_a_nack_reports_the_last_accepted_version() {
    let mut machine = with_clusters();
    accept(&mut machine, response(Cds, "7", "n1", vec![cluster("a")]));
    let update = machine.received(response(Cds, "8", "n2", vec![cluster("b")])).unwrap();
    machine.answer(&update, &[fault("b")]);
    machine.closed();
    assert_eq!(parts(&machine.opened()[0]), ("7", vec![], ""), "so version 8 is sent again");
}

#[test]
fn an_unwatched_type_is_dropped() {
    let mut machine = with_clusters();
    assert!(machine.received(response(Rds, "1", "n", vec![])).is_none());
    let mut unknown = response(Cds, "1", "n", vec![]);
    unknown.type_url = "type.googleapis.com/envoy.service.runtime.v3.Runtime".into();
    assert!(machine.received(unknown).is_none());
}

#[test]
fn unrequested_resources_are_ignored_and_acked() {
    let mut machine = with_clusters();
    machine.want(Eds, names(&["a"])).unwrap();
    let update = machine.received(response(Eds, "1", "n", vec![assignment("a"), assignment("z")])).unwrap();
    assert_eq!(update.resources.len(), 1);
    assert!(update.faults.is_empty());
}

#[test]
fn only_roots_are_complete() {
    let mut machine = with_clusters();
    machine.want(Eds, names(&["a"])).unwrap();
    assert!(machine.received(response(Cds, "1", "n", vec![])).unwrap().complete, "an empty list deletes all");
    assert!(!machine.received(response(Eds, "1", "n", vec![])).unwrap().complete, "absence means nothing");
}

#[test]
fn an_empty_response_is_acked() {
    let mut machine = with_clusters();
    assert_eq!(parts(&accept(&mut machine, response(Cds, "1", "n1", vec![]))), ("1", vec![], "n1"));
}

#[test]
fn an_unreadable_resource_forbids_removals() {
    let mut machine = with_clusters();
    let garbage = Any { type_url: Cds.type_url().into(), value: vec![0x0a, 0x7f] };
    let update = machine.received(response(Cds, "2", "n", vec![cluster("a"), garbage])).unwrap();
    assert!(!update.complete, "the unreadable one may be any that seems absent");
    assert_eq!((update.resources.len(), update.faults.len()), (1, 1));
    let nack = machine.answer(&update, &update.faults);
    assert_eq!(parts(&nack), ("", vec![], "n"));
    assert!(nack.error_detail.unwrap().message.contains("resource 1"));
}

#[test]
fn unchanged_interest_is_silent() {
    let mut machine = with_clusters();
    assert_eq!(machine.want(Cds, Interest::everything()), None);
    machine.want(Eds, names(&["a"])).unwrap();
    assert_eq!(machine.want(Eds, names(&["a"])), None);
}

#[test]
fn interest_changed_while_disconnected_is_said_on_the_next_stream() {
    let mut machine = with_clusters();
    machine.closed();
    assert_eq!(machine.want(Eds, names(&["a"])), None);
    let requests = machine.opened();
    assert_eq!(requests.len(), 2);
    assert_eq!(parts(&requests[1]).1, ["a"]);
}
