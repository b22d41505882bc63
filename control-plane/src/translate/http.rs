//! The HTTP connection manager and the TCP proxy: what ends a filter chain.

use std::time::Duration;

use outrigger_xds_protos::v3::hcm::http_connection_manager::{
    PathWithEscapedSlashesAction, RouteSpecifier, Tracing, UpgradeConfig,
};
use outrigger_xds_protos::v3::hcm::http_filter::ConfigType as HttpFilterConfig;
use outrigger_xds_protos::v3::hcm::{HttpConnectionManager, HttpFilter, Rds};
use outrigger_xds_protos::v3::listener::Filter;
use outrigger_xds_protos::v3::listener::filter::ConfigType;
use outrigger_xds_protos::v3::router::Router;
use outrigger_xds_protos::v3::tcp_proxy::TcpProxy;
use outrigger_xds_protos::v3::tcp_proxy::tcp_proxy::weighted_cluster::ClusterWeight;
use outrigger_xds_protos::v3::tcp_proxy::tcp_proxy::{ClusterSpecifier, WeightedCluster};

use super::access_log::access_log;
use super::message::{ads, boolean, duration, packed};
use crate::model::AccessLog;

/// A connection manager that asks for its routes by name. Everything that is not set has the proxy's default:
/// no use of the peer's address, HTTP/1.0 refused, protocol by sniffing.
pub fn connection_manager(stat_prefix: &str, routes: &str, log: Option<&AccessLog>) -> Filter {
    guarded_connection_manager(stat_prefix, routes, log, None)
}

/// The same, with a filter that requests pass first.
pub fn guarded_connection_manager(
    stat_prefix: &str,
    routes: &str,
    log: Option<&AccessLog>,
    guard: Option<HttpFilter>,
) -> Filter {
    let router = HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(HttpFilterConfig::TypedConfig(packed(&Router::default()))),
        ..Default::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: routes.to_owned(),
        })),
        http_filters: guard.into_iter().chain([router]).collect(),
        tracing: Some(Tracing::default()),
        access_log: access_log(log),
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            enabled: Some(boolean(true)),
            ..Default::default()
        }],
        normalize_path: Some(boolean(true)),
        merge_slashes: true,
        path_with_escaped_slashes_action: PathWithEscapedSlashesAction::KeepUnchanged as i32,
        ..Default::default()
    };
    Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(ConfigType::TypedConfig(packed(&manager))),
    }
}

/// A TCP proxy to one cluster, or to several by weight.
pub fn tcp_proxy(
    stat_prefix: &str,
    clusters: Vec<(String, u32)>,
    idle: Option<Duration>,
    log: Option<&AccessLog>,
) -> Filter {
    let specifier = match <[(String, u32); 1]>::try_from(clusters) {
        Ok([(only, _)]) => ClusterSpecifier::Cluster(only),
        Err(several) => {
            let clusters = several.into_iter().map(|(name, weight)| ClusterWeight {
                name,
                weight,
                ..Default::default()
            });
            ClusterSpecifier::WeightedClusters(WeightedCluster { clusters: clusters.collect() })
        }
    };
    let proxy = TcpProxy {
        stat_prefix: stat_prefix.to_owned(),
        idle_timeout: idle.map(duration),
        access_log: access_log(log),
        cluster_specifier: Some(specifier),
        ..Default::default()
    };
    Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(ConfigType::TypedConfig(packed(&proxy))),
    }
}
