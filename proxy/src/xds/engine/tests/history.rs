//! Random histories: whatever happens on the way, both variants end where a proxy that starts now would be.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Cluster(u8, Option<u8>),
    Endpoints(u8, Vec<u8>),
    Listener(u8, Option<(u8, u8)>),
    Routes(u8, u8),
    Bad(u8),
    Tell(u8),
    Reconnect,
    Disconnect,
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4u8, prop::option::weighted(0.8, 1..4u8)).prop_map(|(name, version)| Step::Cluster(name, version)),
        4 => (0..4u8, prop::collection::vec(1..5u8, 0..4)).prop_map(|(name, hosts)| Step::Endpoints(name, hosts)),
        3 => (0..3u8, prop::option::weighted(0.8, (0..4u8, 0..3u8))).prop_map(|(name, to)| Step::Listener(name, to)),
        3 => (0..3u8, 0..4u8).prop_map(|(name, cluster)| Step::Routes(name, cluster)),
        1 => (0..4u8).prop_map(Step::Bad),
        6 => (0..5u8).prop_map(Step::Tell),
        2 => Just(Step::Reconnect),
        1 => Just(Step::Disconnect),
        1 => (0..20_000u16).prop_map(Step::Pass),
    ]
}

/// Applies a step to the world; whatever concerns the stream goes to the rig.
fn edit(world: &mut World, step: &Step) {
    match step {
        Step::Cluster(name, Some(version)) => {
            world.set(CDS, &format!("c{name}"), eds_cluster(&format!("c{name}"), u32::from(*version)));
        }
        Step::Cluster(name, None) => world.unset(CDS, &format!("c{name}")),
        Step::Bad(name) => world.set(CDS, &format!("c{name}"), bad_cluster(&format!("c{name}"))),
        Step::Endpoints(name, hosts) => {
            let hosts: BTreeMap<u16, u32> =
                hosts.iter().map(|port| (u16::from(*port), u32::from(*port))).collect();
            let hosts: Vec<(u16, u32)> = hosts.into_iter().collect();
            world.set(EDS, &format!("c{name}"), assignment(&format!("c{name}"), &hosts));
        }
        Step::Listener(name, Some((port, table))) => {
            let port = 1000 + u16::from(*name) * 10 + u16::from(*port);
            world.set(
                LDS,
                &format!("l{name}"),
                rds_listener(&format!("l{name}"), port, &format!("t{table}")),
            );
        }
        Step::Listener(name, None) => world.unset(LDS, &format!("l{name}")),
        Step::Routes(name, cluster) => {
            world.set(RDS, &format!("t{name}"), routes(&format!("t{name}"), &format!("c{cluster}")));
        }
        Step::Tell(_) | Step::Reconnect | Step::Disconnect | Step::Pass(_) => {}
    }
}

fn replay(rig: &mut Rig, history: &[Step]) {
    let mut connected = true;
    for step in history {
        edit(&mut rig.server.world, step);
        match step {
            Step::Tell(kind) if connected => rig.tell(ResourceType::ALL[usize::from(*kind)]),
            Step::Reconnect => {
                rig.engine.closed();
                rig.connect();
                connected = true;
            }
            Step::Disconnect => {
                rig.engine.closed();
                connected = false;
            }
            Step::Pass(millis) => rig.pass(Duration::from_millis(u64::from(*millis))),
            _ => {}
        }
    }
    // The end of every history: a stream on which the world is told and everything was waited for.
    rig.server.world.0.entry(CDS).or_default().retain(|_, resource| !is_bad(resource));
    rig.engine.closed();
    rig.connect();
    for kind in ResourceType::ALL {
        rig.tell(kind);
    }
    rig.pass(Duration::from_secs(100));
    rig.pass(Duration::from_secs(100));
}

fn is_bad(resource: &Any) -> bool {
    (0..4).any(|name| *resource == bad_cluster(&format!("c{name}")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever happened on the way, both variants end where a proxy that starts now would be.
    #[test]
    fn every_history_ends_in_the_same_snapshot(history in prop::collection::vec(step(), 0..40)) {
        let mut ends = Vec::new();
        for mut rig in Rig::both() {
            rig.connect();
            replay(&mut rig, &history);
            let mut fresh = Rig::new(if rig.delta { Variant::Delta } else { Variant::StateOfTheWorld }, Duration::from_secs(15));
            fresh.server.world = rig.server.world.clone();
            replay(&mut fresh, &[]);
            prop_assert_eq!(rig.words(), fresh.words());
            ends.push(rig.words());
        }
        prop_assert_eq!(&ends[0], &ends[1]);
    }
}
