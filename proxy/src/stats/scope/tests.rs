use super::*;
use crate::stats::view::{Value, View};

fn read(view: &View, name: &str) -> Option<Value> {
    view.find(name).map(|stat| view.value(stat))
}

#[test]
fn names_are_sanitised() {
    assert_eq!(sanitize("up:1"), "up_1");
    assert_eq!(sanitize("a\nserver.live: 0"), "a_server.live_ 0");
    let registry = Registry::new();
    let stats = ListenerStats::for_address(&registry, "[::]:8080".parse().unwrap());
    assert!(registry.view().find("listener.[__]_8080.downstream_cx_total").is_some());
    drop(stats);
}

#[test]
fn managers_of_one_prefix_share_and_listeners_do_not() {
    let registry = Registry::new();
    let shard = registry.shard();
    let first = HttpStats::for_manager(&registry, "ingress", "0.0.0.0:1".parse().unwrap());
    let second = HttpStats::for_manager(&registry, "ingress", "0.0.0.0:2".parse().unwrap());
    first.count_response(&shard, 204);
    second.count_response(&shard, 404);
    let view = registry.view();
    assert_eq!(read(&view, "http.ingress.downstream_rq_completed"), Some(Value::Counter(2)));
    assert_eq!(read(&view, "listener.0.0.0.0_1.http.ingress.downstream_rq_2xx"), Some(Value::Counter(1)));
    assert_eq!(read(&view, "listener.0.0.0.0_1.http.ingress.downstream_rq_4xx"), Some(Value::Counter(0)));
    assert_eq!(read(&view, "listener.0.0.0.0_2.http.ingress.downstream_rq_4xx"), Some(Value::Counter(1)));
}
