//! The protocol towards a cluster's hosts, in its extension form and in the deprecated fields.
//! Source: `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`, `Cluster.http2_protocol_options` and friends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use outrigger_xds_protos::any;
use outrigger_xds_protos::pb::google::protobuf::{Any, UInt32Value};
use outrigger_xds_protos::v3::core::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as CommonMessage,
    UpstreamHttpProtocolOptions,
};
use outrigger_xds_protos::v3::http_options::HttpProtocolOptions;
use outrigger_xds_protos::v3::http_options::http_protocol_options::{
    AutoHttpConfig, ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
    explicit_http_config::ProtocolConfig,
};

use super::fields;
use super::fields::{refuse, warn_set};
use super::path::{Path, Rejection};
use super::scope::Scope;
use super::{hash_policy, http_filter, http_options, retry};
use crate::config::balance::HashPolicy;
use crate::config::cluster::UpstreamProtocol;
use crate::config::listener::{HeaderCase, Http2Settings};
use crate::config::retry::RetryPolicy;

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The fields of a cluster that say how to speak to its hosts.
pub(super) struct ProtocolFields<'m> {
    pub(super) extensions: &'m HashMap<String, Any>,
    pub(super) common: &'m Option<CommonMessage>,
    pub(super) upstream: &'m Option<UpstreamHttpProtocolOptions>,
    pub(super) http1: &'m Option<Http1ProtocolOptions>,
    pub(super) http2: &'m Option<Http2ProtocolOptions>,
    /// `protocol_selection`: 1 is USE_DOWNSTREAM_PROTOCOL.
    pub(super) selection: i32,
    pub(super) max_requests_per_connection: &'m Option<UInt32Value>,
}

/// The compiled protocol settings of a cluster.
pub(super) struct Protocol {
    pub(super) protocol: UpstreamProtocol,
    pub(super) header_case: HeaderCase,
    pub(super) http1_trailers: bool,
    pub(super) http2: Http2Settings,
    pub(super) idle_timeout: Duration,
    pub(super) max_connection_duration: Duration,
    pub(super) max_stream_duration: Duration,
    pub(super) retry: Option<Arc<RetryPolicy>>,
    pub(super) max_requests_per_connection: u32,
    pub(super) max_head_bytes: usize,
    pub(super) max_fields: usize,
    /// Instead of the routes' policies.
    pub(super) hash_policy: Option<Arc<[HashPolicy]>>,
}

/// Compiles the protocol. The extension replaces the deprecated fields as a whole.
pub(super) fn compile(
    found: ProtocolFields<'_>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Protocol, Rejection> {
    let map_path = path.field("typed_extension_protocol_options");
    if let Some(key) = found.extensions.keys().find(|key| *key != HTTP_OPTIONS) {
        return Err(map_path.key(key).unsupported());
    }
    match found.extensions.get(HTTP_OPTIONS) {
        None => deprecated(found, path, scope),
        Some(packed) => {
            let options_path = map_path.key(HTTP_OPTIONS);
            let options = any::unpack(packed).map_err(|error| options_path.reject(error))?;
            let mut protocol = extension(&options, &options_path, scope)?;
            if let Some(max) = fields::count(found.max_requests_per_connection)
                && protocol.max_requests_per_connection == 0
            {
                protocol.max_requests_per_connection = max;
            }
            Ok(protocol)
        }
    }
}

fn deprecated(
    found: ProtocolFields<'_>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Protocol, Rejection> {
    check_upstream(found.upstream, &path.field("upstream_http_protocol_options"))?;
    let chosen = match (found.selection, found.http2) {
        (1, _) => UpstreamProtocol::Downstream,
        (_, Some(_)) => UpstreamProtocol::Http2,
        (_, None) => UpstreamProtocol::Http1,
    };
    let versions = Versions { chosen, http1: found.http1.as_ref(), http2: found.http2.as_ref(), path };
    let common_path = path.field("common_http_protocol_options");
    let mut protocol = assemble(versions, found.common.as_ref(), &common_path, scope)?;
    if let Some(max) = fields::count(found.max_requests_per_connection) {
        protocol.max_requests_per_connection = max;
    }
    Ok(protocol)
}

