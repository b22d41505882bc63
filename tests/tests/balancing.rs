//! Load balancing beyond one list of hosts: degraded hosts, priorities, localities, zones, subsets, and hosts that
//! start slowly.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger_tests::bootstrap::{address, http_listener, inline, route_config, virtual_host, with_static};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Scripted, Slow, Upstream};
use outrigger_tests::{Result, on_both_data_planes, on_data_plane};
use serde_json::{Value, json};

on_both_data_planes!(
    degraded_endpoints_serve_what_healthy_ones_cannot,
    a_check_that_says_degraded_spills_load,
    priorities_share_by_availability,
    availability_goes_by_weight_when_the_assignment_says_so,
    without_panic_unhealthy_hosts_are_never_used,
    localities_share_by_weight,
    requests_stay_in_their_zone,
    a_small_zone_sends_its_excess_to_others,
    routes_select_subsets,
    weighted_clusters_select_subsets_too,
    a_fallback_serves_what_no_subset_does,
    a_full_scan_takes_the_idle_host,
    hosts_of_a_new_cluster_start_slowly_together,
);

// Envoy has this policy only in builds with contrib extensions.
on_data_plane!(ours, Outrigger, a_slow_host_is_asked_less);

/// Hosts that say who they are: one per name.
struct Hosts(Vec<(&'static str, Upstream)>);

impl Hosts {
    fn start(names: &[&'static str]) -> Result<Self> {
        let start = |name: &&'static str| Ok((*name, Upstream::start(Echo::new(*name))?));
        names.iter().map(start).collect::<Result<_>>().map(Self)
    }

    /// One of them as an endpoint with these further fields.
    fn endpoint(&self, name: &str, fields: Value) -> Value {
        let found = self.0.iter().find(|(known, _)| *known == name);
        let mut endpoint = json!({"endpoint": {"address": address(found.map_or(([127, 0, 0, 1], 1).into(), |it| it.1.address()))}});
        if let (Value::Object(endpoint), Value::Object(fields)) = (&mut endpoint, fields) {
            endpoint.extend(fields);
        }
        endpoint
    }

    /// Those of these names, without further fields.
    fn endpoints(&self, names: &[&str]) -> Vec<Value> {
        names.iter().map(|name| self.endpoint(name, json!({}))).collect()
    }

    fn requests(&self, name: &str) -> u64 {
        self.0.iter().filter(|(known, _)| *known == name).map(|(_, host)| host.counts().requests()).sum()
    }
}

fn cluster(name: &str, assignment: Value, settings: Value) -> Value {
    let mut assignment = assignment;
    assignment["cluster_name"] = name.into();
    let mut cluster = json!({"name": name, "connect_timeout": "1s", "load_assignment": assignment});
    if let (Value::Object(cluster), Value::Object(settings)) = (&mut cluster, settings) {
        cluster.extend(settings);
    }
    cluster
}

/// One worker that sends every path to cluster `a`.
async fn start(plane: DataPlane, clusters: &[Value]) -> Result<(Port, Sidecar)> {
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "a"}});
    start_with(plane, clusters, &[route], json!({})).await
}

async fn start_with(
    plane: DataPlane,
    clusters: &[Value],
    routes: &[Value],
    further: Value,
) -> Result<(Port, Sidecar)> {
    let port = Port::lease()?;
    let routes = inline(route_config("r", &[virtual_host("v", &["*"], routes)]));
    let listener = http_listener("ingress", port.address(), routes);
    let mut bootstrap = with_static(&[listener], clusters);
    if let (Value::Object(bootstrap), Value::Object(further)) = (&mut bootstrap, further) {
        bootstrap.extend(further);
    }
    let sidecar = plane.launch()?.concurrency(1).start(&bootstrap).await?;
    Ok((port, sidecar))
}

/// How many of so many requests each host served, one after the other; `503` counts those that none did.
async fn served(port: &Port, path: &str, requests: usize) -> Result<BTreeMap<String, usize>> {
    let mut connection = Connection::open(port.address()).await?;
    let mut served = BTreeMap::new();
    for _ in 0..requests {
        let answer = connection.exchange(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).await?;
        let host = match answer.status {
            200 => answer.json()?["upstream"].as_str().unwrap_or_default().to_owned(),
            status => status.to_string(),
        };
        *served.entry(host).or_default() += 1;
    }
    Ok(served)
}

