//! Load-balancing policies, in both forms. Source: `Cluster.lb_policy`, `Cluster.load_balancing_policy`,
//! `envoy.extensions.load_balancing_policies.*`.

mod hashing;
mod locality;
mod subset;

use std::sync::Arc;
use std::time::Duration;

use outrigger_xds_protos::any::{self, Typed};
use outrigger_xds_protos::contrib::PeakEwma;
use outrigger_xds_protos::pb::google::protobuf::{Any, UInt32Value};
use outrigger_xds_protos::v3::cluster::Cluster as ClusterMessage;
use outrigger_xds_protos::v3::cluster::cluster::{
    CommonLbConfig, LbConfig, LbPolicy as PolicyNumber, LeastRequestLbConfig, RoundRobinLbConfig,
    SlowStartConfig,
};
use outrigger_xds_protos::v3::cluster::{LoadBalancingPolicy, load_balancing_policy::Policy};
use outrigger_xds_protos::v3::core::{RuntimeDouble, TypedExtensionConfig};
use outrigger_xds_protos::v3::lb::cluster_provided::v3::ClusterProvided;
use outrigger_xds_protos::v3::lb::common::v3::SlowStartConfig as SlowStartExtension;
use outrigger_xds_protos::v3::lb::least_request::v3::{LeastRequest, least_request::SelectionMethod};
use outrigger_xds_protos::v3::lb::maglev::v3::Maglev;
use outrigger_xds_protos::v3::lb::random::v3::Random;
use outrigger_xds_protos::v3::lb::ring_hash::v3::RingHash;
use outrigger_xds_protos::v3::lb::round_robin::v3::RoundRobin;
use outrigger_xds_protos::v3::lb::subset::v3::Subset;
use outrigger_xds_protos::v3::lb::wrr_locality::v3::WrrLocality;
use outrigger_xds_protos::v3::types::Percent;
use outrigger_xds_protos::v3::wkt;

use super::fields;
use super::fields::warn_set;
use super::path::{Path, Rejection};
use super::scope::Scope;
use crate::config::balance::PeakEwma as Latencies;
use crate::config::balance::{Among, Balancing, LbPolicy, LocalityRouting, PANIC_THRESHOLD, SlowStart};
use crate::config::cluster::Discovery;

/// Samples of least request.
const CHOICES: u32 = 2;
/// How fast peak EWMA forgets.
const DECAY: Duration = Duration::from_secs(10);
/// Latency of hosts that it has not measured.
const DEFAULT_LATENCY: Duration = Duration::from_millis(10);
/// Cost of such hosts that have requests, in milliseconds.
const PENALTY: f64 = 1_000_000.0;
/// Deepest nesting of policies in policies.
const MAX_DEPTH: usize = 4;
/// Least part of its weight that a host in slow start has.
const MIN_WEIGHT: f64 = 0.1;

