//! Messages of Envoy's contrib extensions, which `envoy-types` does not have. `build/contrib.rs` describes them for
//! JSON.

use prost::{Message, Name};

use crate::v3::wkt::{DoubleValue, Duration, UInt32Value};

/// Latency-aware load balancing. Source: `envoy.extensions.load_balancing_policies.peak_ewma.v3alpha.PeakEwma`.
#[derive(Clone, PartialEq, Message)]
pub struct PeakEwma {
    /// How fast measurements lose their weight; 10 s unless set.
    #[prost(message, optional, tag = "1")]
    pub decay_time: Option<Duration>,
    /// How often Envoy's workers exchange measurements; 100 ms unless set.
    #[prost(message, optional, tag = "2")]
    pub aggregation_interval: Option<Duration>,
    /// How many measurements an Envoy worker keeps between exchanges; 1000 unless set.
    #[prost(message, optional, tag = "3")]
    pub max_samples_per_host: Option<UInt32Value>,
    /// Round-trip time of hosts that were not measured yet; 10 ms unless set.
    #[prost(message, optional, tag = "4")]
    pub default_rtt: Option<Duration>,
    /// Cost of hosts that have requests but no measurement, in milliseconds; 1,000,000 unless set.
    #[prost(message, optional, tag = "5")]
    pub penalty_value: Option<DoubleValue>,
}

impl Name for PeakEwma {
    const NAME: &'static str = "PeakEwma";
    const PACKAGE: &'static str = "envoy.extensions.load_balancing_policies.peak_ewma.v3alpha";
}
