//! The descriptors of a request, by which rate limits tell it apart. Source: Envoy's `RateLimitConfig`.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use percent_encoding::percent_decode;
use smallvec::SmallVec;

use super::Call;
use crate::base::matcher::QueryMatch;
use crate::config::filter::descriptor::{
    DescriptorAction, DescriptorEntry, DescriptorRule, HostRules, Named, RouteRules,
};
use crate::config::filter::rate_limit::Descriptors;
use crate::config::live::Descriptor;
use crate::config::route::RouteAction;
use crate::config::value_match::Seen;
use crate::http::route::header_matches;

/// The descriptors of one request, each with the rule that made it.
pub(super) type Made<'r> = SmallVec<[(Descriptor, &'r DescriptorRule); 1]>;

/// What the rules of the filter, or else those of the route and its host, make of a request.
pub(super) fn of_request<'r>(config: &'r Descriptors, call: &Call<'_, 'r>) -> Made<'r> {
    let mut made = Made::new();
    if !config.rules.is_empty() {
        add(&config.rules, call, &mut made);
        return made;
    }
    let Some(found) = call.found else { return made };
    // Only routes to clusters have rules, and give their hosts a say.
    let RouteAction::Forward(forward) = &found.route.action else { return made };
    let of_stage = |rule: &&DescriptorRule| rule.stage == config.stage;
    let (own, include) = match forward.rate_limits.as_deref() {
        Some(RouteRules { rules, include_host }) => (&rules[..], *include_host),
        None => (&[][..], false),
    };
    let with_host = include
        || match config.host_rules {
            HostRules::Include => true,
            HostRules::Override => own.is_empty(),
            HostRules::Ignore => false,
        };
    let of_host = if with_host { &found.virtual_host.rate_limits[..] } else { &[] };
    add(own.iter().chain(of_host).filter(of_stage), call, &mut made);
    made
}

fn add<'r>(rules: impl IntoIterator<Item = &'r DescriptorRule>, call: &Call<'_, 'r>, made: &mut Made<'r>) {
    for rule in rules {
        let mut descriptor = Descriptor::default();
        if rule.actions.iter().all(|action| act(action, call, &mut descriptor)) {
            made.push((descriptor, rule));
        }
    }
}

/// Adds what one action says. False: there is no descriptor.
fn act(action: &DescriptorAction, call: &Call<'_, '_>, descriptor: &mut Descriptor) -> bool {
    let client = call.summary.client.ip().to_canonical();
    match action {
        DescriptorAction::Constant(entry) => constant(entry, descriptor),
        DescriptorAction::DestinationCluster => {
            let Some(cluster) = &call.summary.routed else { return false };
            descriptor.push("destination_cluster", cluster.config().name.as_bytes());
            true
        }
        DescriptorAction::Header(Named { name, key, skip_if_absent }) => {
            let Some(value) = call.head.lines(name).next() else { return *skip_if_absent };
            descriptor.push(key, value);
            true
        }
        DescriptorAction::Query(Named { name, key, skip_if_absent }) => {
            let Some(value) = parameter(call.head.query(), name) else { return *skip_if_absent };
            descriptor.push(key, &value);
            true
        }
        DescriptorAction::Metadata { place, key, default, skip_if_absent } => {
            let text = call.metadata(place).and_then(Seen::text).filter(|text| !text.is_empty());
            let Some(text) = text.or((!default.is_empty()).then_some(default)) else {
                return *skip_if_absent;
            };
            descriptor.push(key, text.as_bytes());
            true
        }
        DescriptorAction::ClientAddress => {
            descriptor.push("remote_address", client.to_string().as_bytes());
            true
        }
        DescriptorAction::ClientNetwork { v4, v6 } => {
            let length = if client.is_ipv4() { *v4 } else { *v6 };
            descriptor.push("masked_remote_address", network(client, length).to_string().as_bytes());
            true
        }
        DescriptorAction::HeaderMatch { headers, expect, entry } => {
            let all = headers.iter().all(|matcher| header_matches(matcher, call.head));
            all == *expect && constant(entry, descriptor)
        }
        DescriptorAction::QueryMatch { query, expect, entry } => {
            // Decoded, which those of routes are not.
            let value = |matcher: &QueryMatch| parameter(call.head.query(), &matcher.name);
            let all = query.iter().all(|matcher| matcher.matches_value(value(matcher).as_deref()));
            all == *expect && constant(entry, descriptor)
        }
        DescriptorAction::ClientMatch { networks, invert, entry } => {
            let inside = networks.iter().any(|network| network.contains(&client));
            inside != *invert && constant(entry, descriptor)
        }
    }
}

fn constant(entry: &DescriptorEntry, descriptor: &mut Descriptor) -> bool {
    descriptor.push(&entry.key, entry.value.as_bytes());
    true
}

/// The first value of a query parameter. Names and values are compared decoded.
fn parameter<'q>(query: &'q [u8], name: &str) -> Option<Cow<'q, [u8]>> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let at = memchr::memchr(b'=', pair);
        let (key, value) = at.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
        let key: Cow<'_, [u8]> = percent_decode(key).into();
        (*key == *name.as_bytes()).then(|| percent_decode(value).into())
    })
}

/// The network of this prefix length that an address is in.
fn network(address: IpAddr, length: u8) -> IpNet {
    IpNet::new(address, length).map_or_else(|_| IpNet::from(address), |network| network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_of_a_parameter_counts_decoded() {
        let value = |query: &'static str, name: &str| {
            parameter(query.as_bytes(), name).map(|value| String::from_utf8_lossy(&value).into_owned())
        };
        assert_eq!(value("a=1&b=2&a=3", "a").as_deref(), Some("1"));
        assert_eq!(value("a%20b=c%2Fd", "a b").as_deref(), Some("c/d"));
        assert_eq!(value("a", "a").as_deref(), Some(""));
        assert_eq!(value("ab=1", "a"), None);
        assert_eq!(value("", "a"), None);
    }

    #[test]
    fn a_network_has_no_host_bits() {
        let told = |address: [u8; 4], length| network(address.into(), length).to_string();
        assert_eq!(told([10, 1, 2, 3], 16), "10.1.0.0/16");
        assert_eq!(told([10, 1, 2, 3], 32), "10.1.2.3/32");
        assert_eq!(told([10, 1, 2, 3], 0), "0.0.0.0/0");
        let v6: IpAddr = std::net::Ipv6Addr::new(0xfd00, 1, 2, 3, 0, 0, 0, 1).into();
        assert_eq!(network(v6, 48).to_string(), "fd00:1:2::/48");
    }
}
