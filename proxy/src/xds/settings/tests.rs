use outrigger_xds_protos::json;
use outrigger_xds_protos::v3::bootstrap::Bootstrap;

use super::*;

fn read(ads: &str) -> Result<DynamicSettings, Rejection> {
    let text = format!(
        "dynamic_resources: {{cds_config: {{ads: {{}}, initial_fetch_timeout: 0s}}, lds_config: {{ads: {{}}}}, \
         ads_config: {ads}}}"
    );
    let bootstrap: Bootstrap = json::Document::parse(&text).unwrap().decode().unwrap();
    DynamicSettings::from_bootstrap(bootstrap.dynamic_resources.as_ref())
}

fn ads(service: &str) -> Result<AdsSettings, Rejection> {
    read(&format!("{{api_type: DELTA_GRPC, grpc_services: [{service}]}}"))
        .map(|settings| settings.ads.unwrap())
}

fn rejected(ads: &str) -> String {
    read(ads).unwrap_err().to_string()
}

#[test]
fn absence_is_purely_static() {
    let settings = DynamicSettings::from_bootstrap(None).unwrap();
    assert_eq!((settings.ads, settings.roots), (None, Roots::default()));
}

#[test]
fn envoy_grpc_leads_to_a_cluster() {
    let settings = read("{api_type: GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}").unwrap();
    let ads = settings.ads.unwrap();
    assert_eq!(ads.variant, Variant::StateOfTheWorld);
    assert_eq!(ads.target, Target::Cluster("xds".into()));
    assert_eq!(
        (ads.authority.as_str(), ads.backoff, ads.max_response),
        ("xds", Backoff::DEFAULT, MAX_RESPONSE)
    );
    let roots = Roots { clusters: Some(Duration::ZERO), listeners: Some(Duration::from_secs(15)) };
    assert_eq!(settings.roots, roots);
}

#[test]
fn options_of_envoy_grpc_count() {
    let ads = ads(
        "{initial_metadata: [{key: X-Token, value: t}], envoy_grpc: {cluster_name: xds, authority: cp.example, \
          max_receive_message_length: 1000, retry_policy: {retry_back_off: {base_interval: 1s, max_interval: 9s}}}}",
    )
    .unwrap();
    assert_eq!(ads.variant, Variant::Delta);
    assert_eq!((ads.authority.as_str(), ads.max_response), ("cp.example", 1000));
    assert_eq!(ads.backoff, (Duration::from_secs(1), Duration::from_secs(9)));
    assert_eq!(ads.metadata.entries, [("x-token".to_owned(), "t".to_owned())]);
    assert!(!format!("{ads:?}").contains("\"t\""), "values stay out of logs");
}

#[test]
fn google_grpc_targets() {
    let name = |host: &str, port| Target::Name { host: host.into(), port };
    let ip = |address: &str| Target::Address(HostAddress::Ip(address.parse().unwrap()));
    let socket = |path: &str| Target::Address(HostAddress::Pipe(path.into()));
    let cases = [
        ("cp.local:18000", name("cp.local", 18000)),
        ("dns:///cp.local:18000", name("cp.local", 18000)),
        ("dns:cp.local", name("cp.local", 443)),
        ("127.0.0.1:18000", ip("127.0.0.1:18000")),
        ("ipv4:127.0.0.1:18000", ip("127.0.0.1:18000")),
        ("ipv6:[::1]:18000", ip("[::1]:18000")),
        ("unix:/run/xds.sock", socket("/run/xds.sock")),
        ("unix:///run/xds.sock", socket("/run/xds.sock")),
    ];
    for (uri, target) in cases {
        let ads = ads(&format!("{{google_grpc: {{target_uri: '{uri}', stat_prefix: x}}}}")).unwrap();
        assert_eq!(ads.target, target, "{uri}");
    }
    for uri in ["", ":1", "a:b:c", "http://cp/x:1", "cp:99999"] {
        assert!(ads(&format!("{{google_grpc: {{target_uri: '{uri}', stat_prefix: x}}}}")).is_err(), "{uri}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let google = |extra: &str| {
        rejected(&format!(
            "{{api_type: GRPC, grpc_services: [{{google_grpc: {{target_uri: 'a:1', stat_prefix: x, {extra}}}}}]}}"
        ))
    };
    let place = "dynamic_resources.ads_config";
    let cases = [
        (rejected("{api_type: REST, cluster_names: [a]}"), "api_type"),
        (rejected("{api_type: GRPC}"), "grpc_services: is required"),
        (rejected("{api_type: GRPC, grpc_services: [{}]}"), "grpc_services[0].envoy_grpc: is required"),
        (
            google("channel_credentials: {ssl_credentials: {}}"),
            "grpc_services[0].google_grpc.channel_credentials",
        ),
        (google("call_credentials: [{access_token: t}]"), "grpc_services[0].google_grpc.call_credentials"),
    ];
    for (text, field) in cases {
        assert!(text.starts_with(&format!("{place}.{field}")), "{text}");
    }
}

#[test]
fn lists_need_a_stream() {
    let text = "dynamic_resources: {cds_config: {ads: {}}}";
    let bootstrap: Bootstrap = json::Document::parse(text).unwrap().decode().unwrap();
    let error = DynamicSettings::from_bootstrap(bootstrap.dynamic_resources.as_ref()).unwrap_err();
    assert!(error.to_string().starts_with("dynamic_resources.ads_config: is required"), "{error}");
}

#[test]
fn other_sources_are_refused_by_name() {
    let text = "dynamic_resources: {cds_config: {path_config_source: {path: /a}}}";
    let bootstrap: Bootstrap = json::Document::parse(text).unwrap().decode().unwrap();
    let error = DynamicSettings::from_bootstrap(bootstrap.dynamic_resources.as_ref()).unwrap_err();
    assert!(error.to_string().starts_with("dynamic_resources.cds_config.path_config_source"), "{error}");
}

#[test]
fn what_has_no_effect_is_said() {
    let service = "{envoy_grpc: {cluster_name: a}}";
    let settings = read(&format!(
        "{{api_type: GRPC, rate_limit_settings: {{}}, grpc_services: [{service}, {service}]}}"
    ))
    .unwrap();
    assert_eq!(settings.warnings.len(), 2);
    assert!(settings.warnings[0].contains("rate_limit_settings"), "{:?}", settings.warnings);
}

fn with_load(config: &str) -> DynamicSettings {
    let text = format!(
        "dynamic_resources: {{cds_config: {{ads: {{}}}}, ads_config: {{api_type: GRPC,
           grpc_services: [{{envoy_grpc: {{cluster_name: xds}}}}]}}}}
cluster_manager: {{load_stats_config: {config}}}"
    );
    let bootstrap: Bootstrap = json::Document::parse(&text).unwrap().decode().unwrap();
    DynamicSettings::from_bootstrap(bootstrap.dynamic_resources.as_ref())
        .unwrap()
        .with_load_reports(bootstrap.cluster_manager.as_ref())
        .unwrap()
}

#[test]
fn load_reports_go_to_the_control_plane() {
    let same = with_load("{api_type: GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}");
    assert_eq!(same.load, Some(LoadSettings { metadata: Metadata::default(), backoff: Backoff::DEFAULT }));
    let other = with_load("{api_type: GRPC, grpc_services: [{envoy_grpc: {cluster_name: elsewhere}}]}");
    assert_eq!(other.load, None);
    assert!(other.warnings[0].starts_with("cluster_manager.load_stats_config: is not in effect"));
}