/// Compiles the balancing of a cluster.
pub(super) fn compile(
    message: &ClusterMessage,
    discovery: &Discovery,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Balancing, Rejection> {
    let mut balancing = match &message.load_balancing_policy {
        Some(list) => {
            warn_unread(message, path, scope);
            listed(list, &path.field("load_balancing_policy"), 0)?
        }
        None => legacy(message, path)?,
    };
    let common = message.common_lb_config.as_ref();
    let threshold = common.and_then(|common| common.healthy_panic_threshold.as_ref());
    let threshold_path = path.field("common_lb_config");
    let threshold_path = threshold_path.field("healthy_panic_threshold");
    let threshold = threshold.map(|percent| fields::whole_percent(percent, &threshold_path)).transpose()?;
    balancing.panic_threshold = threshold.unwrap_or(PANIC_THRESHOLD);
    let kind = match discovery {
        Discovery::OriginalDst { .. } => "ORIGINAL_DST",
        Discovery::Aggregate(_) => "aggregate",
        _ => "",
    };
    let provided = !kind.is_empty();
    let policy_path = path.field("lb_policy");
    match balancing.policy {
        LbPolicy::ClusterProvided if !provided => {
            Err(policy_path.reject("CLUSTER_PROVIDED is only for ORIGINAL_DST and aggregate clusters"))
        }
        _ if provided && balancing.subsets.is_some() => {
            let message = format_args!("has no meaning for an {kind} cluster; remove it");
            Err(path.field("lb_subset_config").reject(message))
        }
        // ROUND_ROBIN is the field's zero value: most writers leave it and mean the cluster's own.
        LbPolicy::ClusterProvided | LbPolicy::RoundRobin if provided => {
            Ok(Balancing { policy: LbPolicy::ClusterProvided, ..balancing })
        }
        _ if provided => Err(policy_path.reject(format_args!("an {kind} cluster needs CLUSTER_PROVIDED"))),
        _ => Ok(balancing),
    }
}

/// Fields that `load_balancing_policy` replaces.
fn warn_unread(message: &ClusterMessage, path: &Path<'_>, scope: &mut Scope<'_>) {
    const UNREAD: &str = "has no effect beside load_balancing_policy";
    let ClusterMessage { lb_subset_config, common_lb_config, .. } = message;
    warn_set!(scope, path, UNREAD; lb_subset_config);
    let Some(CommonLbConfig { consistent_hashing_lb_config, locality_config_specifier, .. }) =
        common_lb_config
    else {
        return;
    };
    let path = path.field("common_lb_config");
    warn_set!(scope, path, UNREAD; consistent_hashing_lb_config);
    if locality_config_specifier.is_some() {
        scope.warn(&path.field("locality_config_specifier"), UNREAD);
    }
}

/// `lb_policy` and what belongs to it.
fn legacy(message: &ClusterMessage, path: &Path<'_>) -> Result<Balancing, Rejection> {
    let mut balancing = numbered(message, path)?;
    if let Some(common) = &message.common_lb_config {
        let path = path.field("common_lb_config");
        balancing.locality = locality::common(&common.locality_config_specifier, &path)?;
        let hashing_path = path.field("consistent_hashing_lb_config");
        balancing.hashing = hashing::common(&common.consistent_hashing_lb_config, &hashing_path)?;
    }
    if let Some(subsets) = &message.lb_subset_config {
        balancing.subsets = subset::legacy(subsets, &path.field("lb_subset_config"))?.map(Arc::new);
    }
    Ok(balancing)
}

fn numbered(message: &ClusterMessage, path: &Path<'_>) -> Result<Balancing, Rejection> {
    match PolicyNumber::try_from(message.lb_policy) {
        Ok(PolicyNumber::RoundRobin) => {
            let Some(LbConfig::RoundRobinLbConfig(config)) = &message.lb_config else {
                return Ok(Balancing::of(LbPolicy::RoundRobin));
            };
            let RoundRobinLbConfig { slow_start_config } = config;
            let slow_start = old_slow_start(slow_start_config, &path.field("round_robin_lb_config"))?;
            Ok(Balancing { slow_start, ..Balancing::of(LbPolicy::RoundRobin) })
        }
        Ok(PolicyNumber::LeastRequest) => {
            let Some(LbConfig::LeastRequestLbConfig(config)) = &message.lb_config else {
                let among = Among::Choices(CHOICES);
                return Ok(Balancing::of(LbPolicy::LeastRequest { among, bias: 1.0 }));
            };
            let LeastRequestLbConfig { choice_count, active_request_bias, slow_start_config } = config;
            let path = path.field("least_request_lb_config");
            let policy = LbPolicy::LeastRequest {
                among: choices(choice_count, &path)?,
                bias: bias(active_request_bias, &path)?,
            };
            let slow_start = old_slow_start(slow_start_config, &path)?;
            Ok(Balancing { slow_start, ..Balancing::of(policy) })
        }
        Ok(PolicyNumber::Random) => Ok(Balancing::of(LbPolicy::Random)),
        Ok(PolicyNumber::RingHash) => {
            let config = match &message.lb_config {
                Some(LbConfig::RingHashLbConfig(config)) => Some(config),
                _ => None,
            };
            hashing::ring(config, &path.field("ring_hash_lb_config")).map(Balancing::of)
        }
        Ok(PolicyNumber::Maglev) => {
            let config = match &message.lb_config {
                Some(LbConfig::MaglevLbConfig(config)) => Some(config),
                _ => None,
            };
            hashing::maglev(config, &path.field("maglev_lb_config")).map(Balancing::of)
        }
        Ok(PolicyNumber::ClusterProvided) => Ok(Balancing::of(LbPolicy::ClusterProvided)),
        Ok(PolicyNumber::LoadBalancingPolicyConfig) => Err(path.field("load_balancing_policy").missing()),
        Err(_) => Err(path.field("lb_policy").reject(fields::unknown_enum(message.lb_policy))),
    }
}

fn choices(count: &Option<UInt32Value>, path: &Path<'_>) -> Result<Among, Rejection> {
    let choices = fields::count_in(count, 2..=u32::MAX, &path.field("choice_count"))?.unwrap_or(CHOICES);
    Ok(Among::Choices(choices))
}

/// There is no runtime, so defaults hold.
fn bias(bias: &Option<RuntimeDouble>, path: &Path<'_>) -> Result<f64, Rejection> {
    match bias.as_ref().map_or(1.0, |RuntimeDouble { default_value, runtime_key: _ }| *default_value) {
        bias if bias >= 0.0 => Ok(bias),
        bias => Err(path.field("active_request_bias").reject(format_args!("is {bias}, must be 0 or more"))),
    }
}

fn old_slow_start(
    message: &Option<SlowStartConfig>,
    path: &Path<'_>,
) -> Result<Option<SlowStart>, Rejection> {
    let Some(SlowStartConfig { slow_start_window, aggression, min_weight_percent }) = message else {
        return Ok(None);
    };
    slow_start(slow_start_window, aggression, min_weight_percent, &path.field("slow_start_config"))
}

fn extended_slow_start(
    message: &Option<SlowStartExtension>,
    path: &Path<'_>,
) -> Result<Option<SlowStart>, Rejection> {
    let Some(SlowStartExtension { slow_start_window, aggression, min_weight_percent }) = message else {
        return Ok(None);
    };
    slow_start(slow_start_window, aggression, min_weight_percent, &path.field("slow_start_config"))
}

fn slow_start(
    window: &Option<wkt::Duration>,
    aggression: &Option<RuntimeDouble>,
    min_weight: &Option<Percent>,
    path: &Path<'_>,
) -> Result<Option<SlowStart>, Rejection> {
    let window = fields::duration_or_off(window, &path.field("slow_start_window"))?;
    let aggression = aggression.as_ref().map_or(1.0, |aggression| aggression.default_value);
    if aggression.is_nan() || aggression <= 0.0 {
        return Err(path.field("aggression").reject(format_args!("is {aggression}, must be above 0")));
    }
    let min_path = path.field("min_weight_percent");
    let min_weight = match min_weight {
        Some(Percent { value }) if (0.0..=100.0).contains(value) => value / 100.0,
        Some(Percent { value }) => {
            return Err(min_path.reject(format_args!("{value} is not a percentage from 0 to 100")));
        }
        None => MIN_WEIGHT,
    };
    Ok((!window.is_zero()).then_some(SlowStart { window, aggression, min_weight }))
}

/// The first supported entry wins; without one the cluster is refused.
fn listed(list: &LoadBalancingPolicy, path: &Path<'_>, depth: usize) -> Result<Balancing, Rejection> {
    if depth > MAX_DEPTH {
        return Err(path.reject("policies are nested too deeply"));
    }
    let list_path = path.field("policies");
    let mut refused: Vec<&str> = Vec::new();
    for (i, Policy { typed_extension_config }) in list.policies.iter().enumerate() {
        let path = list_path.index(i);
        let path = path.field("typed_extension_config");
        let TypedExtensionConfig { name, typed_config } = fields::message(typed_extension_config, &path)?;
        let config_path = path.field("typed_config");
        let config = fields::message(typed_config, &config_path)?;
        match entry(config, &config_path, depth)? {
            Some(policy) => return Ok(policy),
            None => refused.push(name),
        }
    }
    Err(list_path.reject(format_args!(
        "none of {refused:?} is supported; use round_robin, least_request, random, ring_hash, maglev, peak_ewma, wrr_locality, \
         subset or cluster_provided"
    )))
}

fn entry(config: &Any, path: &Path<'_>, depth: usize) -> Result<Option<Balancing>, Rejection> {
    if any::is::<RoundRobin>(config) {
        let RoundRobin { slow_start_config, locality_lb_config } = unpack(config, path)?;
        return Ok(Some(Balancing {
            slow_start: extended_slow_start(&slow_start_config, path)?,
            locality: locality::of_policy(&locality_lb_config, &path.field("locality_lb_config"))?,
            ..Balancing::of(LbPolicy::RoundRobin)
        }));
    }
    if any::is::<Random>(config) {
        let Random { locality_lb_config } = unpack(config, path)?;
        let locality = locality::of_policy(&locality_lb_config, &path.field("locality_lb_config"))?;
        return Ok(Some(Balancing { locality, ..Balancing::of(LbPolicy::Random) }));
    }
    if any::is::<LeastRequest>(config) {
        return least_request(&unpack(config, path)?, path).map(Some);
    }
    if any::is::<RingHash>(config) {
        return hashing::ring_extension(&unpack(config, path)?, path).map(Some);
    }
    if any::is::<Maglev>(config) {
        return hashing::maglev_extension(&unpack(config, path)?, path).map(Some);
    }
    if any::is::<WrrLocality>(config) {
        let WrrLocality { endpoint_picking_policy } = unpack(config, path)?;
        let path = path.field("endpoint_picking_policy");
        let inner = listed(fields::message(&endpoint_picking_policy, &path)?, &path, depth + 1)?;
        return Ok(Some(Balancing { locality: LocalityRouting::Weighted, ..inner }));
    }
    if any::is::<Subset>(config) {
        let message: Subset = unpack(config, path)?;
        let subsets = subset::extension(&message, path)?.map(Arc::new);
        let path = path.field("subset_lb_policy");
        let inner = listed(fields::message(&message.subset_lb_policy, &path)?, &path, depth + 1)?;
        if inner.subsets.is_some() {
            return Err(path.reject("subsets in subsets are not supported"));
        }
        return Ok(Some(Balancing { subsets, ..inner }));
    }
    if any::is::<PeakEwma>(config) {
        return peak_ewma(&unpack(config, path)?, path).map(Some);
    }
    Ok(any::is::<ClusterProvided>(config).then(|| Balancing::of(LbPolicy::ClusterProvided)))
}

/// Workers here share measurements, so there is nothing to exchange.
fn peak_ewma(config: &PeakEwma, path: &Path<'_>) -> Result<Balancing, Rejection> {
    let PeakEwma { decay_time, aggregation_interval: _, max_samples_per_host: _, default_rtt, penalty_value } =
        config;
    let decay = fields::positive_duration(decay_time, &path.field("decay_time"))?;
    let default_latency = fields::duration(default_rtt, &path.field("default_rtt"))?;
    let penalty = penalty_value.map_or(PENALTY, |penalty| penalty.value);
    if penalty.is_nan() || penalty < 0.0 {
        return Err(path.field("penalty_value").reject(format_args!("is {penalty}, must be 0 or more")));
    }
    Ok(Balancing::of(LbPolicy::PeakEwma(Latencies {
        decay: decay.unwrap_or(DECAY),
        default_latency: default_latency.unwrap_or(DEFAULT_LATENCY),
        penalty,
    })))
}

fn unpack<M: Typed>(config: &Any, path: &Path<'_>) -> Result<M, Rejection> {
    any::unpack(config).map_err(|error| path.reject(error))
}

#[allow(deprecated, reason = "enable_full_scan is decided on like the others")]
fn least_request(config: &LeastRequest, path: &Path<'_>) -> Result<Balancing, Rejection> {
    let LeastRequest {
        choice_count,
        active_request_bias,
        slow_start_config,
        locality_lb_config,
        enable_full_scan,
        selection_method,
    } = config;
    let sampled = choices(choice_count, path)?;
    let among = match SelectionMethod::try_from(*selection_method) {
        Ok(SelectionMethod::NChoices) if !fields::flag(enable_full_scan, false) => sampled,
        Ok(SelectionMethod::NChoices | SelectionMethod::FullScan) => Among::All,
        Err(_) => return Err(path.field("selection_method").reject(fields::unknown_enum(*selection_method))),
    };
    Ok(Balancing {
        slow_start: extended_slow_start(slow_start_config, path)?,
        locality: locality::of_policy(locality_lb_config, &path.field("locality_lb_config"))?,
        ..Balancing::of(LbPolicy::LeastRequest { among, bias: bias(active_request_bias, path)? })
    })
}
