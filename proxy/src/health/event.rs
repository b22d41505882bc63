//! Lines of the event log: `envoy.data.core.v3.HealthCheckEvent` as JSON, one object per line.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::state::Event;
use crate::config::cluster::HostAddress;
use crate::config::health::{CheckKind, HealthCheck};
use crate::config::{Cluster, Host, HostSet};
use crate::observe::format::time::Civil;

/// One event of one host, with its newline.
pub(super) fn line(
    cluster: &Cluster,
    check: &HealthCheck,
    host: &Host,
    hosts: &HostSet,
    event: Event,
) -> Vec<u8> {
    let (name, facts) = described(event);
    let locality = hosts.localities.get(host.locality as usize).cloned().unwrap_or_default();
    let mut fields = Map::new();
    fields.insert("health_checker_type".to_owned(), json!(kind(&check.kind)));
    fields.insert("host".to_owned(), address(&host.address));
    fields.insert("cluster_name".to_owned(), json!(cluster.name));
    fields.insert(name.to_owned(), facts);
    fields.insert("timestamp".to_owned(), json!(timestamp(SystemTime::now())));
    fields.insert(
        "locality".to_owned(),
        json!({"region": locality.region, "zone": locality.zone, "sub_zone": locality.sub_zone}),
    );
    crate::base::json::line(&Value::from(fields))
}

fn described(event: Event) -> (&'static str, Value) {
    match event {
        Event::Eject { failure, status } => {
            ("eject_unhealthy_event", json!({"failure_type": failure.name(), "http_status_code": status}))
        }
        Event::Add { first } => ("add_healthy_event", json!({"first_check": first})),
        Event::Failure { failure, status, first } => (
            "health_check_failure_event",
            json!({"failure_type": failure.name(), "first_check": first, "http_status_code": status}),
        ),
        Event::Success => ("successful_health_check_event", json!({})),
        Event::Degraded => ("degraded_healthy_host", json!({})),
        Event::NoLongerDegraded => ("no_longer_degraded_host", json!({})),
    }
}

fn kind(kind: &CheckKind) -> &'static str {
    match kind {
        CheckKind::Http(_) => "HTTP",
        CheckKind::Grpc(_) => "GRPC",
        CheckKind::Tcp(_) => "TCP",
    }
}

fn address(address: &HostAddress) -> Value {
    match address {
        HostAddress::Ip(address) => json!({"socket_address": {
            "protocol": "TCP",
            "address": address.ip().to_string(),
            "port_value": address.port(),
            "resolver_name": "",
            "ipv4_compat": false,
            "network_namespace_filepath": "",
        }}),
        HostAddress::Pipe(path) => json!({"pipe": {"path": path.to_string_lossy(), "mode": 0}}),
    }
}

fn timestamp(at: SystemTime) -> String {
    String::from_utf8_lossy(&Civil::of(at).iso_millis()).into_owned()
}