fn count(served: &BTreeMap<String, usize>, name: &str) -> usize {
    served.get(name).copied().unwrap_or_default()
}

/// Within five standard deviations of a binomial share.
fn assert_share(served: &BTreeMap<String, usize>, name: &str, share: f64) {
    let total: usize = served.values().sum();
    let (mean, deviation) = (total as f64 * share, (total as f64 * share * (1.0 - share)).sqrt());
    let found = count(served, name) as f64;
    assert!((found - mean).abs() <= 5.0 * deviation + 1.0, "{name} should serve {share}: {served:?}");
}

async fn degraded_endpoints_serve_what_healthy_ones_cannot(plane: DataPlane) -> Result<()> {
    let hosts = Hosts::start(&["well", "weak"])?;
    let weak = hosts.endpoint("weak", json!({"health_status": "DEGRADED"}));
    let groups = json!({"endpoints": [{"lb_endpoints": [hosts.endpoint("well", json!({})), weak]}]});
    let (port, sidecar) = start(plane, &[cluster("a", groups, json!({}))]).await?;
    let served = served(&port, "/", 500).await?;
    // One of two is 70 percent, overprovisioned.
    assert_share(&served, "well", 0.7);
    assert_share(&served, "weak", 0.3);
    sidecar.until_stat("cluster.a.membership_degraded", |hosts| hosts == 1).await?;
    assert_eq!(sidecar.stat("cluster.a.lb_healthy_panic").await?, 0);
    Ok(())
}

const DEGRADED: &str =
    "HTTP/1.1 200 OK\r\nx-envoy-degraded: 1\r\nContent-Length: 19\r\n\r\n{\"upstream\":\"weak\"}";

async fn a_check_that_says_degraded_spills_load(plane: DataPlane) -> Result<()> {
    let well = Upstream::start(Echo::new("well"))?;
    let weak = Upstream::start(Scripted::answering(DEGRADED))?;
    let endpoints: Vec<Value> = [&well, &weak]
        .map(|host| json!({"endpoint": {"address": address(host.address())}}))
        .into_iter()
        .collect();
    let check = json!({"timeout": "1s", "interval": "0.1s", "no_traffic_interval": "0.1s", "unhealthy_threshold": 1,
        "healthy_threshold": 1, "http_health_check": {"path": "/"}});
    let settings = json!({"health_checks": [check], "common_lb_config": {"update_merge_window": "0s"}});
    let groups = json!({"endpoints": [{"lb_endpoints": endpoints}]});
    let (port, sidecar) = start(plane, &[cluster("a", groups, settings)]).await?;
    sidecar.until_stat("cluster.a.membership_degraded", |hosts| hosts == 1).await?;
    sidecar.until_stat("cluster.a.membership_healthy", |hosts| hosts == 1).await?;
    let served = served(&port, "/", 500).await?;
    assert_share(&served, "weak", 0.3);
    Ok(())
}

async fn priorities_share_by_availability(plane: DataPlane) -> Result<()> {
    let hosts = Hosts::start(&["first", "second"])?;
    let sick = hosts.endpoint("nobody", json!({"health_status": "UNHEALTHY"}));
    let groups = |factor: u32| {
        json!({
            "policy": {"overprovisioning_factor": factor},
            "endpoints": [
                {"lb_endpoints": [hosts.endpoint("first", json!({})), sick]},
                {"priority": 1, "lb_endpoints": [hosts.endpoint("second", json!({}))]},
            ],
        })
    };
    for (factor, share) in [(140, 0.7), (100, 0.5), (200, 1.0)] {
        let (port, _sidecar) = start(plane, &[cluster("a", groups(factor), json!({}))]).await?;
        let served = served(&port, "/", 400).await?;
        assert_share(&served, "first", share);
        assert_share(&served, "second", 1.0 - share);
    }
    Ok(())
}

