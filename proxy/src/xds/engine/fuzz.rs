//! Histories of a proxy and its control plane: whatever happens on the way, both variants of discovery end where a proxy
//! that starts now would be.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what does not hold is a finding")]

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger_xds_protos::v3::wkt::Any;

use crate::xds::protocol::Variant;
use crate::xds::resource::ResourceType::{
    self, Cluster as CDS, Endpoints as EDS, Listener as LDS, Routes as RDS,
};
use crate::xds::testing::rig::Rig;

use crate::xds::testing::{World, assignment, bad_cluster, eds_cluster, rds_listener, routes};

/// One step of a history.
#[derive(Clone, Debug)]
pub(super) enum Step {
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

/// Bytes as steps.
pub fn discovery(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let history: Vec<Step> = std::iter::from_fn(|| step(&mut bytes)).take(60).collect();
    ends_as_a_fresh_start(&history);
}

/// The next step: what kind, and what of it.
fn step(bytes: &mut impl Iterator<Item = u8>) -> Option<Step> {
    let (kind, of) = (bytes.next()?, bytes.next()?);
    let name = of % 4;
    Some(match kind % 10 {
        0 => Step::Cluster(name, Some(1 + of / 4 % 3)),
        1 => Step::Cluster(name, None),
        2 => Step::Endpoints(name, (1..5).filter(|host| of & (4 << host) != 0).collect()),
        3 => Step::Listener(name % 3, Some((of / 4 % 4, of / 16 % 3))),
        4 => Step::Listener(name % 3, None),
        5 => Step::Routes(name % 3, of / 4 % 4),
        6 => Step::Bad(name),
        7 => Step::Tell(of % 5),
        8 if of % 3 == 0 => Step::Disconnect,
        8 => Step::Reconnect,
        _ => Step::Pass(u16::from(of) * 80),
    })
}

/// Both variants, after `history`, hold what they would hold without it.
pub(super) fn ends_as_a_fresh_start(history: &[Step]) {
    let mut ends = Vec::new();
    for mut rig in Rig::both() {
        rig.connect();
        replay(&mut rig, history);
        let variant = if rig.delta { Variant::Delta } else { Variant::StateOfTheWorld };
        let mut fresh = Rig::new(variant, Duration::from_secs(15));
        fresh.server.world = rig.server.world.clone();
        replay(&mut fresh, &[]);
        assert_eq!(rig.words(), fresh.words(), "{variant:?}");
        ends.push(rig.words());
    }
    assert_eq!(ends[0], ends[1]);
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
