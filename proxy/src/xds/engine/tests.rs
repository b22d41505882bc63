use std::time::Duration;

use super::super::protocol::Variant;
use super::super::testing::rig::Rig;
use super::super::testing::*;
use super::*;
use crate::config::outside::QueryId;
use outrigger_xds_protos::v3::wkt::Any;

mod checks;
mod history;
mod sources;

const CDS: ResourceType = ResourceType::Cluster;
const EDS: ResourceType = ResourceType::Endpoints;
const LDS: ResourceType = ResourceType::Listener;
const RDS: ResourceType = ResourceType::Routes;

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn comes_up_with_everything() {
    for mut rig in Rig::both() {
        rig.populate();
        assert_eq!(
            rig.words(),
            [
                pair("cluster a", "1s 10.0.0.1:80*1"),
                pair("listener in", "127.0.0.1:1000"),
                pair("routes table", "a")
            ]
        );
        assert_eq!(rig.ports.log(), ["bind 127.0.0.1:1000", "listen 127.0.0.1:1000"]);
        assert!(rig.server.nacks.is_empty());
    }
}

#[test]
fn listeners_are_asked_for_after_clusters_are_warm() {
    for mut rig in Rig::both() {
        rig.mute = vec![EDS];
        rig.server.world.set(CDS, "a", eds_cluster("a", 1));
        rig.server.world.set(LDS, "in", inline_listener("in", 1000, "a"));
        rig.connect();
        assert_eq!(rig.engine.phase(), InitPhase::Clusters);
        assert!(rig.words().is_empty());
        rig.mute.clear();
        rig.push(EDS, "a", assignment("a", &[(80, 1)]));
        assert_eq!(rig.engine.phase(), InitPhase::Done);
        assert_eq!(rig.words().len(), 2);
    }
}

#[test]
fn an_empty_control_plane_completes_the_start() {
    for mut rig in Rig::both() {
        rig.connect();
        assert_eq!(rig.engine.phase(), InitPhase::Done);
    }
}

#[test]
fn a_silent_control_plane_holds_the_start_for_the_fetch_timeouts() {
    for mut rig in Rig::both() {
        rig.run();
        rig.pass(Duration::from_secs(14));
        assert_eq!(rig.engine.phase(), InitPhase::Clusters);
        rig.pass(Duration::from_secs(1));
        assert_eq!(rig.engine.phase(), InitPhase::Listeners);
        rig.pass(Duration::from_secs(15));
        assert_eq!(rig.engine.phase(), InitPhase::Done);
    }
}

#[test]
fn a_fetch_timeout_of_zero_waits_for_ever() {
    let mut rig = Rig::new(Variant::Delta, Duration::ZERO);
    rig.run();
    rig.pass(Duration::from_secs(100_000));
    assert_eq!(rig.engine.phase(), InitPhase::Clusters);
}

#[test]
fn a_cluster_whose_endpoints_never_come_serves_empty_after_the_timeout() {
    for mut rig in Rig::both() {
        rig.mute = vec![EDS];
        rig.server.world.set(CDS, "a", eds_cluster("a", 1));
        rig.connect();
        rig.pass(Duration::from_secs(15));
        assert_eq!(rig.word("cluster a").as_deref(), Some("1s "));
        assert_eq!(rig.engine.phase(), InitPhase::Done);
        rig.mute.clear();
        rig.push(EDS, "a", assignment("a", &[(80, 1)]));
        assert_eq!(rig.word("cluster a").as_deref(), Some("1s 10.0.0.1:80*1"), "late is better than never");
    }
}

#[test]
fn a_changed_cluster_takes_its_cached_endpoints_at_once() {
    for mut rig in Rig::both() {
        rig.populate();
        rig.mute = vec![EDS];
        rig.push(CDS, "a", eds_cluster("a", 2));
        assert_eq!(rig.word("cluster a").as_deref(), Some("2s 10.0.0.1:80*1"));
    }
}