async fn availability_goes_by_weight_when_the_assignment_says_so(plane: DataPlane) -> Result<()> {
    let hosts = Hosts::start(&["heavy", "second"])?;
    let sick = hosts.endpoint("nobody", json!({"health_status": "UNHEALTHY"}));
    let heavy = hosts.endpoint("heavy", json!({"load_balancing_weight": 9}));
    let groups = json!({
        "policy": {"weighted_priority_health": true},
        "endpoints": [
            {"lb_endpoints": [heavy, sick]},
            {"priority": 1, "lb_endpoints": [hosts.endpoint("second", json!({}))]},
        ],
    });
    let (port, _sidecar) = start(plane, &[cluster("a", groups, json!({}))]).await?;
    let served = served(&port, "/", 100).await?;
    assert_eq!(count(&served, "heavy"), 100, "nine tenths of the weight are more than enough");
    Ok(())
}

async fn without_panic_unhealthy_hosts_are_never_used(plane: DataPlane) -> Result<()> {
    let hosts = Hosts::start(&["well", "ill", "dying"])?;
    let mut groups = json!({"endpoints": [{"lb_endpoints": [
        hosts.endpoint("well", json!({})),
        hosts.endpoint("ill", json!({"health_status": "UNHEALTHY"})),
        hosts.endpoint("dying", json!({"health_status": "DRAINING"})),
    ]}]});
    let threshold = |value: u32| json!({"common_lb_config": {"healthy_panic_threshold": {"value": value}}});
    let (port, sidecar) = start(plane, &[cluster("a", groups.clone(), threshold(0))]).await?;
    assert_eq!(count(&served(&port, "/", 60).await?, "well"), 60);
    assert_eq!(sidecar.stat("cluster.a.lb_healthy_panic").await?, 0);
    let (port, sidecar) = start(plane, &[cluster("a", groups.clone(), threshold(50))]).await?;
    let found = served(&port, "/", 60).await?;
    // What is on its way out counts in no percentage: one of two is no panic.
    assert_eq!(count(&found, "well"), 60, "{found:?}");
    assert_eq!(sidecar.stat("cluster.a.membership_excluded").await?, 1);
    groups["endpoints"][0]["lb_endpoints"][2]["health_status"] = "TIMEOUT".into();
    let (port, sidecar) = start(plane, &[cluster("a", groups, threshold(50))]).await?;
    let found = served(&port, "/", 60).await?;
    assert_eq!((count(&found, "ill"), count(&found, "dying")), (20, 20), "{found:?}");
    assert_eq!(sidecar.stat("cluster.a.lb_healthy_panic").await?, 60);
    Ok(())
}

async fn localities_share_by_weight(plane: DataPlane) -> Result<()> {
    let hosts = Hosts::start(&["a1", "b1", "b2", "c1"])?;
    let groups = json!({"endpoints": [
        {"locality": {"zone": "a"}, "load_balancing_weight": 3, "lb_endpoints": hosts.endpoints(&["a1"])},
        {"locality": {"zone": "b"}, "load_balancing_weight": 1, "lb_endpoints": hosts.endpoints(&["b1", "b2"])},
        {"locality": {"zone": "c"}, "lb_endpoints": hosts.endpoints(&["c1"])},
    ]});
    let extension = |name: &str, config: Value| {
        let mut config = config;
        config["@type"] =
            format!("type.googleapis.com/envoy.extensions.load_balancing_policies.{name}").into();
        json!({"policies": [{"typed_extension_config": {"name": name, "typed_config": config}}]})
    };
    let weighted = json!({"locality_weighted_lb_config": {}});
    let round_robin = extension("round_robin.v3.RoundRobin", json!({"locality_lb_config": weighted}));
    for settings in [json!({"common_lb_config": weighted}), json!({"load_balancing_policy": round_robin})] {
        let (port, _sidecar) = start(plane, &[cluster("a", groups.clone(), settings)]).await?;
        let served = served(&port, "/", 400).await?;
        let found = ["a1", "b1", "b2", "c1"].map(|name| count(&served, name));
        // Exact but for where the schedule happened to start.
        for (found, want) in found.iter().zip([300usize, 50, 50, 0]) {
            assert!(found.abs_diff(want) <= 2, "{served:?}");
        }
    }
    Ok(())
}

