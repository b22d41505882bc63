//! Breaker accounting over the whole path of requests: whatever clients and upstreams break off at any point, no limit
//! is ever exceeded, no permit is given back twice, and in the end every one is there again.
//!
//! Seeds decide who breaks off what; when that meets a request is the machine's affair, and so is what must hold.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use socket2::SockRef;

use super::world::World;
use crate::config::live::{Breakers, Connections, Limit, RetryBudget, RetryLimit};
use crate::config::retry::{Avoid, RetryOn, RetryPolicy};
use crate::config::route::Forward;
use crate::http::test_heads::forward;
use crate::stats::registry::Registry;
use crate::stats::view::Value;

const CONNECTIONS: u32 = 5;
const PENDING: u32 = 3;
const REQUESTS: u32 = 6;
const RETRIES: u32 = 2;

#[test]
fn whatever_is_broken_off_every_permit_comes_back() {
    for (seed, (hedge, budget)) in
        [(false, false), (true, false), (false, true), (true, true)].iter().enumerate()
    {
        break_off(seed as u64, *hedge, *budget);
    }
}

fn limits(budget: bool) -> Arc<Breakers> {
    let share = RetryBudget::new(30.0, 1).over(Duration::from_millis(50), Instant::now());
    Arc::new(Breakers {
        connections: Arc::new(Connections::new(Limit::counted(CONNECTIONS), None)),
        pools: Limit::counted(10),
        pending: Limit::counted(PENDING),
        requests: Limit::counted(REQUESTS),
        retries: match budget {
            true => RetryLimit::Budget(share),
            false => RetryLimit::Fixed(Limit::counted(RETRIES)),
        },
    })
}

fn retried(hedge: bool) -> Forward {
    let mut on = RetryOn::SERVER_ERROR;
    on.insert(RetryOn::RESET);
    on.insert(RetryOn::CONNECT_FAILURE);
    let policy = RetryPolicy {
        on,
        num_retries: 3,
        status_codes: Vec::new(),
        response_headers: Vec::new(),
        request_headers: Vec::new(),
        per_try_timeout: Duration::from_millis(15),
        per_try_idle_timeout: Duration::ZERO,
        base_interval: Duration::from_millis(1),
        max_interval: Duration::from_millis(5),
        reset_headers: Vec::new(),
        max_reset_interval: Duration::ZERO,
        avoid: Avoid::default(),
        avoid_priorities_every: 0,
        host_selection_attempts: 1,
    };
    Forward { retry: Some(Arc::new(policy)), hedge, timeout: Duration::from_millis(60), ..forward() }
}

fn break_off(seed: u64, hedge: bool, budget: bool) {
    let (limits, registry) = (limits(budget), Registry::new());
    let upstream = moody_upstream(seed);
    let world = World::limited(&upstream, limits.clone(), &registry, retried(hedge));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|client| {
                let (address, rng) = (world.address, Rng::with_seed(seed * 100 + client));
                scope.spawn(move || match client % 3 {
                    0 => many_streams(address, rng),
                    _ => one_by_one(address, rng),
                })
            })
            .collect();
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                within_limits(&limits);
                std::thread::yield_now();
            }
        });
        clients.into_iter().for_each(|client| client.join().unwrap());
        // What goes on without its client ends by the route's timeout.
        let patience = Instant::now() + Duration::from_secs(20);
        let mut out = Out::of(&world, &limits, &registry);
        while out != Out::default() && Instant::now() < patience {
            std::thread::yield_now();
            out = Out::of(&world, &limits, &registry);
        }
        over.store(true, Ordering::Relaxed);
        assert_eq!(out, Out::default(), "seed {seed}");
    });
    // What is left are connections that wait for the next request.
    let connections = limits.connections.limit().in_use();
    assert_eq!(gauge(&registry, "upstream_cx_active"), connections, "seed {seed}");
    for counter in ["upstream_rq_total", "upstream_rq_retry"] {
        assert!(gauge(&registry, counter) > 0, "seed {seed}: {counter}");
    }
}

/// What is still counted as under way.
#[derive(Debug, Default, PartialEq, Eq)]
struct Out {
    downstream: u64,
    pending: u64,
    requests: u64,
    retries: u64,
    rq_active: u64,
    rq_pending_active: u64,
}

