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
    let text = format!("{{tracing: {{http: {{name: x, typed_config: {{{config}}}}}}}}}");
    #[allow(deprecated, reason = "App Mesh's image sets the provider here")]
    let bootstrap = message::<outrigger_xds_protos::v3::bootstrap::Bootstrap>(&text).tracing;
    let options = TracingOptions { node: "id".into(), cluster: "own".into(), ..Default::default() };
    tracing_of_bootstrap(&bootstrap, &options, &Path::ROOT, &mut |_, _| {})
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
        ("sampling_rule_manifest: {inline_string: '{}'}", "sampling_rule_manifest"),
        ("sampling_rule_manifest: {filename: /does/not/exist}", "sampling_rule_manifest.filename"),
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
