//! How to reach the control plane, out of the bootstrap's `dynamic_resources`.
//!
//! Owns the decision what of `ApiConfigSource` and `GrpcService` is honoured; everything else is refused or warned
//! about by name. Source: `envoy.config.core.v3.ApiConfigSource`, `GrpcService`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outrigger_aws_auth::caller::Caller;
use outrigger_xds_protos::v3::bootstrap::ClusterManager;
use outrigger_xds_protos::v3::bootstrap::bootstrap::DynamicResources;
use outrigger_xds_protos::v3::core::api_config_source::ApiType;
use outrigger_xds_protos::v3::core::grpc_service::google_grpc::channel_credentials::CredentialSpecifier;
use outrigger_xds_protos::v3::core::grpc_service::{EnvoyGrpc, GoogleGrpc, TargetSpecifier};
use outrigger_xds_protos::v3::core::{ApiConfigSource, ApiVersion, GrpcService, HeaderValue, RetryPolicy};

use super::client::Backoff;
use super::engine::Roots;
use super::protocol::Variant;
use super::translate::{Path, Rejection, ads_fetch_timeout, positive_duration};
use crate::config::cluster::HostAddress;

#[cfg(test)]
mod tests;

/// The cluster of the local secret server, as App Mesh's image names it: `APPMESH_SDS_SOCKET_PATH` makes it.
pub const SDS_CLUSTER: &str = "static_cluster_sds_unix_socket";

/// Largest response accepted when the bootstrap sets no limit. Envoy has none; ten thousand clusters take some 50 MB.
const MAX_RESPONSE: usize = 512 << 20;

/// The control plane and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicSettings {
    /// The aggregated stream; `None` in a purely static configuration.
    pub ads: Option<AdsSettings>,
    /// Lists that come over it.
    pub roots: Roots,
    /// Load reports over the connection of the aggregated stream.
    pub load: Option<LoadSettings>,
    /// What is accepted and has no effect, for the log.
    pub warnings: Vec<String>,
}

/// One stream of resources: the aggregated one, or that of one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdsSettings {
    /// Whole lists or differences.
    pub variant: Variant,
    /// Where.
    pub target: Target,
    /// `:authority` of the stream.
    pub authority: String,
    /// Metadata of the stream: lower-case name and value. May hold tokens; never logged.
    pub metadata: Metadata,
    /// First and longest back-off window.
    pub backoff: (Duration, Duration),
    /// Largest response, bytes.
    pub max_response: usize,
}

/// How load reports are sent. Source: `ClusterManager.load_stats_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadSettings {
    /// Metadata of the stream.
    pub metadata: Metadata,
    /// First and longest back-off window.
    pub backoff: (Duration, Duration),
}

/// gRPC metadata whose values do not show in logs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Lower-case names and values.
    pub entries: Vec<(String, String)>,
    /// A file whose content is sent as bearer token, read for every call: tokens are renewed.
    pub token_file: Option<PathBuf>,
    /// Whose proofs are sent as bearer token, a new one for every call.
    pub aws: Option<Attestation>,
}

/// An AWS identity. Equal to itself alone.
#[derive(Clone)]
pub struct Attestation(pub Arc<Caller>);

impl PartialEq for Attestation {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Attestation {}

impl Metadata {
    /// Whether calls carry what nobody may overhear.
    pub fn is_secret(&self) -> bool {
        self.token_file.is_some() || self.aws.is_some()
    }
}

impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|(name, _)| name)).finish()
    }
}

/// Where the control plane is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The hosts of this static cluster, with its TLS and timeouts.
    Cluster(String),
    /// One address.
    Address(HostAddress),
    /// Every address of a name.
    Name {
        /// DNS name.
        host: String,
        /// Port.
        port: u16,
    },
}

impl DynamicSettings {
    /// Reads `dynamic_resources`; absence means purely static.
    pub fn from_bootstrap(resources: Option<&DynamicResources>) -> Result<Self, Rejection> {
        let mut settings = Self { ads: None, roots: Roots::default(), load: None, warnings: Vec::new() };
        let Some(resources) = resources else { return Ok(settings) };
        let path = Path::ROOT.field("dynamic_resources");
        let DynamicResources {
            lds_config,
            lds_resources_locator,
            cds_config,
            cds_resources_locator,
            ads_config,
        } = resources;
        for (field, locator) in [
            ("lds_resources_locator", lds_resources_locator),
            ("cds_resources_locator", cds_resources_locator),
        ] {
            if !locator.is_empty() {
                return Err(path
                    .field(field)
                    .reject("xdstp resources are not supported; use lds_config, cds_config"));
            }
        }
        let timeout = |field: &'static str, config: &Option<_>| {
            config.as_ref().map(|source| ads_fetch_timeout(source, &path.field(field))).transpose()
        };
        settings.roots = Roots {
            clusters: timeout("cds_config", cds_config)?,
            listeners: timeout("lds_config", lds_config)?,
        };
        match ads_config {
            Some(ads) => {
                settings.ads = Some(ads_settings(ads, &path.field("ads_config"), &mut settings.warnings)?)
            }
            None if settings.roots != Roots::default() => {
                return Err(path
                    .field("ads_config")
                    .reject("is required by lds_config or cds_config with ads"));
            }
            None => {}
        }
        Ok(settings)
    }

    /// Reads `cluster_manager.load_stats_config` as well.
    pub fn with_load_reports(mut self, manager: Option<&ClusterManager>) -> Result<Self, Rejection> {
        let Some(config) = manager.and_then(|manager| manager.load_stats_config.as_ref()) else {
            return Ok(self);
        };
        let manager = Path::ROOT.field("cluster_manager");
        let path = manager.field("load_stats_config");
        let AdsSettings { target, metadata, backoff, .. } = ads_settings(config, &path, &mut self.warnings)?;
        if self.ads.as_ref().is_some_and(|ads| ads.target == target) {
            self.load = Some(LoadSettings { metadata, backoff });
        } else {
            self.warnings.push(format!(
                "{path}: is not in effect: load reports go to the control plane of dynamic_resources.ads_config only; \
                 name the same cluster or target_uri"
            ));
        }
        Ok(self)
    }
}

