//! Where a secret comes from: the aggregated stream, or an SDS server of its own, such as a SPIRE agent's socket.
//! Source: `SdsSecretConfig.sds_config`.

use std::sync::Arc;

use outrigger_xds_protos::v3::core::ConfigSource;
use outrigger_xds_protos::v3::core::config_source::ConfigSourceSpecifier;

use super::fields;
use super::fields::refuse;
use super::path::{Path, Rejection};
use super::scope::{FETCH_TIMEOUT, Scope, ads_reference};
use super::{RequiredCluster, ResourceRef};
use crate::xds::settings::{Target, ads_settings};

/// The reference to a secret.
pub(super) fn reference(
    name: &str,
    source: &ConfigSource,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<ResourceRef, Rejection> {
    let ConfigSource {
        authorities,
        initial_fetch_timeout,
        resource_api_version: _, // V2 is gone.
        config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(api)),
    } = source
    else {
        return ads_reference(name, source, path);
    };
    refuse!(path; authorities);
    let api_path = path.field("api_config_source");
    let mut warnings = Vec::new();
    let stream = ads_settings(api, &api_path, &mut warnings)?;
    for warning in warnings {
        scope.context.warnings.add(&api_path, warning);
    }
    match &stream.target {
        Target::Cluster(cluster) => {
            let path = api_path.field("grpc_services").to_string();
            scope.required_clusters.push(RequiredCluster { path, name: cluster.clone() });
        }
        Target::Address(_) => {}
        Target::Name { .. } => {
            return Err(api_path
                .field("grpc_services")
                .reject("an SDS server is reached by a cluster, an address or unix:, not by a name"));
        }
    }
    let timeout = fields::duration(initial_fetch_timeout, &path.field("initial_fetch_timeout"))?;
    Ok(ResourceRef {
        name: name.to_owned(),
        fetch_timeout: timeout.unwrap_or(FETCH_TIMEOUT),
        stream: Some(Arc::new(stream)),
    })
}
