//! Scalars of the Envoy API: presence, durations, counts, fractions, addresses.
//!
//! Each function takes the place of the field so that its refusal names it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use outrigger_xds_protos::v3::core::{Address, CidrRange, SocketAddress, address, socket_address};
use outrigger_xds_protos::v3::types::{FractionalPercent, Percent, fractional_percent::DenominatorType};
use outrigger_xds_protos::v3::wkt;

use super::path::{Path, Rejection};
use super::scope::Scope;
use crate::base::USUAL_BUFFER;

/// Longest duration accepted: Envoy refuses what does not fit its timers; a century is beyond any timeout.
const MAX_DURATION: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Whether a field of a message carries something. proto3 scalars count as absent at their zero value.
pub(crate) trait Present {
    /// True when the field is set.
    fn is_set(&self) -> bool;
}

impl<T> Present for Option<T> {
    fn is_set(&self) -> bool {
        self.is_some()
    }
}

impl<T> Present for Vec<T> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl<K, V> Present for HashMap<K, V> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl Present for String {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl Present for bool {
    fn is_set(&self) -> bool {
        *self
    }
}

impl Present for i32 {
    fn is_set(&self) -> bool {
        *self != 0
    }
}

impl Present for u32 {
    fn is_set(&self) -> bool {
        *self != 0
    }
}

impl Present for u64 {
    fn is_set(&self) -> bool {
        *self != 0
    }
}

/// Refuses every listed field that is set: `refuse!(path; transparent_proxy, socket_options);`
macro_rules! refuse {
    ($path:expr; $($field:ident),+ $(,)?) => {
        $(if $crate::xds::translate::fields::Present::is_set($field) {
            return Err($path.field(stringify!($field)).unsupported());
        })+
    };
}

/// Refuses every listed `BoolValue` that is true (false is the default and means the same as absent).
macro_rules! refuse_true {
    ($path:expr; $($field:ident),+ $(,)?) => {
        $(if $field.is_some_and(|flag| flag.value) {
            return Err($path.field(stringify!($field)).unsupported());
        })+
    };
}

/// Warns about every listed field that is set: `warn_set!(translator, path, "no effect"; a, b);`
macro_rules! warn_set {
    ($translator:expr, $path:expr, $message:expr; $($field:ident),+ $(,)?) => {
        $(if $crate::xds::translate::fields::Present::is_set($field) {
            $translator.warn(&$path.field(stringify!($field)), $message);
        })+
    };
}

pub(crate) use {refuse, refuse_true, warn_set};

/// Envoy's default `per_connection_buffer_limit_bytes`.
const BUFFER_LIMIT: usize = 1 << 20;

/// Most bytes that wait in a connection; 0 is no limit of its own, as in Envoy.
pub(super) fn buffer_limit(
    limit: &Option<wkt::UInt32Value>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> usize {
    match count(limit).map_or(BUFFER_LIMIT, |limit| limit as usize) {
        0 => BUFFER_LIMIT,
        limit if limit < USUAL_BUFFER => {
            scope.warn(path, format_args!("is in effect for bodies that are sent again; a connection holds {USUAL_BUFFER} bytes all the same"));
            limit
        }
        limit => limit,
    }
}

/// A duration, when set.
pub(crate) fn duration(
    value: &Option<wkt::Duration>,
    path: &Path<'_>,
) -> Result<Option<Duration>, Rejection> {
    let Some(value) = value else { return Ok(None) };
    let seconds = u64::try_from(value.seconds);
    let nanos = u32::try_from(value.nanos);
    let (Ok(seconds), Ok(nanos @ 0..1_000_000_000)) = (seconds, nanos) else {
        return Err(path.reject("is not a valid duration; give zero or more seconds"));
    };
    let duration = Duration::new(seconds, nanos);
    if duration > MAX_DURATION { Err(path.reject("is longer than a century")) } else { Ok(Some(duration)) }
}

/// A duration where absence and zero both switch the timer off.
pub(crate) fn duration_or_off(value: &Option<wkt::Duration>, path: &Path<'_>) -> Result<Duration, Rejection> {
    Ok(duration(value, path)?.unwrap_or(Duration::ZERO))
}

/// A duration that must be above zero when set.
pub(crate) fn positive_duration(
    value: &Option<wkt::Duration>,
    path: &Path<'_>,
) -> Result<Option<Duration>, Rejection> {
    match duration(value, path)? {
        Some(Duration::ZERO) => Err(path.reject("must be longer than 0s")),
        other => Ok(other),
    }
}

/// A wrapped boolean with its default.
pub(crate) fn flag(value: &Option<wkt::BoolValue>, default: bool) -> bool {
    value.map_or(default, |value| value.value)
}

/// A wrapped count, when set.
pub(crate) fn count(value: &Option<wkt::UInt32Value>) -> Option<u32> {
    value.map(|value| value.value)
}

/// A wrapped count within `range`, when set.
pub(crate) fn count_in(
    value: &Option<wkt::UInt32Value>,
    range: std::ops::RangeInclusive<u32>,
    path: &Path<'_>,
) -> Result<Option<u32>, Rejection> {
    match count(value) {
        Some(value) if !range.contains(&value) => {
            Err(path.reject(format_args!("is {value}, must be {} to {}", range.start(), range.end())))
        }
        other => Ok(other),
    }
}

/// A text that must be given.
pub(crate) fn required<'m>(text: &'m str, path: &Path<'_>) -> Result<&'m str, Rejection> {
    if text.is_empty() { Err(path.missing()) } else { Ok(text) }
}

/// A message field that must be given.
pub(crate) fn message<'m, T>(value: &'m Option<T>, path: &Path<'_>) -> Result<&'m T, Rejection> {
    value.as_ref().ok_or_else(|| path.missing())
}

/// A port that fits 16 bits.
pub(crate) fn port(value: u32, path: &Path<'_>) -> Result<u16, Rejection> {
    u16::try_from(value).map_err(|_| path.reject(format_args!("{value} is not a port; use 0 to 65535")))
}

/// An HTTP status within `range`.
pub(crate) fn status(value: u32, range: std::ops::Range<u32>, path: &Path<'_>) -> Result<u16, Rejection> {
    match u16::try_from(value) {
        Ok(status) if range.contains(&value) => Ok(status),
        _ => Err(path.reject(format_args!(
            "{value} is not a status from {} to {}",
            range.start,
            range.end.saturating_sub(1)
        ))),
    }
}

/// A percentage truncated to an integer, as Envoy reads thresholds.
pub(crate) fn whole_percent(value: &Percent, path: &Path<'_>) -> Result<u32, Rejection> {
    if (0.0..=100.0).contains(&value.value) {
        Ok(value.value as u32)
    } else {
        Err(path.reject(format_args!("{} is not a percentage from 0 to 100", value.value)))
    }
}

/// A fraction in parts per million; at most one million.
pub(crate) fn parts_per_million(value: &FractionalPercent, path: &Path<'_>) -> Result<u32, Rejection> {
    let (numerator, denominator) = fraction(value, path)?;
    Ok(numerator.saturating_mul(1_000_000 / denominator).min(1_000_000))
}

/// A fraction as numerator and denominator.
pub(crate) fn fraction(value: &FractionalPercent, path: &Path<'_>) -> Result<(u32, u32), Rejection> {
    let FractionalPercent { numerator, denominator } = value;
    let denominator = match DenominatorType::try_from(*denominator) {
        Ok(DenominatorType::Hundred) => 100,
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        Err(_) => return Err(path.field("denominator").reject(unknown_enum(*denominator))),
    };
    Ok((*numerator, denominator))
}

/// The text for an enum number that this version of the API does not define.
pub(crate) fn unknown_enum(number: i32) -> String {
    format!("enum value {number} is not known")
}

/// A network in CIDR form. Host bits are ignored, as Envoy does; an absent length is 0.
pub(crate) fn cidr(range: &CidrRange, path: &Path<'_>) -> Result<IpNet, Rejection> {
    let CidrRange { address_prefix, prefix_len } = range;
    let ip: IpAddr = address_prefix.parse().map_err(|_| {
        path.field("address_prefix").reject(format_args!("{address_prefix:?} is not an IP address"))
    })?;
    let length = count(prefix_len).unwrap_or(0);
    let network = u8::try_from(length).ok().and_then(|length| IpNet::new(ip, length).ok());
    network.map(|net| net.trunc()).ok_or_else(|| {
        path.field("prefix_len").reject(format_args!("{length} is too long for {address_prefix}"))
    })
}

/// A list of networks.
pub(crate) fn cidrs(ranges: &[CidrRange], path: &Path<'_>) -> Result<Vec<IpNet>, Rejection> {
    ranges.iter().enumerate().map(|(i, range)| cidr(range, &path.index(i))).collect()
}

/// The socket address inside an address, with its place.
pub(crate) fn socket_address<'m>(
    address: &'m Option<Address>,
    path: &Path<'_>,
) -> Result<&'m SocketAddress, Rejection> {
    match message(address, path)?.address.as_ref() {
        Some(address::Address::SocketAddress(socket)) => Ok(socket),
        Some(address::Address::Pipe(_)) => Err(path.field("pipe").unsupported()),
        Some(address::Address::EnvoyInternalAddress(_)) => {
            Err(path.field("envoy_internal_address").unsupported())
        }
        None => Err(path.field("socket_address").missing()),
    }
}

