//! Clusters made of clusters: who serves, and whose statistics and limits count.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, tcp_listener, virtual_host, with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

on_both_data_planes!(
    the_first_cluster_serves_while_it_is_well,
    load_fails_over_as_availability_goes,
    the_chosen_cluster_balances_and_counts,
    connections_follow_as_well,
    without_any_host_there_is_none,
);

fn aggregate(members: &[&str]) -> Value {
    json!({
        "name": "all",
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.aggregate",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig",
                "clusters": members,
            },
        },
    })
}

/// A cluster of hosts, some of which discovery says are ill.
fn member(name: &str, well: &[SocketAddr], ill: usize) -> Value {
    let mut cluster = cluster(name, well);
    let endpoints = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"].as_array_mut();
    let ill = (0..ill).map(|at| {
        let address = json!({"socket_address": {"address": format!("127.0.9.{at}"), "port_value": 9}});
        json!({"health_status": "UNHEALTHY", "endpoint": {"address": address}})
    });
    if let Some(endpoints) = endpoints {
        endpoints.extend(ill);
    }
    cluster
}

async fn start(plane: DataPlane, clusters: &[Value]) -> Result<(Port, Sidecar)> {
    let port = Port::lease()?;
    let routes = inline(route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "all")])]));
    let listener = http_listener("ingress", port.address(), routes);
    let sidecar = plane.launch()?.concurrency(1).start(&with_static(&[listener], clusters)).await?;
    Ok((port, sidecar))
}

async fn served(port: &Port, requests: usize) -> Result<BTreeMap<String, usize>> {
    let mut connection = Connection::open(port.address()).await?;
    let mut served = BTreeMap::new();
    for _ in 0..requests {
        let answer = connection.exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await?;
        let host = match answer.status {
            200 => answer.json()?["upstream"].as_str().unwrap_or_default().to_owned(),
            status => status.to_string(),
        };
        *served.entry(host).or_default() += 1;
    }
    Ok(served)
}

async fn the_first_cluster_serves_while_it_is_well(plane: DataPlane) -> Result<()> {
    let (first, second) = (Upstream::start(Echo::new("first"))?, Upstream::start(Echo::new("second"))?);
    let clusters = [
        aggregate(&["one", "nothing", "two"]),
        member("one", &[first.address()], 0),
        member("two", &[second.address()], 0),
    ];
    let (port, _sidecar) = start(plane, &clusters).await?;
    assert_eq!(served(&port, 30).await?, BTreeMap::from([("first".to_owned(), 30)]));
    Ok(())
}

async fn load_fails_over_as_availability_goes(plane: DataPlane) -> Result<()> {
    let (first, second) = (Upstream::start(Echo::new("first"))?, Upstream::start(Echo::new("second"))?);
    let second = second.address();
    for (ill, least, most) in [(1, 210, 350), (4, 60, 170)] {
        let mut one = member("one", &[first.address()], ill);
        // Else it would be in panic, alone as it is.
        one["common_lb_config"] = json!({"healthy_panic_threshold": {"value": 0}});
        let clusters = [aggregate(&["one", "two"]), one, member("two", &[second], 0)];
        let (port, _sidecar) = start(plane, &clusters).await?;
        // 70 and 28 percent of 400.
        let found = served(&port, 400).await?;
        let first = found.get("first").copied().unwrap_or_default();
        assert!((least..most).contains(&first), "{ill} ill: {found:?}");
        assert_eq!(first + found.get("second").copied().unwrap_or_default(), 400, "{found:?}");
    }
    Ok(())
}

async fn the_chosen_cluster_balances_and_counts(plane: DataPlane) -> Result<()> {
    let hosts = [Upstream::start(Echo::new("a"))?, Upstream::start(Echo::new("b"))?];
    let mut one = member("one", &hosts.each_ref().map(Upstream::address), 0);
    one["circuit_breakers"] = json!({"thresholds": [{"max_requests": 1}]});
    let (port, sidecar) = start(plane, &[aggregate(&["one"]), one]).await?;
    let found = served(&port, 30).await?;
    assert_eq!(found.values().copied().collect::<Vec<_>>(), [15, 15], "{found:?}");
    assert_eq!(sidecar.stat("cluster.one.upstream_rq_total").await?, 30);
    assert_eq!(sidecar.stat("cluster.all.upstream_rq_total").await?, 0);
    // The member's breaker holds.
    let mut held = Connection::open(port.address()).await?;
    held.send("GET / HTTP/1.1\r\nHost: h\r\nx-echo-delay-ms: 60000\r\n\r\n").await?;
    sidecar.until_stat("cluster.one.upstream_rq_active", |active| active == 1).await?;
    assert_eq!(served(&port, 3).await?, BTreeMap::from([("503".to_owned(), 3)]));
    Ok(())
}

async fn connections_follow_as_well(plane: DataPlane) -> Result<()> {
    let (port, host) = (Port::lease()?, Upstream::start(Echo::new("second"))?);
    let clusters = [aggregate(&["one", "two"]), member("one", &[], 0), member("two", &[host.address()], 0)];
    let listener = tcp_listener("ingress", port.address(), "all");
    let _sidecar = plane.launch()?.concurrency(1).start(&with_static(&[listener], &clusters)).await?;
    assert_eq!(served(&port, 3).await?, BTreeMap::from([("second".to_owned(), 3)]));
    Ok(())
}

async fn without_any_host_there_is_none(plane: DataPlane) -> Result<()> {
    let (port, _sidecar) = start(plane, &[aggregate(&["one", "gone"]), member("one", &[], 0)]).await?;
    assert_eq!(served(&port, 3).await?, BTreeMap::from([("503".to_owned(), 3)]));
    Ok(())
}
