//! How localities share load. Source: `CommonLbConfig.locality_config_specifier`,
//! `envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig`.

use outrigger_xds_protos::pb::google::protobuf::UInt64Value;
use outrigger_xds_protos::v3::cluster::cluster::common_lb_config::{
    LocalityConfigSpecifier as CommonSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use outrigger_xds_protos::v3::lb::common::v3::LocalityLbConfig;
use outrigger_xds_protos::v3::lb::common::v3::locality_lb_config::zone_aware_lb_config::{
    ForceLocalZone, LocalityBasis,
};
use outrigger_xds_protos::v3::lb::common::v3::locality_lb_config::{
    LocalityConfigSpecifier, ZoneAwareLbConfig as ZoneAwareExtension,
};
use outrigger_xds_protos::v3::types::Percent;

use crate::config::balance::{LocalityRouting, ZoneAware};
use crate::xds::translate::fields;
use crate::xds::translate::path::{Path, Rejection};

/// What `common_lb_config` says.
pub(super) fn common(
    specifier: &Option<CommonSpecifier>,
    path: &Path<'_>,
) -> Result<LocalityRouting, Rejection> {
    let message = match specifier {
        Some(CommonSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})) => {
            return Ok(LocalityRouting::Weighted);
        }
        Some(CommonSpecifier::ZoneAwareLbConfig(message)) => message,
        None => return Ok(LocalityRouting::ZoneAware(ZoneAware::default())),
    };
    let ZoneAwareLbConfig { routing_enabled, min_cluster_size, fail_traffic_on_panic } = message;
    let path = path.field("zone_aware_lb_config");
    let zone = zone_aware(routing_enabled, min_cluster_size, *fail_traffic_on_panic, &path)?;
    Ok(LocalityRouting::ZoneAware(zone))
}

/// What a policy says.
pub(super) fn of_policy(
    message: &Option<LocalityLbConfig>,
    path: &Path<'_>,
) -> Result<LocalityRouting, Rejection> {
    let Some(LocalityLbConfig { locality_config_specifier }) = message else {
        return Ok(LocalityRouting::ZoneAware(ZoneAware::default()));
    };
    match locality_config_specifier {
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => Ok(LocalityRouting::Weighted),
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(message)) => {
            extended(message, &path.field("zone_aware_lb_config")).map(LocalityRouting::ZoneAware)
        }
        None => Err(path.reject("needs one of zone_aware_lb_config, locality_weighted_lb_config")),
    }
}

#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
fn extended(message: &ZoneAwareExtension, path: &Path<'_>) -> Result<ZoneAware, Rejection> {
    let ZoneAwareExtension {
        routing_enabled,
        min_cluster_size,
        fail_traffic_on_panic,
        force_locality_direct_routing,
        force_local_zone,
        locality_basis,
    } = message;
    let by_weight = match LocalityBasis::try_from(*locality_basis) {
        Ok(LocalityBasis::HealthyHostsNum) => false,
        Ok(LocalityBasis::HealthyHostsWeight) => true,
        Err(_) => return Err(path.field("locality_basis").reject(fields::unknown_enum(*locality_basis))),
    };
    let forced = force_local_zone
        .as_ref()
        .map(|ForceLocalZone { min_size }| fields::count(min_size).unwrap_or(1))
        .or(force_locality_direct_routing.then_some(1));
    let zone = zone_aware(routing_enabled, min_cluster_size, *fail_traffic_on_panic, path)?;
    Ok(ZoneAware { force_local: forced, by_weight, ..zone })
}

fn zone_aware(
    routing_enabled: &Option<Percent>,
    min_cluster_size: &Option<UInt64Value>,
    fail_on_panic: bool,
    path: &Path<'_>,
) -> Result<ZoneAware, Rejection> {
    let default = ZoneAware::default();
    let enabled_path = path.field("routing_enabled");
    let enabled = routing_enabled.as_ref().map(|percent| fields::whole_percent(percent, &enabled_path));
    Ok(ZoneAware {
        routing_enabled: enabled.transpose()?.unwrap_or(default.routing_enabled),
        min_cluster_size: min_cluster_size.map_or(default.min_cluster_size, |size| size.value),
        fail_on_panic,
        ..default
    })
}
