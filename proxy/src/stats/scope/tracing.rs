//! Bundles of tracers.

use super::super::registry::{Counter, Gauge, Registry};
use super::bundle;

bundle! {
    /// Spans of one kind of tracer: `tracing.<kind>.*`
    SpanStats(prefix) {
        spans: main(prefix) {
            // Handed to the network, or taken by a collector that answers.
            spans_sent: Counter,
            // Thrown away because the queue was full or the document too long.
            spans_dropped: Counter,
            // Refused or not reachable.
            spans_failed: Counter,
        }
    }
}

bundle! {
    /// Sampling rules of the X-Ray service: `tracing.xray.sampling.*`
    SamplingStats(prefix) {
        service: main(prefix) {
            // Rules that can apply to us.
            rules: Gauge,
            rules_fetched: Counter,
            rules_failed: Counter,
            reports_sent: Counter,
            reports_failed: Counter,
        }
    }
}

bundle! {
    /// Reasons for and against a trace: `http.<stat_prefix>.tracing.*`
    TracingStats(prefix) {
        reasons: workers(prefix) {
            client_enabled: Counter,
            health_check: Counter,
            not_traceable: Counter,
            random_sampling: Counter,
            service_forced: Counter,
        }
    }
}
