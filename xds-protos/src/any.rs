//! `google.protobuf.Any`: packing, unpacking, and the type URLs of the messages that a mesh uses.
//!
//! Owns the list of types with a compiled codec. prost's `encode` and `decode` are generic over the buffer and are
//! instantiated in the crate that calls them, tens of seconds of code generation for a listener or a cluster; the
//! methods of [`Typed`] are not generic, so that code exists once, here.

use prost::Message;

use crate::pb::google::protobuf::Any;
use crate::v3;

#[cfg(test)]
mod tests;

/// The prefix that Envoy and every xDS server write before the full name of a type.
pub const TYPE_URL_PREFIX: &str = "type.googleapis.com/";

/// A message with a compiled wire codec and a type URL.
///
/// Implemented here for every message that Outrigger reads or writes; the method names differ from those of
/// `prost::Message` so that both traits may be in scope.
pub trait Typed: Sized {
    /// Full protobuf name, `envoy.config.listener.v3.Listener`.
    const NAME: &'static str;
    /// [`TYPE_URL_PREFIX`] and [`Typed::NAME`].
    const TYPE_URL: &'static str;

    /// Decodes the wire format. Unknown fields are skipped ([`crate::unknown`] finds them).
    fn from_wire(bytes: &[u8]) -> Result<Self, UnpackError>;
    /// Encodes to the wire format.
    fn to_wire(&self) -> Vec<u8>;
}

/// Why an `Any` did not yield the message that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// The `Any` holds another type.
    #[error("expected type {expected}, got {got:?}")]
    WrongType {
        /// Type URL of the message asked for.
        expected: &'static str,
        /// Type URL found; empty when the `Any` was never filled.
        got: String,
    },
    /// The bytes are not a valid encoding of the type.
    #[error("malformed {name}: {reason}")]
    Malformed {
        /// Full name of the type.
        name: &'static str,
        /// The decoder's own words; holds field names, never values.
        reason: String,
    },
}

/// The full type name in a type URL: what follows the last `/`, as Envoy reads it. `None` without a `/` or a name.
///
/// ```
/// use outrigger_xds_protos::any::type_name;
/// assert_eq!(type_name("type.googleapis.com/google.protobuf.Empty"), Some("google.protobuf.Empty"));
/// assert_eq!(type_name("google.protobuf.Empty"), None);
/// ```
pub fn type_name(type_url: &str) -> Option<&str> {
    type_url.rsplit_once('/').map(|(_, name)| name).filter(|name| !name.is_empty())
}

/// Packs a message.
///
/// ```
/// use outrigger_xds_protos::{any, v3::router::Router};
/// let packed = any::pack(&Router::default());
/// assert_eq!(packed.type_url, "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router");
/// assert_eq!(any::unpack::<Router>(&packed), Ok(Router::default()));
/// ```
pub fn pack<M: Typed>(message: &M) -> Any {
    Any { type_url: M::TYPE_URL.to_owned(), value: message.to_wire() }
}

/// Whether `any` holds an `M`.
pub fn is<M: Typed>(any: &Any) -> bool {
    type_name(&any.type_url) == Some(M::NAME)
}

/// Unpacks an `Any` that must hold an `M`.
pub fn unpack<M: Typed>(any: &Any) -> Result<M, UnpackError> {
    if !is::<M>(any) {
        return Err(UnpackError::WrongType { expected: M::TYPE_URL, got: any.type_url.clone() });
    }
    M::from_wire(&any.value)
}

/// One constant and one [`Typed`] implementation per line: the constant's name, the Rust type, the protobuf name.
macro_rules! typed {
    ($($constant:ident $path:ty = $name:literal;)*) => {
        $(impl Typed for $path {
            const NAME: &'static str = $name;
            const TYPE_URL: &'static str = concat!("type.googleapis.com/", $name);

            fn from_wire(bytes: &[u8]) -> Result<Self, UnpackError> {
                Self::decode(bytes).map_err(|e| UnpackError::Malformed { name: $name, reason: e.to_string() })
            }

            fn to_wire(&self) -> Vec<u8> {
                self.encode_to_vec()
            }
        })*

        /// Type URLs by short name.
        pub mod type_url {
            $(#[doc = concat!("`", $name, "`")]
            pub const $constant: &str = concat!("type.googleapis.com/", $name);)*
        }

        #[cfg(test)]
        pub(crate) mod checks {
            use super::*;

            /// Every line of the table: the written name, and prost's own.
            pub(crate) fn names() -> Vec<(&'static str, String)> {
                vec![$(($name, <$path as prost::Name>::full_name())),*]
            }
        }
    };
}

