//! Answers to health checks. Source: `envoy.extensions.filters.http.health_check.v3.HealthCheck`.

use std::time::Instant;

use outrigger_xds_protos::v3::health_check::HealthCheck;
use outrigger_xds_protos::v3::types::Percent;

use crate::config::filter::health::{CachedAnswer, HealthFilter, HealthMode};
use crate::xds::translate::path::{Path, Rejection};
use crate::xds::translate::scope::Scope;
use crate::xds::translate::{fields, matchers};

/// Compiles the filter.
pub(super) fn filter(
    message: &HealthCheck,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<HealthFilter, Rejection> {
    let HealthCheck { pass_through_mode, cache_time, cluster_min_healthy_percentages, headers } = message;
    let mode_path = path.field("pass_through_mode");
    let pass_through = pass_through_mode.as_ref().ok_or_else(|| mode_path.missing())?.value;
    let cache_path = path.field("cache_time");
    let time = fields::positive_duration(cache_time, &cache_path)?;
    let clusters_path = path.field("cluster_min_healthy_percentages");
    if pass_through && !cluster_min_healthy_percentages.is_empty() {
        scope.warn(&clusters_path, "has no effect: in pass-through mode the upstream answers");
    }
    let mode = match pass_through {
        true => HealthMode::PassThrough(time.map(|time| CachedAnswer::new(time, Instant::now()))),
        false if time.is_some() => return Err(cache_path.reject("needs pass_through_mode")),
        false => {
            // By name: which of several fails first must not depend on the order of a map.
            let mut named: Vec<_> = cluster_min_healthy_percentages.iter().collect();
            named.sort_by_key(|(name, _)| *name);
            let mut clusters = Vec::with_capacity(named.len());
            for (name, Percent { value }) in named {
                let path = clusters_path.key(name);
                if !(0.0..=100.0).contains(value) {
                    return Err(path.reject("must be between 0 and 100"));
                }
                clusters.push((scope.cluster(name, &path)?, *value));
            }
            HealthMode::Answer(clusters)
        }
    };
    let headers_path = path.field("headers");
    let header = |(i, matcher)| matchers::header(matcher, &headers_path.index(i));
    Ok(HealthFilter {
        headers: headers.iter().enumerate().map(header).collect::<Result<_, _>>()?,
        mode,
        service: scope.context.service_cluster.clone(),
    })
}
