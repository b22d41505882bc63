use std::time::Duration;

use super::*;
use crate::stats::scope::ClusterStats;

struct Receiver {
    socket: UdpSocket,
}

impl Receiver {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self { socket }
    }

    fn sink(&self, tags: bool, max_datagram: usize) -> Sink {
        let target = Target::Udp(self.socket.local_addr().unwrap());
        Sink { target, prefix: "envoy".into(), tags, max_datagram }
    }

    /// The datagrams of one push: on loopback all of them are here when it returns.
    fn datagrams(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 65536];
        std::iter::from_fn(|| {
            let length = self.socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
        })
        .collect()
    }
}

fn pusher(registry: &Registry, sink: Sink) -> Pusher {
    Pusher::new(registry, Arc::default(), None, &[sink])
}

#[test]
fn counters_go_as_differences_and_histograms_with_their_rate() {
    let registry = Registry::new();
    let shard = registry.shard();
    let stats = ClusterStats::for_cluster(&registry, "a");
    let receiver = Receiver::new();
    let mut pusher = pusher(&registry, receiver.sink(true, 0));
    shard.add(stats.upstream_rq_total, 3);
    shard.gauge_add(stats.upstream_rq_active, 2);
    [4, 4, 9].iter().for_each(|value| shard.record(stats.upstream_rq_time, *value));
    stats.count_response(&shard, 503, true);
    pusher.push();
    let lines = receiver.datagrams();
    for expected in [
        "envoy.cluster.upstream_rq_total:3|c|#envoy.cluster_name:a",
        "envoy.cluster.upstream_rq_active:2|g|#envoy.cluster_name:a",
        "envoy.cluster.upstream_rq_time:4|ms|@0.5|#envoy.cluster_name:a",
        "envoy.cluster.upstream_rq_time:9|ms|#envoy.cluster_name:a",
        "envoy.cluster.upstream_rq:1|c|#envoy.response_code:503,envoy.cluster_name:a",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected} in {lines:#?}");
    }
    assert!(!lines.iter().any(|line| line.contains("upstream_cx_total")), "what was never used is not sent");
    shard.inc(stats.upstream_rq_total);
    registry.reset_counters();
    pusher.push();
    let lines = receiver.datagrams();
    assert!(
        lines.contains(&"envoy.cluster.upstream_rq_total:1|c|#envoy.cluster_name:a".to_owned()),
        "{lines:#?}"
    );
    assert!(!lines.iter().any(|line| line.contains("|ms")));
}

#[test]
fn plain_statsd_has_full_names_and_datagrams_hold_what_fits() {
    let registry = Registry::new();
    let stats = ClusterStats::for_cluster(&registry, "a");
    let receiver = Receiver::new();
    let mut pusher = pusher(&registry, receiver.sink(false, 80));
    registry.shared().inc(stats.upstream_cx_total);
    registry.shared().inc(stats.upstream_rq_total);
    registry.shared().inc(stats.upstream_rq_timeout);
    pusher.push();
    let datagrams = receiver.datagrams();
    assert!(datagrams.iter().all(|datagram| datagram.len() <= 80), "{datagrams:?}");
    assert_eq!(datagrams.len(), 2);
    let mut lines: Vec<_> = datagrams.iter().flat_map(|datagram| datagram.split('\n')).collect();
    lines.sort_unstable();
    let expected = ["upstream_cx_total", "upstream_rq_timeout", "upstream_rq_total"]
        .map(|name| format!("envoy.cluster.a.{name}:1|c"));
    assert_eq!(lines, expected);
}

#[test]
fn no_name_forges_a_line_or_a_tag() {
    let line = Line { prefix: "e", name: "a|b:c@d#e\nf", tags: &[("k|", "v,x:1|c\ny")] };
    assert_eq!(line.value(&1, "c", None), "e.a_b_c_d_e_f:1|c|#k_:v_x:1_c_y");
}

#[test]
fn a_unix_receiver_that_is_gone_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("statsd");
    let registry = Registry::new();
    let stats = ClusterStats::for_cluster(&registry, "a");
    let sink =
        Sink { target: Target::Unix(path.clone()), prefix: String::new(), tags: true, max_datagram: 0 };
    let mut pusher = pusher(&registry, sink);
    registry.shared().inc(stats.upstream_rq_total);
    pusher.push();
    let receiver = UnixDatagram::bind(&path).unwrap();
    registry.shared().inc(stats.upstream_rq_total);
    pusher.push();
    let mut buffer = [0; 256];
    let length = receiver.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"cluster.upstream_rq_total:1|c|#envoy.cluster_name:a");
}
