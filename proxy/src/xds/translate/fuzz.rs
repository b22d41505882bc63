//! Arbitrary resources: refused by name, or compiled into a snapshot; whatever was good before stays.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what does not hold is a finding")]

use std::time::Duration;

use outrigger_xds_protos::any::unpack;
use outrigger_xds_protos::v3::cluster::Cluster;
use outrigger_xds_protos::v3::endpoint::ClusterLoadAssignment;
use outrigger_xds_protos::v3::listener::Listener;
use outrigger_xds_protos::v3::route::RouteConfiguration;
use outrigger_xds_protos::v3::tls::Secret;
use outrigger_xds_protos::v3::wkt::Any;

use super::{Rejection, TranslateContext, cluster, listener, load_assignment, route_table, secret};
use crate::stats::registry::Registry;
use crate::xds::protocol::Variant;
use crate::xds::resource::ResourceType;
use crate::xds::testing::rig::Rig;

/// The type, and a message of it on the wire.
pub fn resources(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else { return };
    let kind = ResourceType::ALL[usize::from(first % 5)];
    let any = Any { type_url: kind.type_url().to_owned(), value: bytes.to_vec() };
    let Some((name, verdict)) = translated(kind, &any) else { return };
    let again = translated(kind, &any).map(|(_, verdict)| verdict);
    assert_eq!(Some(&verdict), again.as_ref(), "another verdict the second time");
    let variant = if first & 0x80 == 0 { Variant::Delta } else { Variant::StateOfTheWorld };
    arrives(variant, kind, &name, any, verdict.is_err());
}

/// Name of the resource and what translation says; `None` for what is no message.
fn translated(kind: ResourceType, any: &Any) -> Option<(String, Result<(), Rejection>)> {
    let mut context = TranslateContext::new(Registry::new(), None);
    let context = &mut context;
    Some(match kind {
        ResourceType::Cluster => {
            let message: Cluster = unpack(any).ok()?;
            (message.name.clone(), cluster(&message, context).map(drop))
        }
        ResourceType::Endpoints => {
            let message: ClusterLoadAssignment = unpack(any).ok()?;
            (message.cluster_name.clone(), load_assignment(&message, context).map(drop))
        }
        ResourceType::Listener => {
            let message: Listener = unpack(any).ok()?;
            (message.name.clone(), listener(&message, context).map(drop))
        }
        ResourceType::Routes => {
            let message: RouteConfiguration = unpack(any).ok()?;
            (message.name.clone(), route_table(&message, context).map(drop))
        }
        ResourceType::Secret => {
            let message: Secret = unpack(any).ok()?;
            (message.name.clone(), secret(&message, context).map(drop))
        }
    })
}

/// Brings the resource to a proxy that has others.
fn arrives(variant: Variant, kind: ResourceType, name: &str, any: Any, is_bad: bool) {
    let mut rig = Rig::new(variant, Duration::from_secs(15));
    rig.populate();
    let before = rig.words();
    rig.push(kind, name, any);
    rig.pass(Duration::from_secs(100));
    let refused = rig.server.nacks.iter().any(|nack| nack.contains(&format!("{name:?}")));
    assert!(refused || !is_bad || !asked_for(kind, name), "refused, and the control plane is not told");
    for nack in &rig.server.nacks {
        assert!(nack.len() <= 4096 + 16 && !nack.chars().any(|char| char == '\0'), "{nack:?}");
    }
    let is_other =
        |word: &(String, String)| !["cluster a", "listener in", "routes table"].contains(&&*word.0);
    for word in &before {
        let replaced = matches!(kind, ResourceType::Endpoints) || ["a", "in", "table"].contains(&name);
        assert!(replaced || rig.words().contains(word), "{word:?} went: {:?}", rig.words());
    }
    if is_bad {
        assert!(!rig.words().iter().any(is_other), "refused and applied: {:?}", rig.words());
    }
}

/// Roots come unasked; of the others, those that something refers to.
fn asked_for(kind: ResourceType, name: &str) -> bool {
    match kind {
        ResourceType::Cluster | ResourceType::Listener => true,
        ResourceType::Endpoints => name == "a",
        ResourceType::Routes => name == "table",
        ResourceType::Secret => false,
    }
}
