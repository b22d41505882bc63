//! Load-balancing policies, in both forms. Source: `Cluster.lb_policy`, `Cluster.load_balancing_policy`,
//! `envoy.extensions.load_balancing_policies.*`.

use outrigger_xds_protos::any::{self, Typed};
use outrigger_xds_protos::pb::google::protobuf::{Any, UInt32Value};
use outrigger_xds_protos::v3::cluster::Cluster as ClusterMessage;
use outrigger_xds_protos::v3::cluster::cluster::{
    LbConfig, LbPolicy as PolicyNumber, LeastRequestLbConfig, RoundRobinLbConfig,
};
use outrigger_xds_protos::v3::cluster::{LoadBalancingPolicy, load_balancing_policy::Policy};
use outrigger_xds_protos::v3::core::TypedExtensionConfig;
use outrigger_xds_protos::v3::lb::cluster_provided::v3::ClusterProvided;
use outrigger_xds_protos::v3::lb::common::v3::{
    LocalityLbConfig, locality_lb_config::LocalityConfigSpecifier,
};
use outrigger_xds_protos::v3::lb::least_request::v3::{LeastRequest, least_request::SelectionMethod};
use outrigger_xds_protos::v3::lb::random::v3::Random;
use outrigger_xds_protos::v3::lb::round_robin::v3::RoundRobin;

use super::fields;
use super::fields::warn_set;
use super::path::{Path, Rejection};
use super::scope::Scope;
use crate::config::cluster::{Discovery, LbPolicy};

/// Samples of least request.
const CHOICES: u32 = 2;

/// Compiles the policy of a cluster.
pub(super) fn compile(
    message: &ClusterMessage,
    discovery: &Discovery,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<LbPolicy, Rejection> {
    let policy = match &message.load_balancing_policy {
        Some(list) => listed(list, &path.field("load_balancing_policy"), scope)?,
        None => numbered(message, path, scope)?,
    };
    let provided = matches!(discovery, Discovery::OriginalDst { .. });
    match policy {
        LbPolicy::ClusterProvided if !provided => {
            Err(path.field("lb_policy").reject("CLUSTER_PROVIDED is only for ORIGINAL_DST clusters"))
        }
        // ROUND_ROBIN is the field's zero value: most writers leave it and mean the cluster's own.
        LbPolicy::ClusterProvided | LbPolicy::RoundRobin if provided => Ok(LbPolicy::ClusterProvided),
        _ if provided => {
            Err(path.field("lb_policy").reject("an ORIGINAL_DST cluster needs CLUSTER_PROVIDED"))
        }
        policy => Ok(policy),
    }
}

fn numbered(message: &ClusterMessage, path: &Path<'_>, scope: &mut Scope<'_>) -> Result<LbPolicy, Rejection> {
    let policy_path = path.field("lb_policy");
    match PolicyNumber::try_from(message.lb_policy) {
        Ok(PolicyNumber::RoundRobin) => {
            if let Some(LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config })) =
                &message.lb_config
            {
                let path = path.field("round_robin_lb_config");
                warn_set!(scope, path, NO_SLOW_START; slow_start_config);
            }
            Ok(LbPolicy::RoundRobin)
        }
        Ok(PolicyNumber::LeastRequest) => {
            let Some(LbConfig::LeastRequestLbConfig(config)) = &message.lb_config else {
                return Ok(LbPolicy::LeastRequest { choices: CHOICES });
            };
            let LeastRequestLbConfig { choice_count, active_request_bias, slow_start_config } = config;
            let path = path.field("least_request_lb_config");
            warn_set!(scope, path, NO_SLOW_START; slow_start_config);
            warn_set!(scope, path, NO_BIAS; active_request_bias);
            choices(choice_count, &path)
        }
        Ok(PolicyNumber::Random) => Ok(LbPolicy::Random),
        Ok(PolicyNumber::ClusterProvided) => Ok(LbPolicy::ClusterProvided),
        Ok(PolicyNumber::LoadBalancingPolicyConfig) => Err(path.field("load_balancing_policy").missing()),
        Ok(unsupported @ (PolicyNumber::RingHash | PolicyNumber::Maglev)) => {
            Err(policy_path.reject(format_args!(
                "{} is not supported; use ROUND_ROBIN, LEAST_REQUEST or RANDOM",
                unsupported.as_str_name()
            )))
        }
        Err(_) => Err(policy_path.reject(fields::unknown_enum(message.lb_policy))),
    }
}