/// What makes a proxy in zone `a` one of so many per zone.
fn own_zone(own: &[(&str, usize)]) -> (Value, Value) {
    let group = |(zone, count): &(&str, usize)| {
        let endpoints: Vec<Value> = (0..*count)
            .map(|at| {
                let port = 1 + at as u16 + 100 * u16::from(zone.as_bytes()[0]);
                json!({"endpoint": {"address": address(([127, 0, 0, 1], port).into())}})
            })
            .collect();
        json!({"locality": {"zone": zone}, "lb_endpoints": endpoints})
    };
    let groups: Vec<Value> = own.iter().map(group).collect();
    let further = json!({
        "node": {"id": "n", "cluster": "own", "locality": {"zone": "a"}},
        "cluster_manager": {"local_cluster_name": "own"},
    });
    (cluster("own", json!({"endpoints": groups}), json!({})), further)
}

fn all(path: &str, cluster: &str) -> Value {
    json!({"match": {"prefix": path}, "route": {"cluster": cluster}})
}

async fn requests_stay_in_their_zone(plane: DataPlane) -> Result<()> {
    let hosts = Hosts::start(&["a1", "a2", "a3", "b1", "b2", "b3"])?;
    let groups = json!({"endpoints": [
        {"locality": {"zone": "b"}, "lb_endpoints": hosts.endpoints(&["b1", "b2", "b3"])},
        {"locality": {"zone": "a"}, "lb_endpoints": hosts.endpoints(&["a1", "a2", "a3"])},
    ]});
    let (own, further) = own_zone(&[("a", 2), ("b", 2)]);
    let clusters = [cluster("a", groups, json!({})), own];
    let (port, sidecar) = start_with(plane, &clusters, &[all("/", "a")], further).await?;
    let served = served(&port, "/", 60).await?;
    assert_eq!(["a1", "a2", "a3"].map(|name| count(&served, name)), [20; 3], "{served:?}");
    assert_eq!(sidecar.stat("cluster.a.lb_zone_routing_all_directly").await?, 60);
    assert_eq!(sidecar.stat("cluster.a.lb_zone_routing_cross_zone").await?, 0);
    Ok(())
}

async fn a_small_zone_sends_its_excess_to_others(plane: DataPlane) -> Result<()> {
    let hosts = Hosts::start(&["a1", "b1", "b2", "b3", "b4", "b5"])?;
    let groups = json!({"endpoints": [
        {"locality": {"zone": "a"}, "lb_endpoints": hosts.endpoints(&["a1"])},
        {"locality": {"zone": "b"}, "lb_endpoints": hosts.endpoints(&["b1", "b2", "b3", "b4", "b5"])},
    ]});
    let (own, further) = own_zone(&[("a", 1), ("b", 1)]);
    let small = json!({"common_lb_config": {"zone_aware_lb_config": {"min_cluster_size": 7}}});
    let clusters = [cluster("a", groups.clone(), json!({})), cluster("small", groups, small), own];
    let routes = [all("/small", "small"), all("/", "a")];
    let (port, sidecar) = start_with(plane, &clusters, &routes, further).await?;
    // A sixth of the hosts for half of the requests: a third of them stays.
    let found = served(&port, "/", 600).await?;
    assert_share(&found, "a1", 1.0 / 3.0);
    let stayed = sidecar.stat("cluster.a.lb_zone_routing_sampled").await?;
    assert_eq!(stayed, count(&found, "a1") as u64);
    assert_eq!(sidecar.stat("cluster.a.lb_zone_routing_cross_zone").await?, 600 - stayed);
    let found = served(&port, "/small", 60).await?;
    assert_eq!(count(&found, "a1"), 10, "{found:?}");
    assert!(sidecar.stat("cluster.small.lb_zone_cluster_too_small").await? > 0);
    Ok(())
}

/// Hosts by stage and version, and who they are.
const SUBSET_HOSTS: [(&str, &str, &str); 4] =
    [("p1", "prod", "1"), ("p2", "prod", "2"), ("p3", "prod", "2"), ("d1", "dev", "3")];

