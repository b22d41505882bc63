//! The operations that are counted: set up once, then repeated.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum;
use fastrand::Rng;
use outrigger_proxy::config::cluster::{Cluster, Host, HostSet};
use outrigger_proxy::config::route::{RouteTable, ShownCertificate};
use outrigger_proxy::http::head::{BodyLength, HeaderBlock, Method, RequestHead, Version};
use outrigger_proxy::http::route::{find, find_virtual_host};
use outrigger_proxy::stats::registry::Registry;
use outrigger_proxy::upstream::lb::{Balancer, PickContext};
use outrigger_proxy::xds::translate::{self, Assignment, TranslateContext};
use outrigger_tests::bootstrap::{cluster, load_assignment, prefix_route, route_config, virtual_host};
use outrigger_xds_protos::json::from_text;
use outrigger_xds_protos::v3;
use serde_json::{Value, json};

use crate::Result;
use crate::scenario::{HEADER, PREFIX, numbered_host};

const HOSTS: u64 = 1_000;
const ROUTES: u64 = 50;
/// The host that requests are for.
const PROBED: u64 = 500;
const ENDPOINTS: u16 = 10;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// One of 1,000 hosts, its first route: prefix and header.
    RouteFirst,
    /// One of 1,000 hosts, the last of its 50 routes.
    RouteLast,
    /// A host that only the catch-all has.
    RouteWildcard,
    /// Round robin over 10 hosts.
    PickRoundRobin,
    /// Round robin over 10 hosts of unequal weight.
    PickWeighted,
    /// Least request over 10 hosts.
    PickLeastRequest,
    /// Random over 10 hosts.
    PickRandom,
    /// From a Cluster message to a compiled cluster.
    CompileCluster,
    /// From a ClusterLoadAssignment of 10 endpoints to an assignment.
    CompileEndpoints,
    /// From a RouteConfiguration of 1,000 hosts with two routes each to a compiled table.
    CompileRoutes,
}

impl Operation {
    /// The name on the command line and in tables.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// How often it runs: enough for the difference to stand out.
    pub(super) fn times(self) -> u64 {
        match self {
            Self::CompileRoutes => 5,
            Self::CompileCluster | Self::CompileEndpoints => 500,
            _ => 20_000,
        }
    }

    /// Sets up and runs it so many times.
    pub fn repeat(self, times: u64) -> Result<()> {
        match self {
            Self::RouteFirst => route(&numbered_host(PROBED), &format!("{PREFIX}items/1"), times),
            Self::RouteLast => route(&numbered_host(PROBED), "/last", times),
            Self::RouteWildcard => route("else.where", "/", times),
            Self::PickRoundRobin => pick("ROUND_ROBIN", |_| 1, times),
            Self::PickWeighted => pick("ROUND_ROBIN", |index| 1 + u32::from(index), times),
            Self::PickLeastRequest => pick("LEAST_REQUEST", |_| 1, times),
            Self::PickRandom => pick("RANDOM", |_| 1, times),
            Self::CompileCluster => compile_cluster(times),
            Self::CompileEndpoints => compile_endpoints(times),
            Self::CompileRoutes => compile_routes(times),
        }
    }
}

fn route(host: &str, path: &str, times: u64) -> Result<()> {
    let (table, head) = (table()?, head(host, path));
    for _ in 0..times {
        let virtual_host = find_virtual_host(black_box(&table), head.authority()).ok_or("no virtual host")?;
        let found = find(virtual_host, black_box(&head), 0, ShownCertificate::None);
        black_box(found).ok_or("no route")?;
    }
    Ok(())
}

fn table() -> Result<Arc<RouteTable>> {
    let message: v3::route::RouteConfiguration = from_text(&routes().to_string())?;
    Ok(translate::route_table(&message, &mut context()).map_err(debug)?.config)
}

