//! What of a request becomes a descriptor, by which rate limits tell requests apart.
//! Source: `envoy.config.route.v3.RateLimit`.

use ipnet::IpNet;

use crate::base::matcher::{HeaderMatch, QueryMatch};
use crate::config::value_match::MetadataPlace;

/// Largest `stage` there is.
pub const MAX_STAGE: u32 = 10;

/// One entry of `rate_limits`: its actions make one descriptor, or none when one of them has nothing to say.
#[derive(Debug)]
pub struct DescriptorRule {
    /// Filters read the rules of their own stage.
    pub stage: u32,
    /// What the descriptor is made of, in order.
    pub actions: Vec<DescriptorAction>,
    /// Tokens that a request takes from a bucket of this descriptor, at least 1.
    pub hits: u64,
    /// Whether responses tell about that bucket (`x_ratelimit_option`); `None`: as the filter says.
    pub tell: Option<bool>,
}

/// One part of a descriptor.
#[derive(Debug)]
pub enum DescriptorAction {
    /// Always the same (`generic_key`, `source_cluster`).
    Constant(DescriptorEntry),
    /// The cluster that the route chose (`destination_cluster`).
    DestinationCluster,
    /// The first line of a header.
    Header(Named),
    /// The first value of a query parameter, decoded.
    Query(Named),
    /// Text in metadata of the request or its route (`metadata`, `dynamic_metadata`).
    Metadata {
        /// Where it is.
        place: MetadataPlace,
        /// The key in the descriptor.
        key: Box<str>,
        /// What stands for a value that is missing, empty or no text; empty: nothing does.
        default: Box<str>,
        /// Without a value the descriptor lacks this part; else there is none.
        skip_if_absent: bool,
    },
    /// The client as trusted (`remote_address`).
    ClientAddress,
    /// The network of the client, of these lengths (`masked_remote_address`).
    ClientNetwork {
        /// Of an IPv4 address.
        v4: u8,
        /// Of an IPv6 address.
        v6: u8,
    },
    /// A constant for requests whose headers all match, or for the others (`header_value_match`).
    HeaderMatch {
        /// What they must be.
        headers: Vec<HeaderMatch>,
        /// False: for the others.
        expect: bool,
        /// The constant.
        entry: DescriptorEntry,
    },
    /// The same by query parameters (`query_parameter_value_match`).
    QueryMatch {
        /// What they must be.
        query: Vec<QueryMatch>,
        /// False: for the others.
        expect: bool,
        /// The constant.
        entry: DescriptorEntry,
    },
    /// The same by the client's address (`remote_address_match`).
    ClientMatch {
        /// Networks, one of which it must be in.
        networks: Vec<IpNet>,
        /// For clients outside of them.
        invert: bool,
        /// The constant.
        entry: DescriptorEntry,
    },
}

/// A value of the request under a key of ours.
#[derive(Debug)]
pub struct Named {
    /// The header (lower case) or query parameter.
    pub name: Box<str>,
    /// The key in the descriptor.
    pub key: Box<str>,
    /// Without it the descriptor lacks this part; else there is none.
    pub skip_if_absent: bool,
}

/// Key and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriptorEntry {
    /// Not empty.
    pub key: Box<str>,
    /// In a configured descriptor, empty stands for any value.
    pub value: Box<str>,
}

/// Where the rules come from when the filter has none of its own. Source: `VhRateLimitsOptions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostRules {
    /// Those of the virtual host where the route has none.
    #[default]
    Override,
    /// Those of the route and of the virtual host.
    Include,
    /// Those of the route.
    Ignore,
}

/// What a route says of rate limits, its own and those around it.
#[derive(Debug, Default)]
pub struct RouteRules {
    /// Its rules.
    pub rules: Vec<DescriptorRule>,
    /// Those of the virtual host count in any case (`include_vh_rate_limits`).
    pub include_host: bool,
}