impl Out {
    fn of(world: &World, limits: &Breakers, registry: &Registry) -> Self {
        let (max, remaining) = limits.retries.max_and_remaining(&limits.requests, Instant::now());
        Self {
            downstream: world.connections(),
            pending: limits.pending.in_use(),
            requests: limits.requests.in_use(),
            retries: max - remaining,
            rq_active: gauge(registry, "upstream_rq_active"),
            rq_pending_active: gauge(registry, "upstream_rq_pending_active"),
        }
    }
}

/// A statistic of the cluster.
fn gauge(registry: &Registry, name: &str) -> u64 {
    let view = registry.view();
    match view.find(&format!("cluster.up.{name}")).map(|stat| view.value(stat)) {
        Some(Value::Gauge(value) | Value::Counter(value)) => value,
        other => panic!("{name}: {other:?}"),
    }
}

/// No more is out than there is, and no more is left than there was.
fn within_limits(limits: &Breakers) {
    let Breakers { connections, pending, requests, retries, .. } = limits;
    for (limit, max) in [(pending, PENDING), (requests, REQUESTS), (connections.limit(), CONNECTIONS)] {
        assert!(limit.remaining() <= max.into(), "{limit:?}");
    }
    assert!(pending.in_use() <= PENDING.into() && requests.in_use() <= REQUESTS.into());
    if let RetryLimit::Fixed(limit) = retries {
        assert!(limit.remaining() <= RETRIES.into() && limit.in_use() <= RETRIES.into());
    }
}

/// An upstream that answers well, badly, in part, late or not at all.
fn moody_upstream(seed: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let rng = Rng::with_seed(seed ^ (number as u64) << 8);
            std::thread::spawn(move || moody_connection(stream, rng));
        }
    });
    address
}

fn moody_connection(mut stream: TcpStream, mut rng: Rng) {
    let mut buf = [0; 2048];
    while matches!(stream.read(&mut buf), Ok(1..)) {
        let answer: &[u8] = match rng.u32(0..10) {
            0..4 => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            4 => b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
            5 => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart",
            6 => b"HTTP/1.1 200 O",
            7 => return,
            8 => return reset(stream),
            // Not at all.
            _ => b"",
        };
        if stream.write_all(answer).is_err() {
            return;
        }
        if rng.u32(0..6) == 0 {
            return reset(stream);
        }
    }
}

/// Closes with a reset.
fn reset(stream: TcpStream) {
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// HTTP/1 clients that leave in the middle of things.
fn one_by_one(address: std::net::SocketAddr, mut rng: Rng) {
    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    const POST: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n01234567890123456789";
    for _ in 0..40 {
        let mut stream = TcpStream::connect(address).unwrap();
        let text = if rng.bool() { GET.to_vec() } else { [POST, GET].concat() };
        let sent = if rng.u32(0..3) == 0 { rng.usize(1..text.len()) } else { text.len() };
        let _ = stream.write_all(&text[..sent]);
        let _ = stream.set_read_timeout(Some(Duration::from_millis(rng.u64(1..60))));
        for _ in 0..rng.u32(0..3) {
            let _ = stream.read(&mut [0; 512]);
        }
        if rng.bool() {
            reset(stream);
        }
    }
}

/// HTTP/2 clients that reset streams and connections.
fn many_streams(address: std::net::SocketAddr, mut rng: Rng) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for _ in 0..8 {
            let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
            let Ok((mut sender, connection)) = h2::client::handshake(tcp).await else { continue };
            let driver = tokio::spawn(connection);
            for _ in 0..6 {
                let request = http::Request::post("http://svc.local/").body(()).unwrap();
                let Ok(ready) = sender.clone().ready().await else { break };
                sender = ready;
                let Ok((response, mut body)) = sender.send_request(request, false) else { break };
                let _ = body.send_data("some".into(), rng.bool());
                let patience = Duration::from_millis(rng.u64(0..60));
                // Given up, a stream is reset.
                let _ = tokio::time::timeout(patience, response).await;
            }
            driver.abort();
        }
    });
}