/// Host and port of a TCP socket address; the host is an IP address or a name.
pub(crate) fn host_port<'m>(socket: &'m SocketAddress, path: &Path<'_>) -> Result<(&'m str, u16), Rejection> {
    let SocketAddress {
        protocol,
        address,
        resolver_name,
        ipv4_compat: _, // Only binding reads it.
        network_namespace_filepath,
        port_specifier,
    } = socket;
    refuse!(path; resolver_name, network_namespace_filepath);
    if *protocol != socket_address::Protocol::Tcp as i32 {
        return Err(path.field("protocol").reject("only TCP is supported"));
    }
    let host = required(address, &path.field("address"))?;
    match port_specifier {
        Some(socket_address::PortSpecifier::PortValue(value)) => {
            Ok((host, port(*value, &path.field("port_value"))?))
        }
        Some(socket_address::PortSpecifier::NamedPort(_)) => Err(path.field("named_port").unsupported()),
        None => Err(path.field("port_value").missing()),
    }
}

/// An IP address and port.
pub(crate) fn ip_port(socket: &SocketAddress, path: &Path<'_>) -> Result<SocketAddr, Rejection> {
    let (host, port) = host_port(socket, path)?;
    let ip: IpAddr = host
        .parse()
        .map_err(|_| path.field("address").reject(format_args!("{host:?} is not an IP address")))?;
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests;
