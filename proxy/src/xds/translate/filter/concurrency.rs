//! Adaptive concurrency. Source: `envoy.extensions.filters.http.adaptive_concurrency.v3`.

use std::time::{Duration, Instant};

use outrigger_xds_protos::v3::adaptive_concurrency::adaptive_concurrency::ConcurrencyControllerConfig;
use outrigger_xds_protos::v3::adaptive_concurrency::gradient_controller_config::{
    ConcurrencyLimitCalculationParams, MinimumRttCalculationParams,
};
use outrigger_xds_protos::v3::adaptive_concurrency::{AdaptiveConcurrency, GradientControllerConfig};
use outrigger_xds_protos::v3::types::{HttpStatus, Percent};

use crate::config::filter::concurrency::{Concurrency, GradientSettings, MinRtt};
use crate::config::live::Gradient;
use crate::stats::scope::GradientStats;
use crate::xds::translate::fields;
use crate::xds::translate::path::{Path, Rejection};
use crate::xds::translate::scope::Scope;

/// Shortest pause between measurements that Envoy accepts.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// Compiles the filter.
pub(super) fn compile(
    message: &AdaptiveConcurrency,
    stat_prefix: &str,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Concurrency, Rejection> {
    let AdaptiveConcurrency { enabled, concurrency_limit_exceeded_status, concurrency_controller_config } =
        message;
    let Some(ConcurrencyControllerConfig::GradientControllerConfig(config)) = concurrency_controller_config
    else {
        return Err(path.field("gradient_controller_config").missing());
    };
    let settings = gradient(config, &path.field("gradient_controller_config"))?;
    let enabled = enabled.as_ref().and_then(|flag| flag.default_value).is_none_or(|flag| flag.value);
    let registry = &scope.context.stats;
    let stats = GradientStats::for_manager(registry, stat_prefix);
    let controller = Gradient::new(settings, stats, registry.clone(), Instant::now());
    let status = refusal_status(concurrency_limit_exceeded_status.as_ref());
    Ok(Concurrency { enabled, controller, status })
}

/// A status below 400 would not be a refusal: Envoy then answers 503.
fn refusal_status(status: Option<&HttpStatus>) -> u16 {
    let code = status.and_then(|HttpStatus { code }| u16::try_from(*code).ok());
    code.filter(|code| (400..600).contains(code)).unwrap_or(503)
}

fn gradient(message: &GradientControllerConfig, path: &Path<'_>) -> Result<GradientSettings, Rejection> {
    let GradientControllerConfig {
        sample_aggregate_percentile,
        concurrency_limit_params,
        min_rtt_calc_params,
    } = message;
    let limit_path = path.field("concurrency_limit_params");
    let ConcurrencyLimitCalculationParams {
        max_concurrency_limit,
        concurrency_update_interval,
        min_concurrency_limit,
    } = fields::message(concurrency_limit_params, &limit_path)?;
    let rtt_path = path.field("min_rtt_calc_params");
    let MinimumRttCalculationParams { interval, fixed_value, request_count, jitter, min_concurrency, buffer } =
        fields::message(min_rtt_calc_params, &rtt_path)?;
    let update_path = limit_path.field("concurrency_update_interval");
    let update = fields::positive_duration(concurrency_update_interval, &update_path)?;
    let fixed = fields::positive_duration(fixed_value, &rtt_path.field("fixed_value"))?;
    let interval_path = rtt_path.field("interval");
    let interval = fields::duration(interval, &interval_path)?;
    let positive = |value, path: &Path<'_>| fields::count_in(value, 1..=u32::MAX, path);
    let requests = positive(request_count, &rtt_path.field("request_count"))?.unwrap_or(50);
    let jitter = share(jitter, 15.0, &rtt_path.field("jitter"))?;
    let min_rtt = match (fixed, interval) {
        (Some(value), None) => MinRtt::Fixed(value),
        (_, Some(interval)) if interval >= SHORTEST_INTERVAL => {
            MinRtt::Measured { interval, requests, jitter }
        }
        (_, Some(_)) => return Err(interval_path.reject("must be at least 0.001s")),
        (None, None) => return Err(rtt_path.reject("needs one of interval, fixed_value")),
    };
    let measuring_limit = positive(min_concurrency, &rtt_path.field("min_concurrency"))?.unwrap_or(3);
    let least = positive(min_concurrency_limit, &limit_path.field("min_concurrency_limit"))?;
    let most = positive(max_concurrency_limit, &limit_path.field("max_concurrency_limit"))?;
    Ok(GradientSettings {
        percentile: share(sample_aggregate_percentile, 50.0, &path.field("sample_aggregate_percentile"))?,
        max_limit: most.unwrap_or(1000),
        min_limit: least.unwrap_or(measuring_limit),
        measuring_limit,
        update_interval: update.ok_or_else(|| update_path.missing())?,
        min_rtt,
        buffer: share(buffer, 25.0, &rtt_path.field("buffer"))?,
    })
}

/// A percentage as a share of one.
fn share(percent: &Option<Percent>, default: f64, path: &Path<'_>) -> Result<f64, Rejection> {
    let value = percent.map_or(default, |percent| percent.value);
    if (0.0..=100.0).contains(&value) {
        Ok(value / 100.0)
    } else {
        Err(path.reject(format_args!("{value} is not a percentage from 0 to 100")))
    }
}
