use super::*;
use crate::any::{Typed, pack};
use crate::json::Document;
use crate::v3::cluster::Cluster;
use crate::v3::listener::{Filter, FilterChain, Listener, filter::ConfigType};
use crate::v3::tcp_proxy::TcpProxy;
use crate::wire::put_bytes;

/// Field 1000, a varint.
const STRANGE: [u8; 3] = [0xc0, 0x3e, 1];

#[test]
fn known_messages_have_none() {
    let text = "name: a\ntyped_extension_protocol_options:\n  x:\n    \
                \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n    \
                explicit_http_config: { http_protocol_options: {} }";
    let cluster: Cluster = Document::parse(text).unwrap().decode().unwrap();
    assert_eq!(fields(&pack(&cluster)), []);
}

#[test]
fn found_through_lists_and_any() {
    let mut filter = pack(&TcpProxy { stat_prefix: "a".into(), ..Default::default() });
    filter.value.extend(STRANGE);
    let filter = Filter { name: "tcp".into(), config_type: Some(ConfigType::TypedConfig(filter)) };
    let chain = FilterChain { filters: vec![filter], ..Default::default() };
    let mut resource =
        pack(&Listener { filter_chains: vec![FilterChain::default(), chain], ..Default::default() });
    resource.value.extend(STRANGE);

    let found: Vec<_> = fields(&resource).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "unknown field number 1000 of envoy.config.listener.v3.Listener",
            "filter_chains[1].filters[0].typed_config: unknown field number 1000 of \
             envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        ]
    );
}

#[test]
fn found_in_values_of_maps() {
    let mut options = pack(&crate::v3::http_options::HttpProtocolOptions::default());
    options.value.extend(STRANGE);
    let cluster =
        Cluster { typed_extension_protocol_options: [("a.b".into(), options)].into(), ..Default::default() };
    assert_eq!(fields(&pack(&cluster))[0].path, "typed_extension_protocol_options[\"a.b\"]");
}

#[test]
fn findings_are_bounded() {
    let mut chain = Vec::new();
    chain.extend(STRANGE);
    let mut value = Vec::new();
    (0..1000).for_each(|_| put_bytes(&mut value, 3, &chain));
    let resource = Any { type_url: Listener::TYPE_URL.into(), value };
    assert_eq!(fields(&resource).len(), 16);
}

#[test]
fn malformed_and_foreign_resources_yield_nothing() {
    assert_eq!(fields(&Any { type_url: Listener::TYPE_URL.into(), value: vec![0x0a, 0x50] }), []);
    assert_eq!(fields(&Any { type_url: "a/b".into(), value: STRANGE.to_vec() }), []);
    assert_eq!(fields(&Any::default()), []);
}