fn by_metadata(hosts: &Hosts, config: Value) -> Value {
    let endpoint = |(name, stage, version): &(&str, &str, &str)| {
        let metadata = json!({"filter_metadata": {"envoy.lb": {"stage": stage, "version": version}}});
        hosts.endpoint(name, json!({"metadata": metadata}))
    };
    let endpoints: Vec<Value> = SUBSET_HOSTS.iter().map(endpoint).collect();
    cluster("a", json!({"endpoints": [{"lb_endpoints": endpoints}]}), json!({"lb_subset_config": config}))
}

fn criteria(fields: Value) -> Value {
    json!({"filter_metadata": {"envoy.lb": fields}})
}

fn selecting(path: &str, fields: Value) -> Value {
    json!({"match": {"prefix": path}, "route": {"cluster": "a", "metadata_match": criteria(fields)}})
}

fn subset_hosts() -> Result<Hosts> {
    Hosts::start(&SUBSET_HOSTS.map(|(name, ..)| name))
}

async fn routes_select_subsets(plane: DataPlane) -> Result<()> {
    let hosts = subset_hosts()?;
    let config = json!({"subset_selectors": [{"keys": ["stage"]}, {"keys": ["version", "stage"]}]});
    let routes = [
        selecting("/prod", json!({"stage": "prod"})),
        selecting("/two", json!({"stage": "prod", "version": "2"})),
        selecting("/none", json!({"stage": "prod", "version": "9"})),
        selecting("/other", json!({"version": "2"})),
        all("/", "a"),
    ];
    let (port, sidecar) = start_with(plane, &[by_metadata(&hosts, config)], &routes, json!({})).await?;
    let found = served(&port, "/prod", 30).await?;
    assert_eq!(["p1", "p2", "p3"].map(|name| count(&found, name)), [10; 3], "{found:?}");
    let found = served(&port, "/two", 30).await?;
    assert_eq!(["p2", "p3"].map(|name| count(&found, name)), [15; 2], "{found:?}");
    for path in ["/none", "/other", "/"] {
        assert_eq!(count(&served(&port, path, 3).await?, "503"), 3, "{path}");
    }
    assert_eq!(sidecar.stat("cluster.a.lb_subsets_selected").await?, 60);
    assert_eq!(sidecar.stat("cluster.a.lb_subsets_fallback").await?, 0);
    assert!(sidecar.stat("cluster.a.lb_subsets_active").await? >= 5);
    assert!(sidecar.stat("cluster.a.lb_subsets_created").await? >= 5);
    Ok(())
}

async fn weighted_clusters_select_subsets_too(plane: DataPlane) -> Result<()> {
    let hosts = subset_hosts()?;
    let config = json!({"subset_selectors": [{"keys": ["version", "stage"]}]});
    let entry = |weight: u32, version: &str| json!({"name": "a", "weight": weight, "metadata_match": criteria(json!({"version": version}))});
    let route = json!({"match": {"prefix": "/"}, "route": {
        "weighted_clusters": {"clusters": [entry(1, "1"), entry(3, "2")]},
        "metadata_match": criteria(json!({"stage": "prod", "version": "none"})),
    }});
    let (port, _sidecar) = start_with(plane, &[by_metadata(&hosts, config)], &[route], json!({})).await?;
    let found = served(&port, "/", 400).await?;
    assert_share(&found, "p1", 0.25);
    assert_eq!(count(&found, "p1") + count(&found, "p2") + count(&found, "p3"), 400, "{found:?}");
    Ok(())
}

