//! Every kind of mistake, with its path, place and words.

use crate::json::{ConfigError, Document, from_text};
use crate::v3::bootstrap::Bootstrap;

/// A listener with a connection manager; `{}` marks the place of a route configuration's virtual host.
const ROUTED: &str = r#"static_resources:
  listeners:
  - address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config:
            virtual_hosts:
            - name: all
              domains: [ "*" ]
              VIRTUAL_HOST
"#;

fn error(text: &str) -> ConfigError {
    match from_text::<Bootstrap>(text) {
        Err(error) => error,
        Ok(_) => panic!("accepted:\n{text}"),
    }
}

fn expect(text: &str, path: &str, place: (usize, usize), words: &str) {
    let error = error(text);
    assert_eq!(error.path, path, "{error}");
    let at = error.position;
    assert_eq!((at.line, at.column), place, "{error}");
    assert!(error.problem.contains(words), "{error}");
}

#[test]
fn unknown_fields_name_path_place_and_suggestion() {
    expect("nodes: {}", "nodes", (1, 1), r#"did you mean "node"?"#);
    expect(
        "node:\n  idd: x",
        "node.idd",
        (2, 3),
        "unknown field of envoy.config.core.v3.Node; did you mean \"id\"?",
    );
    expect(
        "node:\n  locality: { planet: x }",
        "node.locality.planet",
        (2, 15),
        "expected one of region, zone, sub_zone",
    );
    // `@type` means something inside an Any only.
    expect("\"@type\": x", "@type", (1, 1), "unknown field");
}

#[test]
fn paths_go_through_nested_typed_messages() {
    let text = ROUTED.replace("VIRTUAL_HOST", "domainz: []");
    expect(
        &text,
        "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].domainz",
        (14, 15),
        r#"did you mean "domains"?"#,
    );
}

#[test]
fn violations_of_envoys_constraints_have_lines() {
    let text = ROUTED.replace("VIRTUAL_HOST", "routes: [ { match: { prefix: / }, route: { timeout: 1s } } ]");
    expect(
        &text,
        "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0]\
         .route",
        (14, 49),
        "cluster_specifier: set one of cluster, cluster_header, weighted_clusters",
    );
    expect(
        "static_resources:\n  clusters:\n  - type: EDS",
        "static_resources.clusters[0].name",
        (3, 5),
        "not be empty",
    );
}

#[test]
fn camel_case_keys_are_found_by_snake_case_paths() {
    let text = "staticResources:\n  clusters:\n  - name: a\n    connectTimeout: 0s";
    expect(text, "static_resources.clusters[0].connect_timeout", (4, 5), "must be more than 0s");
}

#[test]
fn types_of_any() {
    let sink = |config: &str| format!("stats_sinks:\n- name: s\n  typed_config: {config}");
    let path = "stats_sinks[0].typed_config.@type";
    expect(
        &sink("{ \"@type\": type.googleapis.com/envoy.Nothing }"),
        path,
        (3, 28),
        "unknown type \"type.googleapis.com/envoy.Nothing\"",
    );
    expect(&sink("{ \"@type\": envoy.config.metrics.v3.StatsdSink }"), path, (3, 28), "is no type URL");
    expect(
        &sink("{ \"@type\": 7 }"),
        "stats_sinks[0].typed_config",
        (3, 28),
        "expected a type URL, found the number 7",
    );
    expect(&sink("{ address: x }"), "stats_sinks[0].typed_config", (3, 17), "no \"@type\"");
    let duration = "\"@type\": type.googleapis.com/google.protobuf.Duration";
    expect(
        &sink(&format!("{{ {duration} }}")),
        "stats_sinks[0].typed_config",
        (3, 17),
        "no \"value\" beside",
    );
    expect(
        &sink(&format!("{{ {duration}, value: 5 }}")),
        "stats_sinks[0].typed_config.value",
        (3, 81),
        "expected a duration",
    );
    expect(
        &sink(&format!("{{ {duration}, seconds: 5 }}")),
        "stats_sinks[0].typed_config.seconds",
        (3, 74),
        "unknown",
    );
}

#[test]
fn wrong_kinds_say_what_was_expected_and_found() {
    let cluster = |field: &str| format!("static_resources:\n  clusters:\n  - name: a\n    {field}");
    for (field, name, words) in [
        (
            "type: STATICC",
            "type",
            "expected one of STATIC, STRICT_DNS, LOGICAL_DNS, EDS, ORIGINAL_DST, found the string",
        ),
        ("connect_timeout: 5", "connect_timeout", "expected a duration such as \"1.5s\", found the number 5"),
        ("connect_timeout: [5s]", "connect_timeout", "expected a duration such as \"1.5s\", found a list"),
        ("alt_stat_name: yes", "alt_stat_name", "expected a string, found the boolean yes"),
        ("alt_stat_name: { a: b }", "alt_stat_name", "expected a string, found a mapping"),
        (
            "per_connection_buffer_limit_bytes: -1",
            "per_connection_buffer_limit_bytes",
            "from 0 to 4294967295, found",
        ),
        (
            "ignore_health_on_host_removal: 1",
            "ignore_health_on_host_removal",
            "expected true or false, found the number",
        ),
        (
            "load_assignment: x",
            "load_assignment",
            "expected a mapping (message envoy.config.endpoint.v3.ClusterLoad",
        ),
        ("metadata: { filter_metadata: [] }", "metadata.filter_metadata", "expected a mapping, found a list"),
    ] {
        let error = error(&cluster(field));
        assert_eq!(error.path, format!("static_resources.clusters[0].{name}"));
        assert!(error.problem.contains(words), "{error}");
        assert_eq!(error.position.line, 4);
    }
}

#[test]
fn duplicate_keys_and_conflicting_members() {
    expect(
        "node: {}\nadmin: {}\nnode: {}",
        "node",
        (3, 1),
        "duplicate key \"node\"; it is already set in line 1",
    );
    expect("node:\n  metadata:\n    a.b: 1\n    a.b: 2", "node.metadata[\"a.b\"]", (4, 5), "duplicate key");
    expect(
        "statsFlushInterval: 1s\nstats_flush_interval: 1s",
        "stats_flush_interval",
        (2, 1),
        "two spellings",
    );
    expect(
        "admin:\n  address:\n    pipe: { path: /a }\n    socket_address: {}",
        "admin.address.socket_address",
        (4, 5),
        "\"pipe\" is already set; only one of \"address\" may be",
    );
}

#[test]
fn secrets_stay_out_of_errors() {
    let secret = |field: &str| {
        format!("static_resources: {{ secrets: [ {{ name: s, tls_certificate: {{ {field} }} }} ] }}")
    };
    for field in [
        "private_key: hunter2",
        "private_key: { inline_bytes: hunter2! }",
        "password: { filename: [hunter2] }",
    ] {
        let error = error(&secret(field)).to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
    assert!(error(&secret("certificate_chain: hunter2")).to_string().contains("hunter2"), "no secret, shown");
}

#[test]
fn texts_that_are_no_configuration() {
    for (text, place, words) in [
        ("a: [", (1, 4), "not valid YAML or JSON"),
        ("{\"a\": 1", (1, 1), "not valid YAML or JSON"),
        ("a: b: c", (1, 5), "not valid YAML or JSON"),
        ("node: *nowhere", (1, 7), "not valid YAML or JSON"),
        ("node: {}\n---\nnode: {}", (2, 1), "second YAML document"),
        ("node: !Sub x", (1, 12), "unknown YAML tag !Sub"),
        ("? [a]\n: b", (1, 3), "key must be a string"),
        ("&a x: { y: &b [ *b ] }", (1, 17), "alias to a value that contains it"),
        ("just text", (1, 1), "expected a mapping (message envoy.config.bootstrap.v3.Bootstrap)"),
        ("[]", (1, 1), "found a list"),
    ] {
        let error = error(text);
        let at = error.position;
        assert!(error.problem.contains(words), "{text:?}: {error}");
        assert_eq!((at.line, at.column), place, "{text:?}: {error}");
    }
    assert_eq!(error("").to_string(), "the document is empty (line 1, column 1)");
    assert_eq!(error("# only a comment\n").to_string(), "the document is empty (line 1, column 1)");
}

#[test]
fn hostile_sizes_are_refused() {
    let deep = format!("node: {{ metadata: {}", "{ a: ".repeat(200));
    assert!(error(&deep).problem.contains("nested more than 128 levels"), "{}", error(&deep));
    let wide = format!("node: {{ metadata: {{ a: {}1{} }} }}", "[".repeat(100), "]".repeat(100));
    assert!(!error(&wide).problem.is_empty());

    let mut bomb = String::from("a0: &a0 [ x, x, x, x, x, x, x, x, x, x ]\n");
    for i in 1..12 {
        let items = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [ {items} ]\n"));
    }
    assert!(error(&bomb).problem.contains("after expanding aliases"), "{}", error(&bomb));
}

#[test]
fn places_of_paths() {
    let text = "staticResources:\n  clusters:\n  - name: a\n    metadata:\n      filter_metadata:\n        \"x.y\": { z: 1 }\n";
    let document = Document::parse(text).unwrap();
    for (path, place) in [
        ("", (1, 1)),
        ("static_resources", (1, 1)),
        ("static_resources.clusters[0]", (3, 5)),
        ("static_resources.clusters[0].metadata.filter_metadata[\"x.y\"]", (6, 9)),
        ("static_resources.clusters[0].metadata.filter_metadata[\"x.y\"][\"z\"]", (6, 18)),
        // What is not written is found at what is.
        ("static_resources.clusters[0].load_assignment.endpoints[3]", (3, 5)),
        ("static_resources.clusters[7]", (2, 3)),
    ] {
        let at = document.locate(path);
        assert_eq!((at.line, at.column), place, "{path}");
    }
}
