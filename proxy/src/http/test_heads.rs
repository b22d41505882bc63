//! Heads for unit tests.

use std::sync::Arc;
use std::time::Duration;

use super::head::{BodyLength, HeaderBlock, Method, RequestHead, Version};
use crate::config::listener::{
    CodecType, EscapedSlashes, HeaderCase, Http1Settings, Http2Settings, HttpSettings, RouteSource,
    ServerHeader, StripHostPort, Underscores,
};
use crate::config::route::{ClusterChoice, Forward};
use crate::config::service::Service;
use crate::stats::registry::Registry;
use crate::stats::scope::HttpStats;

/// A request head as a codec would build it.
pub fn request(method: &str, path: &str, authority: &str, headers: &[(&str, &str)]) -> RequestHead {
    let mut block = HeaderBlock::default();
    for (name, value) in headers {
        block.append(name.as_bytes(), value.as_bytes());
    }
    RequestHead {
        method: Method::of(method.as_bytes()),
        method_text: block.push_text(method.as_bytes()),
        path: block.push_text(path.as_bytes()),
        authority: block.push_text(authority.as_bytes()),
        https: false,
        version: Version::Http11,
        body: BodyLength::None,
        upgrade: None,
        expects_continue: false,
        accepts_trailers: false,
        block,
    }
}

/// Settings of a connection manager as a sidecar has them.
pub fn settings() -> HttpSettings {
    let registry = Registry::new();
    HttpSettings {
        stat_prefix: "test".into(),
        codec: CodecType::Auto,
        routes: RouteSource::Inline(Arc::default()),
        http1: Http1Settings {
            accept_http_10: false,
            default_host_for_http_10: None,
            allow_absolute_url: true,
            enable_trailers: false,
            header_case: HeaderCase::Lower,
        },
        http2: Http2Settings {
            max_concurrent_streams: 100,
            stream_window: 65_535,
            connection_window: 1 << 20,
            hpack_table_size: 4096,
            allow_connect: false,
            keepalive_interval: Duration::ZERO,
            keepalive_timeout: Duration::ZERO,
        },
        max_head_bytes: 60 << 10,
        max_fields: 100,
        idle_timeout: Duration::ZERO,
        stream_idle_timeout: Duration::ZERO,
        request_timeout: Duration::ZERO,
        request_headers_timeout: Duration::ZERO,
        max_stream_duration: Duration::ZERO,
        max_connection_duration: Duration::ZERO,
        max_requests_per_connection: 0,
        delayed_close_timeout: Duration::from_secs(1),
        server_header: ServerHeader::Overwrite("envoy".into()),
        use_remote_address: false,
        xff_num_trusted_hops: 0,
        skip_xff_append: false,
        internal_ranges: Vec::new(),
        generate_request_id: true,
        preserve_external_request_id: false,
        always_set_request_id_in_response: false,
        upgrades: Vec::new(),
        normalize_path: false,
        merge_slashes: false,
        escaped_slashes: EscapedSlashes::KeepUnchanged,
        underscores: Underscores::Allow,
        strip_trailing_dot: false,
        append_x_forwarded_port: false,
        strip_host_port: StripHostPort::Never,
        proxy_100_continue: false,
        client_cert: Default::default(),
        suppress_envoy_headers: false,
        respect_expected_rq_timeout: false,
        via: None,
        access_logs: Vec::new(),
        bypasses_overload: false,
        drains_when_failing: true,
        buffer_limit: usize::MAX,
        append_local_overload: false,
        filters: Vec::new(),
        tracing: None,
        stats: HttpStats::for_manager(&registry, "test", ([127, 0, 0, 1], 80).into()),
    }
}

/// A forwarding route with Envoy's defaults; the cluster is still to be set.
pub fn forward() -> Forward {
    Forward {
        clusters: ClusterChoice::Header { name: "x".into() },
        service: Service::default(),
        cluster_not_found_status: 503,
        path_rewrite: None,
        host_rewrite: None,
        append_x_forwarded_host: false,
        timeout: Duration::from_secs(15),
        idle_timeout: None,
        max_stream_duration: None,
        max_grpc_timeout: None,
        grpc_timeout_offset: Duration::ZERO,
        retry: None,
        hedge: false,
        replay_limit: None,
        internal_redirects: None,
        mirrors: None,
        upgrades: Vec::new(),
        connect_terminate: false,
        hash_policy: None,
        metadata_match: None,
        rate_limits: None,
        priority: Default::default(),
    }
}
