//! Faults in numbers: one bad host of three must not be seen by callers, and a cluster that fails as a whole must not
//! be buried under retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Behaviour, Counts, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

on_both_data_planes!(one_bad_host_is_not_seen, retries_of_a_failing_cluster_stay_within_the_budget);

/// Fails so many of ten requests, spread evenly: half of them with a 503, half by closing the connection.
struct Faulty {
    of_ten: u64,
    before_answer: Duration,
    seen: AtomicU64,
}

impl Faulty {
    fn start(of_ten: u64, before_answer: Duration) -> Result<Upstream> {
        Upstream::start(Self { of_ten, before_answer, seen: AtomicU64::new(0) })
    }
}

impl Behaviour for Faulty {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, counts: Arc<Counts>) {
        let (mut received, mut chunk) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            received.extend_from_slice(&chunk[..read]);
            if !received.ends_with(b"\r\n\r\n") {
                continue;
            }
            received.clear();
            counts.request();
            tokio::time::sleep(self.before_answer).await;
            // Seven and ten have no common divisor: every ten requests hold each remainder once.
            let number = self.seen.fetch_add(1, Ordering::Relaxed);
            let answer: &[u8] = match number * 7 % 10 < self.of_ten {
                true if number.is_multiple_of(2) => return,
                true => b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
                false => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            };
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

struct Scene {
    port: Port,
    sidecar: Sidecar,
}

impl Scene {
    async fn start(plane: DataPlane, hosts: &[Upstream], policy: Value, settings: Value) -> Result<Self> {
        let port = Port::lease()?;
        let mut route = prefix_route("/", "a");
        route["route"]["retry_policy"] = policy;
        let routing = inline(route_config("r", &[virtual_host("v", &["*"], &[route])]));
        let listener = http_listener("ingress", port.address(), routing);
        let mut cluster = cluster("a", &hosts.iter().map(Upstream::address).collect::<Vec<_>>());
        for (name, value) in settings.as_object().into_iter().flatten() {
            cluster[name] = value.clone();
        }
        let launch = plane.launch()?.concurrency(2);
        let sidecar = launch.start(&with_static(&[listener], &[cluster])).await?;
        Ok(Self { port, sidecar })
    }

    /// This many requests from each of the clients, one after the other: how many were answered with 200.
    async fn load(&self, clients: u64, requests: u64) -> Result<u64> {
        let mut running = JoinSet::new();
        for _ in 0..clients {
            let address = self.port.address();
            running.spawn(async move {
                let mut good = 0;
                let mut connection = Connection::open(address).await.map_err(|error| error.to_string())?;
                for _ in 0..requests {
                    let response = connection.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                    good += u64::from(response.map_err(|error| error.to_string())?.status == 200);
                }
                Ok::<u64, String>(good)
            });
        }
        let mut good = 0;
        while let Some(client) = running.join_next().await {
            good += client??;
        }
        Ok(good)
    }
}

async fn one_bad_host_is_not_seen(plane: DataPlane) -> Result<()> {
    const CLIENTS: u64 = 8;
    const EACH: u64 = 500;
    let hosts = [
        Faulty::start(3, Duration::ZERO)?,
        Faulty::start(0, Duration::ZERO)?,
        Faulty::start(0, Duration::ZERO)?,
    ];
    let policy = json!({
        "retry_on": "5xx",
        "num_retries": 2,
        "retry_host_predicate": [{
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            },
        }],
        "host_selection_retry_max_attempts": 5,
    });
    let settings = json!({
        "outlier_detection": {
            "interval": "1s",
            "base_ejection_time": "1s",
            "max_ejection_percent": 50,
            "failure_percentage_minimum_hosts": 3,
            "failure_percentage_request_volume": 20,
            "failure_percentage_threshold": 20,
            "enforcing_failure_percentage": 100,
        },
        "circuit_breakers": {"thresholds": [{"retry_budget": {"min_retry_concurrency": CLIENTS}}]},
    });
    let scene = Scene::start(plane, &hosts, policy, settings).await?;
    let good = scene.load(CLIENTS, EACH).await?;
    let (asked, sent) = (CLIENTS * EACH, hosts.iter().map(|host| host.counts().requests()).sum::<u64>());
    assert!(hosts[0].counts().requests() > 50, "the bad host was asked");
    assert!(good * 1_000 >= asked * 999, "{good} of {asked} requests succeeded");
    assert!(sent * 10 <= asked * 12, "{sent} requests were sent for {asked}");
    Ok(())
}

async fn retries_of_a_failing_cluster_stay_within_the_budget(plane: DataPlane) -> Result<()> {
    const CLIENTS: u64 = 40;
    const EACH: u64 = 25;
    let hosts =
        [Faulty::start(10, Duration::from_millis(20))?, Faulty::start(10, Duration::from_millis(20))?];
    let policy = json!({"retry_on": "5xx", "num_retries": 3, "retry_back_off": {"base_interval": "0.001s"}});
    let settings = json!({"circuit_breakers": {"thresholds": [{
        "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 1},
    }]}});
    let scene = Scene::start(plane, &hosts, policy, settings).await?;
    assert_eq!(scene.load(CLIENTS, EACH).await?, 0);
    let (asked, sent) = (CLIENTS * EACH, hosts.iter().map(|host| host.counts().requests()).sum::<u64>());
    // One in five requests may be a retry: a quarter of the others, and one at a time when there are few.
    assert!(sent > asked && sent * 100 <= asked * 130, "{sent} requests were sent for {asked}");
    assert!(scene.sidecar.stat("cluster.a.upstream_rq_retry_overflow").await? > asked / 2);
    Ok(())
}
