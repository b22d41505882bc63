//! Handle bundles: every statistic of one listener, connection manager, cluster or TCP proxy,
//! resolved once when configuration is compiled. Names are Envoy's (stat tree of the admin endpoint).
//!
//! A bundle also owns its names: the statistics disappear with its last clone. Bundles of one scope
//! share their cells, so a cluster that is updated in place goes on counting.

mod cluster;
mod downstream;
mod filter;
mod process;
mod service;
mod tracing;
mod tracked;

use crate::base::text::is_command;
use std::net::SocketAddr;

use super::registry::{Counter, Gauge, Registry};

pub use cluster::{
    ClusterStats, HealthCheckStats, MaglevStats, OutlierStats, RemainingStats, RingHashStats, TableStats,
};
pub use downstream::{HttpStats, ListenerStats, TcpStats, TlsStats};
pub use filter::{
    AuthzStats, ClusterAuthzStats, ConnectionLimitStats, CorsStats, FaultCallerStats, FaultStats,
    GradientStats, JwtStats, LoadShedStats, LocalRateLimitStats, NetworkAuthzStats, NetworkRateLimitStats,
    OverloadActionStats, PolicyStats, RbacStats, ResourceMonitorStats,
};
pub use process::{
    AccessLogStats, ClusterManagerStats, ControlPlaneStats, EmfStats, GrpcLogStats, ListenerManagerStats,
    OwnLogStats, ServerStats, SubscriptionStats,
};
pub use service::ServiceStats;
pub use tracing::{SamplingStats, SpanStats, TracingStats};
pub use tracked::{BudgetStats, SizeStats, TrackedStats};

/// Declares a bundle. Groups are `name: home(prefix argument) { fields }`, where `home` says who writes:
/// `workers`, `each_worker` (also shown per worker), `on_demand` (workers, shown once written), `unlisted` (workers, never shown) or `main`. A field's name is the last part of the
/// statistic's name unless `as` gives another.
macro_rules! bundle {
    ($(#[$doc:meta])* $name:ident($($prefix:ident),+) {
        $($group:ident: $home:ident($below:ident) {
            $($field:ident $(as $path:literal)?: $kind:ident,)*
        })+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[allow(missing_docs, reason = "the field name is the statistic's documented Envoy name")]
        pub struct $name {
            $($(pub $field: $kind,)*)+
            /// Keeps the names and cells for as long as a clone of the bundle lives.
            _sets: std::sync::Arc<[std::sync::Arc<$crate::stats::registry::Owned>]>,
        }

        impl $name {
            /// Resolves every handle below the prefixes (which end in a dot).
            pub fn new(registry: &Registry, $($prefix: &str),+) -> Self {
                use $crate::stats::registry::{Cursor, Field, Handle, Layout};
                $(
                    let mut cursor = {
                        static LAYOUT: Layout = Layout {
                            name: concat!(stringify!($name), ".", stringify!($group)),
                            fields: &[$(Field {
                                name: bundle!(@name $field $($path)?),
                                kind: <$kind as Handle>::KIND,
                            },)*],
                            home: bundle!(@home $home),
                            per_worker: bundle!(@each $home),
                            on_demand: bundle!(@demand $home),
                            unlisted: bundle!(@unlisted $home),
                        };
                        Cursor::new(registry.set($below, &LAYOUT))
                    };
                    $(let $field = <$kind as Handle>::take(&mut cursor);)*
                    let $group = cursor.into_set();
                )+
                Self { $($($field,)*)+ _sets: [$($group),+].into() }
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $path:literal) => { $path };
    (@home main) => { $crate::stats::registry::Home::Main };
    (@home $other:ident) => { $crate::stats::registry::Home::Workers };
    (@each each_worker) => { true };
    (@each $other:ident) => { false };
    (@demand on_demand) => { true };
    (@demand $other:ident) => { false };
    (@unlisted unlisted) => { true };
    (@unlisted $other:ident) => { false };
}
pub(crate) use bundle;

/// `listener.0.0.0.0_15000.`, `listener.[__]_15000.`
pub fn listener_prefix(address: SocketAddr) -> String {
    format!("listener.{}.", sanitize(&address.to_string()))
}

/// A name as part of a statistic's name: `:` becomes `_` as in Envoy, and so does what would break a
/// line of the text output.
pub fn sanitize(name: &str) -> String {
    name.replace(|c: char| c == ':' || is_command(c), "_")
}

#[cfg(test)]
mod tests;
