//! Short names for the Envoy v3 packages that a mesh touches.
//!
//! Owns nothing: every item is a re-export of a generated module under [`crate::pb`], named after what Envoy's
//! documentation calls it, so that users write `v3::listener::Listener` and not the path of the `.proto` file.

pub use crate::pb::envoy::admin::v3 as admin;
pub use crate::pb::envoy::config::accesslog::v3 as accesslog;
pub use crate::pb::envoy::config::bootstrap::v3 as bootstrap;
pub use crate::pb::envoy::config::cluster::v3 as cluster;
pub use crate::pb::envoy::config::common::mutation_rules::v3 as mutation_rules;
pub use crate::pb::envoy::config::core::v3 as core;
pub use crate::pb::envoy::config::endpoint::v3 as endpoint;
pub use crate::pb::envoy::config::listener::v3 as listener;
pub use crate::pb::envoy::config::metrics::v3 as metrics;
pub use crate::pb::envoy::config::overload::v3 as overload;
pub use crate::pb::envoy::config::rbac::v3 as rbac;
pub use crate::pb::envoy::config::route::v3 as route;
pub use crate::pb::envoy::config::trace::v3 as trace;
pub use crate::pb::envoy::data::accesslog::v3 as accesslog_data;
pub use crate::pb::envoy::extensions::access_loggers::file::v3 as file_log;
pub use crate::pb::envoy::extensions::access_loggers::filters::cel::v3 as cel_log_filter;
pub use crate::pb::envoy::extensions::access_loggers::grpc::v3 as grpc_log;
pub use crate::pb::envoy::extensions::access_loggers::open_telemetry::v3 as otel_log;
pub use crate::pb::envoy::extensions::access_loggers::stream::v3 as stream_log;
pub use crate::pb::envoy::extensions::clusters::aggregate::v3 as aggregate_cluster;
pub use crate::pb::envoy::extensions::clusters::dns::v3 as dns_cluster;
pub use crate::pb::envoy::extensions::clusters::original_dst::v3 as original_dst_cluster;
pub use crate::pb::envoy::extensions::filters::common::fault::v3 as fault_common;
pub use crate::pb::envoy::extensions::filters::http::adaptive_concurrency::v3 as adaptive_concurrency;
pub use crate::pb::envoy::extensions::filters::http::buffer::v3 as buffer;
pub use crate::pb::envoy::extensions::filters::http::cors::v3 as cors;
pub use crate::pb::envoy::extensions::filters::http::ext_authz::v3 as ext_authz;
pub use crate::pb::envoy::extensions::filters::http::fault::v3 as fault;
pub use crate::pb::envoy::extensions::filters::http::header_mutation::v3 as header_mutation;
pub use crate::pb::envoy::extensions::filters::http::health_check::v3 as health_check;
pub use crate::pb::envoy::extensions::filters::http::jwt_authn::v3 as jwt_authn;
pub use crate::pb::envoy::extensions::filters::http::local_ratelimit::v3 as local_ratelimit;
pub use crate::pb::envoy::extensions::filters::http::rbac::v3 as http_rbac;
pub use crate::pb::envoy::extensions::filters::http::router::v3 as router;
pub use crate::pb::envoy::extensions::filters::listener::http_inspector::v3 as http_inspector;
pub use crate::pb::envoy::extensions::filters::listener::original_dst::v3 as original_dst;
pub use crate::pb::envoy::extensions::filters::listener::proxy_protocol::v3 as proxy_protocol;
pub use crate::pb::envoy::extensions::filters::listener::tls_inspector::v3 as tls_inspector;
pub use crate::pb::envoy::extensions::filters::network::connection_limit::v3 as connection_limit;
pub use crate::pb::envoy::extensions::filters::network::ext_authz::v3 as network_ext_authz;
pub use crate::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
pub use crate::pb::envoy::extensions::filters::network::local_ratelimit::v3 as network_local_ratelimit;
pub use crate::pb::envoy::extensions::filters::network::rbac::v3 as network_rbac;
pub use crate::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
pub use crate::pb::envoy::extensions::formatter::cel::v3 as cel_formatter;
pub use crate::pb::envoy::extensions::load_balancing_policies as lb;
pub use crate::pb::envoy::extensions::network::dns_resolver::cares::v3 as cares;
pub use crate::pb::envoy::extensions::resource_monitors::cgroup_memory::v3 as cgroup_memory;
pub use crate::pb::envoy::extensions::resource_monitors::downstream_connections::v3 as downstream_connections;
pub use crate::pb::envoy::extensions::resource_monitors::fixed_heap::v3 as fixed_heap;
pub use crate::pb::envoy::extensions::resource_monitors::injected_resource::v3 as injected_resource;
pub use crate::pb::envoy::extensions::transport_sockets::proxy_protocol::v3 as upstream_proxy_protocol;
pub use crate::pb::envoy::extensions::transport_sockets::raw_buffer::v3 as raw_buffer;
pub use crate::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
pub use crate::pb::envoy::extensions::upstreams::http::v3 as http_options;
pub use crate::pb::envoy::service::discovery::v3 as discovery;
pub use crate::pb::envoy::service::endpoint::v3 as endpoint_service;
pub use crate::pb::envoy::service::secret::v3 as secret_service;
pub use crate::pb::envoy::service::status::v3 as status_service;
pub use crate::pb::envoy::r#type::matcher::v3 as matcher;
pub use crate::pb::envoy::r#type::tracing::v3 as tracing;
pub use crate::pb::envoy::r#type::v3 as types;
pub use crate::pb::google::api::expr::v1alpha1 as cel;
pub use crate::pb::google::protobuf as wkt;
pub use crate::pb::google::rpc::Status;

/// The ADS client stub: state-of-the-world and delta streams.
pub use discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient as AdsClient;
/// The ADS server trait and its tonic wrapper.
pub use discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer as AdsServer,
};

/// The SDS client stub.
pub use secret_service::secret_discovery_service_client::SecretDiscoveryServiceClient as SdsClient;
/// The SDS server trait and its tonic wrapper.
pub use secret_service::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer as SdsServer,
};

/// Load reporting: messages, client and server.
pub mod load_service {
    pub use crate::pb::envoy::service::load_stats::v3::load_reporting_service_client::LoadReportingServiceClient as LoadReportingClient;
    pub use crate::pb::envoy::service::load_stats::v3::load_reporting_service_server::{
        LoadReportingService, LoadReportingServiceServer as LoadReportingServer,
    };
    pub use crate::pb::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
}
