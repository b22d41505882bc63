use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::protocol::Variant;
use super::super::resource::ResourceType::{
    Cluster as CDS, Endpoints as EDS, Listener as LDS, Routes as RDS,
};
use super::super::testing::rig::Rig;
use super::super::testing::*;
use super::*;
use crate::config::Host;
use crate::config::cluster::CoarseHealth;
use crate::config::live::Health;

fn rig() -> Rig {
    let mut rig = Rig::new(Variant::Delta, Duration::from_secs(15));
    rig.server.world.set(CDS, "b", eds_cluster("b", 1));
    rig.server.world.set(EDS, "b", assignment("b", &[(90, 1), (91, 1)]));
    rig.populate();
    rig
}

fn cluster(snapshot: &Snapshot, name: &str) -> Arc<ClusterSlot> {
    snapshot.cluster(snapshot.cluster_names[name]).unwrap().clone()
}

fn hosts(snapshot: &Snapshot, name: &str) -> Vec<Arc<Host>> {
    cluster(snapshot, name).hosts.hosts.clone()
}

#[test]
fn unchanged_resources_keep_their_pointers() {
    let mut rig = rig();
    let before = rig.snapshot.clone();
    rig.push(EDS, "a", assignment("a", &[(80, 1), (81, 1)]));
    let after = rig.snapshot.clone();
    assert!(Arc::ptr_eq(&cluster(&before, "b"), &cluster(&after, "b")));
    assert!(Arc::ptr_eq(&cluster(&before, "a").config, &cluster(&after, "a").config));
    assert!(!Arc::ptr_eq(&cluster(&before, "a").hosts, &cluster(&after, "a").hosts));
    assert!(Arc::ptr_eq(before.listeners[0].as_ref().unwrap(), after.listeners[0].as_ref().unwrap()));
    assert!(Arc::ptr_eq(before.route_tables[0].as_ref().unwrap(), after.route_tables[0].as_ref().unwrap()));
    assert!(Arc::ptr_eq(&before.cluster_names, &after.cluster_names));
}

#[test]
fn a_changed_cluster_keeps_its_hosts() {
    let mut rig = rig();
    let before = rig.snapshot.clone();
    rig.push(CDS, "a", eds_cluster("a", 7));
    assert!(!Arc::ptr_eq(&cluster(&before, "a").config, &cluster(&rig.snapshot, "a").config));
    assert!(Arc::ptr_eq(&cluster(&before, "a").hosts, &cluster(&rig.snapshot, "a").hosts));
}

#[test]
fn a_host_keeps_its_identity_through_weight_and_neighbours() {
    let mut rig = rig();
    let before = hosts(&rig.snapshot, "b");
    before[0].live.rq_total.store(7, Ordering::Relaxed);
    rig.push(EDS, "b", assignment("b", &[(90, 5), (92, 1)]));
    let after = hosts(&rig.snapshot, "b");
    assert_eq!((after[0].uid, after[0].weight), (before[0].uid, 5));
    assert!(Arc::ptr_eq(&before[0].live, &after[0].live));
    assert_eq!(after[0].live.rq_total.load(Ordering::Relaxed), 7);
    assert!(after[1].uid > before[1].uid, "a new host has a new uid");
}

#[test]
fn health_and_its_epoch_survive_updates_of_hosts_and_cluster() {
    let mut rig = rig();
    let before = cluster(&rig.snapshot, "b").hosts.clone();
    rig.push(EDS, "b", assignment("b", &[(90, 5), (92, 1)]));
    rig.push(CDS, "b", eds_cluster("b", 7));
    before.hosts[0].live.health.set(Health::FAILED_OUTLIER);
    let after = cluster(&rig.snapshot, "b").hosts.clone();
    assert_eq!(after.hosts[0].coarse_health(), CoarseHealth::Unhealthy);
    assert_eq!(after.epoch.read(), 1);
    after.hosts[1].live.health.set(Health::FAILED_ACTIVE_HC);
    assert_eq!(before.epoch.read(), 2, "new hosts count in the same epoch");
}