async fn a_fallback_serves_what_no_subset_does(plane: DataPlane) -> Result<()> {
    let hosts = subset_hosts()?;
    let config = json!({
        "fallback_policy": "DEFAULT_SUBSET",
        "default_subset": {"stage": "dev"},
        "subset_selectors": [
            {"keys": ["stage"]},
            {"keys": ["stage", "version"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["stage"]},
            {"keys": ["version"], "fallback_policy": "NO_FALLBACK"},
            {"keys": ["color"], "fallback_policy": "ANY_ENDPOINT"},
        ],
    });
    let routes = [
        selecting("/keys", json!({"stage": "prod", "version": "9"})),
        selecting("/nobody", json!({"version": "9"})),
        selecting("/anybody", json!({"color": "red"})),
        all("/", "a"),
    ];
    let (port, sidecar) = start_with(plane, &[by_metadata(&hosts, config)], &routes, json!({})).await?;
    let found = served(&port, "/keys", 30).await?;
    assert_eq!(["p1", "p2", "p3"].map(|name| count(&found, name)), [10; 3], "{found:?}");
    assert_eq!(count(&served(&port, "/nobody", 5).await?, "503"), 5);
    let found = served(&port, "/anybody", 40).await?;
    assert_eq!(["p1", "p2", "p3", "d1"].map(|name| count(&found, name)), [10; 4], "{found:?}");
    assert_eq!(sidecar.stat("cluster.a.lb_subsets_fallback").await?, 0);
    assert_eq!(count(&served(&port, "/", 6).await?, "d1"), 6);
    assert_eq!(sidecar.stat("cluster.a.lb_subsets_fallback").await?, 6);
    Ok(())
}

async fn a_full_scan_takes_the_idle_host(plane: DataPlane) -> Result<()> {
    let hosts = Hosts::start(&["one", "two", "three"])?;
    let config = json!({
        "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
        "selection_method": "FULL_SCAN",
    });
    let policy = json!({"policies": [{"typed_extension_config": {"name": "l", "typed_config": config}}]});
    let groups = json!({"endpoints": [{"lb_endpoints": hosts.endpoints(&["one", "two", "three"])}]});
    let (port, sidecar) =
        start(plane, &[cluster("a", groups, json!({"load_balancing_policy": policy}))]).await?;
    // Two requests that stay: each takes an idle host, and the third host is all that is left.
    let mut held = Vec::new();
    for at in 1..=2 {
        let mut connection = Connection::open(port.address()).await?;
        connection.send("GET / HTTP/1.1\r\nHost: h\r\nx-echo-delay-ms: 60000\r\n\r\n").await?;
        held.push(connection);
        sidecar.until_stat("cluster.a.upstream_rq_active", |active| active == at).await?;
    }
    let found = served(&port, "/", 20).await?;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found.values().sum::<usize>(), 20);
    Ok(())
}

async fn hosts_of_a_new_cluster_start_slowly_together(plane: DataPlane) -> Result<()> {
    let hosts = Hosts::start(&["one", "two"])?;
    let slow = json!({"slow_start_config": {"slow_start_window": "60s", "aggression": {"default_value": 2.0, "runtime_key": "x"}}});
    let groups = json!({"endpoints": [{"lb_endpoints": hosts.endpoints(&["one", "two"])}]});
    let (port, _sidecar) =
        start(plane, &[cluster("a", groups, json!({"round_robin_lb_config": slow}))]).await?;
    let found = served(&port, "/", 100).await?;
    assert!(count(&found, "one").abs_diff(50) <= 2, "{found:?}");
    assert_eq!(hosts.requests("one") + hosts.requests("two"), 100);
    Ok(())
}

async fn a_slow_host_is_asked_less(plane: DataPlane) -> Result<()> {
    let quick = Upstream::start(Echo::new("quick"))?;
    let late = Slow { before_head: Duration::from_millis(300), between_bytes: Duration::ZERO };
    let late = Upstream::start(late)?;
    let endpoints = [&quick, &late].map(|host| json!({"endpoint": {"address": address(host.address())}}));
    let config = json!({
        "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.peak_ewma.v3alpha.PeakEwma",
        "decay_time": "600s",
    });
    let policy = json!({"policies": [{"typed_extension_config": {"name": "p", "typed_config": config}}]});
    let groups = json!({"endpoints": [{"lb_endpoints": endpoints}]});
    let settings = json!({"load_balancing_policy": policy});
    let (port, _sidecar) = start(plane, &[cluster("a", groups, settings)]).await?;
    let mut connection = Connection::open(port.address()).await?;
    for _ in 0..60 {
        assert_eq!(connection.exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await?.status, 200);
    }
    // Its latency is known after its first answer; a quick host that once took as long would be tried again.
    assert!(late.counts().requests() <= 5, "{}", late.counts().requests());
    Ok(())
}
