//! Ring hash and Maglev, in both forms. Source: `RingHashLbConfig`, `MaglevLbConfig`, `ConsistentHashingLbConfig`,
//! `envoy.extensions.load_balancing_policies.{ring_hash,maglev}.v3`.

use outrigger_xds_protos::pb::google::protobuf::{UInt32Value, UInt64Value};
use outrigger_xds_protos::v3::cluster::cluster::common_lb_config::ConsistentHashingLbConfig as CommonHashing;
use outrigger_xds_protos::v3::cluster::cluster::ring_hash_lb_config::HashFunction as FunctionNumber;
use outrigger_xds_protos::v3::cluster::cluster::{MaglevLbConfig, RingHashLbConfig};
use outrigger_xds_protos::v3::lb::common::v3::ConsistentHashingLbConfig;
use outrigger_xds_protos::v3::lb::maglev::v3::Maglev;
use outrigger_xds_protos::v3::lb::ring_hash::v3::{RingHash, ring_hash};

use crate::config::balance::{Balancing, HashFunction, Hashing, LbPolicy, LocalityRouting};
use crate::xds::translate::path::{Path, Rejection};
use crate::xds::translate::{fields, hash_policy};

const MIN_RING: u64 = 1024;
const MAX_RING: u64 = 8 * 1024 * 1024;
const TABLE: u64 = 65_537;
const MAX_TABLE: u64 = 5_000_011;

/// `ring_hash_lb_config`.
pub(super) fn ring(message: Option<&RingHashLbConfig>, path: &Path<'_>) -> Result<LbPolicy, Rejection> {
    let Some(RingHashLbConfig { minimum_ring_size, hash_function, maximum_ring_size }) = message else {
        return Ok(LbPolicy::RingHash { function: HashFunction::Xx, size: (MIN_RING, MAX_RING) });
    };
    let function = match FunctionNumber::try_from(*hash_function) {
        Ok(FunctionNumber::XxHash) => HashFunction::Xx,
        Ok(FunctionNumber::MurmurHash2) => HashFunction::Murmur2,
        Err(_) => return Err(path.field("hash_function").reject(fields::unknown_enum(*hash_function))),
    };
    let size = ring_size(minimum_ring_size, maximum_ring_size, path)?;
    Ok(LbPolicy::RingHash { function, size })
}

/// `maglev_lb_config`.
pub(super) fn maglev(message: Option<&MaglevLbConfig>, path: &Path<'_>) -> Result<LbPolicy, Rejection> {
    let size = message.and_then(|MaglevLbConfig { table_size }| *table_size);
    table_size(&size, path)
}

/// `common_lb_config.consistent_hashing_lb_config`.
pub(super) fn common(message: &Option<CommonHashing>, path: &Path<'_>) -> Result<Hashing, Rejection> {
    let Some(CommonHashing { use_hostname_for_hashing, hash_balance_factor }) = message else {
        return Ok(Hashing::default());
    };
    Ok(Hashing {
        use_hostname: *use_hostname_for_hashing,
        balance_factor: balance_factor(hash_balance_factor, path)?,
        ..Hashing::default()
    })
}

/// The ring hash extension.
#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
pub(super) fn ring_extension(message: &RingHash, path: &Path<'_>) -> Result<Balancing, Rejection> {
    let RingHash {
        hash_function,
        minimum_ring_size,
        maximum_ring_size,
        use_hostname_for_hashing,
        hash_balance_factor,
        consistent_hashing_lb_config,
        locality_weighted_lb_config,
    } = message;
    let function = match ring_hash::HashFunction::try_from(*hash_function) {
        Ok(ring_hash::HashFunction::DefaultHash | ring_hash::HashFunction::XxHash) => HashFunction::Xx,
        Ok(ring_hash::HashFunction::MurmurHash2) => HashFunction::Murmur2,
        Err(_) => return Err(path.field("hash_function").reject(fields::unknown_enum(*hash_function))),
    };
    let hashing = match consistent_hashing_lb_config {
        Some(_) => shared(consistent_hashing_lb_config, path)?,
        None => Hashing {
            use_hostname: *use_hostname_for_hashing,
            balance_factor: balance_factor(hash_balance_factor, path)?,
            ..Hashing::default()
        },
    };
    let size = ring_size(minimum_ring_size, maximum_ring_size, path)?;
    let policy = LbPolicy::RingHash { function, size };
    Ok(with(policy, hashing, locality_weighted_lb_config.is_some()))
}

/// The Maglev extension.
pub(super) fn maglev_extension(message: &Maglev, path: &Path<'_>) -> Result<Balancing, Rejection> {
    let Maglev { table_size: size, consistent_hashing_lb_config, locality_weighted_lb_config } = message;
    let hashing = shared(consistent_hashing_lb_config, path)?;
    Ok(with(table_size(size, path)?, hashing, locality_weighted_lb_config.is_some()))
}

fn with(policy: LbPolicy, hashing: Hashing, weighted: bool) -> Balancing {
    let mut balancing = Balancing { hashing, ..Balancing::of(policy) };
    if weighted {
        balancing.locality = LocalityRouting::Weighted;
    }
    balancing
}

fn shared(message: &Option<ConsistentHashingLbConfig>, path: &Path<'_>) -> Result<Hashing, Rejection> {
    let Some(message) = message else { return Ok(Hashing::default()) };
    let ConsistentHashingLbConfig { use_hostname_for_hashing, hash_balance_factor, hash_policy } = message;
    let path = path.field("consistent_hashing_lb_config");
    Ok(Hashing {
        use_hostname: *use_hostname_for_hashing,
        balance_factor: balance_factor(hash_balance_factor, &path)?,
        policies: hash_policy::compile(hash_policy, &path.field("hash_policy"))?,
        stats: None,
    })
}

fn balance_factor(factor: &Option<UInt32Value>, path: &Path<'_>) -> Result<Option<u32>, Rejection> {
    fields::count_in(factor, 100..=u32::MAX, &path.field("hash_balance_factor"))
}

fn ring_size(
    least: &Option<UInt64Value>,
    most: &Option<UInt64Value>,
    path: &Path<'_>,
) -> Result<(u64, u64), Rejection> {
    let least = sized(least, MIN_RING, 1..=MAX_RING, &path.field("minimum_ring_size"))?;
    let most = sized(most, MAX_RING, 1..=MAX_RING, &path.field("maximum_ring_size"))?;
    if least > most {
        let message = format_args!("is {least}, above maximum_ring_size {most}");
        return Err(path.field("minimum_ring_size").reject(message));
    }
    Ok((least, most))
}

fn table_size(size: &Option<UInt64Value>, path: &Path<'_>) -> Result<LbPolicy, Rejection> {
    let path = path.field("table_size");
    let size = sized(size, TABLE, 2..=MAX_TABLE, &path)?;
    if (2..).take_while(|divisor| divisor * divisor <= size).any(|divisor| size.is_multiple_of(divisor)) {
        return Err(path.reject(format_args!("is {size}, must be a prime number")));
    }
    Ok(LbPolicy::Maglev(size as u32))
}

fn sized(
    value: &Option<UInt64Value>,
    default: u64,
    range: std::ops::RangeInclusive<u64>,
    path: &Path<'_>,
) -> Result<u64, Rejection> {
    match value.map_or(default, |value| value.value) {
        value if range.contains(&value) => Ok(value),
        value => Err(path.reject(format_args!("is {value}, must be {} to {}", range.start(), range.end()))),
    }
}
