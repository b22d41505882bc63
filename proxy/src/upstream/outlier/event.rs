//! Lines of the event log: `envoy.data.cluster.v3.OutlierDetectionEvent` as JSON, one object per line.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use crate::config::Host;
use crate::config::outlier::Cause;
use crate::observe::format::time::Civil;

/// What happened to a host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Action {
    /// A detector fired.
    Eject {
        cause: Cause,
        /// Whether chance let it.
        enforced: bool,
        rates: Rates,
    },
    /// Its time is over.
    Uneject,
}

/// Success rates in percent, where the detector goes by them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) host: f64,
    pub(super) mean: f64,
    pub(super) threshold: f64,
}

/// One event, with its newline. `since`: time since the host's last event of the other kind, when there was one.
pub(super) fn line(
    cluster: &str,
    host: &Host,
    action: Action,
    ejections: u32,
    since: Option<Duration>,
    at: SystemTime,
) -> Vec<u8> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    let (cause, enforced) = match action {
        Action::Eject { cause, enforced, .. } => (cause, enforced),
        // The zero value: Envoy prints it although nothing was detected.
        Action::Uneject => (Cause::Consecutive5xx, false),
    };
    set("type", json!(cause.name()));
    set("timestamp", json!(String::from_utf8_lossy(&Civil::of(at).iso_millis())));
    if let Some(since) = since {
        set("secs_since_last_action", json!(since.as_secs().to_string()));
    }
    set("cluster_name", json!(cluster));
    set("upstream_url", json!(host.display));
    set("action", json!(if action == Action::Uneject { "UNEJECT" } else { "EJECT" }));
    set("num_ejections", json!(ejections));
    set("enforced", json!(enforced));
    if let Action::Eject { cause, rates, .. } = action {
        let (name, facts) = facts(cause, rates);
        set(name, facts);
    }
    crate::base::json::line(&Value::from(fields))
}

fn facts(cause: Cause, rates: Rates) -> (&'static str, Value) {
    let [host, mean, threshold] = [rates.host, rates.mean, rates.threshold].map(|rate| rate as u32);
    match cause {
        Cause::SuccessRate | Cause::SuccessRateLocalOrigin => (
            "eject_success_rate_event",
            json!({
                "host_success_rate": host,
                "cluster_average_success_rate": mean,
                "cluster_success_rate_ejection_threshold": threshold,
            }),
        ),
        Cause::FailurePercentage | Cause::FailurePercentageLocalOrigin => {
            ("eject_failure_percentage_event", json!({"host_success_rate": host}))
        }
        Cause::Consecutive5xx | Cause::ConsecutiveGatewayFailure | Cause::ConsecutiveLocalOriginFailure => {
            ("eject_consecutive_event", json!({}))
        }
    }
}