const NO_SLOW_START: &str = "is not in effect: new hosts get their full share at once";
const NO_BIAS: &str = "is not in effect: active requests count as they are";

fn choices(count: &Option<UInt32Value>, path: &Path<'_>) -> Result<LbPolicy, Rejection> {
    let choices = fields::count_in(count, 2..=u32::MAX, &path.field("choice_count"))?.unwrap_or(CHOICES);
    Ok(LbPolicy::LeastRequest { choices })
}

/// The first supported entry wins; without one the cluster is refused.
fn listed(list: &LoadBalancingPolicy, path: &Path<'_>, scope: &mut Scope<'_>) -> Result<LbPolicy, Rejection> {
    let list_path = path.field("policies");
    let mut refused: Vec<&str> = Vec::new();
    for (i, Policy { typed_extension_config }) in list.policies.iter().enumerate() {
        let path = list_path.index(i);
        let path = path.field("typed_extension_config");
        let TypedExtensionConfig { name, typed_config } = fields::message(typed_extension_config, &path)?;
        let config_path = path.field("typed_config");
        let config = fields::message(typed_config, &config_path)?;
        match entry(config, &config_path, scope)? {
            Some(policy) => return Ok(policy),
            None => refused.push(name),
        }
    }
    Err(list_path.reject(format_args!(
        "none of {refused:?} is supported; use round_robin, least_request, random or cluster_provided"
    )))
}

fn entry(config: &Any, path: &Path<'_>, scope: &mut Scope<'_>) -> Result<Option<LbPolicy>, Rejection> {
    if any::is::<RoundRobin>(config) {
        let RoundRobin { slow_start_config, locality_lb_config } = unpack(config, path)?;
        let slow_start_config = &slow_start_config;
        warn_set!(scope, path, NO_SLOW_START; slow_start_config);
        check_locality(&locality_lb_config, &path.field("locality_lb_config"), scope)?;
        return Ok(Some(LbPolicy::RoundRobin));
    }
    if any::is::<Random>(config) {
        let Random { locality_lb_config } = unpack(config, path)?;
        check_locality(&locality_lb_config, &path.field("locality_lb_config"), scope)?;
        return Ok(Some(LbPolicy::Random));
    }
    if any::is::<LeastRequest>(config) {
        return least_request(&unpack(config, path)?, path, scope).map(Some);
    }
    Ok(any::is::<ClusterProvided>(config).then_some(LbPolicy::ClusterProvided))
}

fn unpack<M: Typed>(config: &Any, path: &Path<'_>) -> Result<M, Rejection> {
    any::unpack(config).map_err(|error| path.reject(error))
}

#[allow(deprecated, reason = "enable_full_scan is decided on like the others")]
fn least_request(
    config: &LeastRequest,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<LbPolicy, Rejection> {
    let LeastRequest {
        choice_count,
        active_request_bias,
        slow_start_config,
        locality_lb_config,
        enable_full_scan,
        selection_method,
    } = config;
    fields::refuse_true!(path; enable_full_scan);
    if *selection_method != SelectionMethod::NChoices as i32 {
        return Err(path.field("selection_method").reject("only N_CHOICES is supported"));
    }
    warn_set!(scope, path, NO_SLOW_START; slow_start_config);
    warn_set!(scope, path, NO_BIAS; active_request_bias);
    check_locality(locality_lb_config, &path.field("locality_lb_config"), scope)?;
    choices(choice_count, path)
}

fn check_locality(
    config: &Option<LocalityLbConfig>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<(), Rejection> {
    match config.as_ref().and_then(|config| config.locality_config_specifier.as_ref()) {
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => {
            Err(path.field("locality_weighted_lb_config").unsupported())
        }
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(_)) => {
            scope.warn(&path.field("zone_aware_lb_config"), "is not in effect: all zones are used alike");
            Ok(())
        }
        None => Ok(()),
    }
}