#[test]
fn identical_content_is_a_no_op() {
    for mut rig in Rig::both() {
        rig.populate();
        let published = rig.published;
        let response = |rig: &mut Rig, kind| {
            rig.server.reconnect();
            rig.engine.closed();
            rig.engine.opened();
            rig.tell(kind);
        };
        for kind in [CDS, EDS, LDS, RDS] {
            response(&mut rig, kind);
        }
        assert_eq!(rig.published, published);
        assert!(rig.ports.log().iter().all(|line| line.ends_with("1000")), "bound and listened once");
    }
}

#[test]
fn a_refused_resource_keeps_its_last_good_version_while_others_apply() {
    for mut rig in Rig::both() {
        rig.populate();
        rig.server.world.set(CDS, "b", static_cluster("b", 1));
        rig.push(CDS, "a", bad_cluster("a"));
        assert_eq!(rig.word("cluster a").as_deref(), Some("1s 10.0.0.1:80*1"));
        assert_eq!(rig.word("cluster b").as_deref(), Some("5s 127.0.0.1:1*1"));
        assert_eq!(rig.server.nacks.len(), 1);
        assert!(rig.server.nacks[0].starts_with("Cluster \"a\": "), "{:?}", rig.server.nacks);
        assert!(rig.engine.store().clusters["a"].refused.is_some());
        rig.push(CDS, "a", eds_cluster("a", 3));
        assert_eq!(rig.word("cluster a").as_deref(), Some("3s 10.0.0.1:80*1"));
        assert!(rig.engine.store().clusters["a"].refused.is_none());
        assert_eq!(rig.server.nacks.len(), 1);
    }
}

#[test]
fn a_refused_resource_is_sent_again_after_a_reconnect() {
    for mut rig in Rig::both() {
        rig.populate();
        rig.push(CDS, "bad", bad_cluster("bad"));
        assert_eq!(rig.server.nacks.len(), 1);
        rig.engine.closed();
        rig.connect();
        assert_eq!(rig.server.nacks.len(), 2, "the server did not take it for known");
    }
}

#[test]
fn removal_is_immediate() {
    for mut rig in Rig::both() {
        rig.populate();
        rig.remove(CDS, "a");
        assert_eq!(rig.word("cluster a"), None);
        assert_eq!(rig.word("routes table").as_deref(), Some("nothing"));
        rig.remove(LDS, "in");
        assert!(rig.words().is_empty(), "routes go with the listener that refers to them");
        assert!(rig.engine.store().endpoints.is_empty() && rig.engine.store().routes.is_empty());
    }
}

#[test]
fn what_is_gone_comes_back_on_being_named_again() {
    for mut rig in Rig::both() {
        rig.populate();
        let before = rig.words();
        rig.remove(CDS, "a");
        rig.push(CDS, "a", eds_cluster("a", 1));
        rig.remove(LDS, "in");
        rig.push(LDS, "in", rds_listener("in", 1000, "table"));
        assert_eq!(rig.words(), before);
    }
}

#[test]
fn losing_the_control_plane_loses_nothing() {
    for mut rig in Rig::both() {
        rig.populate();
        let (before, published) = (rig.words(), rig.published);
        rig.engine.closed();
        rig.pass(Duration::from_secs(100_000));
        assert_eq!((rig.words(), rig.published), (before.clone(), published));
        rig.connect();
        assert_eq!((rig.words(), rig.published), (before, published), "an unchanged world is no news");
    }
}

#[test]
fn changes_made_while_away_arrive_with_the_reconnect() {
    for mut rig in Rig::both() {
        rig.populate();
        rig.engine.closed();
        rig.server.world.unset(CDS, "a");
        rig.server.world.set(CDS, "b", static_cluster("b", 9));
        rig.server.world.set(RDS, "table", routes("table", "b"));
        rig.connect();
        assert_eq!(rig.word("cluster a"), None);
        assert_eq!(rig.word("routes table").as_deref(), Some("b"));
    }
}

