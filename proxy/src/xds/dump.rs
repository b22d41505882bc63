//! What is held, as the messages of Envoy's `/config_dump` and `/init_dump`.
//!
//! Owns nothing. Bodies are shown as they were received, refusals beside what they left in place. Redaction is the
//! printer's. Source: `envoy.admin.v3`, `ConfigDump`.

use std::time::{SystemTime, UNIX_EPOCH};

use outrigger_xds_protos::any::{self, Typed};
use outrigger_xds_protos::v3::admin::clusters_config_dump::{DynamicCluster, StaticCluster};
use outrigger_xds_protos::v3::admin::listeners_config_dump::{
    DynamicListener, DynamicListenerState, StaticListener,
};
use outrigger_xds_protos::v3::admin::routes_config_dump::{DynamicRouteConfig, StaticRouteConfig};
use outrigger_xds_protos::v3::admin::secrets_config_dump::{DynamicSecret, StaticSecret};
use outrigger_xds_protos::v3::admin::unready_targets_dumps::UnreadyTargetsDump;
use outrigger_xds_protos::v3::admin::{
    ClientResourceStatus, ClustersConfigDump, ListenersConfigDump, RoutesConfigDump, ScopedRoutesConfigDump,
    SecretsConfigDump, UnreadyTargetsDumps, UpdateFailureState,
};
use outrigger_xds_protos::v3::{self, wkt::Any, wkt::Timestamp};

use super::resource::{Body, ResourceType};
use super::store::{Held, Origin, Record, Refused, Store};

mod endpoints;
mod inline;

#[cfg(test)]
mod tests;

/// The sections of `/config_dump` about resources, in Envoy's order, each packed as its own type.
/// The bootstrap section, which comes first, is the server's.
pub fn sections(store: &Store, include_eds: bool) -> Vec<Any> {
    let endpoints = include_eds.then(|| any::pack(&endpoints::dump(store)));
    let clusters = any::pack(&clusters(store));
    let listeners = any::pack(&listeners(store));
    let scoped = any::pack(&ScopedRoutesConfigDump::default());
    let rest = [listeners, scoped, any::pack(&routes(store)), any::pack(&secrets(store))];
    std::iter::once(clusters).chain(endpoints).chain(rest).collect()
}

/// `/init_dump`: what is waited for.
pub fn unready(store: &Store) -> UnreadyTargetsDumps {
    let fetches = store.unanswered().map(|(kind, name)| format!("{} {name}", kind.label()));
    let mut dumps = vec![target("xds", fetches.collect())];
    let warming = store.clusters.iter().filter(|(_, record)| record.is_first_warming());
    dumps.push(target("cluster_manager", warming.map(|(name, _)| name.to_string()).collect()));
    let warming = store.listeners.iter().filter(|(_, record)| record.is_first_warming());
    dumps.push(target("listener_manager", warming.map(|(name, _)| name.to_string()).collect()));
    dumps.retain(|dump| !dump.target_names.is_empty());
    UnreadyTargetsDumps { unready_targets_dumps: dumps }
}

fn target(name: &str, mut target_names: Vec<String>) -> UnreadyTargetsDump {
    target_names.sort();
    UnreadyTargetsDump { name: name.to_owned(), target_names }
}

fn clusters(store: &Store) -> ClustersConfigDump {
    let mut dump =
        ClustersConfigDump { version_info: version(store, ResourceType::Cluster), ..Default::default() };
    for record in store.clusters.values() {
        if record.origin == Origin::Static {
            dump.static_clusters.extend(record.latest().map(|held| StaticCluster {
                cluster: Some(packed::<v3::cluster::Cluster>(&held.body)),
                last_updated: timestamp(held.updated),
            }));
            continue;
        }
        dump.dynamic_active_clusters.extend(record.active.as_ref().map(|held| dynamic_cluster(held, record)));
        dump.dynamic_warming_clusters
            .extend(record.warming.as_ref().map(|held| dynamic_cluster(held, record)));
        if record.latest().is_none() {
            dump.dynamic_warming_clusters.extend(record.refused.as_ref().map(|refused| DynamicCluster {
                version_info: refused.version.to_string(),
                error_state: error_state::<v3::cluster::Cluster>(Some(refused)),
                client_status: status(record),
                ..Default::default()
            }));
        }
    }
    dump
}

fn dynamic_cluster<T>(held: &Held<T>, record: &Record<T>) -> DynamicCluster {
    DynamicCluster {
        version_info: held.version.to_string(),
        cluster: Some(packed::<v3::cluster::Cluster>(&held.body)),
        last_updated: timestamp(held.updated),
        error_state: error_state::<v3::cluster::Cluster>(record.refused.as_ref()),
        client_status: status(record),
    }
}

