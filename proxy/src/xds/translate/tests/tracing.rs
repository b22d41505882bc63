//! Providers and what a connection manager adds.

use super::*;
use crate::config::listener::Direction;
use crate::observe::trace::sampling::manifest::Manifest;
use crate::observe::trace::tracers::{Provider, Tracers};
use crate::observe::trace::transport::{Dial, Dialling, Target};
use crate::observe::trace::xray::Daemon;

const XRAY: &str = r#""@type": type.googleapis.com/envoy.config.trace.v3.XRayConfig"#;

/// Nobody is to be called here.
#[derive(Debug)]
struct Nowhere;

impl Dial for Nowhere {
    fn dial<'a>(&'a self, _: &'a Target) -> Dialling<'a> {
        Box::pin(async { Err(std::io::ErrorKind::NotFound.into()) })
    }
}

/// A listener whose connection manager traces like this.
fn traced(tracing: &str, context: &mut TranslateContext) -> Result<TranslatedListener, Rejection> {
    let yaml = format!(
        r#"
name: l
traffic_direction: OUTBOUND
address: {{socket_address: {{address: 0.0.0.0, port_value: 80}}}}
filter_chains: [{{filters: [{{name: http, typed_config: {{
  "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
  stat_prefix: p, route_config: {{}}, tracing: {tracing},
  http_filters: [{{name: router, typed_config: {{
    "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}]}}]
"#
    );
    listener(&message(&yaml), context)
}

/// The provider of a bootstrap.
fn provider(config: &str) -> Result<Option<Provider>, Rejection> {
    let options = TracingOptions { node: "id".into(), cluster: "own".into(), ..Default::default() };
    provider_with(config, &options).map(|(provider, _)| provider)
}

/// The same with these options, and what was warned of.
fn provider_with(
    config: &str,
    options: &TracingOptions,
) -> Result<(Option<Provider>, Vec<String>), Rejection> {
    let text = format!("{{tracing: {{http: {{name: x, typed_config: {{{config}}}}}}}}}");
    #[allow(deprecated, reason = "App Mesh's image sets the provider here")]
    let bootstrap = message::<outrigger_xds_protos::v3::bootstrap::Bootstrap>(&text).tracing;
    let mut warnings = Vec::new();
    let warn = &mut |path: &Path<'_>, text| warnings.push(format!("{path}: {text}"));
    let provider = tracing_of_bootstrap(&bootstrap, options, &Path::ROOT, warn)?;
    Ok((provider, warnings))
}

fn xray_with(config: &str, options: &TracingOptions) -> (crate::observe::trace::xray::Settings, Vec<String>) {
    match provider_with(&format!("{XRAY}, {config}"), options) {
        Ok((Some(Provider::XRay(settings)), warnings)) => (settings, warnings),
        other => panic!("{config}: {other:?}"),
    }
}

/// As with Envoy: its built-in rule holds.
#[test]
fn a_manifest_that_is_wrong_costs_its_rules_only() {
    for (source, expected) in [
        ("{inline_string: '{}'}", "<inline>: missing field `version`"),
        (
            r#"{inline_string: '{"version": 2, "default": {"fixed_target": 1.5, "rate": 1}}'}"#,
            "<inline>: default.fixed_target: 1.5 is not a whole number",
        ),
        (r#"{inline_string: '{"version": 1, "default": {}}'}"#, "<inline>: "),
        ("{filename: /does/not/exist}", "/does/not/exist: cannot read"),
    ] {
        let (settings, warnings) =
            xray_with(&format!("sampling_rule_manifest: {source}"), &TracingOptions::default());
        assert_eq!(settings.manifest, Manifest::default(), "{source}");
        let begin = format!("http.typed_config.sampling_rule_manifest: {expected}");
        assert!(warnings.len() == 1 && warnings[0].starts_with(&begin), "{source}: {warnings:?}");
    }
}

#[test]
fn the_services_rules_are_asked_for_where_the_daemon_is() {
    let central = |given| {
        let target = Target::Address("127.0.0.1".into(), 2000);
        TracingOptions { central: Some(Central { target, given }), ..Default::default() }
    };
    let endpoint = "daemon_endpoint: {protocol: UDP, address: daemon, port_value: 2001}";
    for (config, given, expected) in [
        (endpoint, false, ("daemon", 2001)),
        (endpoint, true, ("127.0.0.1", 2000)),
        ("", false, ("127.0.0.1", 2000)),
    ] {
        let target = Target::Address(expected.0.into(), expected.1);
        assert_eq!(xray_with(config, &central(given)).0.central, Some(target), "{config} {given}");
    }
}

#[test]
fn the_mesh_is_that_of_the_node_whatever_segments_are_called() {
    for (node, cluster, expected) in [
        ("mesh/shop/virtualNode/cart", "x", "shop"),
        ("arn:aws:appmesh:eu-west-1:1:mesh/shop@2/virtualGateway/g", "x", "shop"),
        ("id", "mesh/shop/virtualNode/cart", "shop"),
        ("id", "own", ""),
    ] {
        let options =
            TracingOptions { node: node.into(), cluster: cluster.into(), ..TracingOptions::default() };
        assert_eq!(&*xray_with("segment_name: cart", &options).0.mesh, expected, "{node} {cluster}");
    }
}

fn xray(config: &str) -> crate::observe::trace::xray::Settings {
    match provider(&format!("{XRAY}, {config}")) {
        Ok(Some(Provider::XRay(settings))) => settings,
        other => panic!("{config}: {other:?}"),
    }
}

#[test]
fn xray_has_defaults() {
    let settings = xray("");
    assert_eq!((settings.daemon, settings.manifest), (Daemon::default(), Manifest::default()));
    assert_eq!(
        (&*settings.name, &*settings.origin, &*settings.aws, &*settings.node_id),
        ("own", "", "", "id")
    );
}

#[test]
fn xray_as_the_image_sets_it() {
    let settings = xray(
        r#"daemon_endpoint: {protocol: UDP, address: daemon, port_value: 2001}, segment_name: "shop/(cart)",
           segment_fields: {origin: "AWS::AppMesh::Proxy", aws: {app_mesh: {mesh_name: shop}}},
           sampling_rule_manifest: {inline_string: '{"version": 2, "default": {"fixed_target": 2, "rate": 0.5}}'}"#,
    );
    assert_eq!(settings.daemon, Daemon { host: "daemon".into(), port: 2001 });
    assert_eq!((&*settings.name, settings.manifest.default.fixed_target), ("shop/cart", 2));
    assert_eq!(&*settings.aws, r#"{"app_mesh":{"mesh_name":"shop"}}"#);
}

#[test]
fn what_is_wrong_is_named() {
    for (config, expected) in [
        ("daemon_endpoint: {address: a, port_value: 1}", "daemon_endpoint.protocol"),
        ("daemon_endpoint: {protocol: UDP, port_value: 1}", "daemon_endpoint.address"),
        ("daemon_endpoint: {protocol: UDP, address: a}", "daemon_endpoint.port_value"),
    ] {
        let path = provider(&format!("{XRAY}, {config}")).unwrap_err().path;
        assert_eq!(path, format!("http.typed_config.{expected}"), "{config}");
    }
    let path = traced(r#"{custom_tags: [{tag: a, value: "%NO%"}]}"#, &mut context()).unwrap_err().path;
    assert!(path.ends_with(".tracing.custom_tags[0].value"), "{path}");
}

#[tokio::test]
async fn a_manager_traces_when_it_says_so_and_there_is_a_provider() {
    let mut context = context();
    let nowhere = crate::observe::platform::Place::known(Default::default());
    let tracers = Tracers::new(&context.stats, tokio::runtime::Handle::current(), Arc::new(Nowhere), nowhere);
    context.tracing.tracers = Some(Arc::new(tracers));
    assert!(http(&traced("{}", &mut context).unwrap().config, 0).tracing.is_none(), "no provider");
    context.tracing.provider = provider(XRAY).unwrap();
    let one =
        traced("{random_sampling: {value: 12.5}, max_path_tag_length: 9}", &mut context).unwrap().config;
    let tracing = http(&one, 0).tracing.as_ref().unwrap();
    assert_eq!((tracing.shares.random, tracing.shares.overall, tracing.max_path), (125_000, 1_000_000, 9));
    assert_eq!(tracing.direction, Direction::Outbound);
    let tags =
        r#"{custom_tags: [{tag: "a.b", literal: {value: v}}, {tag: m, metadata: {kind: {request: {}}}}]}"#;
    let other = traced(tags, &mut context).unwrap().config;
    let other = http(&other, 0).tracing.as_ref().unwrap();
    assert!(Arc::ptr_eq(&tracing.tracer, &other.tracer), "equal settings share a tracer");
    assert_eq!((other.tags.len(), &*other.tags[0].key), (2, "a_b"));
    assert_eq!(context.warnings.take().len(), 0);
    assert!(http(&traced("null", &mut context).unwrap().config, 0).tracing.is_none(), "not asked to");
}
