//! The forms that proto3 JSON and Envoy's loader allow, and what is printed.

use serde_json::{Value as Json, json};

use crate::any::{Typed, pack};
use crate::json::{Document, Secrets, from_text, print, print_any, print_with_defaults};
use crate::pb::google::protobuf::Any;
use crate::v3::admin::Certificates;
use crate::v3::bootstrap::Bootstrap;
use crate::v3::cluster::Cluster;
use crate::v3::core::{DataSource, Node, data_source::Specifier};
use crate::v3::tls::{GenericSecret, PrivateKeyProvider, Secret, TlsCertificate, secret};

fn reprint<M: Typed>(text: &str) -> Json {
    print(
        &Document::parse(text).unwrap().decode::<M>().unwrap_or_else(|e| panic!("{e}\n{text}")),
        Secrets::Show,
    )
}

#[test]
fn spellings_of_the_same_cluster() {
    let expected = json!({
        "name": "a", "type": "STRICT_DNS", "connect_timeout": "0.250s",
        "per_connection_buffer_limit_bytes": 32768, "ignore_health_on_host_removal": true,
    });
    for text in [
        "name: a\ntype: STRICT_DNS\nconnect_timeout: 0.25s\nper_connection_buffer_limit_bytes: 32768\n\
         ignore_health_on_host_removal: true",
        "name: a\ntype: strict_dns\nconnectTimeout: 0.250000s\nperConnectionBufferLimitBytes: 0x8000\n\
         ignore_health_on_host_removal: Yes\nlb_policy: ROUND_ROBIN\nalt_stat_name: ~\ndns_lookup_family: null",
        "name: a\ntype: 1\nconnect_timeout: 0.25s\nper_connection_buffer_limit_bytes: { value: 0100000 }\n\
         ignore_health_on_host_removal: \"true\"",
        "{\"name\":\"\\u0061\",\"type\":\"1\",\"connectTimeout\":\"0.25s\",\"perConnectionBufferLimitBytes\":\"32768\",\n\
         \t\"ignoreHealthOnHostRemoval\":true, \"alt_stat_name\": null}",
    ] {
        assert_eq!(reprint::<Cluster>(text), expected, "{text}");
    }
}

#[test]
fn a_long_line_of_json_is_read() {
    let clusters: Vec<_> =
        (0..500).map(|i| json!({"name": format!("cluster-{i}"), "type": "STATIC"})).collect();
    let text = json!({"static_resources": {"clusters": clusters}}).to_string();
    let bootstrap: Bootstrap = from_text(&text).unwrap();
    assert_eq!(bootstrap.static_resources.unwrap().clusters.len(), 500);
}

