//! `/clusters`: clusters and hosts with their counters, health and limits.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::query::Query;
use super::reply::{Reply, legible};
use super::{AdminState, ConfigView};
use crate::config::ClusterSlot;
use crate::config::cluster::{Cluster, Discovery, DiscoveryHealth, Host, HostAddress, HostSet, Locality};
use crate::config::live::{Breakers, Health, HostLive, Requests};
use crate::config::outlier::Found;

/// Answers `/clusters`.
pub(super) fn clusters(state: &AdminState, query: &Query) -> Reply {
    let filter = match query.get("filter").map(regex::Regex::new).transpose() {
        Ok(filter) => filter,
        Err(error) => return Reply::error(StatusCode::BAD_REQUEST, format!("Invalid regex: {error}\n")),
    };
    let snapshot = state.snapshots.current();
    let shown = |slot: &&Arc<ClusterSlot>| filter.as_ref().is_none_or(|f| f.is_match(&slot.config.name));
    let mut slots: Vec<_> = snapshot.clusters.iter().flatten().filter(shown).cloned().collect();
    slots.sort_unstable_by(|a, b| a.config.name.cmp(&b.config.name));
    if query.get("format") == Some("json") {
        let statuses: Vec<_> = slots.iter().map(|slot| cluster_json(slot, &*state.config)).collect();
        return Reply::json(&json!({ "cluster_statuses": statuses }));
    }
    let config = state.config.clone();
    Reply::text_pieces(slots.into_iter().map(move |slot| cluster_text(&slot, &*config)))
}

const PRIORITIES: [&str; 2] = ["default_priority", "high_priority"];

fn cluster_text(slot: &ClusterSlot, config: &dyn ConfigView) -> String {
    let Cluster { name, breakers, .. } = &*slot.config;
    let is_static = config.is_static_cluster(name);
    let name = &*legible(name);
    let mut out = format!("{name}::observability_name::{name}\n");
    if let Some(outlier) = &slot.config.outlier {
        for (kind, [average, threshold]) in
            ["", "local_origin_"].into_iter().zip(outlier.found.each_ref().map(Found::rates))
        {
            let _ = writeln!(out, "{name}::outlier::{kind}success_rate_average::{average}");
            let _ = writeln!(out, "{name}::outlier::{kind}success_rate_ejection_threshold::{threshold}");
        }
    }
    for (priority, breakers) in PRIORITIES.iter().zip(breakers) {
        for (limit, max) in limits(breakers) {
            let _ = writeln!(out, "{name}::{priority}::{limit}::{max}");
        }
    }
    let _ = writeln!(out, "{name}::added_via_api::{}", !is_static);
    if let Some(service) = eds_service_name(&slot.config) {
        let _ = writeln!(out, "{name}::eds_service_name::{}", legible(service));
    }
    slot.hosts.hosts.iter().for_each(|host| host_text(name, host, &slot.hosts, &mut out));
    out
}

fn host_text(cluster: &str, host: &Host, hosts: &HostSet, out: &mut String) {
    let prefix = format!("{cluster}::{}", legible(&host.display));
    let mut numbers: Vec<_> = counters(&host.live).into_iter().chain(gauges(&host.live)).collect();
    numbers.sort_unstable();
    for (name, value) in numbers {
        let _ = writeln!(out, "{prefix}::{name}::{value}");
    }
    let locality = locality(host, hosts);
    let facts: [(&str, &dyn std::fmt::Display); 10] = [
        ("hostname", &host.hostname),
        ("health_flags", &health_flags(host)),
        ("weight", &host.weight),
        ("region", &locality.region),
        ("zone", &locality.zone),
        ("sub_zone", &locality.sub_zone),
        ("canary", &false),
        ("priority", &host.priority),
        ("success_rate", &rate(&host.live.outlier.external)),
        ("local_origin_success_rate", &rate(&host.live.outlier.local)),
    ];
    for (name, value) in facts {
        let _ = writeln!(out, "{prefix}::{name}::{}", legible(&value.to_string()));
    }
}

/// -1 stands for none, as in Envoy.
fn rate(requests: &Requests) -> f64 {
    requests.rate().unwrap_or(-1.0)
}

