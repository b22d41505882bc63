//! The configuration as admin shows it: the bootstrap and what the xDS driver holds.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use outrigger_xds_protos::any;
use outrigger_xds_protos::json as proto_json;
use outrigger_xds_protos::v3::admin::BootstrapConfigDump;
use outrigger_xds_protos::v3::bootstrap::Bootstrap;
use serde_json::{Value, json};

use super::x509;
use crate::admin::{CertificatePair, ConfigView};
use crate::config::Snapshot;
use crate::config::publish::Subscriber;
use crate::xds::driver::Handle;
use crate::xds::store::Trouble;

/// Bootstrap and driver together.
pub struct DriverView {
    bootstrap: Bootstrap,
    static_clusters: HashSet<String>,
    snapshots: Subscriber,
    driver: Handle,
}

impl DriverView {
    /// A view over what the process started with, what is published and what the driver holds.
    pub fn new(bootstrap: Bootstrap, snapshots: Subscriber, driver: Handle) -> Self {
        let clusters = bootstrap.static_resources.iter().flat_map(|resources| &resources.clusters);
        let static_clusters = clusters.map(|cluster| cluster.name.clone()).collect();
        Self { bootstrap, static_clusters, snapshots, driver }
    }
}

impl ConfigView for DriverView {
    fn sections(&self, include_eds: bool) -> BoxFuture<'_, Vec<Value>> {
        async move {
            let bootstrap = BootstrapConfigDump {
                bootstrap: Some(self.bootstrap.clone()),
                ..BootstrapConfigDump::default()
            };
            let mut sections = vec![any::pack(&bootstrap)];
            sections.extend(self.driver.config_dump(include_eds).await);
            sections
                .iter()
                .map(|section| proto_json::print_any(section, proto_json::Secrets::Redact))
                .collect()
        }
        .boxed()
    }

    fn unready(&self) -> BoxFuture<'_, Value> {
        async move {
            let dumps = self.driver.init_dump().await.unready_targets_dumps;
            let dumps: Vec<_> = dumps
                .iter()
                .map(|dump| json!({ "name": dump.name, "target_names": dump.target_names }))
                .collect();
            json!({ "unready_targets_dumps": dumps })
        }
        .boxed()
    }

    fn unconfigured(&self) -> BoxFuture<'_, Vec<String>> {
        self.driver.unconfigured().boxed()
    }

    fn unresolved(&self) -> BoxFuture<'_, Vec<(String, String)>> {
        async move {
            let told = |(cluster, trouble): (Arc<str>, Trouble)| {
                let Trouble { what, at, over } = trouble;
                let since = if over { ", and it has resolved since" } else { "" };
                (cluster.to_string(), format!("{what}, {} s ago{since}", at.elapsed().as_secs()))
            };
            self.driver.unresolved().await.into_iter().map(told).collect()
        }
        .boxed()
    }

    fn is_static_cluster(&self, name: &str) -> bool {
        self.static_clusters.contains(name)
    }

    fn certificates(&self) -> Vec<CertificatePair> {
        certificates(&self.snapshots.current())
    }
}

/// Certificates of listeners and clusters in effect.
fn certificates(snapshot: &Snapshot) -> Vec<CertificatePair> {
    let chains = snapshot
        .listeners
        .iter()
        .flatten()
        .flat_map(|slot| slot.config.chains.iter().chain(&slot.config.default_chain));
    let servers = chains.filter_map(|chain| chain.tls.as_ref()).map(|tls| &tls.shown);
    let clusters = snapshot.clusters.iter().flatten().filter_map(|slot| slot.config.tls.as_ref());
    servers.chain(clusters.map(|tls| &tls.shown)).map(x509::pair).collect()
}
