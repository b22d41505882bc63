//! Subsets, in both forms. Source: `Cluster.LbSubsetConfig`,
//! `envoy.extensions.load_balancing_policies.subset.v3.Subset`.

use outrigger_xds_protos::v3::cluster::cluster::LbSubsetConfig;
use outrigger_xds_protos::v3::cluster::cluster::lb_subset_config::LbSubsetSelector;
use outrigger_xds_protos::v3::lb::subset::v3::Subset;
use outrigger_xds_protos::v3::lb::subset::v3::subset::LbSubsetSelector as SelectorMessage;

use crate::config::subset::{Fallback, Metadata, Selector, SelectorFallback, Subsets};
use crate::xds::translate::fields::{self, refuse};
use crate::xds::translate::metadata;
use crate::xds::translate::path::{Path, Rejection};

/// `lb_subset_config`, read as the extension that says the same; `None` without selectors, which switches subsets off.
pub(super) fn legacy(message: &LbSubsetConfig, path: &Path<'_>) -> Result<Option<Subsets>, Rejection> {
    let LbSubsetConfig {
        fallback_policy,
        default_subset,
        subset_selectors,
        locality_weight_aware,
        scale_locality_weight,
        panic_mode_any,
        list_as_any,
        metadata_fallback_policy,
    } = message;
    refuse!(path; metadata_fallback_policy);
    let selector = |selector: &LbSubsetSelector| {
        let LbSubsetSelector { keys, single_host_per_subset, fallback_policy, fallback_keys_subset } =
            selector.clone();
        SelectorMessage { keys, single_host_per_subset, fallback_policy, fallback_keys_subset }
    };
    let same = Subset {
        // The enums of both have the same numbers.
        fallback_policy: *fallback_policy,
        default_subset: default_subset.clone(),
        subset_selectors: subset_selectors.iter().map(selector).collect(),
        locality_weight_aware: *locality_weight_aware,
        scale_locality_weight: *scale_locality_weight,
        panic_mode_any: *panic_mode_any,
        list_as_any: *list_as_any,
        ..Subset::default()
    };
    extension(&same, path)
}

/// The extension, but for the policy inside of it.
pub(super) fn extension(message: &Subset, path: &Path<'_>) -> Result<Option<Subsets>, Rejection> {
    let Subset {
        fallback_policy,
        default_subset,
        subset_selectors,
        allow_redundant_keys,
        locality_weight_aware,
        scale_locality_weight,
        panic_mode_any,
        list_as_any,
        metadata_fallback_policy,
        subset_lb_policy: _, // The caller compiles it.
    } = message;
    refuse!(path; allow_redundant_keys, metadata_fallback_policy);
    if subset_selectors.is_empty() {
        return Ok(None);
    }
    let list_path = path.field("subset_selectors");
    let compile = |(i, message)| selector(message, &list_path.index(i));
    Ok(Some(Subsets {
        selectors: subset_selectors.iter().enumerate().map(compile).collect::<Result<_, _>>()?,
        fallback: fallback(*fallback_policy, &path.field("fallback_policy"))?,
        default: default_subset.as_ref().map_or_else(Metadata::default, metadata::of_struct),
        panic_mode_any: *panic_mode_any,
        list_as_any: *list_as_any,
        scale_locality_weight: *scale_locality_weight,
        locality_weight_aware: *locality_weight_aware,
    }))
}

fn fallback(number: i32, path: &Path<'_>) -> Result<Fallback, Rejection> {
    match number {
        0 => Ok(Fallback::None),
        1 => Ok(Fallback::Any),
        2 => Ok(Fallback::Default),
        other => Err(path.reject(fields::unknown_enum(other))),
    }
}

fn selector(message: &SelectorMessage, path: &Path<'_>) -> Result<Selector, Rejection> {
    let SelectorMessage { keys, single_host_per_subset, fallback_policy, fallback_keys_subset } = message;
    let keys = sorted(keys);
    if keys.is_empty() {
        return Err(path.field("keys").missing());
    }
    if *single_host_per_subset && keys.len() > 1 {
        return Err(path.field("single_host_per_subset").reject("needs a selector of one key"));
    }
    let policy_path = path.field("fallback_policy");
    let fallback = match *fallback_policy {
        0 => None,
        4 => Some(SelectorFallback::Keys(fewer(fallback_keys_subset, &keys, path)?)),
        number => Some(SelectorFallback::Common(fallback(number - 1, &policy_path)?)),
    };
    Ok(Selector { keys, fallback, single_host: *single_host_per_subset })
}

/// The keys of a KEYS_SUBSET fallback: some of the selector's, not all.
fn fewer(names: &[String], keys: &[Box<str>], path: &Path<'_>) -> Result<Vec<Box<str>>, Rejection> {
    let path = path.field("fallback_keys_subset");
    let names = sorted(names);
    if names.is_empty() || names.len() >= keys.len() || !names.iter().all(|name| keys.contains(name)) {
        return Err(path.reject("must hold some of `keys`, and not all of them"));
    }
    Ok(names)
}

fn sorted(names: &[String]) -> Vec<Box<str>> {
    let mut names: Vec<Box<str>> = names.iter().map(|name| name.as_str().into()).collect();
    names.sort_unstable();
    names.dedup();
    names
}