fn extension(
    options: &HttpProtocolOptions,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Protocol, Rejection> {
    let HttpProtocolOptions {
        common_http_protocol_options,
        upstream_http_protocol_options,
        http_filters,
        header_validation_config,
        outlier_detection,
        request_mirror_policies,
        hash_policy,
        retry_policy,
        upstream_protocol_options,
    } = options;
    refuse!(path; header_validation_config, request_mirror_policies);
    warn_set!(scope, path, "is not in effect: outliers are found by status alone"; outlier_detection);
    http_filter::upstream(http_filters, &path.field("http_filters"))?;
    check_upstream(upstream_http_protocol_options, &path.field("upstream_http_protocol_options"))?;
    let chosen = upstream_protocol_options.as_ref().ok_or_else(|| {
        path.reject("needs one of explicit_http_config, use_downstream_protocol_config, auto_config")
    })?;
    let chosen_path = path.field(match chosen {
        UpstreamProtocolOptions::ExplicitHttpConfig(_) => "explicit_http_config",
        UpstreamProtocolOptions::UseDownstreamProtocolConfig(_) => "use_downstream_protocol_config",
        UpstreamProtocolOptions::AutoConfig(_) => "auto_config",
    });
    let versions = versions(chosen, &chosen_path)?;
    let common_path = path.field("common_http_protocol_options");
    let retry_path = path.field("retry_policy");
    let retry = retry_policy.as_ref().map(|policy| retry::compile(policy, &retry_path, scope)).transpose()?;
    let protocol = assemble(versions, common_http_protocol_options.as_ref(), &common_path, scope)?;
    let hash_policy = hash_policy::compile(hash_policy, &path.field("hash_policy"))?;
    Ok(Protocol { retry, hash_policy, ..protocol })
}

/// The chosen protocol with its options; `path` is the message that holds them.
struct Versions<'m> {
    chosen: UpstreamProtocol,
    http1: Option<&'m Http1ProtocolOptions>,
    http2: Option<&'m Http2ProtocolOptions>,
    path: &'m Path<'m>,
}

fn versions<'m>(options: &'m UpstreamProtocolOptions, path: &'m Path<'m>) -> Result<Versions<'m>, Rejection> {
    let (chosen, http1, http2) = match options {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config }) => {
            explicit(protocol_config, path)?
        }
        UpstreamProtocolOptions::UseDownstreamProtocolConfig(config) => {
            let UseDownstreamHttpConfig {
                http_protocol_options,
                http2_protocol_options,
                http3_protocol_options,
            } = config;
            refuse!(path; http3_protocol_options);
            (UpstreamProtocol::Downstream, http_protocol_options.as_ref(), http2_protocol_options.as_ref())
        }
        UpstreamProtocolOptions::AutoConfig(config) => {
            let AutoHttpConfig {
                http_protocol_options,
                http2_protocol_options,
                http3_protocol_options,
                alternate_protocols_cache_options,
            } = config;
            refuse!(path; http3_protocol_options, alternate_protocols_cache_options);
            (UpstreamProtocol::Auto, http_protocol_options.as_ref(), http2_protocol_options.as_ref())
        }
    };
    Ok(Versions { chosen, http1, http2, path })
}

type Explicit<'m> = (UpstreamProtocol, Option<&'m Http1ProtocolOptions>, Option<&'m Http2ProtocolOptions>);

fn explicit<'m>(config: &'m Option<ProtocolConfig>, path: &Path<'_>) -> Result<Explicit<'m>, Rejection> {
    match config {
        None => Err(path.reject("needs one of http_protocol_options, http2_protocol_options")),
        Some(ProtocolConfig::HttpProtocolOptions(http1)) => Ok((UpstreamProtocol::Http1, Some(http1), None)),
        Some(ProtocolConfig::Http2ProtocolOptions(http2)) => Ok((UpstreamProtocol::Http2, None, Some(http2))),
        Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
            Err(path.field("http3_protocol_options").unsupported())
        }
    }
}

fn check_upstream(message: &Option<UpstreamHttpProtocolOptions>, path: &Path<'_>) -> Result<(), Rejection> {
    let absent = UpstreamHttpProtocolOptions::default();
    let UpstreamHttpProtocolOptions { auto_sni, auto_san_validation, override_auto_sni_header } =
        message.as_ref().unwrap_or(&absent);
    refuse!(path; auto_sni, auto_san_validation, override_auto_sni_header);
    Ok(())
}

fn assemble(
    versions: Versions<'_>,
    common: Option<&CommonMessage>,
    common_path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Protocol, Rejection> {
    let common = http_options::common(common, common_path)?;
    let http1 = http_options::http1(versions.http1, &versions.path.field("http_protocol_options"))?;
    let http2_path = versions.path.field("http2_protocol_options");
    Ok(Protocol {
        protocol: versions.chosen,
        header_case: http1.header_case,
        http1_trailers: http1.enable_trailers,
        http2: http_options::http2(versions.http2, &http2_path, scope)?,
        idle_timeout: common.idle_timeout,
        max_connection_duration: common.max_connection_duration,
        max_stream_duration: common.max_stream_duration,
        retry: None,
        max_requests_per_connection: common.max_requests_per_connection,
        max_head_bytes: common.max_response_head_bytes,
        max_fields: common.max_fields,
        hash_policy: None,
    })
}