impl DynamicSettings {
    /// Shows the content of a file as bearer token on every call to the control plane, or proofs of an AWS identity.
    pub fn with_identity(mut self, file: Option<&std::path::Path>, aws: Option<&Caller>) -> Self {
        let aws = aws.map(|caller| Attestation(Arc::new(caller.clone())));
        let calls = self.ads.iter_mut().map(|ads| &mut ads.metadata);
        let calls = calls.chain(self.load.iter_mut().map(|load| &mut load.metadata));
        calls.for_each(|metadata| {
            metadata.token_file = file.map(PathBuf::from);
            metadata.aws.clone_from(&aws);
        });
        self
    }
}

/// Reads one stream of resources from an `api_config_source`.
pub(super) fn ads_settings(
    ads: &ApiConfigSource,
    path: &Path<'_>,
    warnings: &mut Vec<String>,
) -> Result<AdsSettings, Rejection> {
    let ApiConfigSource {
        api_type,
        transport_api_version,
        cluster_names,
        grpc_services,
        refresh_delay: _,   // REST polling only.
        request_timeout: _, // REST polling only.
        rate_limit_settings,
        set_node_on_first_message_only: _, // The node is always sent once per stream.
        config_validators,
    } = ads;
    let variant = match ApiType::try_from(*api_type) {
        Ok(ApiType::Grpc) => Variant::StateOfTheWorld,
        Ok(ApiType::DeltaGrpc) => Variant::Delta,
        _ => return Err(path.field("api_type").reject("must be GRPC or DELTA_GRPC")),
    };
    #[allow(deprecated, reason = "V2 is refused by its name")]
    if *transport_api_version == ApiVersion::V2 as i32 {
        return Err(path.field("transport_api_version").reject("V2 is gone; use V3"));
    }
    if !cluster_names.is_empty() {
        return Err(path.field("cluster_names").reject("is for REST; use grpc_services"));
    }
    if !config_validators.is_empty() {
        return Err(path.field("config_validators").unsupported());
    }
    if rate_limit_settings.is_some() {
        warnings.push(format!("{}: has no effect", path.field("rate_limit_settings")));
    }
    let Some(service) = grpc_services.first() else { return Err(path.field("grpc_services").missing()) };
    let services = path.field("grpc_services");
    if grpc_services.len() > 1 {
        warnings.push(format!("{}: only the first is used; list several hosts in its cluster", services));
    }
    grpc_service(service, variant, &services.index(0), warnings)
}

fn grpc_service(
    service: &GrpcService,
    variant: Variant,
    path: &Path<'_>,
    warnings: &mut Vec<String>,
) -> Result<AdsSettings, Rejection> {
    let GrpcService { timeout: _, initial_metadata, retry_policy, target_specifier } = service;
    let metadata = metadata(initial_metadata, &path.field("initial_metadata"))?;
    let mut settings = AdsSettings {
        variant,
        target: Target::Cluster(String::new()),
        authority: String::new(),
        metadata,
        backoff: Backoff::DEFAULT,
        max_response: MAX_RESPONSE,
    };
    let mut retry = retry_policy;
    match target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(envoy)) => {
            let EnvoyGrpc {
                cluster_name,
                authority,
                retry_policy,
                max_receive_message_length,
                skip_envoy_headers: _,
            } = envoy;
            settings.target = Target::Cluster(cluster_name.clone());
            settings.authority = if authority.is_empty() { cluster_name.clone() } else { authority.clone() };
            settings.max_response =
                max_receive_message_length.map_or(MAX_RESPONSE, |limit| limit.value as usize).max(1);
            retry = if retry_policy.is_some() { retry_policy } else { retry };
        }
        Some(TargetSpecifier::GoogleGrpc(google)) => google_grpc(google, &mut settings, path, warnings)?,
        None => return Err(path.field("envoy_grpc").missing()),
    }
    if let Some(retry) = retry {
        settings.backoff = backoff(retry, &path.field("retry_policy"))?;
    }
    Ok(settings)
}

