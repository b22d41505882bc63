//! Consistent hashing: the same request goes to the same host whether Envoy or our sidecar carries it. A fleet that
//! moves from one to the other keeps its caches warm.

use std::net::SocketAddr;

use outrigger_tests::bootstrap::{
    address, filter_listener, http_listener, inline, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1::{self, Connection};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::requirement;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

on_both_data_planes!(
    a_cookie_is_made_once_and_sticks,
    without_a_hash_any_host_serves,
    tables_show_in_statistics
);

const HOSTS: usize = 5;

/// Hosts that say who they are.
fn upstreams() -> Result<Vec<Upstream>> {
    (0..HOSTS).map(|at| Upstream::start(Echo::new(at.to_string()))).collect()
}

/// One host as an endpoint, with what every variation needs.
fn endpoint(at: usize, host: SocketAddr, weights: &[u32]) -> Value {
    json!({
        "endpoint": {"address": address(host), "hostname": format!("host-{at}.example")},
        "load_balancing_weight": weights[at],
    })
}

fn cluster(name: &str, hosts: &[Upstream], weights: &[u32], settings: Value) -> Value {
    let endpoints: Vec<Value> =
        hosts.iter().enumerate().map(|(at, host)| endpoint(at, host.address(), weights)).collect();
    let mut cluster = json!({
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    });
    if let (Value::Object(cluster), Value::Object(settings)) = (&mut cluster, settings) {
        cluster.extend(settings);
    }
    cluster
}

fn extension(name: &str, config: Value) -> Value {
    let mut config = config;
    config["@type"] = format!("type.googleapis.com/envoy.extensions.load_balancing_policies.{name}").into();
    json!({"load_balancing_policy": {"policies": [{"typed_extension_config": {"name": name, "typed_config": config}}]}})
}

/// Every form of both policies, each a cluster of the same hosts.
fn clusters(hosts: &[Upstream]) -> Vec<Value> {
    const EVEN: &[u32] = &[1; HOSTS];
    const UNEVEN: &[u32] = &[1, 2, 3, 4, 7];
    // Envoy takes names for hashing only where they come from DNS.
    let by_name = json!({"use_hostname_for_hashing": true});
    let named = |policy: &str| {
        json!({"type": "STRICT_DNS", "dns_lookup_family": "V4_ONLY", "lb_policy": policy,
            "common_lb_config": {"consistent_hashing_lb_config": by_name}})
    };
    let mut list = vec![
        cluster("ring", hosts, EVEN, json!({"lb_policy": "RING_HASH"})),
        cluster("ring-uneven", hosts, UNEVEN, json!({"lb_policy": "RING_HASH"})),
        cluster(
            "ring-fractions",
            hosts,
            UNEVEN,
            json!({"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 50, "maximum_ring_size": 60}}),
        ),
        cluster(
            "ring-murmur",
            hosts,
            UNEVEN,
            json!({"lb_policy": "RING_HASH", "ring_hash_lb_config": {"hash_function": "MURMUR_HASH_2"}}),
        ),
        cluster("ring-names", hosts, UNEVEN, named("RING_HASH")),
        cluster("maglev-names", hosts, UNEVEN, named("MAGLEV")),
        cluster(
            "ring-extension",
            hosts,
            EVEN,
            extension("ring_hash.v3.RingHash", json!({"minimum_ring_size": 300})),
        ),
        cluster("maglev", hosts, EVEN, json!({"lb_policy": "MAGLEV"})),
        cluster("maglev-uneven", hosts, UNEVEN, json!({"lb_policy": "MAGLEV"})),
        cluster(
            "maglev-small",
            hosts,
            UNEVEN,
            json!({"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 101}}),
        ),
        cluster(
            "maglev-extension",
            hosts,
            UNEVEN,
            extension(
                "maglev.v3.Maglev",
                json!({"consistent_hashing_lb_config": {"hash_balance_factor": 150}}),
            ),
        ),
    ];
    let mut keyed = cluster("ring-keys", hosts, UNEVEN, json!({"lb_policy": "RING_HASH"}));
    let mut localities = cluster(
        "maglev-localities",
        hosts,
        UNEVEN,
        json!({"lb_policy": "MAGLEV", "common_lb_config": {"locality_weighted_lb_config": {}}}),
    );
    for at in 0..HOSTS {
        let key = json!({"filter_metadata": {"envoy.lb": {"hash_key": format!("key-{}", at * at)}}});
        keyed["load_assignment"]["endpoints"][0]["lb_endpoints"][at]["metadata"] = key;
    }
    let all = localities["load_assignment"]["endpoints"][0]["lb_endpoints"].clone();
    localities["load_assignment"]["endpoints"] = json!([
        {"locality": {"zone": "a"}, "load_balancing_weight": 3, "lb_endpoints": [all[0], all[1]]},
        {"locality": {"zone": "b"}, "load_balancing_weight": 1, "lb_endpoints": [all[2], all[3], all[4]]},
    ]);
    list.extend([keyed, localities]);
    list
}

/// What of a request is hashed, by the name of the path's second segment.
fn policies() -> Vec<(&'static str, Value)> {
    let header = |name: &str| json!({"header": {"header_name": name}});
    let rewrite = json!({"pattern": {"regex": "^(.)-.*$"}, "substitution": "\\1"});
    let terminal = |mut policy: Value| {
        policy["terminal"] = true.into();
        policy
    };
    vec![
        ("header", json!([header("x-key")])),
        ("path", json!([header(":path")])),
        ("rewritten", json!([{"header": {"header_name": "x-key", "regex_rewrite": rewrite}}])),
        ("query", json!([{"query_parameter": {"name": "key"}}])),
        ("cookie", json!([{"cookie": {"name": "key"}}])),
        ("address", json!([{"connection_properties": {"source_ip": true}}])),
        ("combined", json!([header("x-key"), {"query_parameter": {"name": "key"}}, header("x-key")])),
        ("terminal", json!([terminal(header("x-absent")), terminal(header("x-key")), header(":path")])),
    ]
}

async fn start(plane: DataPlane, hosts: &[Upstream], port: &Port) -> Result<Sidecar> {
    let clusters = clusters(hosts);
    let mut routes = Vec::new();
    for cluster in clusters.iter().filter_map(|cluster| cluster["name"].as_str()) {
        for (name, policy) in policies() {
            routes.push(json!({
                "match": {"prefix": format!("/{cluster}/{name}/")},
                "route": {"cluster": cluster, "hash_policy": policy},
            }));
        }
    }
    let routes = inline(route_config("r", &[virtual_host("v", &["*"], &routes)]));
    let listener = http_listener("ingress", port.address(), routes);
    plane.launch()?.concurrency(1).start(&with_static(&[listener], &clusters)).await
}

/// The requests of one cluster: their targets and headers.
fn requests(cluster: &str) -> Vec<String> {
    let get = |path: String, headers: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
    let mut list = Vec::new();
    for key in 0..12 {
        let key = format!("{key}-{}", "k".repeat(key * 7));
        let header = format!("x-key: {key}\r\n");
        list.push(get(format!("/{cluster}/header/"), &header));
        list.push(get(format!("/{cluster}/header/"), &format!("{header}x-key: b\r\nx-key: a\r\n")));
        list.push(get(format!("/{cluster}/path/{key}"), ""));
        list.push(get(format!("/{cluster}/rewritten/"), &header));
        list.push(get(format!("/{cluster}/query/?a=b&key={key}%20&key=2"), ""));
        list.push(get(format!("/{cluster}/cookie/"), &format!("cookie: a=b; key=\"{key}\"; key=c\r\n")));
        list.push(get(format!("/{cluster}/address/"), &format!("x-forwarded-for: 10.1.2.{}\r\n", key.len())));
        list.push(get(format!("/{cluster}/combined/?key={key}"), &header));
        list.push(get(format!("/{cluster}/terminal/"), &header));
    }
    list
}

async fn choices(port: &Port, requests: &[String]) -> Result<Vec<String>> {
    let mut connection = Connection::open(port.address()).await?;
    let mut hosts = Vec::with_capacity(requests.len());
    for request in requests {
        let answer = connection.exchange(request).await?;
        hosts.push(answer.json()?["upstream"].as_str().unwrap_or_default().to_owned());
    }
    Ok(hosts)
}

#[tokio::test]
async fn the_same_request_goes_to_the_host_that_envoy_picks() -> Result<()> {
    if requirement::met(DataPlane::Envoy.launch()).is_none() {
        return Ok(());
    }
    let hosts = upstreams()?;
    let ports = [Port::lease()?, Port::lease()?];
    let _ours = start(DataPlane::Outrigger, &hosts, &ports[0]).await?;
    let _envoy = start(DataPlane::Envoy, &hosts, &ports[1]).await?;
    let mut differences = Vec::new();
    for cluster in clusters(&hosts) {
        let requests = requests(cluster["name"].as_str().ok_or("a cluster without a name")?);
        let (ours, theirs) = (choices(&ports[0], &requests).await?, choices(&ports[1], &requests).await?);
        let pairs =
            requests.iter().zip(ours.iter().zip(&theirs)).filter(|(_, (ours, theirs))| ours != theirs);
        differences.extend(pairs.map(|(request, pair)| format!("{request:?}: {pair:?}")));
        let mut seen = ours.clone();
        seen.sort();
        seen.dedup();
        assert!(seen.len() >= 3, "{} of {HOSTS} hosts served {cluster}", seen.len());
    }
    assert!(differences.is_empty(), "{} requests differ: {differences:#?}", differences.len());
    Ok(())
}

async fn over_tcp(plane: DataPlane, hosts: &[Upstream], policy: &str) -> Result<Vec<String>> {
    let port = Port::lease()?;
    let proxy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "t",
        "cluster": "a",
        "hash_policy": [{"source_ip": {}}],
    });
    let listener = filter_listener(
        "ingress",
        port.address(),
        json!({"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}),
    );
    let cluster = cluster("a", hosts, &[1; HOSTS], json!({"lb_policy": policy}));
    let _sidecar = plane.launch()?.concurrency(1).start(&with_static(&[listener], &[cluster])).await?;
    let mut served = Vec::new();
    for client in 1..=30 {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 1, client], 0).into())?;
        let stream = socket.connect(port.address()).await?;
        let answer = Connection::over(stream).exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await?;
        served.push(answer.json()?["upstream"].as_str().unwrap_or_default().to_owned());
    }
    Ok(served)
}

#[tokio::test]
async fn the_same_client_of_a_tcp_proxy_goes_to_the_host_that_envoy_picks() -> Result<()> {
    if requirement::met(DataPlane::Envoy.launch()).is_none() {
        return Ok(());
    }
    let hosts = upstreams()?;
    for policy in ["RING_HASH", "MAGLEV"] {
        let ours = over_tcp(DataPlane::Outrigger, &hosts, policy).await?;
        assert_eq!(ours, over_tcp(DataPlane::Envoy, &hosts, policy).await?, "{policy}");
    }
    Ok(())
}

/// A sidecar with one ring of all hosts and this hash policy.
async fn ring(plane: DataPlane, hosts: &[Upstream], policy: Value) -> Result<(Port, Sidecar)> {
    let port = Port::lease()?;
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "a", "hash_policy": policy}});
    let routes = inline(route_config("r", &[virtual_host("v", &["*"], &[route])]));
    let listener = http_listener("ingress", port.address(), routes);
    let cluster = cluster("a", hosts, &[1; HOSTS], json!({"lb_policy": "RING_HASH"}));
    let sidecar = plane.launch()?.concurrency(1).start(&with_static(&[listener], &[cluster])).await?;
    Ok((port, sidecar))
}

