//! The image's tables, row by row.

use std::collections::BTreeMap;

use outrigger_xds_protos::json;
use outrigger_xds_protos::v3::bootstrap::Bootstrap;
use outrigger_xds_protos::v3::core::grpc_service::TargetSpecifier;
use serde_json::{Value, json};

use super::*;

pub(super) struct Table(BTreeMap<&'static str, String>);

impl Variables for Table {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().map(|name| (*name).to_owned()).collect()
    }
}

pub(super) fn table(pairs: &[(&'static str, &str)]) -> Table {
    Table(pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
}

const NODE: (&str, &str) = ("APPMESH_RESOURCE_ARN", "mesh/m/virtualNode/n");
const XDS: (&str, &str) = ("APPMESH_XDS_ENDPOINT", "cp:18000");

/// The bootstrap of a node with these further variables, and its warnings.
fn with(pairs: &[(&'static str, &str)]) -> (Bootstrap, Vec<String>) {
    let found = bootstrap_text(&table(&[&[NODE, XDS], pairs].concat())).unwrap();
    (json::from_text(&found.text).unwrap(), found.warnings)
}

/// The same as JSON.
fn json_of(pairs: &[(&'static str, &str)]) -> (Value, Vec<String>) {
    let found = bootstrap_text(&table(&[&[NODE, XDS], pairs].concat())).unwrap();
    (serde_json::from_str(&found.text).unwrap(), found.warnings)
}

/// What a node with these further variables is refused with.
fn refused(pairs: &[(&'static str, &str)]) -> String {
    bootstrap_text(&table(&[&[NODE, XDS], pairs].concat())).unwrap_err().to_string()
}

fn target(bootstrap: &Bootstrap) -> String {
    let ads = bootstrap.dynamic_resources.as_ref().unwrap().ads_config.as_ref().unwrap();
    match ads.grpc_services[0].target_specifier.as_ref().unwrap() {
        TargetSpecifier::GoogleGrpc(google) => google.target_uri.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_usual_environment_makes_a_bootstrap_without_warnings() {
    let (bootstrap, warnings) = with(&[]);
    let node = bootstrap.node.clone().unwrap();
    assert_eq!((node.id.as_str(), node.cluster.as_str()), ("mesh/m/virtualNode/n", "mesh/m/virtualNode/n"));
    assert_eq!(target(&bootstrap), "cp:18000");
    let dynamic = bootstrap.dynamic_resources.unwrap();
    let timeout = dynamic.lds_config.unwrap().initial_fetch_timeout.unwrap();
    assert_eq!(timeout.seconds, 0);
    assert_eq!(warnings, Vec::<String>::new());
}

/// What the Kubernetes injector always sets must not fill the log.
#[test]
fn the_injectors_usual_variables_warn_about_nothing() {
    let (_, warnings) = with(&[
        ("APPMESH_VIRTUAL_NODE_NAME", "mesh/m/virtualNode/n"),
        ("AWS_REGION", "us-west-2"),
        ("ENVOY_ADMIN_ACCESS_ENABLE_IPV6", "false"),
        ("APPMESH_DUALSTACK_ENDPOINT", "0"),
        ("APPMESH_FIPS_ENDPOINT", "0"),
        ("APPMESH_PREVIEW", "0"),
        ("ENVOY_LOG_LEVEL", "info"),
        ("ENVOY_ADMIN_ACCESS_PORT", "9901"),
        ("ENVOY_ADMIN_ACCESS_LOG_FILE", "/tmp/envoy_admin_access.log"),
        ("APPMESH_PLATFORM_K8S_VERSION", "v1.29"),
        ("APPMESH_PLATFORM_K8S_POD_UID", "uid"),
        ("APPNET_AGENT_ADMIN_MODE", "uds"),
        ("APPNET_AGENT_ADMIN_UDS_PATH", "/tmp/agent.sock"),
    ]);
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn identity_follows_the_order_of_names() {
    let id = |pairs: &[(&'static str, &str)]| {
        let found = bootstrap_text(&table(&[&[XDS], pairs].concat())).unwrap();
        let bootstrap: Bootstrap = json::from_text(&found.text).unwrap();
        (bootstrap.node.unwrap(), found.warnings)
    };
    let old = ("APPMESH_VIRTUAL_NODE_NAME", "mesh/m/virtualNode/old");
    let older = ("APPMESH_RESOURCE_NAME", "mesh/m/virtualGateway/g");
    assert_eq!(id(&[NODE, old, older]).0.id, "mesh/m/virtualNode/n");
    assert_eq!(id(&[old, older]).0.id, "mesh/m/virtualGateway/g");
    let (node, warnings) = id(&[old]);
    assert_eq!(node.id, "mesh/m/virtualNode/old");
    assert_eq!(warnings, ["APPMESH_VIRTUAL_NODE_NAME is deprecated; set APPMESH_RESOURCE_ARN instead"]);
    let arn = "arn:aws:appmesh:us-west-2:123456789012:mesh/m@210987654321/virtualNode/n";
    assert_eq!(id(&[("APPMESH_RESOURCE_ARN", arn)]).0.id, arn);
    let (node, warnings) = id(&[("APPMESH_RESOURCE_ARN", " microservice-a ")]);
    assert_eq!((node.id.as_str(), warnings.len()), ("microservice-a", 1));
    let named = ("APPMESH_VIRTUAL_NODE_CLUSTER", "c1");
    assert_eq!(id(&[NODE, named]).0.cluster, "c1");
    assert_eq!(id(&[NODE, named, ("APPMESH_RESOURCE_CLUSTER", "c2")]).0.cluster, "c2");
    for bad in ["mesh/m", "mesh/m/virtualNode"] {
        let error = bootstrap_text(&table(&[XDS, ("APPMESH_RESOURCE_ARN", bad)])).unwrap_err();
        assert_eq!(error.name, "APPMESH_RESOURCE_ARN");
    }
}

#[test]
fn platform_metadata_is_sent_as_far_as_it_is_known() {
    let (bootstrap, _) =
        with(&[("APPMESH_PLATFORM_K8S_POD_UID", "u"), ("AWS_EXECUTION_ENV", "AWS_ECS_FARGATE")]);
    let text = json::print(&bootstrap.node.unwrap(), json::Secrets::Redact).to_string();
    assert!(text.contains("\"podUid\":\"u\"") && text.contains("AWS_ECS_FARGATE"), "{text}");
}

#[test]
fn endpoints_in_every_spelling() {
    let of = |endpoint: &str| {
        let found = bootstrap_text(&table(&[NODE, ("APPMESH_XDS_ENDPOINT", endpoint)]));
        found.map(|found| target(&json::from_text(&found.text).unwrap())).map_err(|error| error.to_string())
    };
    for (given, want) in [
        ("cp.mesh:18000", "cp.mesh:18000"),
        ("cp.mesh", "cp.mesh:18000"),
        ("10.0.0.1:443", "10.0.0.1:443"),
        ("[::1]:18000", "[::1]:18000"),
        ("[::1]", "[::1]:18000"),
        ("::1", "[::1]:18000"),
        ("unix:///run/xds.sock", "unix:///run/xds.sock"),
        ("unix:/run/xds.sock", "unix:/run/xds.sock"),
    ] {
        assert_eq!(of(given), Ok(want.to_owned()), "{given}");
    }
    for bad in [
        "https://cp:18000",
        "cp:port",
        "cp:0",
        ":18000",
        "a:b:1",
        "unix://",
        "appmesh-envoy-management.us-west-2.amazonaws.com:443",
    ] {
        let error = of(bad).unwrap_err();
        assert!(error.starts_with("environment variable APPMESH_XDS_ENDPOINT: "), "{bad}: {error}");
        assert!(error.contains("Outrigger control plane"), "{error}");
    }
    let missing = bootstrap_text(&table(&[NODE])).unwrap_err().to_string();
    assert!(missing.contains("switched off") && missing.contains("Outrigger control plane"), "{missing}");
}

#[test]
fn booleans_and_numbers_are_the_agents() {
    for yes in ["1", "t", "T", "TRUE", "true", "True", " 1 "] {
        assert_eq!(boolean(&table(&[("X", yes)]), "X"), Ok(Some(true)));
    }
    for no in ["0", "f", "F", "FALSE", "false", "False"] {
        assert_eq!(boolean(&table(&[("X", no)]), "X"), Ok(Some(false)));
    }
    assert_eq!(boolean(&table(&[("X", " ")]), "X"), Ok(None));
    for bad in ["yes", "on", "tRUE", "2"] {
        assert!(boolean(&table(&[("X", bad)]), "X").is_err(), "{bad}");
    }
    for bad in ["0x10", "1.5", "ten"] {
        assert!(integer(&table(&[("X", bad)]), "X").is_err(), "{bad}");
    }
}

#[test]
fn wrong_values_stop_the_start_by_name() {
    for (name, value) in [
        ("ENABLE_ENVOY_XRAY_TRACING", "yes"),
        ("ENABLE_ENVOY_STATS_TAGS", "yes"),
        ("ENABLE_ENVOY_DOG_STATSD", "yes"),
        ("APPMESH_PREVIEW", "maybe"),
        ("APPMESH_SET_TRACING_DECISION", "no"),
        ("DISABLE_HOT_RESTART", "no"),
        ("MAX_REQUESTS_PER_IO_CYCLE", "many"),
        ("ENVOY_ADMIN_ACCESS_PORT", "99999"),
        ("ENVOY_ADMIN_ACCESS_PORT", "x"),
        ("ENVOY_ADMIN_MODE", "both"),
        ("ENVOY_INITIAL_FETCH_TIMEOUT", "-1"),
        ("ENVOY_INITIAL_FETCH_TIMEOUT", "1s"),
        ("ENVOY_STATS_FLUSH_INTERVAL", "5"),
        ("STATSD_ADDRESS", "agent"),
        ("STATSD_PORT", "0"),
        ("ENVOY_RESOURCES_CONFIG_FILE", "/does/not/exist"),
        ("ENVOY_CONFIG_FILE", "/does/not/exist"),
    ] {
        let variables = [(name, value), ("ENABLE_ENVOY_DOG_STATSD", "1")];
        let count = if name.starts_with("STATSD") { 2 } else { 1 };
        let error = refused(&variables[..count]);
        assert!(error.starts_with(&format!("environment variable {name}: ")), "{name}={value}: {error}");
    }
}

#[test]
fn what_is_not_in_effect_is_named() {
    for (name, value) in [
        ("APPMESH_PREVIEW", "1"),
        ("APPMESH_SIGNING_NAME", "appmesh"),
        ("APPMESH_SET_TRACING_DECISION", "0"),
        ("MAX_REQUESTS_PER_IO_CYCLE", "5"),
        ("APPMESH_FIPS_ENDPOINT", "1"),
    ] {
        let (_, warnings) = with(&[(name, value)]);
        assert_eq!(warnings.len(), 1, "{name}: {warnings:?}");
        assert!(warnings[0].starts_with(&format!("{name} is not in effect")), "{warnings:?}");
    }
}

#[test]
fn variables_of_the_agent_are_named() {
    let set = [
        ("APPNET_ENVOY_RESTART_COUNT", "3"),
        ("APPNET_AGENT_ADMIN_MODE", "uds"),
        ("APPNET_AGENT_HTTP_PORT", "9902"),
        ("HC_DISCONNECTED_TIMEOUT_S", "nonsense"),
        ("RELAY_STREAM_IDLE_TIMEOUT", "5"),
        ("APPMESH_PLATFORM_K8S_VERSION", "1.30"),
    ];
    let mut warnings = process_settings(&table(&set)).unwrap().warnings;
    warnings.sort();
    let named: Vec<&str> =
        warnings.iter().filter_map(|warning| Some(warning.split_once(" not in effect: ")?.0)).collect();
    let want = [
        "APPNET_AGENT_ADMIN_MODE, APPNET_AGENT_HTTP_PORT are",
        "APPNET_ENVOY_RESTART_COUNT is",
        "HC_DISCONNECTED_TIMEOUT_S is",
        "RELAY_STREAM_IDLE_TIMEOUT is",
    ];
    assert_eq!(named, want, "{warnings:?}");
}

#[test]
fn ejections_are_told_where_the_image_told_them() {
    let path = |pairs: &[(&'static str, &str)]| {
        let (bootstrap, _) = json_of(pairs);
        bootstrap["cluster_manager"]["outlier_detection"]["event_log_path"].clone()
    };
    assert_eq!(path(&[]), "/dev/stdout");
    assert_eq!(path(&[("ENVOY_OUTLIER_DETECTION_EVENT_LOG_PATH", "/logs/events")]), "/logs/events");
}

#[test]
fn requests_to_admin_are_logged_where_the_variable_says() {
    let path = |pairs: &[(&'static str, &str)]| json_of(pairs).0["admin"]["access_log_path"].clone();
    assert_eq!(path(&[]), "");
    assert_eq!(path(&[("ENVOY_ADMIN_ACCESS_LOG_FILE", "/tmp/admin.log")]), "/tmp/admin.log");
}

#[test]
fn only_nodes_and_gateways_have_sidecars() {
    for id in ["mesh/m/virtualRouter/r", "arn:aws:appmesh:eu-west-1:1:mesh/m/route/r/x"] {
        let error = bootstrap_text(&table(&[("APPMESH_RESOURCE_ARN", id), XDS])).unwrap_err();
        assert_eq!(error.name, "APPMESH_RESOURCE_ARN");
        assert!(error.message.contains("only virtual nodes and gateways"), "{error}");
    }
}

#[test]
fn two_tracers_stop_the_start_unless_a_file_replaces_them() {
    let both = [("ENABLE_ENVOY_XRAY_TRACING", "1"), ("ENABLE_ENVOY_JAEGER_TRACING", "t")];
    let error = refused(&both);
    assert!(error.contains("only one tracer") && error.contains("ENABLE_ENVOY_XRAY_TRACING"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let file = file(&directory, "tracing: {}\n");
    with(&[&both[..], &[("ENVOY_TRACING_CFG_FILE", file.as_str())]].concat());
}

#[test]
fn the_admin_endpoint_is_where_the_variables_say() {
    let of = |pairs: &[(&'static str, &str)]| admin_bind(&table(pairs)).unwrap();
    assert_eq!(of(&[]), AdminBind::Tcp(([127, 0, 0, 1], 9901).into()));
    assert_eq!(of(&[("ENVOY_ADMIN_ACCESS_PORT", "9000")]), AdminBind::Tcp(([127, 0, 0, 1], 9000).into()));
    let ipv6 = [("ENVOY_ADMIN_ACCESS_ENABLE_IPV6", "true")];
    assert_eq!(of(&ipv6), AdminBind::Tcp(([127, 0, 0, 1], 9901).into()));
    assert!(process_settings(&table(&ipv6)).unwrap().admin_ipv6);
    assert!(!process_settings(&table(&[])).unwrap().admin_ipv6);
    let wrong = process_settings(&table(&[("ENVOY_ADMIN_ACCESS_ENABLE_IPV6", "v6")])).unwrap_err();
    assert_eq!(wrong.name, "ENVOY_ADMIN_ACCESS_ENABLE_IPV6");
    assert_eq!(of(&[("ENVOY_ADMIN_MODE", "uds")]), AdminBind::Unix(PathBuf::from("/tmp/envoy_admin.sock")));
    let own = |value: &str| {
        process_settings(&table(&[("OUTRIGGER_ADMIN_ADDRESS", value), ("ENVOY_ADMIN_ACCESS_PORT", "9000")]))
    };
    assert_eq!(own("0.0.0.0:1").unwrap().admin_override, Some(([0, 0, 0, 0], 1).into()));
    assert_eq!(own("0.0.0.0").unwrap().admin_override, Some(([0, 0, 0, 0], 9000).into()));
    assert_eq!(own("::").unwrap().admin_override, Some("[::]:9000".parse().unwrap()));
    assert!(own("everywhere").is_err());
}

#[test]
fn the_sds_socket_becomes_the_images_cluster() {
    let (bootstrap, _) = with(&[("APPMESH_SDS_SOCKET_PATH", "/run/spire/sockets/agent.sock")]);
    let clusters = bootstrap.static_resources.unwrap().clusters;
    assert_eq!(clusters[0].name, "static_cluster_sds_unix_socket");
    assert!(with(&[]).0.static_resources.unwrap().clusters.is_empty());
}

#[test]
fn statistics_variables_reach_the_bootstrap() {
    let (bootstrap, _) = with(&[("ENABLE_ENVOY_STATS_TAGS", "1"), ("ENVOY_STATS_FLUSH_INTERVAL", "1m0.5s")]);
    let interval = bootstrap.stats_flush_interval.unwrap();
    assert_eq!((interval.seconds, interval.nanos), (60, 500_000_000));
    let tags: Vec<String> =
        bootstrap.stats_config.unwrap().stats_tags.into_iter().map(|tag| tag.tag_name).collect();
    assert_eq!(tags, ["appmesh.mesh", "appmesh.virtual_node"]);
    let gateway = table(&[
        XDS,
        ("APPMESH_RESOURCE_ARN", "arn:aws:appmesh:us-west-2:123456789012:mesh/m/virtualGateway/g"),
        ("ENABLE_ENVOY_STATS_TAGS", "1"),
    ]);
    assert!(bootstrap_text(&gateway).unwrap().text.contains("appmesh.virtual_gateway"));
}

fn file(directory: &tempfile::TempDir, text: &str) -> String {
    let path = directory.path().join(format!("{}.yaml", text.len()));
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn files_of_the_users_merge_by_the_images_rules() {
    let directory = tempfile::tempdir().unwrap();
    let resources = file(
        &directory,
        "staticResources: {clusters: [{name: mine}], listeners: [{name: l, address: {pipe: {path: /x}}}]}\nstats_sinks: [{name: a}]\nadmin: {}\n",
    );
    let sinks = file(&directory, "stats_sinks: [{name: b}]\n");
    let stats = file(&directory, "statsConfig: {use_all_default_tags: false}\n");
    let found = bootstrap_text(&table(&[
        NODE,
        XDS,
        ("APPMESH_SDS_SOCKET_PATH", "/s"),
        ("ENABLE_ENVOY_STATS_TAGS", "1"),
        ("ENVOY_RESOURCES_CONFIG_FILE", &resources),
        ("ENVOY_STATS_SINKS_CFG_FILE", &sinks),
        ("ENVOY_STATS_CONFIG_FILE", &stats),
    ]))
    .unwrap();
    let bootstrap: Bootstrap = json::Document::parse(&found.text).unwrap().decode().unwrap();
    let resources = bootstrap.static_resources.unwrap();
    let names: Vec<&str> = resources.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    assert_eq!(names, ["static_cluster_sds_unix_socket", "mine"]);
    assert_eq!(resources.listeners.len(), 1);
    let names: Vec<&str> = bootstrap.stats_sinks.iter().map(|sink| sink.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    // The user's own statistics configuration suppresses every generated tag.
    assert!(bootstrap.stats_config.unwrap().stats_tags.is_empty() && !found.generated);
    assert_eq!(found.warnings, ["ENVOY_RESOURCES_CONFIG_FILE: admin replaces the generated one"]);
}

#[test]
fn files_that_cannot_be_merged_stop_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let of = |name: &'static str, text: &str| refused(&[(name, file(&directory, text).as_str())]);
    assert!(
        of("ENVOY_RESOURCES_CONFIG_FILE", "stats_config: {}\nstatsConfig: {}\n").contains("two spellings")
    );
    assert!(of("ENVOY_RESOURCES_CONFIG_FILE", "- a list\n").contains("must be a mapping"));
    assert!(of("ENVOY_STATS_SINKS_CFG_FILE", "admin: {}\n").contains("must hold stats_sinks"));
    assert!(of("ENVOY_STATS_SINKS_CFG_FILE", "").contains("must hold stats_sinks"));
    let one = file(&directory, "stats_config: {}\n");
    let other = file(&directory, "stats_config: {} # again\n");
    let error = refused(&[("ENVOY_RESOURCES_CONFIG_FILE", &one), ("ENVOY_STATS_CONFIG_FILE", &other)]);
    assert!(error.contains("stats_config is already given by ENVOY_RESOURCES_CONFIG_FILE"), "{error}");
    let (_, warnings) = with(&[("ENVOY_RESOURCES_CONFIG_FILE", file(&directory, "\n").as_str())]);
    assert!(warnings[0].contains("is empty"), "{warnings:?}");
}

#[test]
fn a_complete_file_is_used_untouched_unless_empty() {
    let directory = tempfile::tempdir().unwrap();
    let own = file(&directory, "node: {id: mine}\n");
    let found = bootstrap_text(&table(&[("ENVOY_CONFIG_FILE", &own)])).unwrap();
    assert_eq!((found.text.as_str(), found.name, found.generated), ("node: {id: mine}\n", own, false));
    let empty = file(&directory, " \n");
    assert!(bootstrap_text(&table(&[NODE, XDS, ("ENVOY_CONFIG_FILE", &empty)])).unwrap().generated);
}

#[test]
fn unknown_variables_of_ours_name_the_closest() {
    let error = process_settings(&table(&[("OUTRIGGER_WORKER", "2")])).unwrap_err().to_string();
    assert!(error.contains("OUTRIGGER_WORKER: is not known; did you mean OUTRIGGER_WORKERS?"), "{error}");
    for (name, meant) in [
        ("OUTRIGGER_LOG_LEVEL", "; did you mean ENVOY_LOG_LEVEL?"),
        ("OUTRIGGER_CONCURENCY", "; did you mean ENVOY_CONCURRENCY?"),
        ("OUTRIGGER_FROBNICATE_ALL", "; there are OUTRIGGER_ADMIN_ADDRESS, OUTRIGGER_CLUSTER_NAME, "),
    ] {
        let error = process_settings(&table(&[(name, "2")])).unwrap_err().to_string();
        assert!(error.contains(&format!("{name}: is not known{meant}")), "{error}");
    }
}

#[test]
fn process_settings_follow_the_agent() {
    let of = |pairs: &[(&'static str, &str)]| process_settings(&table(pairs));
    let settings = of(&[("ENVOY_CONCURRENCY", " 3 "), ("LISTENER_DRAIN_WAIT_TIME_S", "500")]).unwrap();
    assert_eq!((settings.workers, settings.drain_time), (Some(3), Duration::from_secs(20)));
    assert_eq!(settings.warnings, Vec::<String>::new());
    assert_eq!(of(&[("ENVOY_CONCURRENCY", "-1")]).unwrap().workers, None);
    assert_eq!(of(&[("ENVOY_CONCURRENCY", "3"), ("OUTRIGGER_WORKERS", "2")]).unwrap().workers, Some(2));
    assert_eq!(of(&[("LISTENER_DRAIN_WAIT_TIME_S", "5")]).unwrap().drain_time, Duration::from_secs(5));
    for bad in [
        ("ENVOY_CONCURRENCY", "two"),
        ("ENVOY_CONCURRENCY", "0"),
        ("ENVOY_CONCURRENCY", "-2"),
        ("ENVOY_CONCURRENCY", "5000"),
        ("OUTRIGGER_WORKERS", "0"),
        ("OUTRIGGER_EMF", "maybe"),
        ("OUTRIGGER_EMF", "tcp://agent"),
        ("OUTRIGGER_EMF_RESOLUTION", "5"),
        ("OUTRIGGER_EMF_INTERVAL_S", "0"),
        ("OUTRIGGER_EMF_NAMESPACE", "AWS/AppMesh"),
        ("OUTRIGGER_EMF_METRICS", "Requests"),
        ("OUTRIGGER_EMF_DIMENSIONS", "nodes"),
    ] {
        assert_eq!(of(&[bad]).unwrap_err().name, bad.0);
    }
}

#[test]
fn metrics_are_pushed_as_the_variables_say() {
    use crate::observe::emf::{Dimensions, Target};
    let of = |pairs: &[(&'static str, &str)]| process_settings(&table(pairs)).unwrap();
    assert!(of(&[("OUTRIGGER_EMF", "off")]).emf.is_none() && of(&[]).emf.is_none());
    let emf = of(&[("OUTRIGGER_EMF", "stdout")]).emf.unwrap();
    assert_eq!((emf.target, emf.namespace.as_str(), emf.resolution), (Target::Stdout, "Outrigger", 60));
    assert_eq!((emf.interval, emf.max_series), (Duration::from_secs(60), 200));
    let all = of(&[
        ("OUTRIGGER_EMF", "udp://127.0.0.1:25888"),
        ("OUTRIGGER_EMF_NAMESPACE", "Shop/Mesh"),
        ("OUTRIGGER_EMF_DIMENSIONS", "mesh,container-insights"),
        ("OUTRIGGER_EMF_LOG_GROUP", "/mesh"),
        ("OUTRIGGER_EMF_RESOLUTION", "1"),
        ("OUTRIGGER_CLUSTER_NAME", "prod"),
    ]);
    let emf = all.emf.unwrap();
    assert_eq!(emf.target, Target::Udp("127.0.0.1:25888".into()));
    assert_eq!(emf.dimensions, Dimensions { mesh: true, service_connect: false, container_insights: true });
    assert_eq!((emf.log_group.as_deref(), all.cluster_name.as_deref()), (Some("/mesh"), Some("prod")));
    assert_eq!(all.warnings.len(), 1, "a resolution of a second every minute: {:?}", all.warnings);
}

#[test]
fn dog_statsd_goes_where_the_variables_say() {
    let sinks = |pairs: &[(&'static str, &str)]| {
        let (bootstrap, warnings) = with(&[&[("ENABLE_ENVOY_DOG_STATSD", "1")], pairs].concat());
        assert_eq!(warnings, Vec::<String>::new());
        json::print(&bootstrap, json::Secrets::Redact)["stats_sinks"].to_string()
    };
    assert!(sinks(&[]).contains(r#""address":"127.0.0.1","port_value":8125"#), "{}", sinks(&[]));
    assert!(sinks(&[("STATSD_ADDRESS", "10.0.0.1"), ("STATSD_PORT", "9125")]).contains("9125"));
    assert!(sinks(&[("STATSD_SOCKET_PATH", "/run/statsd")]).contains(r#""pipe":{"path":"/run/statsd"}"#));
    assert!(with(&[("ENABLE_ENVOY_DOG_STATSD", "0")]).0.stats_sinks.is_empty());
}

#[test]
fn the_metrics_extension_names_the_node_on_every_statistic() {
    let tags = |version: &str| {
        let (bootstrap, warnings) = with(&[("APPMESH_METRIC_EXTENSION_VERSION", version)]);
        assert_eq!(warnings, Vec::<String>::new());
        let tags = bootstrap.stats_config.unwrap_or_default().stats_tags;
        tags.into_iter().map(|tag| tag.tag_name).collect::<Vec<_>>()
    };
    assert_eq!(tags("1"), ["Mesh", "VirtualNode"]);
    assert_eq!(tags("2"), Vec::<String>::new());
    let on = process_settings(&table(&[("APPMESH_METRIC_EXTENSION_VERSION", "1")])).unwrap();
    assert!(on.metrics_extension);
}

#[test]
fn xray_becomes_a_provider() {
    let (bootstrap, warnings) = json_of(&[("ENABLE_ENVOY_XRAY_TRACING", "1")]);
    assert_eq!(warnings, Vec::<String>::new());
    let config = &bootstrap["tracing"]["http"]["typed_config"];
    assert_eq!(
        config["daemon_endpoint"],
        json!({"protocol": "UDP", "address": "127.0.0.1", "port_value": 2000})
    );
    assert_eq!(config["segment_name"], "m/n");
    let fields = json!({"origin": "AWS::AppMesh::Proxy",
        "aws": {"app_mesh": {"mesh_name": "m", "virtual_node_name": "n"}}});
    assert_eq!(config["segment_fields"], fields);
    assert!(config.get("sampling_rule_manifest").is_none(), "one in a second and 5 % is the default");

    let on = ("ENABLE_ENVOY_XRAY_TRACING", "true");
    let more =
        [on, ("XRAY_DAEMON_PORT", "2001"), ("XRAY_SEGMENT_NAME", "mine"), ("XRAY_SAMPLING_RATE", "0.256")];
    let (bootstrap, _) = json_of(&more);
    let config = &bootstrap["tracing"]["http"]["typed_config"];
    assert_eq!(
        (&config["daemon_endpoint"]["port_value"], &config["segment_name"]),
        (&json!(2001), &json!("mine"))
    );
    let rules = config["sampling_rule_manifest"]["inline_string"].as_str().unwrap();
    assert_eq!(rules, r#"{"version":2,"default":{"fixed_target":1,"rate":0.26}}"#);

    let file = [on, ("XRAY_SAMPLING_RULE_MANIFEST", "/rules.json"), ("XRAY_SAMPLING_RATE", "1")];
    let manifest = &json_of(&file).0["tracing"]["http"]["typed_config"]["sampling_rule_manifest"];
    assert_eq!(*manifest, json!({"filename": "/rules.json"}), "the file wins");
    assert!(json_of(&[("XRAY_SAMPLING_RATE", "1")]).0.get("tracing").is_none(), "off unless switched on");
    for (name, value) in [
        ("XRAY_SAMPLING_RATE", "2"),
        ("XRAY_SAMPLING_RATE", "often"),
        ("XRAY_DAEMON_PORT", "0"),
        ("AWS_XRAY_DAEMON_ADDRESS", "a:b"),
    ] {
        let error = refused(&[on, (name, value)]);
        assert!(error.starts_with(&format!("environment variable {name}: ")), "{name}={value}: {error}");
    }
}

#[test]
fn jaeger_and_datadog_become_a_provider_and_a_cluster() {
    let (bootstrap, warnings) =
        json_of(&[("ENABLE_ENVOY_JAEGER_TRACING", "1"), ("JAEGER_TRACER_ADDRESS", "jaeger.local")]);
    assert_eq!(warnings, Vec::<String>::new());
    let config = &bootstrap["tracing"]["http"]["typed_config"];
    assert_eq!(
        (&config["collector_cluster"], &config["collector_endpoint"]),
        (&json!("jaeger"), &json!("/api/v2/spans"))
    );
    assert_eq!(config["collector_endpoint_version"], "HTTP_PROTO");
    let cluster = &bootstrap["static_resources"]["clusters"][0];
    assert_eq!((&cluster["name"], &cluster["type"]), (&json!("jaeger"), &json!("STRICT_DNS")));
    let (bootstrap, _) = json_of(&[("ENABLE_ENVOY_DATADOG_TRACING", "1"), ("DATADOG_TRACER_PORT", "8127")]);
    let config = &bootstrap["tracing"]["http"]["typed_config"];
    assert_eq!(
        (&config["collector_cluster"], &config["service_name"]),
        (&json!("datadog_agent"), &json!("envoy-m/n"))
    );
    let cluster = &bootstrap["static_resources"]["clusters"][0];
    let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    assert_eq!(endpoint["address"]["socket_address"], json!({"address": "127.0.0.1", "port_value": 8127}));
    let on = ("ENABLE_ENVOY_JAEGER_TRACING", "1");
    for (name, value) in [("JAEGER_TRACER_VERSION", "V1"), ("JAEGER_TRACER_PORT", "0")] {
        assert!(refused(&[on, (name, value)]).starts_with(&format!("environment variable {name}: ")));
    }
}

#[test]
fn opentelemetry_takes_xrays_rules() {
    use crate::observe::trace::collector::{Form, Sampling};
    use crate::observe::trace::tracers::Provider;
    let of = |pairs: &[(&'static str, &str)]| {
        let table = table(pairs);
        let mut options = tracing_options(&table)?;
        options.node = "mesh/m/virtualNode/n".into();
        otlp(&table, &options)
    };
    assert_eq!(of(&[]).unwrap(), None);
    let endpoint = ("OUTRIGGER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    let Some(Provider::Collector(settings)) = of(&[endpoint, ("XRAY_SAMPLING_RATE", "0.5")]).unwrap() else {
        panic!("no collector")
    };
    assert_eq!((settings.form, &*settings.service, settings.attempts), (Form::OtlpHttp, "m/n", true));
    let Sampling::Local(manifest) = settings.sampling else { panic!("{:?}", settings.sampling) };
    assert!((manifest.default.rate - 0.5).abs() < 1e-9);
    for bad in [
        [endpoint, ("ENABLE_ENVOY_XRAY_TRACING", "1")],
        [endpoint, ("OUTRIGGER_TRACE_PROPAGATION", "xray,other")],
        [endpoint, ("OUTRIGGER_XRAY_SAMPLING", "everything")],
        [endpoint, ("XRAY_SAMPLING_RULE_MANIFEST", "/does/not/exist")],
        [("OUTRIGGER_OTLP_ENDPOINT", "ftp://x"), ("A", "b")],
    ] {
        assert!(of(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn the_control_plane_is_reached_over_tls_where_roots_are_given() {
    let (bootstrap, _) =
        with(&[("OUTRIGGER_XDS_ROOTS", "/roots.pem"), ("APPMESH_SDS_SOCKET_PATH", "/sds.sock")]);
    let ads = bootstrap.dynamic_resources.as_ref().unwrap().ads_config.as_ref().unwrap();
    let TargetSpecifier::EnvoyGrpc(target) = ads.grpc_services[0].target_specifier.as_ref().unwrap() else {
        panic!("{ads:?}")
    };
    let clusters = bootstrap.static_resources.unwrap().clusters;
    assert_eq!(clusters.len(), 2, "the secret server's stays");
    let cluster = clusters.iter().find(|cluster| cluster.name == target.cluster_name).unwrap();
    let text = format!("{cluster:?}");
    assert!(text.contains("cp") && cluster.transport_socket.is_some(), "{text}");
    let said = refused(&[("OUTRIGGER_XDS_NAME", "cp")]);
    assert!(said.contains("OUTRIGGER_XDS_ROOTS"), "{said}");
    let said = refused(&[("OUTRIGGER_XDS_ROOTS", "/roots.pem"), ("OUTRIGGER_XDS_CERTIFICATE", "/own.pem")]);
    assert!(said.contains("OUTRIGGER_XDS_KEY"), "{said}");
}