fn google_grpc(
    google: &GoogleGrpc,
    settings: &mut AdsSettings,
    path: &Path<'_>,
    warnings: &mut Vec<String>,
) -> Result<(), Rejection> {
    let path = path.field("google_grpc");
    let GoogleGrpc {
        target_uri,
        channel_credentials,
        channel_credentials_plugin,
        call_credentials,
        call_credentials_plugin,
        stat_prefix: _,
        credentials_factory_name,
        config,
        per_stream_buffer_limit_bytes: _,
        channel_args,
    } = google;
    let credentials = channel_credentials.as_ref().and_then(|one| one.credential_specifier.as_ref());
    let tls = matches!(
        credentials,
        Some(CredentialSpecifier::SslCredentials(_) | CredentialSpecifier::GoogleDefault(_))
    );
    if tls || !channel_credentials_plugin.is_empty() {
        let advice =
            "TLS is not supported here; use envoy_grpc with a cluster that has a TLS transport_socket";
        return Err(path.field("channel_credentials").reject(advice));
    }
    if !call_credentials.is_empty() || !call_credentials_plugin.is_empty() {
        return Err(path.field("call_credentials").reject("is not supported; use initial_metadata"));
    }
    if !credentials_factory_name.is_empty() || config.is_some() {
        return Err(path.field("credentials_factory_name").unsupported());
    }
    if channel_args.is_some() {
        warnings.push(format!("{}: has no effect", path.field("channel_args")));
    }
    settings.target = target(target_uri, &path.field("target_uri"))?;
    settings.authority = match &settings.target {
        Target::Name { host, port } => format!("{host}:{port}"),
        Target::Address(HostAddress::Ip(address)) => address.to_string(),
        _ => "localhost".to_owned(),
    };
    Ok(())
}

/// A gRPC target: `host:port`, `dns:///host:port`, `ipv4:a.b.c.d:port`, `ipv6:[..]:port`, `unix:/path`.
fn target(uri: &str, path: &Path<'_>) -> Result<Target, Rejection> {
    if let Some(socket) = uri.strip_prefix("unix:") {
        let socket = socket.strip_prefix("//").unwrap_or(socket);
        return Ok(Target::Address(HostAddress::Pipe(PathBuf::from(socket))));
    }
    let stripped =
        ["dns:///", "dns:", "ipv4:", "ipv6:"].into_iter().find_map(|scheme| uri.strip_prefix(scheme));
    let address = stripped.unwrap_or(uri);
    if let Ok(address) = address.parse::<SocketAddr>() {
        return Ok(Target::Address(HostAddress::Ip(address)));
    }
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "443"));
    let valid = !host.is_empty() && !host.contains(['/', ':', ',', ' ']);
    match port.parse() {
        Ok(port) if valid => Ok(match host.parse::<IpAddr>() {
            Ok(ip) => Target::Address(HostAddress::Ip((ip, port).into())),
            Err(_) => Target::Name { host: host.to_owned(), port },
        }),
        _ => Err(path.reject("must be host:port, dns:///host:port, ipv4:, ipv6: or unix:")),
    }
}

fn metadata(headers: &[HeaderValue], path: &Path<'_>) -> Result<Metadata, Rejection> {
    let one = |(index, header): (usize, &HeaderValue)| {
        let HeaderValue { key, value, raw_value } = header;
        let raw = std::str::from_utf8(raw_value).map_err(|_| path.index(index).reject("is not text"))?;
        let value = if value.is_empty() { raw } else { value };
        let name = key.to_ascii_lowercase();
        let legal = name.parse::<tonic::metadata::AsciiMetadataKey>().is_ok()
            && value.parse::<tonic::metadata::AsciiMetadataValue>().is_ok();
        if legal {
            Ok((name, value.to_owned()))
        } else {
            Err(path.index(index).reject("is not valid ASCII metadata"))
        }
    };
    let entries = headers.iter().enumerate().map(one).collect::<Result<_, _>>()?;
    Ok(Metadata { entries, ..Metadata::default() })
}

/// First and longest window of a retry policy; its other fields do not concern a stream.
fn backoff(retry: &RetryPolicy, path: &Path<'_>) -> Result<(Duration, Duration), Rejection> {
    let Some(windows) = &retry.retry_back_off else { return Ok(Backoff::DEFAULT) };
    let path = path.field("retry_back_off");
    let base = positive_duration(&windows.base_interval, &path.field("base_interval"))?
        .unwrap_or(Backoff::DEFAULT.0);
    // Envoy's default for the longest window is ten times the first.
    let longest = positive_duration(&windows.max_interval, &path.field("max_interval"))?;
    let cap = longest.unwrap_or(base.saturating_mul(10));
    if cap < base {
        Err(path.field("max_interval").reject("is shorter than base_interval"))
    } else {
        Ok((base, cap))
    }
}