typed! {
    LISTENER v3::listener::Listener = "envoy.config.listener.v3.Listener";
    ROUTE_CONFIGURATION v3::route::RouteConfiguration = "envoy.config.route.v3.RouteConfiguration";
    SCOPED_ROUTE_CONFIGURATION v3::route::ScopedRouteConfiguration = "envoy.config.route.v3.ScopedRouteConfiguration";
    VIRTUAL_HOST v3::route::VirtualHost = "envoy.config.route.v3.VirtualHost";
    CLUSTER v3::cluster::Cluster = "envoy.config.cluster.v3.Cluster";
    CLUSTER_LOAD_ASSIGNMENT v3::endpoint::ClusterLoadAssignment = "envoy.config.endpoint.v3.ClusterLoadAssignment";
    SECRET v3::tls::Secret = "envoy.extensions.transport_sockets.tls.v3.Secret";
    BOOTSTRAP v3::bootstrap::Bootstrap = "envoy.config.bootstrap.v3.Bootstrap";
    NODE v3::core::Node = "envoy.config.core.v3.Node";
    TYPED_EXTENSION_CONFIG v3::core::TypedExtensionConfig = "envoy.config.core.v3.TypedExtensionConfig";
    DELTA_RESOURCE v3::discovery::Resource = "envoy.service.discovery.v3.Resource";

    HTTP_CONNECTION_MANAGER v3::hcm::HttpConnectionManager
        = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    TCP_PROXY v3::tcp_proxy::TcpProxy = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    CONNECTION_LIMIT v3::connection_limit::ConnectionLimit
        = "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit";
    NETWORK_LOCAL_RATE_LIMIT v3::network_local_ratelimit::LocalRateLimit
        = "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit";
    FIXED_HEAP v3::fixed_heap::FixedHeapConfig = "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig";
    INJECTED_RESOURCE v3::injected_resource::InjectedResourceConfig
        = "envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig";
    DOWNSTREAM_CONNECTIONS v3::downstream_connections::DownstreamConnectionsConfig
        = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig";
    CGROUP_MEMORY v3::cgroup_memory::CgroupMemoryConfig
        = "envoy.extensions.resource_monitors.cgroup_memory.v3.CgroupMemoryConfig";
    SCALE_TIMERS v3::overload::ScaleTimersOverloadActionConfig
        = "envoy.config.overload.v3.ScaleTimersOverloadActionConfig";
    NETWORK_EXT_AUTHZ v3::network_ext_authz::ExtAuthz
        = "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz";
    NETWORK_RBAC v3::network_rbac::Rbac = "envoy.extensions.filters.network.rbac.v3.RBAC";
    ORIGINAL_DST v3::original_dst::OriginalDst = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst";
    TLS_INSPECTOR v3::tls_inspector::TlsInspector = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
    HTTP_INSPECTOR v3::http_inspector::HttpInspector
        = "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector";
    PROXY_PROTOCOL v3::proxy_protocol::ProxyProtocol
        = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol";

    ROUTER v3::router::Router = "envoy.extensions.filters.http.router.v3.Router";
    CORS v3::cors::Cors = "envoy.extensions.filters.http.cors.v3.Cors";
    CORS_POLICY v3::cors::CorsPolicy = "envoy.extensions.filters.http.cors.v3.CorsPolicy";
    FAULT v3::fault::HttpFault = "envoy.extensions.filters.http.fault.v3.HTTPFault";
    HEADER_MUTATION v3::header_mutation::HeaderMutation
        = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";
    HEADER_MUTATION_PER_ROUTE v3::header_mutation::HeaderMutationPerRoute
        = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute";
    BUFFER v3::buffer::Buffer = "envoy.extensions.filters.http.buffer.v3.Buffer";
    BUFFER_PER_ROUTE v3::buffer::BufferPerRoute = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute";
    ADAPTIVE_CONCURRENCY v3::adaptive_concurrency::AdaptiveConcurrency
        = "envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency";
    HEALTH_CHECK v3::health_check::HealthCheck = "envoy.extensions.filters.http.health_check.v3.HealthCheck";
    HTTP_RBAC v3::http_rbac::Rbac = "envoy.extensions.filters.http.rbac.v3.RBAC";
    HTTP_RBAC_PER_ROUTE v3::http_rbac::RbacPerRoute = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
    HTTP_EXT_AUTHZ v3::ext_authz::ExtAuthz = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
    HTTP_EXT_AUTHZ_PER_ROUTE v3::ext_authz::ExtAuthzPerRoute
        = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute";
    HTTP_JWT v3::jwt_authn::JwtAuthentication = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
    HTTP_JWT_PER_ROUTE v3::jwt_authn::PerRouteConfig = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";
    LOCAL_RATE_LIMIT v3::local_ratelimit::LocalRateLimit
        = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
    PREVIOUS_ROUTES crate::pb::envoy::extensions::internal_redirect::previous_routes::v3::PreviousRoutesConfig
        = "envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig";
    ALLOW_LISTED_ROUTES crate::pb::envoy::extensions::internal_redirect::allow_listed_routes::v3::AllowListedRoutesConfig
        = "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig";
    SAFE_CROSS_SCHEME crate::pb::envoy::extensions::internal_redirect::safe_cross_scheme::v3::SafeCrossSchemeConfig
        = "envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig";
    FILTER_CONFIG v3::route::FilterConfig = "envoy.config.route.v3.FilterConfig";
    UUID_REQUEST_ID crate::pb::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig
        = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig";
    OMIT_HOST_METADATA crate::pb::envoy::extensions::retry::host::omit_host_metadata::v3::OmitHostMetadataConfig
        = "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig";
    PREVIOUS_PRIORITIES crate::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig
        = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig";
    URI_TEMPLATE_REWRITE crate::pb::envoy::extensions::path::rewrite::uri_template::v3::UriTemplateRewriteConfig
        = "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig";
    URI_TEMPLATE_MATCH crate::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig
        = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";
    PRESERVE_CASE crate::pb::envoy::extensions::http::header_formatters::preserve_case::v3::PreserveCaseFormatterConfig
        = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig";

    DOWNSTREAM_TLS v3::tls::DownstreamTlsContext = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    UPSTREAM_TLS v3::tls::UpstreamTlsContext = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    SPIFFE_VALIDATOR v3::tls::SpiffeCertValidatorConfig
        = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";
    RAW_BUFFER v3::raw_buffer::RawBuffer = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
    UPSTREAM_PROXY_PROTOCOL v3::upstream_proxy_protocol::ProxyProtocolUpstreamTransport
        = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport";
    HTTP_PROTOCOL_OPTIONS v3::http_options::HttpProtocolOptions
        = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    TCP_PROTOCOL_OPTIONS crate::pb::envoy::extensions::upstreams::tcp::v3::TcpProtocolOptions
        = "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions";

    LB_ROUND_ROBIN v3::lb::round_robin::v3::RoundRobin
        = "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin";
    LB_LEAST_REQUEST v3::lb::least_request::v3::LeastRequest
        = "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest";
    LB_RANDOM v3::lb::random::v3::Random = "envoy.extensions.load_balancing_policies.random.v3.Random";
    LB_RING_HASH v3::lb::ring_hash::v3::RingHash = "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash";
    LB_MAGLEV v3::lb::maglev::v3::Maglev = "envoy.extensions.load_balancing_policies.maglev.v3.Maglev";
    LB_WRR_LOCALITY v3::lb::wrr_locality::v3::WrrLocality
        = "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality";
    LB_SUBSET v3::lb::subset::v3::Subset = "envoy.extensions.load_balancing_policies.subset.v3.Subset";
    LB_PEAK_EWMA crate::contrib::PeakEwma
        = "envoy.extensions.load_balancing_policies.peak_ewma.v3alpha.PeakEwma";
    AGGREGATE_CLUSTER v3::aggregate_cluster::ClusterConfig = "envoy.extensions.clusters.aggregate.v3.ClusterConfig";
    DNS_CLUSTER v3::dns_cluster::DnsCluster = "envoy.extensions.clusters.dns.v3.DnsCluster";
    ORIGINAL_DST_CLUSTER v3::original_dst_cluster::OriginalDstCluster
        = "envoy.extensions.clusters.original_dst.v3.OriginalDstCluster";
    CARES_DNS_RESOLVER v3::cares::CaresDnsResolverConfig
        = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig";
    LB_CLUSTER_PROVIDED v3::lb::cluster_provided::v3::ClusterProvided
        = "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided";

    FILE_ACCESS_LOG v3::file_log::FileAccessLog = "envoy.extensions.access_loggers.file.v3.FileAccessLog";
    STDOUT_ACCESS_LOG v3::stream_log::StdoutAccessLog = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";
    STDERR_ACCESS_LOG v3::stream_log::StderrAccessLog = "envoy.extensions.access_loggers.stream.v3.StderrAccessLog";
    HTTP_GRPC_ACCESS_LOG v3::grpc_log::HttpGrpcAccessLogConfig
        = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig";
    TCP_GRPC_ACCESS_LOG v3::grpc_log::TcpGrpcAccessLogConfig
        = "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig";
    OTEL_ACCESS_LOG v3::otel_log::OpenTelemetryAccessLogConfig
        = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig";
    CEL_LOG_FILTER v3::cel_log_filter::ExpressionFilter
        = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter";
    CEL_FORMATTER v3::cel_formatter::Cel = "envoy.extensions.formatter.cel.v3.Cel";
    XRAY_CONFIG v3::trace::XRayConfig = "envoy.config.trace.v3.XRayConfig";
    OPEN_TELEMETRY_CONFIG v3::trace::OpenTelemetryConfig = "envoy.config.trace.v3.OpenTelemetryConfig";
    ZIPKIN_CONFIG v3::trace::ZipkinConfig = "envoy.config.trace.v3.ZipkinConfig";
    DATADOG_CONFIG v3::trace::DatadogConfig = "envoy.config.trace.v3.DatadogConfig";
    STATSD_SINK v3::metrics::StatsdSink = "envoy.config.metrics.v3.StatsdSink";
    DOG_STATSD_SINK v3::metrics::DogStatsdSink = "envoy.config.metrics.v3.DogStatsdSink";

    BOOTSTRAP_DUMP v3::admin::BootstrapConfigDump = "envoy.admin.v3.BootstrapConfigDump";
    CLUSTERS_DUMP v3::admin::ClustersConfigDump = "envoy.admin.v3.ClustersConfigDump";
    ENDPOINTS_DUMP v3::admin::EndpointsConfigDump = "envoy.admin.v3.EndpointsConfigDump";
    LISTENERS_DUMP v3::admin::ListenersConfigDump = "envoy.admin.v3.ListenersConfigDump";
    ROUTES_DUMP v3::admin::RoutesConfigDump = "envoy.admin.v3.RoutesConfigDump";
    SCOPED_ROUTES_DUMP v3::admin::ScopedRoutesConfigDump = "envoy.admin.v3.ScopedRoutesConfigDump";
    SECRETS_DUMP v3::admin::SecretsConfigDump = "envoy.admin.v3.SecretsConfigDump";
    CONFIG_DUMP v3::admin::ConfigDump = "envoy.admin.v3.ConfigDump";
    STATIC_CLUSTER_DUMP v3::admin::clusters_config_dump::StaticCluster
        = "envoy.admin.v3.ClustersConfigDump.StaticCluster";
    DYNAMIC_CLUSTER_DUMP v3::admin::clusters_config_dump::DynamicCluster
        = "envoy.admin.v3.ClustersConfigDump.DynamicCluster";
    STATIC_LISTENER_DUMP v3::admin::listeners_config_dump::StaticListener
        = "envoy.admin.v3.ListenersConfigDump.StaticListener";
    DYNAMIC_LISTENER_DUMP v3::admin::listeners_config_dump::DynamicListener
        = "envoy.admin.v3.ListenersConfigDump.DynamicListener";
    STATIC_ROUTE_DUMP v3::admin::routes_config_dump::StaticRouteConfig
        = "envoy.admin.v3.RoutesConfigDump.StaticRouteConfig";
    DYNAMIC_ROUTE_DUMP v3::admin::routes_config_dump::DynamicRouteConfig
        = "envoy.admin.v3.RoutesConfigDump.DynamicRouteConfig";
    STATIC_ENDPOINT_DUMP v3::admin::endpoints_config_dump::StaticEndpointConfig
        = "envoy.admin.v3.EndpointsConfigDump.StaticEndpointConfig";
    DYNAMIC_ENDPOINT_DUMP v3::admin::endpoints_config_dump::DynamicEndpointConfig
        = "envoy.admin.v3.EndpointsConfigDump.DynamicEndpointConfig";
    STATIC_SECRET_DUMP v3::admin::secrets_config_dump::StaticSecret = "envoy.admin.v3.SecretsConfigDump.StaticSecret";
    DYNAMIC_SECRET_DUMP v3::admin::secrets_config_dump::DynamicSecret
        = "envoy.admin.v3.SecretsConfigDump.DynamicSecret";
    SERVER_INFO v3::admin::ServerInfo = "envoy.admin.v3.ServerInfo";
    CLUSTERS_STATUS v3::admin::Clusters = "envoy.admin.v3.Clusters";
    LISTENERS_STATUS v3::admin::Listeners = "envoy.admin.v3.Listeners";
    CERTIFICATES v3::admin::Certificates = "envoy.admin.v3.Certificates";
    MEMORY v3::admin::Memory = "envoy.admin.v3.Memory";
    CLIENT_STATUS v3::status_service::ClientStatusResponse = "envoy.service.status.v3.ClientStatusResponse";

    STRUCT v3::wkt::Struct = "google.protobuf.Struct";
    STRING_VALUE v3::wkt::StringValue = "google.protobuf.StringValue";
    UINT32_VALUE v3::wkt::UInt32Value = "google.protobuf.UInt32Value";
    BOOL_VALUE v3::wkt::BoolValue = "google.protobuf.BoolValue";
}
