//! Clusters under active health checks.

use super::*;
use crate::config::ClusterSlot;
use crate::config::live::Health;

const NEW: u32 = Health::FAILED_ACTIVE_HC | Health::PENDING_ACTIVE_HC;

/// A rig whose world has one checked cluster with two hosts.
fn rig(variant: Variant) -> Rig {
    let mut rig = Rig::new(variant, Duration::from_secs(15));
    rig.server.world.set(CDS, "a", checked_cluster("a", 1));
    rig.server.world.set(EDS, "a", assignment("a", &[(80, 1), (81, 1)]));
    rig.connect();
    rig
}

fn flags(slot: &ClusterSlot) -> Vec<u32> {
    slot.hosts.hosts.iter().map(|host| host.live.health.flags()).collect()
}

#[test]
fn a_cluster_serves_once_every_host_has_its_first_result() {
    for variant in [Variant::StateOfTheWorld, Variant::Delta] {
        let mut rig = rig(variant);
        assert_eq!(rig.word("cluster a"), None);
        let warming = rig.snapshot.warming[0].clone();
        assert_eq!(flags(&warming), [NEW, NEW]);

        warming.hosts.hosts[0].live.health.clear(NEW);
        rig.run();
        assert_eq!(rig.word("cluster a"), None, "one host still waits");

        warming.hosts.hosts[1].live.health.clear(Health::PENDING_ACTIVE_HC);
        rig.run();
        assert!(rig.snapshot.warming.is_empty());
        let slot = rig.snapshot.clusters.iter().flatten().next().unwrap();
        assert!(Arc::ptr_eq(&slot.hosts, &warming.hosts), "the hosts that were checked");
        assert_eq!(flags(slot), [0, Health::FAILED_ACTIVE_HC]);
    }
}

#[test]
fn a_cluster_without_hosts_does_not_wait() {
    let mut rig = Rig::new(Variant::Delta, Duration::from_secs(15));
    rig.server.world.set(CDS, "a", checked_cluster("a", 1));
    rig.server.world.set(EDS, "a", assignment("a", &[]));
    rig.connect();
    assert_eq!(rig.snapshot.clusters.iter().flatten().count(), 1);
}

#[test]
fn an_update_of_a_serving_cluster_waits_for_nothing_and_new_hosts_start_failed() {
    let mut rig = rig(Variant::Delta);
    for host in &rig.snapshot.warming[0].hosts.hosts {
        host.live.health.clear(NEW);
    }
    rig.run();
    rig.push(CDS, "a", checked_cluster("a", 7));
    rig.push(EDS, "a", assignment("a", &[(80, 1), (82, 1)]));
    let slot = rig.snapshot.clusters.iter().flatten().next().unwrap();
    assert_eq!(slot.config.connect_timeout, Duration::from_secs(7));
    assert_eq!(flags(slot), [0, NEW], "81 is gone at once, 80 keeps its health, 82 is new");
}

#[test]
fn a_removed_cluster_is_not_checked_any_more() {
    let mut rig = rig(Variant::Delta);
    assert_eq!(rig.snapshot.warming.len(), 1);
    rig.remove(CDS, "a");
    assert!(rig.snapshot.warming.is_empty());
}