#[test]
fn a_new_listener_waits_for_its_routes_and_the_old_one_serves() {
    for mut rig in Rig::both() {
        rig.populate();
        rig.ports.log();
        rig.push(LDS, "in", rds_listener("in", 2000, "other"));
        assert_eq!(rig.word("listener in").as_deref(), Some("127.0.0.1:1000"));
        assert_eq!(rig.word("routes table").as_deref(), Some("a"), "still in use");
        assert_eq!(rig.ports.log(), ["bind 127.0.0.1:2000"]);
        rig.push(RDS, "other", routes("other", "a"));
        assert_eq!(rig.word("listener in").as_deref(), Some("127.0.0.1:2000"));
        assert_eq!(rig.word("routes table"), None);
        assert_eq!(rig.ports.log(), ["listen 127.0.0.1:2000"]);
    }
}

#[test]
fn an_address_that_stays_is_never_bound_again() {
    for mut rig in Rig::both() {
        rig.populate();
        rig.ports.log();
        let before = rig.snapshot.clone();
        rig.push(LDS, "in", inline_listener("in", 1000, "a"));
        let sockets = |snapshot: &Snapshot| snapshot.listeners[0].as_ref().unwrap().sockets.clone().unwrap();
        assert!(Arc::ptr_eq(&sockets(&before), &sockets(&rig.snapshot)));
        assert!(rig.ports.log().is_empty());
    }
}

#[test]
fn a_taken_address_is_a_nack_with_the_system_error() {
    for mut rig in Rig::both() {
        rig.populate();
        rig.ports.taken.lock().unwrap().insert("127.0.0.1:2000".into());
        rig.push(LDS, "other", inline_listener("other", 2000, "a"));
        let nack = rig.server.nacks.concat();
        assert!(nack.contains("Listener \"other\": address 127.0.0.1:2000: cannot bind: "), "{nack}");
        assert!(nack.contains("os error 98"), "{nack}");
        assert_eq!(rig.word("listener other"), None);
        assert!(rig.word("listener in").is_some());
    }
}

#[test]
fn two_listeners_cannot_share_an_address_but_can_swap_theirs() {
    for mut rig in Rig::both() {
        rig.populate();
        rig.push(LDS, "thief", inline_listener("thief", 1000, "a"));
        assert!(
            rig.server.nacks.concat().contains("listener \"in\" has it already"),
            "{:?}",
            rig.server.nacks
        );
        rig.server.world.set(LDS, "in", inline_listener("in", 2000, "a"));
        rig.tell(LDS);
        rig.server.world.set(LDS, "thief", inline_listener("thief", 2000, "a"));
        rig.push(LDS, "in", inline_listener("in", 1000, "a"));
        assert_eq!(rig.word("listener in").as_deref(), Some("127.0.0.1:1000"));
        assert_eq!(rig.word("listener thief").as_deref(), Some("127.0.0.1:2000"));
    }
}

#[test]
fn routes_to_a_cluster_that_just_arrived_wait_for_its_endpoints() {
    for mut rig in Rig::both() {
        rig.populate();
        rig.mute = vec![EDS];
        rig.push(CDS, "b", eds_cluster("b", 1));
        rig.push(RDS, "table", routes("table", "b"));
        assert_eq!(rig.word("routes table").as_deref(), Some("a"), "no burst of 503");
        rig.mute.clear();
        rig.push(EDS, "b", assignment("b", &[(81, 1)]));
        assert_eq!(rig.word("routes table").as_deref(), Some("b"));
    }
}

#[test]
fn routes_do_not_wait_long() {
    for mut rig in Rig::both() {
        rig.populate();
        rig.mute = vec![EDS];
        rig.push(CDS, "b", eds_cluster("b", 1));
        rig.push(RDS, "table", routes("table", "b"));
        rig.pass(Duration::from_secs(1));
        assert_eq!(rig.word("routes table").as_deref(), Some("nothing"));
    }
}

#[test]
fn routes_to_clusters_nobody_sent_apply_at_once() {
    for mut rig in Rig::both() {
        rig.populate();
        rig.push(RDS, "table", routes("table", "missing"));
        assert_eq!(rig.word("routes table").as_deref(), Some("nothing"));
        rig.push(CDS, "missing", static_cluster("missing", 5));
        assert_eq!(rig.word("routes table").as_deref(), Some("missing"), "heals when the cluster shows up");
    }
}

