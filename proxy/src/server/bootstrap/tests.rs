//! Bootstraps as users write them: what is taken, what is refused and where, what is warned about.

use std::collections::BTreeMap;

use super::*;

/// No environment.
struct Nothing;

impl Variables for Nothing {
    fn get(&self, _name: &str) -> Option<String> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

fn args(yaml: &str) -> ServeArgs {
    ServeArgs { config_yaml: Some(yaml.to_owned()), ..ServeArgs::default() }
}

fn loaded(yaml: &str) -> Settings {
    load(&args(yaml), &Nothing).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(yaml: &str) -> String {
    load(&args(yaml), &Nothing).expect_err(yaml).to_string()
}

const FULL: &str = r#"
node: {id: me, cluster: us, locality: {zone: z}}
admin: {access_log_path: /dev/null, address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - address: {socket_address: {address: 0.0.0.0, port_value: 10000}}
  - name: named
    address: {socket_address: {address: 0.0.0.0, port_value: 10001}}
  clusters: [{name: xds, type: STRICT_DNS}]
dynamic_resources:
  ads_config: {api_type: GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
  lds_config: {ads: {}}
  cds_config: {ads: {}}
stats_flush_interval: 1s
stats_config:
  stats_tags: [{tag_name: mesh, fixed_value: m}, {tag_name: port, regex: "_(\\d+)"}]
  stats_matcher: {exclusion_list: {patterns: [{prefix: cluster.}]}}
  histogram_bucket_settings: [{match: {prefix: http.}, buckets: [1, 10, 100]}]
typed_dns_resolver_config:
  name: envoy.network.dns_resolver.cares
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
    resolvers: [{socket_address: {protocol: UDP, address: 127.0.0.53, port_value: 5353}}]
    dns_resolver_options: {no_default_search_domain: true}
"#;

#[test]
fn everything_the_server_needs_is_taken_out() {
    let settings = loaded(FULL);
    assert_eq!((settings.node.id.as_str(), settings.node.cluster.as_str()), ("me", "us"));
    assert_eq!(settings.admin, Some(AdminBind::Tcp(([127, 0, 0, 1], 0).into())));
    let names: Vec<&str> = settings.static_resources.listeners.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["static_listener_0", "named"]);
    assert!(settings.dynamic_resources.is_some());
    assert_eq!(settings.stats_flush, Duration::from_secs(1));
    assert_eq!(settings.stats.tags.extract("a").tags, [("mesh", "m")]);
    assert!(!settings.stats.matcher.admits("cluster.a") && settings.stats.matcher.admits("http.a"));
    assert_eq!(settings.stats.bounds("http.rq_time"), [1.0, 10.0, 100.0]);
    assert_eq!(settings.dns_servers, [SocketAddr::from(([127, 0, 0, 53], 5353))]);
    assert_eq!(settings.warnings, Vec::<String>::new());
}

#[test]
fn flags_override_the_node() {
    let args = ServeArgs {
        service_node: Some("other".to_owned()),
        service_cluster: Some("them".to_owned()),
        service_zone: Some("a".to_owned()),
        ..args(FULL)
    };
    let node = load(&args, &Nothing).unwrap().node;
    assert_eq!((node.id.as_str(), node.cluster.as_str()), ("other", "them"));
    assert_eq!(node.locality.unwrap().zone, "a");
}

#[test]
fn text_over_a_file_merges_as_protobuf_does() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("envoy.yaml");
    std::fs::write(&file, "node: {id: a, cluster: c}\nstatic_resources: {clusters: [{name: one}]}\n")
        .unwrap();
    let over = "{node: {id: b}, static_resources: {clusters: [{name: two}]}}";
    let args = ServeArgs { config_path: Some(file.clone()), ..args(over) };
    let settings = load(&args, &Nothing).unwrap();
    assert_eq!((settings.node.id.as_str(), settings.node.cluster.as_str()), ("b", "c"));
    let names: Vec<&str> = settings.static_resources.clusters.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    // An error in either text names that text.
    let file_error = |text: &str, over: &str| {
        std::fs::write(&file, text).unwrap();
        let args = ServeArgs { config_path: Some(file.clone()), ..self::args(over) };
        load(&args, &Nothing).unwrap_err().to_string()
    };
    assert!(
        file_error("node:\n  idd: x\n", "{}").starts_with(&format!("{}:2:3: node.idd: ", file.display()))
    );
    assert!(file_error("{}", "{node: {idd: x}}").starts_with("--config-yaml:1:9: node.idd: "));
    let header = file_error("node: {id: a}\nheader_prefix: x\n", "{}");
    assert!(header.starts_with(&format!("{}:2:1: header_prefix: ", file.display())), "{header}");
}

#[test]
fn refusals_name_file_line_column_and_path() {
    let cases = [
        (
            "admin:\n  address: {socket_address: {address: localhost, port_value: 1}}",
            "--config-yaml:2:30: admin.address.socket_address.address: \"localhost\" is not an IP address",
        ),
        ("header_prefix: x", "--config-yaml:1:1: header_prefix: "),
        ("use_tcp_for_dns_lookups: true", "--config-yaml:1:1: use_tcp_for_dns_lookups: "),
        ("admin: {allow_paths: [{exact: /stats}]}", "--config-yaml:1:9: admin.allow_paths: "),
        (
            "cluster_manager:\n  upstream_bind_config: {source_address: {address: 10.0.0.1, port_value: 0}}",
            "--config-yaml:2:3: cluster_manager.upstream_bind_config: ",
        ),
        (
            "static_resources:\n  clusters:\n  - name: a\n  - name: a\n",
            "--config-yaml:4:5: static_resources.clusters[1].name: \"a\" occurs twice",
        ),
        (
            "dynamic_resources: {lds_config: {ads: {}}}",
            "--config-yaml:1:1: node.id: is required with dynamic_resources",
        ),
        ("stats_flush_interval: 400s", "--config-yaml:1:1: stats_flush_interval: "),
        (
            "stats_config: {stats_tags: [{tag_name: a, regex: '('}]}",
            "--config-yaml:1:43: stats_config.stats_tags[0].regex: ",
        ),
        (
            "stats_config: {histogram_bucket_settings: [{match: {prefix: a}, buckets: [3, 2]}]}",
            "--config-yaml:1:65: stats_config.histogram_bucket_settings[0].buckets: ",
        ),
        ("default_socket_interface: mine", "--config-yaml:1:1: default_socket_interface: "),
        ("nodes: {}", "--config-yaml:1:1: nodes: unknown field"),
        ("node: [", "--config-yaml:"),
    ];
    for (yaml, start) in cases {
        let error = refused(yaml);
        assert!(error.starts_with(start), "{yaml}: {error}");
    }
}

#[test]
fn what_has_no_effect_is_named() {
    let cases = [
        ("layered_runtime: {layers: [{name: a, static_layer: {x: 1}}]}", "bootstrap: layered_runtime: "),
        ("watchdogs: {}", "bootstrap: watchdogs: "),
        (
            "cluster_manager: {outlier_detection: {event_service: {grpc_service: {envoy_grpc: {cluster_name: c}}}}}",
            "bootstrap: cluster_manager.outlier_detection.event_service: ",
        ),
        (
            r#"admin: {access_log: [{name: l, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog}}]}"#,
            "bootstrap: admin.access_log[0]: ",
        ),
        ("application_log_config: {}", "bootstrap: application_log_config: "),
        (
            r#"stats_sinks: [{name: s, typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v3.StatsdSink, tcp_cluster_name: c}}]"#,
            "bootstrap: stats_sinks[0].typed_config.tcp_cluster_name: ",
        ),
        (
            r#"bootstrap_extensions: [{name: i, typed_config: {"@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener}}]"#,
            "bootstrap: bootstrap_extensions[0]: \"i\" ",
        ),
        ("stats_flush_on_admin: true", "bootstrap: stats_flush_on_admin: "),
    ];
    for (yaml, start) in cases {
        let warnings = loaded(yaml).warnings;
        assert!(warnings.len() == 1 && warnings[0].starts_with(start), "{yaml}: {warnings:?}");
    }
}

#[test]
fn without_arguments_the_environment_speaks() {
    struct Table(BTreeMap<&'static str, &'static str>);
    impl Variables for Table {
        fn get(&self, name: &str) -> Option<String> {
            self.0.get(name).map(|value| (*value).to_owned())
        }
        fn names(&self) -> Vec<String> {
            Vec::new()
        }
    }
    let pairs = [
        ("APPMESH_RESOURCE_ARN", "mesh/m/virtualNode/n"),
        ("APPMESH_XDS_ENDPOINT", "cp"),
        ("ENABLE_ENVOY_STATS_TAGS", "1"),
    ];
    let settings = load(&ServeArgs::default(), &Table(pairs.into())).unwrap();
    assert_eq!(settings.node.id, "mesh/m/virtualNode/n");
    assert_eq!(settings.admin, Some(AdminBind::Tcp(([127, 0, 0, 1], 9901).into())));
    let tags = settings.stats.tags.extract("http.ingress.http.8080.downstream_rq_total");
    assert!(tags.tags.contains(&("appmesh.mesh", "m")) && tags.tags.contains(&("appmesh.virtual_node", "n")));
    assert!(
        tags.tags.iter().any(|(name, value)| name.ends_with("listener_port") && *value == "8080"),
        "{tags:?}"
    );
    let error = load(&ServeArgs::default(), &Nothing).unwrap_err().to_string();
    assert!(error.starts_with("environment variable APPMESH_RESOURCE_ARN: is required"), "{error}");
}

/// The path below `overload_manager` at which a bootstrap is refused.
fn overload_refused(fields: &str) -> String {
    let error = refused(&format!("overload_manager: {{{fields}}}"));
    let (_, path) = error.split_once("overload_manager.").unwrap_or_else(|| panic!("{fields}: {error}"));
    path.split_once(": ").map_or(path, |(path, _)| path).to_owned()
}

use crate::config::overload::{Floor, ScaledTimer, ShedPoint};

const HEAP: &str = r#"{name: heap, typed_config: {"@type": type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig, max_heap_size_bytes: 1000}}"#;

#[test]
fn overload_is_decided_on_field_by_field() {
    let action =
        |fields: &str| overload_refused(&format!("resource_monitors: [{HEAP}], actions: [{{{fields}}}]"));
    let known = "name: envoy.overload_actions.shrink_heap";
    let monitor = "resource_monitors[0].typed_config";
    for (fields, path) in [
        (
            &*format!(
                "resource_monitors: [{HEAP}], loadshed_points: [{{name: a, triggers: [{{name: b, threshold: {{value: 1}}}}]}}]"
            ),
            "loadshed_points[0].name",
        ),
        ("resource_monitors: [{name: x}]", monitor),
        (
            r#"resource_monitors: [{name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.Empty}}]"#,
            monitor,
        ),
        (&*format!("resource_monitors: [{HEAP}, {HEAP}]"), "resource_monitors[1].name"),
        (
            &*HEAP.replace("1000", "0").replace("{name", "resource_monitors: [{name").replace("}}", "}}]"),
            "resource_monitors[0].typed_config.max_heap_size_bytes",
        ),
    ] {
        assert_eq!(overload_refused(fields), path, "{fields}");
    }
    for (fields, path) in [
        ("name: envoy.overload_actions.reset_high_memory_stream, triggers: [{name: heap, threshold: {value: 1}}]".to_owned(), "name"),
        (format!("{known}, triggers: [{{name: other, threshold: {{value: 1}}}}]"), "triggers[0].name"),
        (format!("{known}, triggers: [{{name: heap, scaled: {{scaling_threshold: 0.9, saturation_threshold: 0.8}}}}]"), "triggers[0].scaled"),
    ] {
        assert_eq!(action(&fields), format!("actions[0].{path}"), "{fields}");
    }
    let timers = |factors: &str| {
        let kind = "type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig";
        format!(
            r#"name: envoy.overload_actions.reduce_timeouts, triggers: [{{name: heap, threshold: {{value: 1}}}}], typed_config: {{"@type": {kind}, timer_scale_factors: [{factors}]}}"#
        )
    };
    let idle = "timer: HTTP_DOWNSTREAM_CONNECTION_IDLE, min_timeout: 2s";
    for (factors, path) in [
        ("{timer: HTTP_DOWNSTREAM_STREAM_FLUSH, min_timeout: 1s}".to_owned(), "timer_scale_factors[0].timer"),
        (format!("{{{idle}}}, {{{idle}}}"), "timer_scale_factors[1].timer"),
        (
            "{timer: TRANSPORT_SOCKET_CONNECT, min_scale: {value: 101}}".to_owned(),
            "timer_scale_factors[0].min_scale.value",
        ),
    ] {
        assert_eq!(action(&timers(&factors)), format!("actions[0].typed_config.{path}"), "{factors}");
    }
    let bare =
        "name: envoy.overload_actions.reduce_timeouts, triggers: [{name: heap, threshold: {value: 1}}]";
    assert_eq!(action(bare), "actions[0].typed_config");
    let scaled = format!("{{{idle}}}, {{timer: HTTP_DOWNSTREAM_STREAM_IDLE, min_scale: {{value: 25}}}}");
    let settings = loaded(&format!(
        "overload_manager: {{resource_monitors: [{HEAP}], actions: [{{{}}}], loadshed_points: [{{name: envoy.load_shed_points.tcp_listener_accept, triggers: [{{name: heap, threshold: {{value: 0.9}}}}]}}]}}",
        timers(&scaled)
    ));
    let overload = settings.overload.unwrap();
    let least = Floor::Absolute(std::time::Duration::from_secs(2));
    let wanted = [(ScaledTimer::ConnectionIdle, least), (ScaledTimer::StreamIdle, Floor::Share(0.25))];
    assert_eq!(overload.timers, wanted);
    assert_eq!(overload.sheds[0].point, ShedPoint::Accept);
    let settings = loaded(&format!(
        "overload_manager: {{refresh_interval: 0.5s, resource_monitors: [{HEAP}], actions: [{{{known}, triggers: [{{name: heap, threshold: {{value: 0.9}}}}]}}]}}"
    ));
    let overload = settings.overload.unwrap();
    assert_eq!((overload.refresh, overload.monitors.len()), (std::time::Duration::from_millis(500), 1));
    assert_eq!(overload.actions[0].kind, crate::config::overload::ActionKind::ShrinkHeap);
}
