//! The types of resources and the order in which they are pushed.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use outrigger_xds_protos::type_url;

/// A resource type by its URL, ordered as types must be pushed: clusters, endpoints, secrets, listeners, routes, rest.
///
/// The order is Envoy's "eventual consistency considerations": what is pointed at goes before what points at it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TypeUrl(Cow<'static, str>);

impl TypeUrl {
    /// `envoy.config.cluster.v3.Cluster`
    pub const CLUSTER: Self = Self(Cow::Borrowed(type_url::CLUSTER));
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    pub const ENDPOINTS: Self = Self(Cow::Borrowed(type_url::CLUSTER_LOAD_ASSIGNMENT));
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`
    pub const SECRET: Self = Self(Cow::Borrowed(type_url::SECRET));
    /// `envoy.config.listener.v3.Listener`
    pub const LISTENER: Self = Self(Cow::Borrowed(type_url::LISTENER));
    /// `envoy.config.route.v3.RouteConfiguration`
    pub const ROUTE: Self = Self(Cow::Borrowed(type_url::ROUTE_CONFIGURATION));

    const KNOWN: [Self; 5] = [Self::CLUSTER, Self::ENDPOINTS, Self::SECRET, Self::LISTENER, Self::ROUTE];

    /// The type with this URL, known to us or not.
    pub fn new(url: &str) -> Self {
        let known = Self::KNOWN.into_iter().find(|known| known.0 == url);
        known.unwrap_or_else(|| Self(Cow::Owned(url.to_owned())))
    }

    /// The URL, `type.googleapis.com/` and the message's full name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The customary abbreviation of the discovery service, or `other`: a bounded set, fit for metric labels.
    pub fn short(&self) -> &'static str {
        ["CDS", "EDS", "SDS", "LDS", "RDS", "other"][self.rank()]
    }

    /// The abbreviation where there is one, else the message's name without its package: for people.
    pub fn label(&self) -> &str {
        match self.short() {
            "other" => self.0.rsplit(['/', '.']).next().unwrap_or(&self.0),
            short => short,
        }
    }

    /// Whether a state-of-the-world response is the complete set (absence deletes) and `*` has a meaning.
    pub fn is_complete_set(&self) -> bool {
        *self == Self::CLUSTER || *self == Self::LISTENER
    }

    fn rank(&self) -> usize {
        Self::KNOWN.iter().position(|known| known == self).unwrap_or(Self::KNOWN.len())
    }
}

impl Ord for TypeUrl {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for TypeUrl {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