/// The id and cluster of every resolution that was started, in order.
fn started(rig: &mut Rig) -> Vec<QueryId> {
    let starts = rig.resolve.drain(..).filter_map(|command| match command {
        ResolveCommand::Start { id, .. } => Some(id),
        ResolveCommand::Stop(_) => None,
    });
    starts.collect()
}

fn answer(id: QueryId, ips: Option<&[&str]>) -> Resolution {
    let ips = ips.map(|ips| ips.iter().map(|ip| ip.parse().unwrap()).collect());
    Resolution { id, addresses: vec![ips], attempts: 1, failures: 0, problem: None }
}

#[test]
fn a_dns_cluster_warms_with_its_first_answer() {
    for mut rig in Rig::both() {
        rig.server.world.set(CDS, "d", dns_cluster("d", "STRICT_DNS", "db.local", 1));
        rig.connect();
        assert_eq!(rig.engine.phase(), InitPhase::Clusters);
        let ids = started(&mut rig);
        assert_eq!(ids.len(), 1);
        rig.engine.resolved(&answer(ids[0], Some(&["10.0.0.2", "10.0.0.1"])));
        rig.run();
        assert_eq!(rig.engine.phase(), InitPhase::Done);
        assert_eq!(rig.word("cluster d").as_deref(), Some("1s 10.0.0.1:80*1 10.0.0.2:80*1"));
        let published = rig.published;
        rig.engine.resolved(&answer(ids[0], Some(&["10.0.0.1", "10.0.0.2"])));
        rig.run();
        assert_eq!(rig.published, published, "a rotated answer is no change");
        rig.engine.resolved(&answer(ids[0], Some(&[])));
        rig.run();
        assert_eq!(rig.word("cluster d").as_deref(), Some("1s "), "an empty success removes strict hosts");
    }
}

#[test]
fn a_dns_cluster_that_does_not_resolve_serves_empty() {
    for mut rig in Rig::both() {
        rig.server.world.set(CDS, "d", dns_cluster("d", "STRICT_DNS", "db.local", 1));
        rig.connect();
        let ids = started(&mut rig);
        rig.engine.resolved(&answer(ids[0], None));
        rig.run();
        assert_eq!(rig.engine.phase(), InitPhase::Done);
        assert_eq!(rig.word("cluster d").as_deref(), Some("1s "));
    }
}

#[test]
fn why_a_dns_cluster_did_not_resolve_is_kept_after_it_does() {
    for mut rig in Rig::both() {
        rig.server.world.set(CDS, "d", dns_cluster("d", "STRICT_DNS", "db.local", 1));
        rig.connect();
        let ids = started(&mut rig);
        rig.engine.resolved(&answer(ids[0], Some(&["10.0.0.1"])));
        assert!(rig.engine.store().unresolved().is_empty());
        let problem = Some("\"db.local\": timed out".into());
        rig.engine.resolved(&Resolution { problem, ..answer(ids[0], None) });
        let told = |rig: &Rig| match &*rig.engine.store().unresolved() {
            [(cluster, trouble)] => (cluster.to_string(), trouble.what.to_string(), trouble.over),
            other => panic!("{other:?}"),
        };
        let what = "\"db.local\": timed out".to_owned();
        assert_eq!(told(&rig), ("d".to_owned(), what.clone(), false));
        rig.engine.resolved(&answer(ids[0], Some(&["10.0.0.1"])));
        assert_eq!(told(&rig), ("d".to_owned(), what, true));
    }
}

#[test]
fn a_dns_cluster_keeps_its_hosts_when_only_its_settings_change() {
    for mut rig in Rig::both() {
        rig.server.world.set(CDS, "d", dns_cluster("d", "STRICT_DNS", "db.local", 1));
        rig.connect();
        let ids = started(&mut rig);
        rig.engine.resolved(&answer(ids[0], Some(&["10.0.0.1"])));
        rig.run();
        rig.push(CDS, "d", dns_cluster("d", "STRICT_DNS", "db.local", 2));
        assert_eq!(rig.word("cluster d").as_deref(), Some("2s 10.0.0.1:80*1"));
        assert!(rig.resolve.is_empty());
        rig.push(CDS, "d", dns_cluster("d", "STRICT_DNS", "new.local", 2));
        assert_eq!(rig.word("cluster d").as_deref(), Some("2s 10.0.0.1:80*1"), "until the new name resolves");
        let next = started(&mut rig);
        rig.engine.resolved(&answer(next[0], Some(&["10.0.0.9"])));
        rig.run();
        assert_eq!(rig.word("cluster d").as_deref(), Some("2s 10.0.0.9:80*1"));
        assert_eq!(rig.resolve, [ResolveCommand::Stop(ids[0])]);
    }
}