fn listeners(store: &Store) -> ListenersConfigDump {
    let mut dump =
        ListenersConfigDump { version_info: version(store, ResourceType::Listener), ..Default::default() };
    for (name, record) in &store.listeners {
        if record.origin == Origin::Static {
            dump.static_listeners.extend(record.latest().map(|held| StaticListener {
                listener: Some(packed::<v3::listener::Listener>(&held.body)),
                last_updated: timestamp(held.updated),
            }));
            continue;
        }
        dump.dynamic_listeners.push(DynamicListener {
            name: name.to_string(),
            active_state: record.active.as_ref().map(listener_state),
            warming_state: record.warming.as_ref().map(listener_state),
            draining_state: None,
            error_state: error_state::<v3::listener::Listener>(record.refused.as_ref()),
            client_status: status(record),
        });
    }
    dump
}

fn listener_state<T>(held: &Held<T>) -> DynamicListenerState {
    DynamicListenerState {
        version_info: held.version.to_string(),
        listener: Some(packed::<v3::listener::Listener>(&held.body)),
        last_updated: timestamp(held.updated),
    }
}

fn routes(store: &Store) -> RoutesConfigDump {
    let dynamic = store.routes.values().map(|record| {
        let held = record.latest();
        let refused = record.refused.as_ref();
        DynamicRouteConfig {
            version_info: held.map(|held| held.version.to_string()).unwrap_or_default(),
            route_config: held.map(|held| packed::<v3::route::RouteConfiguration>(&held.body)),
            last_updated: held.and_then(|held| timestamp(held.updated)),
            error_state: error_state::<v3::route::RouteConfiguration>(refused),
            client_status: status(record),
        }
    });
    let inline = store.listeners.values().filter_map(|record| record.latest()).flat_map(|held| {
        let tables = inline::route_configurations(&held.body.0).into_iter();
        tables.map(|table| StaticRouteConfig {
            route_config: Some(any::pack(&table)),
            last_updated: timestamp(held.updated),
        })
    });
    RoutesConfigDump { static_route_configs: inline.collect(), dynamic_route_configs: dynamic.collect() }
}

fn secrets(store: &Store) -> SecretsConfigDump {
    let mut dump = SecretsConfigDump::default();
    for (name, record) in &store.secrets {
        let held = record.active.as_ref();
        let secret = held.map(|held| packed::<v3::tls::Secret>(&held.body));
        let last_updated = held.and_then(|held| timestamp(held.updated));
        if record.origin == Origin::Static {
            dump.static_secrets.push(StaticSecret { name: name.to_string(), last_updated, secret });
            continue;
        }
        let list =
            if held.is_some() { &mut dump.dynamic_active_secrets } else { &mut dump.dynamic_warming_secrets };
        list.push(DynamicSecret {
            name: name.to_string(),
            version_info: held.map(|held| held.version.to_string()).unwrap_or_default(),
            last_updated,
            secret,
            error_state: error_state::<v3::tls::Secret>(record.refused.as_ref()),
            client_status: status(record),
        });
    }
    let waiting = store.unanswered().filter(|(kind, _)| *kind == ResourceType::Secret);
    dump.dynamic_warming_secrets.extend(waiting.map(|(_, name)| DynamicSecret {
        name: name.to_string(),
        client_status: ClientResourceStatus::Requested.into(),
        ..Default::default()
    }));
    dump
}

/// Version of the last list that was accepted as a whole.
fn version(store: &Store, kind: ResourceType) -> String {
    store.list_version(kind).to_string()
}

fn packed<M: Typed>(body: &Body) -> Any {
    Any { type_url: M::TYPE_URL.to_owned(), value: body.0.to_vec() }
}

fn error_state<M: Typed>(refused: Option<&Refused>) -> Option<UpdateFailureState> {
    let refused = refused?;
    Some(UpdateFailureState {
        failed_configuration: (!refused.body.0.is_empty()).then(|| packed::<M>(&refused.body)),
        last_update_attempt: timestamp(refused.at),
        details: refused.details.clone(),
        version_info: refused.version.to_string(),
    })
}

fn status<T>(record: &Record<T>) -> i32 {
    let refused = record.refused.is_some();
    if refused { ClientResourceStatus::Nacked.into() } else { ClientResourceStatus::Acked.into() }
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp { seconds: i64::try_from(since.as_secs()).ok()?, nanos: since.subsec_nanos() as i32 })
}
