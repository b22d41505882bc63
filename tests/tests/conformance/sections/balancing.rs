//! Which host of a cluster takes a request: by hash, by metadata, and in clusters made of clusters.

use serde_json::{Value, json};

use super::{all, host, table};
use crate::case::{Group, get};
use crate::world::World;

pub fn groups(world: &World) -> Vec<Group> {
    let mut groups: Vec<Group> =
        ["RING_HASH", "MAGLEV"].into_iter().map(|policy| hashed(world, policy)).collect();
    groups.extend([subsets(world), aggregates(world)]);
    groups
}

/// The hosts `a`, `b` and `c` with this metadata below `envoy.lb`; addresses differ from run to run.
fn hosts_with(world: &World, metadata: impl Fn(&str) -> Value) -> Vec<Value> {
    let echoes = world.addresses().into_iter().filter(|(name, _)| ["a", "b", "c"].contains(name));
    let endpoint = |(name, address): (&str, std::net::SocketAddr)| {
        json!({
            "endpoint": {"address": outrigger_tests::bootstrap::address(address)},
            "metadata": {"filter_metadata": {"envoy.lb": metadata(name)}},
        })
    };
    echoes.map(endpoint).collect()
}

fn cluster(name: &str, endpoints: Vec<Value>, settings: Value) -> Value {
    let mut cluster = json!({
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    });
    for (field, value) in settings.as_object().into_iter().flatten() {
        cluster[field] = value.clone();
    }
    cluster
}

fn hashed(world: &World, policy: &str) -> Group {
    let name = policy.to_ascii_lowercase();
    let keyed = hosts_with(world, |host| json!({"hash_key": format!("key-of-{host}")}));
    let route = |hash_policy: Value| {
        vec![all(json!({"route": {"cluster": name, "hash_policy": hash_policy, "prefix_rewrite": "/new"}}))]
    };
    let header = |name: &str| json!({"header": {"header_name": name}});
    let terminal = json!({"header": {"header_name": "x-first"}, "terminal": true});
    let hosts = vec![
        host("header", route(json!([header("x-key")]))),
        host("path", route(json!([header(":path")]))),
        host("host", route(json!([header(":authority")]))),
        host("query", route(json!([{"query_parameter": {"name": "key"}}]))),
        host("cookie", route(json!([{"cookie": {"name": "key"}}]))),
        host("both", route(json!([header("x-key"), {"query_parameter": {"name": "key"}}]))),
        host("terminal", route(json!([terminal, header("x-key")]))),
    ];
    let mut group =
        Group::new(&name, table(hosts)).cluster(cluster(&name, keyed, json!({ "lb_policy": policy })));
    for key in ["a", "b", "c", "d", "", "%20", "ä", "a long key that fills more than one stripe of the hash"]
    {
        let label = |of: &str| format!("{of} {key:?}");
        group.add(label("header"), get("/").host("header").with("x-key", key));
        group.add(label("header http2"), get("/").host("header").with("x-key", key).http2());
        group.add(label("two headers"), get("/").host("header").with("x-key", key).with("X-Key", "b"));
        // An empty cookie is none: any host may serve.
        if !key.is_empty() {
            let cookies = format!("x=y; key={key}; key=z");
            group.add(label("cookie"), get("/").host("cookie").with("cookie", &cookies));
        }
        let both = get(&format!("/?key={}", key.len())).host("both").with("x-key", key);
        group.add(label("both"), both);
        let terminal = get("/").host("terminal").with("x-first", key).with("x-key", "k");
        group.add(label("terminal"), terminal);
    }
    for target in ["/?key=a", "/?key=b&key=c", "/?key=", "/?x=1&key=%41", "/p?key", "/?key=a=b"] {
        group.add(format!("query {target}"), get(target).host("query"));
        group.add(format!("path {target}"), get(target).host("path"));
    }
    group.case("host", get("/").host("host"))
}

fn subsets(world: &World) -> Group {
    let versions = hosts_with(world, |host| match host {
        "a" => json!({"version": "1", "stage": "prod", "number": 1}),
        "b" => json!({"version": "2", "stage": "prod", "flags": ["x", "y"]}),
        _ => json!({"version": "3", "stage": "dev", "nested": {"deep": [1, {"er": true}]}}),
    });
    let config = json!({
        "fallback_policy": "DEFAULT_SUBSET",
        "default_subset": {"stage": "dev"},
        "list_as_any": true,
        "subset_selectors": [
            {"keys": ["version"]},
            {"keys": ["number"]},
            {"keys": ["flags"]},
            {"keys": ["nested"]},
            {"keys": ["stage", "version"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["version"]},
            {"keys": ["color"], "fallback_policy": "NO_FALLBACK"},
        ],
    });
    let asked = [
        ("one", json!({"version": "1"})),
        ("two", json!({"version": "2"})),
        ("none", json!({"version": "9"})),
        ("number", json!({"number": 1})),
        ("text-for-number", json!({"number": "1"})),
        ("boolean-for-number", json!({"number": true})),
        ("list", json!({"flags": "y"})),
        ("whole-list", json!({"flags": ["x", "y"]})),
        ("nested", json!({"nested": {"deep": [1, {"er": true}]}})),
        ("nested-other", json!({"nested": {"deep": [1]}})),
        ("both", json!({"version": "1", "stage": "prod"})),
        ("fewer", json!({"version": "1", "stage": "dev"})),
        ("fewer-none", json!({"version": "9", "stage": "dev"})),
        ("stage", json!({"stage": "prod"})),
        ("color", json!({"color": "red"})),
        ("empty", json!({})),
    ];
    let route = |fields: &Value| {
        let criteria = json!({"filter_metadata": {"envoy.lb": fields}});
        vec![all(json!({"route": {"cluster": "subsets", "metadata_match": criteria}}))]
    };
    let hosts = asked.iter().map(|(name, fields)| host(name, route(fields))).collect();
    let mut group = Group::new("subsets", table(hosts)).cluster(cluster(
        "subsets",
        versions,
        json!({ "lb_subset_config": config }),
    ));
    for (name, _) in asked {
        group.add(name, get("/").host(name));
        group.add(format!("{name} http2"), get("/").host(name).http2());
    }
    group
}

fn aggregates(_: &World) -> Group {
    let of = |name: &str, members: &[&str]| {
        json!({
            "name": name,
            "connect_timeout": "1s",
            "lb_policy": "CLUSTER_PROVIDED",
            "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig",
                "clusters": members,
            }},
        })
    };
    let lists: [(&str, &[&str]); 5] = [
        ("first", &["a", "b"]),
        ("skips-empty", &["empty", "b"]),
        ("skips-missing", &["nobody", "c"]),
        ("protocol", &["empty", "h2"]),
        ("nothing", &["empty", "nobody"]),
    ];
    let hosts = lists.map(|(name, _)| host(name, vec![all(json!({"route": {"cluster": name}}))]));
    let mut group = Group::new("aggregates", table(hosts.into()));
    for (name, members) in lists {
        group = group.cluster(of(name, members));
        group.add(name, get("/").host(name));
        group.add(format!("{name} http2"), get("/").host(name).http2());
    }
    group
}