/// 1,000 hosts with two routes each, one of them with 50, and a catch-all.
fn routes() -> Value {
    let host = |number| {
        let mut first = prefix_route(PREFIX, "backend");
        first["match"]["headers"] = json!([{"name": HEADER.0, "string_match": {"exact": HEADER.1}}]);
        let more = if number == PROBED { ROUTES } else { 2 };
        let between = (2..more).map(|number| prefix_route(&format!("/other-{number}/"), "backend"));
        let last = prefix_route("/last", "backend");
        let routes: Vec<_> = std::iter::once(first).chain(between).chain([last]).collect();
        virtual_host(&format!("host-{number}"), &[&numbered_host(number)], &routes)
    };
    let everything_else = virtual_host("else", &["*"], &[prefix_route("/", "backend")]);
    route_config("routes", &(0..HOSTS).map(host).chain([everything_else]).collect::<Vec<_>>())
}

/// A request head as a codec would build it.
fn head(host: &str, path: &str) -> RequestHead {
    let mut block = HeaderBlock::default();
    for (name, value) in [("user-agent", "load/1"), ("accept", "*/*"), HEADER] {
        block.append(name.as_bytes(), value.as_bytes());
    }
    let (method_text, path) = (block.push_text(b"GET"), block.push_text(path.as_bytes()));
    let authority = block.push_text(host.as_bytes());
    RequestHead {
        method: Method::of(b"GET"),
        method_text,
        path,
        authority,
        https: false,
        version: Version::Http11,
        body: BodyLength::None,
        upgrade: None,
        expects_continue: false,
        accepts_trailers: false,
        block,
    }
}

fn pick(policy: &str, weight: fn(u16) -> u32, times: u64) -> Result<()> {
    let (mut rng, (cluster, hosts)) = (Rng::with_seed(1), balanced(policy, weight)?);
    let now = Instant::now();
    let mut balancer = Balancer::new(cluster.balancing.clone(), hosts, None, now, &mut rng);
    for _ in 0..times {
        black_box(balancer.pick(black_box(PickContext::default()), &|| now, &mut rng).0).ok_or("no host")?;
    }
    Ok(())
}

fn balanced(policy: &str, weight: fn(u16) -> u32) -> Result<(Arc<Cluster>, Arc<HostSet>)> {
    let mut resource = backends();
    resource["lb_policy"] = policy.into();
    let message: v3::cluster::Cluster = from_text(&resource.to_string())?;
    let translated = translate::cluster(&message, &mut context()).map_err(debug)?;
    let assignment = translated.static_hosts.ok_or("a STATIC cluster without hosts")?;
    let hosts = assignment.hosts.into_iter().enumerate().map(|(index, spec)| {
        Arc::new(Host {
            uid: index as u64 + 1,
            address: spec.address,
            display: "".into(),
            hostname: spec.hostname,
            weight: weight(index as u16),
            priority: spec.priority,
            locality: spec.locality,
            health: spec.health,
            metadata: spec.metadata,
            labels: spec.labels,
            check: spec.check,
            live: Arc::default(),
        })
    });
    let set = HostSet { hosts: hosts.collect(), localities: assignment.localities, ..HostSet::default() };
    Ok((translated.config, Arc::new(set)))
}

fn backends() -> Value {
    let addresses: Vec<_> = (0..ENDPOINTS).map(|index| ([10, 0, 0, 1], 8_000 + index).into()).collect();
    cluster("backend", &addresses)
}

fn compile_cluster(times: u64) -> Result<()> {
    let (message, mut context) = (from_text(&backends().to_string())?, context());
    for _ in 0..times {
        black_box(translate::cluster(black_box(&message), &mut context)).map_err(debug)?;
    }
    Ok(())
}

fn compile_endpoints(times: u64) -> Result<()> {
    let addresses: Vec<_> = (0..ENDPOINTS).map(|index| ([10, 0, 0, 1], 8_000 + index).into()).collect();
    let message = from_text(&load_assignment("backend", &addresses).to_string())?;
    let mut context = context();
    for _ in 0..times {
        let assignment: Assignment =
            translate::load_assignment(black_box(&message), &mut context).map_err(debug)?;
        black_box(assignment);
    }
    Ok(())
}

fn compile_routes(times: u64) -> Result<()> {
    let (message, mut context) = (from_text(&routes().to_string())?, context());
    for _ in 0..times {
        black_box(translate::route_table(black_box(&message), &mut context)).map_err(debug)?;
    }
    Ok(())
}

fn context() -> TranslateContext {
    TranslateContext::new(Registry::new(), None)
}

fn debug(rejection: translate::Rejection) -> String {
    format!("{rejection:?}")
}
