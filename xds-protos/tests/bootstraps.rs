//! Unmodified Envoy bootstraps in, and back out again.
//!
//! The `.json` files hold what Envoy 1.40's `/config_dump` prints for the `.yaml` beside them, less what Envoy adds
//! about itself (`user_agent_name`, `user_agent_build_version`, `extensions` of the node).

use outrigger_xds_protos::any::{self, Typed, pack, unpack};
use outrigger_xds_protos::json::{self, Document, Secrets, print, print_any, to_yaml};
use outrigger_xds_protos::v3::bootstrap::Bootstrap;
use outrigger_xds_protos::v3::hcm::HttpConnectionManager;
use outrigger_xds_protos::v3::http_options::HttpProtocolOptions;
use outrigger_xds_protos::v3::listener::filter::ConfigType;
use outrigger_xds_protos::v3::{discovery, listener, metrics};
use outrigger_xds_protos::{unknown, validate};
use serde_json::Value;

const STATIC: &str = include_str!("bootstraps/static.yaml");
const STATIC_DUMP: &str = include_str!("bootstraps/static.json");
const ADS: &str = include_str!("bootstraps/ads_delta.yaml");
const ADS_DUMP: &str = include_str!("bootstraps/ads_delta.json");

fn load(text: &str) -> Result<Bootstrap, json::ConfigError> {
    json::from_text(text)
}

#[test]
fn dumps_are_those_of_envoy() {
    for (text, dump) in [(STATIC, STATIC_DUMP), (ADS, ADS_DUMP)] {
        let expected: Value = serde_json::from_str(dump).unwrap();
        assert_eq!(print(&load(text).unwrap(), Secrets::Redact), expected);
    }
}

#[test]
fn json_and_yaml_round_trips_keep_every_field() {
    for text in [STATIC, ADS] {
        let before = load(text).unwrap();
        let printed = print(&before, Secrets::Show);
        for text in [printed.to_string(), serde_json::to_string_pretty(&printed).unwrap(), to_yaml(&printed)]
        {
            let after = load(&text).unwrap();
            assert_eq!(print(&after, Secrets::Show), printed);
            assert_eq!(Bootstrap::from_wire(&after.to_wire()).unwrap(), after);
        }
    }
}

#[test]
fn nested_typed_messages_are_readable() {
    let bootstrap = load(STATIC).unwrap();
    let resources = bootstrap.static_resources.unwrap();
    let filter = &resources.listeners[0].filter_chains[0].filters[0];
    let Some(ConfigType::TypedConfig(config)) = &filter.config_type else { panic!("no typed_config") };
    let manager: HttpConnectionManager = unpack(config).unwrap();
    assert_eq!(manager.http_filters.len(), 2);
    assert!(manager.merge_slashes);

    let options = &resources.clusters[0].typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    assert!(unpack::<HttpProtocolOptions>(options).unwrap().upstream_protocol_options.is_some());
}

#[test]
fn the_sidecar_bootstrap_means_what_it_says() {
    let bootstrap = load(ADS).unwrap();
    let sink = bootstrap.stats_sinks[0].clone();
    let Some(metrics::stats_sink::ConfigType::TypedConfig(config)) = sink.config_type else { panic!() };
    assert!(unpack::<metrics::DogStatsdSink>(&config).unwrap().dog_statsd_specifier.is_some());
    let node = print(&bootstrap.node.unwrap(), Secrets::Redact);
    // Octal-looking account ids and YAML 1.1 booleans are read as Envoy reads them.
    assert_eq!(node["metadata"]["account"], "012345678901");
    assert_eq!(node["metadata"]["drained"], false);
    assert_eq!(node["metadata"]["replicas"], 3);
}

#[test]
fn secrets_are_only_shown_on_demand() {
    let bootstrap = load(ADS).unwrap();
    let hidden = print(&bootstrap, Secrets::Redact).to_string();
    assert!(!hidden.contains("correct horse") && !hidden.contains("PRIVATE KEY"), "{hidden}");
    assert!(hidden.contains("/keys/cert.pem"), "the certificate is no secret");
    assert!(print(&bootstrap, Secrets::Show).to_string().contains("correct horse"));
}

#[test]
fn a_resource_travels_as_any_inside_a_delta_response() {
    let bootstrap = load(STATIC).unwrap();
    let listener = bootstrap.static_resources.unwrap().listeners.remove(0);
    let resource = discovery::Resource {
        name: "ingress".into(),
        version: "1".into(),
        resource: Some(pack(&listener)),
        ..Default::default()
    };
    let packed = pack(&resource);
    validate::check_any(&packed).unwrap();
    assert_eq!(unknown::fields(&packed), []);

    let printed = print_any(&packed, Secrets::Redact);
    assert_eq!(printed["@type"], any::type_url::DELTA_RESOURCE);
    assert_eq!(printed["resource"]["@type"], any::type_url::LISTENER);
    let back = Document::parse(&printed.to_string()).unwrap().decode_any().unwrap();
    let back: discovery::Resource = unpack(&back).unwrap();
    let back: listener::Listener = unpack(&back.resource.unwrap()).unwrap();
    assert_eq!(print(&back, Secrets::Show), print(&listener, Secrets::Show));
}

#[test]
fn one_bootstrap_may_be_merged_over_another() {
    let base = Document::parse(STATIC).unwrap().decode::<Bootstrap>().unwrap();
    let overlay = "node: { id: other }\nadmin: { address: { socket_address: { port_value: 19901 } } }";
    let overlay = Document::parse(overlay).unwrap().decode::<Bootstrap>().unwrap();
    let merged = Bootstrap::from_wire(&[base.to_wire(), overlay.to_wire()].concat()).unwrap();
    validate::check(&merged).unwrap();
    let merged = print(&merged, Secrets::Redact);
    assert_eq!((&merged["node"]["id"], &merged["node"]["cluster"]), (&"other".into(), &"edge".into()));
    let address = &merged["admin"]["address"]["socket_address"];
    assert_eq!((&address["address"], &address["port_value"]), (&"127.0.0.1".into(), &19901.into()));
}
