//! The deploy drill: endpoints are replaced one after the other under load, as a rolling deployment does it, and no
//! request fails. Whoever leaves is stopped as soon as nothing is connected to it any more.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use outrigger_tests::bootstrap::{
    address, cluster, eds_cluster, http_listener, inline, load_assignment, prefix_route, route_config,
    virtual_host, with_ads, with_static,
};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::load::Load;
use outrigger_tests::name_server::NameServer;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::xds::{Resource, Server};
use outrigger_tests::{Result, on_both_data_planes, wait};
use outrigger_xds_protos::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER};
use outrigger_xds_protos::v3;
use serde_json::{Value, json};

on_both_data_planes!(rolling_replacements_through_eds, rolling_replacements_through_dns);

const ROUNDS: usize = 10;
const CONNECTIONS: usize = 8;
const LIMIT: Duration = Duration::from_secs(20);

fn listener(port: &Port) -> Value {
    let routes = [prefix_route("/", "a")];
    http_listener("ingress", port.address(), inline(route_config("r", &[virtual_host("v", &["*"], &routes)])))
}

fn endpoints(hosts: &[&Upstream]) -> Result<Resource> {
    let addresses: Vec<SocketAddr> = hosts.iter().map(|host| host.address()).collect();
    Resource::of::<v3::endpoint::ClusterLoadAssignment>("a", &load_assignment("a", &addresses))
}

/// Waits until a host has been asked.
async fn until_used(host: &Upstream) -> Result<()> {
    let check = || std::future::ready((host.counts().requests() > 0).then_some(()));
    wait::until("requests to the new host", LIMIT, check).await
}

/// Waits until nothing is connected to a host that was deregistered.
async fn until_left(host: &Upstream) -> Result<()> {
    let check = || std::future::ready((host.counts().open() == 0).then_some(()));
    wait::until("the old host to be left alone", LIMIT, check).await
}

async fn rolling_replacements_through_eds(plane: DataPlane) -> Result<()> {
    let (port, xds) = (Port::lease()?, Server::start()?);
    let mut current = Upstream::start(Echo::new("0"))?;
    xds.set_all([
        (CLUSTER, vec![Resource::of::<v3::cluster::Cluster>("a", &eds_cluster("a"))?]),
        (CLUSTER_LOAD_ASSIGNMENT, vec![endpoints(&[&current])?]),
        (LISTENER, vec![Resource::of::<v3::listener::Listener>("ingress", &listener(&port))?]),
    ]);
    let bootstrap = with_ads(xds.address(), "DELTA_GRPC");
    let _sidecar = plane.launch()?.concurrency(2).start(&bootstrap).await?;
    let load = Load::start(port.address(), "a", CONNECTIONS);
    load.until_answered(50).await?;
    for round in 1..=ROUNDS {
        let next = Upstream::start(Echo::new(round.to_string()))?;
        xds.set(CLUSTER_LOAD_ASSIGNMENT, vec![endpoints(&[&current, &next])?]);
        until_used(&next).await?;
        xds.set(CLUSTER_LOAD_ASSIGNMENT, vec![endpoints(&[&next])?]);
        until_left(&current).await?;
        current = next;
        load.until_answered(20).await?;
    }
    let answered = load.end().await?;
    assert!(answered > 250, "{answered}");
    Ok(())
}

/// A host at another address and the same port.
fn at(ip: Ipv4Addr, port: u16) -> Result<Upstream> {
    Upstream::start_on(TcpListener::bind((ip, port))?, Echo::new(ip.to_string()))
}

async fn until_hosts(sidecar: &Sidecar, count: u64) -> Result<u64> {
    sidecar.until_stat("cluster.a.membership_total", |hosts| hosts == count).await
}

async fn rolling_replacements_through_dns(plane: DataPlane) -> Result<()> {
    let (port, shared) = (Port::lease()?, Port::lease()?);
    let target = shared.address().port();
    let ip = |round: usize| Ipv4Addr::new(127, 0, 3, round as u8 + 1);
    let mut current = at(ip(0), target)?;
    let names = NameServer::start(&[ip(0)])?;
    let mut cluster = cluster("a", &[]);
    cluster["type"] = "STRICT_DNS".into();
    cluster["dns_lookup_family"] = "V4_ONLY".into();
    cluster["dns_refresh_rate"] = "0.05s".into();
    let name = json!({"socket_address": {"address": "backend.example", "port_value": target}});
    cluster["load_assignment"]["endpoints"] = json!([{"lb_endpoints": [{"endpoint": {"address": name}}]}]);
    let mut bootstrap = with_static(&[listener(&port)], &[cluster]);
    bootstrap["typed_dns_resolver_config"] = json!({
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [address(names.address())],
        },
    });
    let sidecar = plane.launch()?.concurrency(2).start(&bootstrap).await?;
    until_hosts(&sidecar, 1).await?;
    let load = Load::start(port.address(), "a", CONNECTIONS);
    load.until_answered(50).await?;
    for round in 1..=ROUNDS {
        let next = at(ip(round), target)?;
        names.set(&[ip(round - 1), ip(round)]);
        until_used(&next).await?;
        names.set(&[ip(round)]);
        until_left(&current).await?;
        current = next;
        load.until_answered(20).await?;
    }
    until_hosts(&sidecar, 1).await?;
    let answered = load.end().await?;
    assert!(answered > 250, "{answered}");
    Ok(())
}