async fn a_cookie_is_made_once_and_sticks(plane: DataPlane) -> Result<()> {
    let hosts = upstreams()?;
    let attributes = json!([{"name": "SameSite", "value": "Strict"}, {"name": "Secure"}]);
    let policy = json!([{"cookie": {"name": "s", "ttl": "90s", "path": "/p", "attributes": attributes}}]);
    let (port, _sidecar) = ring(plane, &hosts, policy).await?;
    let first = h1::get(port.address(), "h", "/").await?;
    let cookie = first.header("set-cookie").ok_or("no cookie")?.to_owned();
    let (value, rest) =
        cookie.strip_prefix("s=\"").and_then(|text| text.split_once('"')).ok_or(cookie.clone())?;
    assert_eq!(rest, "; Max-Age=90; Path=/p; SameSite=Strict; Secure; HttpOnly");
    assert_eq!(value.len(), 16);
    for _ in 0..5 {
        let mut connection = Connection::open(port.address()).await?;
        let answer =
            connection.exchange(format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: s={value}\r\n\r\n")).await?;
        assert_eq!(answer.header("set-cookie"), None);
        assert_eq!(answer.json()?["upstream"], first.json()?["upstream"]);
    }
    Ok(())
}

async fn without_a_hash_any_host_serves(plane: DataPlane) -> Result<()> {
    let hosts = upstreams()?;
    let (port, _sidecar) = ring(plane, &hosts, json!([{"cookie": {"name": "s"}}])).await?;
    for _ in 0..60 {
        let answer = h1::get(port.address(), "h", "/").await?;
        assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
    }
    // Each host is missed with a probability of 0.8^60, one in 650,000.
    assert!(hosts.iter().all(|host| host.counts().requests() > 0));
    Ok(())
}

async fn tables_show_in_statistics(plane: DataPlane) -> Result<()> {
    let hosts = upstreams()?;
    let (_port, sidecar) = ring(plane, &hosts, json!([{"header": {"header_name": "x"}}])).await?;
    sidecar.until_stat("cluster.a.ring_hash_lb.size", |size| size == 1025).await?;
    assert_eq!(sidecar.stat("cluster.a.ring_hash_lb.min_hashes_per_host").await?, 205);
    assert_eq!(sidecar.stat("cluster.a.ring_hash_lb.max_hashes_per_host").await?, 205);
    Ok(())
}
