//! Outlier detection. Source: `envoy.config.cluster.v3.OutlierDetection`.

use std::sync::Arc;
use std::time::Duration;

use outrigger_xds_protos::v3::cluster::OutlierDetection;

use super::fields;
use super::fields::refuse;
use super::path::{Path, Rejection};
use super::scope::Scope;
use crate::config::cluster::Discovery;
use crate::config::outlier::{Outlier, Volume};
use crate::stats::scope::OutlierStats;

/// Envoy's default `interval`.
const INTERVAL: Duration = Duration::from_secs(10);
/// Envoy's default `base_ejection_time`.
const BASE_EJECTION_TIME: Duration = Duration::from_secs(30);
/// Envoy's default `max_ejection_time`, unless the base is longer.
const MAX_EJECTION_TIME: Duration = Duration::from_secs(300);

/// Compiles the detectors of the cluster whose statistics are called `stat_name`.
pub(super) fn compile(
    message: &Option<OutlierDetection>,
    stat_name: &str,
    discovery: &Discovery,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<Arc<Outlier>>, Rejection> {
    let Some(message) = message else { return Ok(None) };
    if matches!(discovery, Discovery::OriginalDst { .. }) {
        scope.warn(path, "is not in effect: the destination is the connection's, there is no other host");
        return Ok(None);
    }
    let OutlierDetection {
        consecutive_5xx,
        interval,
        base_ejection_time,
        max_ejection_percent,
        enforcing_consecutive_5xx,
        enforcing_success_rate,
        success_rate_minimum_hosts,
        success_rate_request_volume,
        success_rate_stdev_factor,
        consecutive_gateway_failure,
        enforcing_consecutive_gateway_failure,
        split_external_local_origin_errors,
        consecutive_local_origin_failure,
        enforcing_consecutive_local_origin_failure,
        enforcing_local_origin_success_rate,
        failure_percentage_threshold,
        enforcing_failure_percentage,
        enforcing_failure_percentage_local_origin,
        failure_percentage_minimum_hosts,
        failure_percentage_request_volume,
        max_ejection_time,
        max_ejection_time_jitter,
        successful_active_health_check_uneject_host,
        always_eject_one_host,
        detect_degraded_hosts,
        monitors,
    } = message;
    refuse!(path; monitors);
    let count = |value, default| fields::count(value).unwrap_or(default);
    let percent = |value, default, field: &'static str| {
        Ok(fields::count_in(value, 0..=100, &path.field(field))?.unwrap_or(default))
    };
    let positive = |value, default, field: &'static str| {
        Ok(fields::positive_duration(value, &path.field(field))?.unwrap_or(default))
    };
    let base = positive(base_ejection_time, BASE_EJECTION_TIME, "base_ejection_time")?;
    let max = positive(max_ejection_time, MAX_EJECTION_TIME.max(base), "max_ejection_time")?;
    if max < base {
        return Err(path.field("max_ejection_time").reject("must not be shorter than base_ejection_time"));
    }
    let local_failure = "enforcing_consecutive_local_origin_failure";
    Ok(Some(Arc::new(Outlier {
        consecutive: [
            count(consecutive_5xx, 5),
            count(consecutive_gateway_failure, 5),
            count(consecutive_local_origin_failure, 5),
        ],
        enforcing: [
            percent(enforcing_consecutive_5xx, 100, "enforcing_consecutive_5xx")?,
            percent(enforcing_consecutive_gateway_failure, 0, "enforcing_consecutive_gateway_failure")?,
            percent(enforcing_success_rate, 100, "enforcing_success_rate")?,
            percent(enforcing_consecutive_local_origin_failure, 100, local_failure)?,
            percent(enforcing_local_origin_success_rate, 100, "enforcing_local_origin_success_rate")?,
            percent(enforcing_failure_percentage, 0, "enforcing_failure_percentage")?,
            percent(
                enforcing_failure_percentage_local_origin,
                0,
                "enforcing_failure_percentage_local_origin",
            )?,
        ],
        interval: positive(interval, INTERVAL, "interval")?,
        base_ejection_time: base,
        max_ejection_time: max,
        max_ejection_time_jitter: fields::duration_or_off(
            max_ejection_time_jitter,
            &path.field("max_ejection_time_jitter"),
        )?,
        max_ejection_percent: percent(max_ejection_percent, 10, "max_ejection_percent")?,
        always_eject_one_host: fields::flag(always_eject_one_host, false),
        success_rate: Volume {
            minimum_hosts: count(success_rate_minimum_hosts, 5),
            requests: count(success_rate_request_volume, 100),
        },
        success_rate_stdev_factor: count(success_rate_stdev_factor, 1900),
        failure_percentage: Volume {
            minimum_hosts: count(failure_percentage_minimum_hosts, 5),
            requests: count(failure_percentage_request_volume, 50),
        },
        failure_percentage_threshold: percent(
            failure_percentage_threshold,
            85,
            "failure_percentage_threshold",
        )?,
        split_errors: *split_external_local_origin_errors,
        detect_degraded: fields::flag(detect_degraded_hosts, false),
        check_takes_back: fields::flag(successful_active_health_check_uneject_host, true),
        found: Default::default(),
        stats: OutlierStats::for_cluster(&scope.context.stats, stat_name),
    })))
}