#[test]
fn an_untouched_host_is_the_same_pointer() {
    let mut rig = rig();
    let before = hosts(&rig.snapshot, "b");
    rig.push(EDS, "b", assignment("b", &[(90, 1), (91, 1), (92, 1)]));
    let after = hosts(&rig.snapshot, "b");
    assert!(Arc::ptr_eq(&before[0], &after[0]) && Arc::ptr_eq(&before[1], &after[1]));
}

#[test]
fn a_host_that_left_and_came_back_is_another() {
    let mut rig = rig();
    let before = hosts(&rig.snapshot, "a")[0].uid;
    rig.push(EDS, "a", assignment("a", &[]));
    assert!(hosts(&rig.snapshot, "a").is_empty());
    rig.push(EDS, "a", assignment("a", &[(80, 1)]));
    assert_ne!(hosts(&rig.snapshot, "a")[0].uid, before);
}

#[test]
fn another_order_is_no_change() {
    let mut rig = rig();
    let published = rig.published;
    rig.push(EDS, "b", assignment("b", &[(91, 1), (90, 1)]));
    assert_eq!(rig.published, published);
}

#[test]
fn ids_are_stable_and_never_reused() {
    let mut rig = rig();
    let id = rig.snapshot.cluster_names["a"];
    rig.remove(CDS, "a");
    assert!(rig.snapshot.cluster(id).is_none());
    assert!(!rig.snapshot.cluster_names.contains_key("a"));
    rig.push(CDS, "c", static_cluster("c", 1));
    assert_ne!(rig.snapshot.cluster_names["c"], id);
    rig.push(CDS, "a", static_cluster("a", 1));
    assert_eq!(rig.snapshot.cluster_names["a"], id);
}

#[test]
fn a_listener_changed_in_place_keeps_its_sockets_and_id() {
    let mut rig = rig();
    let before = rig.snapshot.listeners[0].clone().unwrap();
    rig.push(LDS, "in", inline_listener("in", 1000, "b"));
    let after = rig.snapshot.listeners[0].clone().unwrap();
    assert!(!Arc::ptr_eq(&before.config, &after.config));
    assert!(Arc::ptr_eq(&before.sockets.clone().unwrap(), &after.sockets.clone().unwrap()));
    rig.push(RDS, "table", routes("table", "b"));
    assert!(
        Arc::ptr_eq(&after, rig.snapshot.listeners[0].as_ref().unwrap()),
        "routes do not touch listeners"
    );
}

/// Not a benchmark: a bound far above what this takes, so that something quadratic is noticed.
#[test]
fn a_thousand_clusters_with_ten_thousand_endpoints_compile_quickly() {
    let mut rig = Rig::new(Variant::Delta, Duration::from_secs(15));
    let endpoints: Vec<(u16, u32)> = (1..11).map(|port| (port, 1)).collect();
    for n in 0..1000 {
        let name = format!("c{n}");
        rig.server.world.set(CDS, &name, eds_cluster(&name, 1));
        rig.server.world.set(EDS, &name, assignment(&name, &endpoints));
    }
    rig.server.world.set(LDS, "in", rds_listener("in", 1000, "table"));
    rig.server.world.set(RDS, "table", routes("table", "c7"));
    rig.connect();
    let (translate, compile) = std::mem::take(&mut rig.spent);
    assert_eq!(
        rig.snapshot.clusters.iter().flatten().map(|slot| slot.hosts.hosts.len()).sum::<usize>(),
        10_000
    );
    rig.push(EDS, "c500", assignment("c500", &[(1, 9)]));
    let (one_translate, one_compile) = rig.spent;
    assert_eq!(hosts(&rig.snapshot, "c500")[0].weight, 9);
    println!(
        "everything: take in {translate:?}, compile {compile:?}; one: {one_translate:?}, {one_compile:?}"
    );
    assert!(translate + compile < Duration::from_secs(10));
    assert!(one_translate + one_compile < Duration::from_millis(200));
}