#[test]
fn json_escapes() {
    let node = reprint::<Node>(r#"{"id": "\ud83d\ude00 \/ \" \\ \b\f\n\r\t é"}"#);
    assert_eq!(node["id"], "\u{1f600} / \" \\ \u{8}\u{c}\n\r\t é");
}

#[test]
fn anchors_ignored_keys_and_block_scalars() {
    let text = "!ignore shared: &id same\nid: *id\ncluster: |-\n  two\n  lines\n";
    assert_eq!(reprint::<Node>(text), json!({"id": "same", "cluster": "two\nlines"}));
}

#[test]
fn structs_keep_what_envoy_keeps() {
    let yaml =
        "metadata: { a: 1.10, b: 7, c: 5000000000, d: no, e: ~, f: [ '1', x ], g: { h: 0x10 }, i: -3 }";
    let expected = json!({
        "a": "1.10", "b": 7, "c": "5000000000", "d": false, "e": null, "f": ["1", "x"], "g": {"h": 16}, "i": -3,
    });
    assert_eq!(reprint::<Node>(yaml)["metadata"], expected);
    // In JSON a number is a number.
    let text = r#"{"metadata": {"a": 1.10, "c": 5000000000}}"#;
    assert_eq!(reprint::<Node>(text)["metadata"], json!({"a": 1.1, "c": 5_000_000_000i64}));
}

#[test]
fn maps_print_sorted() {
    let text = "metadata: { filter_metadata: { z: { b: 1, a: 2 }, y: {} } }";
    let printed = reprint::<Cluster>(text)["metadata"].to_string();
    assert_eq!(printed, r#"{"filter_metadata":{"y":{},"z":{"a":2,"b":1}}}"#);
}

#[test]
fn wide_integers_are_strings_and_whole_floats_have_no_point() {
    let text = "initial_metadata: []\nretry_policy: {}";
    assert!(Document::parse(text).unwrap().decode::<Cluster>().is_err());
    let text = "name: a\nring_hash_lb_config: { minimum_ring_size: 1024 }\n\
                common_lb_config: { healthy_panic_threshold: { value: 50 } }\n\
                preconnect_policy: { per_upstream_preconnect_ratio: 1.5 }";
    let printed = reprint::<Cluster>(text);
    assert_eq!(printed["ring_hash_lb_config"]["minimum_ring_size"], "1024");
    assert_eq!(printed["common_lb_config"]["healthy_panic_threshold"].to_string(), r#"{"value":50}"#);
    assert_eq!(printed["preconnect_policy"]["per_upstream_preconnect_ratio"], 1.5);
}

#[test]
fn what_cannot_be_unfolded_is_shown_as_base64() {
    for any in [
        Any { type_url: "type.googleapis.com/some.Type".into(), value: vec![1, 2, 3] },
        Any { type_url: Cluster::TYPE_URL.into(), value: vec![1, 2, 3] },
    ] {
        let expected = json!({"@type": any.type_url, "value": "AQID"});
        assert_eq!(print_any(&any, Secrets::Redact), expected);
        // Inside another message too: one bad entry must not spoil a dump.
        let outer = crate::v3::admin::ConfigDump { configs: vec![any, pack(&Node::default())] };
        assert_eq!(print(&outer, Secrets::Redact)["configs"][0], expected);
    }
    assert_eq!(print_any(&Any::default(), Secrets::Redact), json!({}));
}

#[test]
fn defaults_are_printed_where_envoy_prints_them() {
    // As `/certs` of Envoy 1.40 answers.
    let expected = json!({"certificates": [{
        "ca_cert": [{
            "path": "/ca.pem", "serial_number": "", "subject_alt_names": [], "days_until_expiration": "0",
            "valid_from": "2026-11-21T03:07:55Z",
        }],
        "cert_chain": [],
    }]});
    let certificates: Certificates = Document::parse(&expected.to_string()).unwrap().decode().unwrap();
    assert_eq!(print_with_defaults(&certificates, Secrets::Redact), expected);
    assert_eq!(print_with_defaults(&Node::default(), Secrets::Redact)["client_features"], json!([]));
}

fn inline(text: &str) -> Option<DataSource> {
    Some(DataSource { specifier: Some(Specifier::InlineString(text.into())), ..Default::default() })
}

#[test]
fn redaction_covers_every_form_of_a_secret() {
    let bytes =
        DataSource { specifier: Some(Specifier::InlineBytes(b"hunter2".to_vec())), ..Default::default() };
    let certificate = TlsCertificate {
        certificate_chain: inline("public"),
        private_key: inline("hunter2"),
        password: Some(bytes.clone()),
        private_key_provider: Some(PrivateKeyProvider { provider_name: "p".into(), ..Default::default() }),
        ..Default::default()
    };
    let generic = GenericSecret { secret: inline("hunter2"), secrets: [("token".into(), bytes)].into() };
    let of = |kind| pack(&Secret { name: "s".into(), r#type: Some(kind) });
    let tls = print_any(&of(secret::Type::TlsCertificate(certificate)), Secrets::Redact);
    assert_eq!(
        tls["tls_certificate"],
        json!({
            "certificate_chain": {"inline_string": "public"},
            "private_key": {"inline_string": "[redacted]"},
            "password": {"inline_bytes": "W3JlZGFjdGVkXQ=="},
            "private_key_provider": {"provider_name": "p"},
        })
    );
    let generic = print_any(&of(secret::Type::GenericSecret(generic)), Secrets::Redact);
    assert_eq!(
        generic["generic_secret"],
        json!({
            "secret": {"inline_string": "[redacted]"},
            "secrets": {"token": {"inline_bytes": "W3JlZGFjdGVkXQ=="}},
        })
    );
}

#[test]
fn a_secret_any_hides_its_content_but_not_its_type() {
    use crate::v3::tls::private_key_provider::ConfigType;
    let provider = |config: Any| PrivateKeyProvider {
        provider_name: "p".into(),
        config_type: Some(ConfigType::TypedConfig(config)),
        ..Default::default()
    };
    let known = crate::v3::file_log::FileAccessLog { path: "hunter2".into(), ..Default::default() };
    let unknown = Any { type_url: "a/b".into(), value: b"hunter2".to_vec() };
    let certificate =
        |config| TlsCertificate { private_key_provider: Some(provider(config)), ..Default::default() };
    let of = |config| {
        let secret =
            Secret { name: "s".into(), r#type: Some(secret::Type::TlsCertificate(certificate(config))) };
        print(&secret, Secrets::Redact)["tls_certificate"]["private_key_provider"]["typed_config"].clone()
    };
    assert_eq!(of(pack(&known))["path"], "[redacted]");
    assert_eq!(of(unknown), json!({"@type": "a/b", "value": "W3JlZGFjdGVkXQ=="}));
}