fn limits(breakers: &Breakers) -> [(&'static str, u64); 4] {
    [
        ("max_connections", breakers.connections.limit().max().into()),
        ("max_pending_requests", breakers.pending.max().into()),
        ("max_requests", breakers.requests.max().into()),
        ("max_retries", breakers.retries.max_and_remaining(&breakers.requests, Instant::now()).0),
    ]
}

/// Shown only when it differs from the name, as it is then that Envoy has it configured.
fn eds_service_name(cluster: &Cluster) -> Option<&str> {
    match &cluster.discovery {
        Discovery::Eds { service_name } if *service_name != cluster.name => Some(service_name),
        _ => None,
    }
}

fn counters(live: &HostLive) -> [(&'static str, u64); 6] {
    let read = |cell: &std::sync::atomic::AtomicU64| cell.load(Ordering::Relaxed);
    [
        ("cx_connect_fail", read(&live.cx_connect_fail)),
        ("cx_total", read(&live.cx_total)),
        ("rq_error", read(&live.rq_error)),
        ("rq_success", read(&live.rq_success)),
        ("rq_timeout", read(&live.rq_timeout)),
        ("rq_total", read(&live.rq_total)),
    ]
}

fn gauges(live: &HostLive) -> [(&'static str, u64); 2] {
    let read = |cell: &std::sync::atomic::AtomicI64| cell.load(Ordering::Relaxed).max(0) as u64;
    [("cx_active", read(&live.cx_active)), ("rq_active", read(&live.rq_active))]
}

fn locality<'a>(host: &Host, hosts: &'a HostSet) -> &'a Locality {
    static NOWHERE: std::sync::LazyLock<Locality> = std::sync::LazyLock::new(Locality::default);
    hosts.localities.get(host.locality as usize).unwrap_or(&NOWHERE)
}

pub(super) fn health_flags(host: &Host) -> String {
    let found = |flag| host.live.health.has(flag);
    let flags = [
        ("/failed_active_hc", found(Health::FAILED_ACTIVE_HC)),
        ("/failed_outlier_check", found(Health::FAILED_OUTLIER)),
        ("/failed_eds_health", host.health == DiscoveryHealth::Unhealthy),
        ("/degraded_active_hc", found(Health::DEGRADED_ACTIVE_HC)),
        ("/degraded_eds_health", host.health == DiscoveryHealth::Degraded),
        ("/pending_active_hc", found(Health::PENDING_ACTIVE_HC)),
        ("/excluded_via_immediate_hc_fail", found(Health::EXCLUDED_VIA_IMMEDIATE_HC_FAIL)),
        ("/active_hc_timeout", found(Health::ACTIVE_HC_TIMEOUT)),
        ("/eds_status_draining", host.health == DiscoveryHealth::Draining),
        ("/degraded_outlier_detection", found(Health::DEGRADED_OUTLIER)),
    ];
    let set: String = flags.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    if set.is_empty() { "healthy".to_owned() } else { set }
}

fn cluster_json(slot: &ClusterSlot, config: &dyn ConfigView) -> Value {
    let cluster = &slot.config;
    let mut status = Map::new();
    status.insert("name".to_owned(), json!(cluster.name));
    if !config.is_static_cluster(&cluster.name) {
        status.insert("added_via_api".to_owned(), json!(true));
    }
    let hosts: Vec<_> = slot.hosts.hosts.iter().map(|host| host_json(host, &slot.hosts)).collect();
    if !hosts.is_empty() {
        status.insert("host_statuses".to_owned(), json!(hosts));
    }
    let kinds = ["success_rate_ejection_threshold", "local_origin_success_rate_ejection_threshold"];
    for (name, found) in cluster.outlier.iter().flat_map(|outlier| kinds.into_iter().zip(&outlier.found)) {
        let [_, threshold] = found.rates();
        if threshold > 0.0 {
            status.insert(name.to_owned(), json!({ "value": threshold }));
        }
    }
    let [default, high] = &cluster.breakers;
    let thresholds = [thresholds(None, default), thresholds(Some("HIGH"), high)];
    status.insert("circuit_breakers".to_owned(), json!({ "thresholds": thresholds }));
    status.insert("observability_name".to_owned(), json!(cluster.name));
    if let Some(service) = eds_service_name(cluster) {
        status.insert("eds_service_name".to_owned(), json!(service));
    }
    status.into()
}

fn thresholds(priority: Option<&str>, breakers: &Breakers) -> Map<String, Value> {
    let priority = priority.map(|priority| ("priority".to_owned(), json!(priority)));
    let limits = limits(breakers).into_iter().map(|(name, max)| (name.to_owned(), json!(max)));
    priority.into_iter().chain(limits).collect()
}

fn host_json(host: &Host, hosts: &HostSet) -> Value {
    let counters = counters(&host.live).into_iter().map(|(name, value)| stat_json(None, name, value));
    let gauges = gauges(&host.live).into_iter().map(|(name, value)| stat_json(Some("GAUGE"), name, value));
    let mut status = Map::new();
    status.insert("address".to_owned(), address_json(&host.address));
    status.insert("stats".to_owned(), counters.chain(gauges).collect());
    status.insert("health_status".to_owned(), health_json(host));
    status.insert("weight".to_owned(), json!(host.weight));
    if !host.hostname.is_empty() {
        status.insert("hostname".to_owned(), json!(host.hostname));
    }
    if host.priority > 0 {
        status.insert("priority".to_owned(), json!(host.priority));
    }
    let rates = [
        ("success_rate", &host.live.outlier.external),
        ("local_origin_success_rate", &host.live.outlier.local),
    ];
    for (name, rate) in rates.into_iter().filter_map(|(name, requests)| Some((name, requests.rate()?))) {
        status.insert(name.to_owned(), json!({ "value": rate }));
    }
    status.insert("locality".to_owned(), locality_json(locality(host, hosts)));
    status.into()
}

/// proto3 JSON: zero values are left out, 64-bit numbers are strings.
fn stat_json(kind: Option<&str>, name: &str, value: u64) -> Value {
    let mut stat = Map::new();
    if let Some(kind) = kind {
        stat.insert("type".to_owned(), json!(kind));
    }
    if value > 0 {
        stat.insert("value".to_owned(), json!(value.to_string()));
    }
    stat.insert("name".to_owned(), json!(name));
    stat.into()
}

fn address_json(address: &HostAddress) -> Value {
    match address {
        HostAddress::Ip(address) => super::listeners::socket_address(*address),
        HostAddress::Pipe(path) => json!({ "pipe": { "path": path.to_string_lossy() } }),
    }
}

fn health_json(host: &Host) -> Value {
    let mut health = Map::new();
    let flags = [
        ("failed_active_health_check", Health::FAILED_ACTIVE_HC),
        ("failed_outlier_check", Health::FAILED_OUTLIER),
        ("failed_active_degraded_check", Health::DEGRADED_ACTIVE_HC),
        ("pending_active_hc", Health::PENDING_ACTIVE_HC),
        ("excluded_via_immediate_hc_fail", Health::EXCLUDED_VIA_IMMEDIATE_HC_FAIL),
        ("active_hc_timeout", Health::ACTIVE_HC_TIMEOUT),
    ];
    for (name, _) in flags.into_iter().filter(|(_, flag)| host.live.health.has(*flag)) {
        health.insert(name.to_owned(), json!(true));
    }
    let told = match host.health {
        DiscoveryHealth::Healthy => "HEALTHY",
        DiscoveryHealth::Degraded => "DEGRADED",
        DiscoveryHealth::Unhealthy => "UNHEALTHY",
        DiscoveryHealth::Draining => "DRAINING",
    };
    health.insert("eds_health_status".to_owned(), json!(told));
    health.into()
}

fn locality_json(locality: &Locality) -> Value {
    let parts = [("region", &locality.region), ("zone", &locality.zone), ("sub_zone", &locality.sub_zone)];
    let present = parts.into_iter().filter(|(_, value)| !value.is_empty());
    present.map(|(name, value)| (name.to_owned(), json!(value))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests;