#[test]
fn a_logical_dns_host_stays_the_same_whatever_its_address() {
    for mut rig in Rig::both() {
        rig.server.world.set(CDS, "d", dns_cluster("d", "LOGICAL_DNS", "db.local", 1));
        rig.connect();
        let ids = started(&mut rig);
        let host = |rig: &Rig| rig.snapshot.clusters.iter().flatten().next().unwrap().hosts.hosts[0].clone();
        rig.engine.resolved(&answer(ids[0], Some(&["10.0.0.2", "10.0.0.1"])));
        rig.run();
        let before = host(&rig);
        assert_eq!(&*before.display, "10.0.0.2:80");
        rig.engine.resolved(&answer(ids[0], Some(&["10.0.0.1"])));
        rig.run();
        let after = host(&rig);
        assert_eq!(&*after.display, "10.0.0.1:80");
        assert_eq!(before.uid, after.uid);
        assert!(Arc::ptr_eq(&before.live, &after.live));
        rig.engine.resolved(&answer(ids[0], Some(&[])));
        rig.run();
        assert_eq!(host(&rig).uid, after.uid, "nothing resolved is no reason to drop it");
    }
}

#[test]
fn the_same_bootstrap_name_over_xds_is_ignored() {
    for mut rig in Rig::both() {
        let cluster = outrigger_xds_protos::any::unpack(&static_cluster("own", 7)).unwrap();
        let resources =
            v3::bootstrap::bootstrap::StaticResources { clusters: vec![cluster], ..Default::default() };
        rig.engine.load_static(&resources, rig.clock.now()).unwrap();
        rig.server.world.set(CDS, "own", static_cluster("own", 8));
        rig.connect();
        assert_eq!(rig.word("cluster own").as_deref(), Some("5s 127.0.0.1:7*1"));
        rig.remove(CDS, "own");
        assert_eq!(
            rig.word("cluster own").as_deref(),
            Some("5s 127.0.0.1:7*1"),
            "absence does not remove it"
        );
        assert!(rig.server.nacks.is_empty());
    }
}

#[test]
fn a_purely_static_configuration_is_done_at_once() {
    let mut engine =
        Engine::new(Roots::default(), None, Box::new(PaperPorts::default()), &Registry::new(), None);
    let resources = v3::bootstrap::bootstrap::StaticResources {
        clusters: vec![outrigger_xds_protos::any::unpack(&static_cluster("own", 7)).unwrap()],
        listeners: vec![outrigger_xds_protos::any::unpack(&inline_listener("in", 80, "own")).unwrap()],
        ..Default::default()
    };
    let clock = Clock::new();
    engine.load_static(&resources, clock.now()).unwrap();
    engine.start(clock.now().instant);
    let snapshot = engine.settle(clock.now()).unwrap();
    assert_eq!(describe(&snapshot).len(), 2);
    assert_eq!(engine.phase(), InitPhase::Done);
}

#[test]
fn a_bad_bootstrap_resource_is_a_start_failure_that_names_it() {
    let mut engine =
        Engine::new(Roots::default(), None, Box::new(PaperPorts::default()), &Registry::new(), None);
    let bad = |any| outrigger_xds_protos::any::unpack(&any).unwrap();
    let resources = v3::bootstrap::bootstrap::StaticResources {
        clusters: vec![
            bad(bad_cluster("own")),
            bad(static_cluster("twin", 1)),
            bad(static_cluster("twin", 2)),
        ],
        ..Default::default()
    };
    let faults = engine.load_static(&resources, Clock::new().now()).unwrap_err();
    let names: Vec<&str> = faults.iter().map(|(_, fault)| &*fault.name).collect();
    assert_eq!(names, ["twin", "own"]);
}
