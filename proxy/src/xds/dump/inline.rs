//! Route tables written inside listeners.

use outrigger_xds_protos::any::{self, Typed};
use outrigger_xds_protos::v3::hcm::{HttpConnectionManager, http_connection_manager::RouteSpecifier};
use outrigger_xds_protos::v3::listener::{Filter, Listener, filter::ConfigType};
use outrigger_xds_protos::v3::route::RouteConfiguration;

/// The route configurations of every connection manager of an encoded listener that carries its own.
pub(super) fn route_configurations(listener: &[u8]) -> Vec<RouteConfiguration> {
    let Ok(listener) = Listener::from_wire(listener) else { return Vec::new() };
    let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
    chains.flat_map(|chain| &chain.filters).filter_map(route_configuration).collect()
}

fn route_configuration(filter: &Filter) -> Option<RouteConfiguration> {
    let Some(ConfigType::TypedConfig(config)) = &filter.config_type else { return None };
    match any::unpack::<HttpConnectionManager>(config).ok()?.route_specifier? {
        RouteSpecifier::RouteConfig(table) => Some(table),
        _ => None,
    }
}
