//! TLS contexts: whole handshakes under the compiled configurations.

use std::io::{Read, Write};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::{ClientConnection, ServerConnection};

use super::*;
use crate::config::secret::{ClientTls, ServerTls};
use crate::xds::settings::Target;

/// A certificate authority and what it issues, as PEM.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Certificate and key for these names; `spiffe:` ones are URIs.
    fn issue(&self, names: &[&str]) -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        for name in names {
            let san = match name.contains("://") {
                true => SanType::URI((*name).try_into().unwrap()),
                false => SanType::DnsName((*name).try_into().unwrap()),
            };
            params.subject_alt_names.push(san);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }
}

fn inline(pem: &str) -> String {
    format!("{{inline_string: {}}}", serde_json::to_string(pem).unwrap())
}

fn certificate(pair: &(String, String)) -> String {
    format!("{{certificate_chain: {}, private_key: {}}}", inline(&pair.0), inline(&pair.1))
}

fn listener_yaml(context: &str) -> String {
    format!(
        r#"
name: l
address: {{socket_address: {{address: 0.0.0.0, port_value: 80}}}}
filter_chains:
- transport_socket:
    name: tls
    typed_config: {{"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, {context}}}
  filters:
  - name: tcp
    typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: p, cluster: c}}
"#
    )
}

fn cluster_yaml(context: &str) -> String {
    format!(
        r#"
name: c
transport_socket:
  name: tls
  typed_config: {{"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, {context}}}
"#
    )
}

fn server_in(context: &mut TranslateContext, yaml: &str) -> Arc<ServerTls> {
    listener(&message(&listener_yaml(yaml)), context).unwrap().config.chains[0].tls.clone().unwrap()
}

fn client_in(context: &mut TranslateContext, yaml: &str) -> Arc<ClientTls> {
    cluster(&message(&cluster_yaml(yaml)), context).unwrap().config.tls.clone().unwrap()
}

fn server(yaml: &str) -> Arc<ServerTls> {
    server_in(&mut context(), yaml)
}

fn client(yaml: &str) -> Arc<ClientTls> {
    client_in(&mut context(), yaml)
}

/// Runs the handshake and one byte in memory; the negotiated ALPN, or what failed.
fn handshake(server: &ServerTls, client: &ClientTls) -> Result<Option<Vec<u8>>, String> {
    handshake_with(server, client, &mut None)
}

/// The same; and of which kind the handshake was.
fn handshake_with(
    server: &ServerTls,
    client: &ClientTls,
    kind: &mut Option<rustls::HandshakeKind>,
) -> Result<Option<Vec<u8>>, String> {
    let name = client.sni.clone().unwrap_or_else(|| std::net::IpAddr::from([127, 0, 0, 1]).into());
    let mut near = ClientConnection::new(client.config.clone(), name).map_err(|e| e.to_string())?;
    let mut far = ServerConnection::new(server.config.clone()).map_err(|e| e.to_string())?;
    for _ in 0..10 {
        let mut wire = Vec::new();
        while near.wants_write() {
            near.write_tls(&mut wire).unwrap();
        }
        feed(&wire, |bytes| far.read_tls(bytes));
        let server_said = far.process_new_packets().map(drop).map_err(|e| format!("server: {e}"));
        let mut wire = Vec::new();
        while far.wants_write() {
            far.write_tls(&mut wire).unwrap();
        }
        feed(&wire, |bytes| near.read_tls(bytes));
        near.process_new_packets().map_err(|e| format!("client: {e}"))?;
        server_said?;
        if !near.is_handshaking() && !far.is_handshaking() && !near.wants_write() {
            break;
        }
    }
    near.writer().write_all(b"x").map_err(|e| e.to_string())?;
    let mut wire = Vec::new();
    near.write_tls(&mut wire).unwrap();
    feed(&wire, |bytes| far.read_tls(bytes));
    far.process_new_packets().map_err(|e| format!("server: {e}"))?;
    let mut byte = [0];
    far.reader().read_exact(&mut byte).map_err(|e| e.to_string())?;
    *kind = far.handshake_kind();
    Ok(near.alpn_protocol().map(<[u8]>::to_vec))
}

fn feed(wire: &[u8], mut read: impl FnMut(&mut dyn Read) -> std::io::Result<usize>) {
    let mut left = wire;
    while !left.is_empty() {
        read(&mut left).unwrap();
    }
}

#[test]
fn alpn_decides_the_protocol() {
    let authority = Authority::new();
    let pair = authority.issue(&["a.example"]);
    let server = server(&format!(
        "common_tls_context: {{alpn_protocols: [h2, http/1.1], tls_certificates: [{}]}}",
        certificate(&pair)
    ));
    let trust = format!("validation_context: {{trusted_ca: {}}}", inline(&authority.pem()));
    let client =
        client(&format!("sni: a.example, common_tls_context: {{alpn_protocols: [http/1.1], {trust}}}"));
    assert_eq!(handshake(&server, &client), Ok(Some(b"http/1.1".to_vec())));
}

#[test]
fn a_cluster_offers_its_protocol_when_nothing_is_said() {
    let alpn = |protocol: &str| {
        let yaml = format!("{protocol}\n{}", cluster_yaml("sni: a").trim_start());
        cluster_of(&yaml).unwrap().config.tls.as_ref().unwrap().config.alpn_protocols.clone()
    };
    assert_eq!(alpn(""), [b"http/1.1".to_vec()]);
    assert_eq!(alpn("http2_protocol_options: {}"), [b"h2".to_vec()]);
    assert_eq!(alpn("protocol_selection: USE_DOWNSTREAM_PROTOCOL"), [b"h2".to_vec(), b"http/1.1".to_vec()]);
}

#[test]
fn names_are_checked_by_kind_and_any_one_suffices() {
    let authority = Authority::new();
    let pair = authority.issue(&["*.mesh.example", "spiffe://mesh/ns/b"]);
    let server = server(&format!("common_tls_context: {{tls_certificates: [{}]}}", certificate(&pair)));
    let verdict = |matchers: &str| {
        let client = client(&format!(
            "sni: other.name, common_tls_context: {{validation_context: {{trusted_ca: {}, match_typed_subject_alt_names: [{matchers}]}}}}",
            inline(&authority.pem())
        ));
        handshake(&server, &client).is_ok()
    };
    assert!(verdict(""), "without matchers any certificate of the authority passes, whatever the SNI");
    assert!(
        verdict("{san_type: DNS, matcher: {exact: b.mesh.example}}"),
        "a certificate wildcard covers one label"
    );
    assert!(!verdict("{san_type: DNS, matcher: {exact: a.b.mesh.example}}"));
    assert!(verdict("{san_type: DNS, matcher: {suffix: .mesh.example}}"));
    assert!(verdict("{san_type: URI, matcher: {prefix: 'spiffe://mesh/'}}"));
    assert!(verdict("{san_type: URI, matcher: {safe_regex: {regex: 'spiffe://mesh/ns/[a-z]'}}}"));
    assert!(!verdict("{san_type: URI, matcher: {exact: 'spiffe://mesh/ns/c'}}"));
    assert!(!verdict("{san_type: DNS, matcher: {exact: 'spiffe://mesh/ns/b'}}"));
    assert!(verdict(
        "{san_type: DNS, matcher: {exact: nope}}, {san_type: URI, matcher: {exact: 'spiffe://mesh/ns/b'}}"
    ));
}

#[test]
fn an_untrusted_server_is_refused_and_an_unverified_one_warned_about() {
    let pair = Authority::new().issue(&["a"]);
    let server = server(&format!("common_tls_context: {{tls_certificates: [{}]}}", certificate(&pair)));
    let other = client(&format!(
        "common_tls_context: {{validation_context: {{trusted_ca: {}}}}}",
        inline(&Authority::new().pem())
    ));
    assert!(handshake(&server, &other).unwrap_err().contains("invalid peer certificate"));
    let mut context = context();
    let blind = client_in(&mut context, "");
    assert_eq!(handshake(&server, &blind), Ok(None));
    assert!(context.warnings.take()[0].message.contains("NOT VERIFIED"));
}

#[test]
fn clients_are_asked_required_and_matched() {
    let authority = Authority::new();
    let pair = authority.issue(&["server"]);
    let with = |require: bool, matchers: &str| {
        server(&format!(
            "require_client_certificate: {require}, common_tls_context: {{tls_certificates: [{}], validation_context: {{trusted_ca: {}, {matchers}}}}}",
            certificate(&pair),
            inline(&authority.pem())
        ))
    };
    let me = |pair: &(String, String)| {
        client(&format!("common_tls_context: {{tls_certificates: [{}]}}", certificate(pair)))
    };
    let known = me(&authority.issue(&["spiffe://mesh/a"]));
    let stranger = me(&Authority::new().issue(&["spiffe://mesh/a"]));
    let nobody = client("");
    let name = "match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: 'spiffe://mesh/a'}}]";
    assert!(handshake(&with(true, name), &known).is_ok());
    assert!(handshake(&with(true, name), &nobody).is_err());
    assert!(handshake(&with(true, name), &stranger).is_err());
    assert!(handshake(&with(true, &name.replace("mesh/a", "mesh/b")), &known).is_err());
    assert!(handshake(&with(false, ""), &nobody).is_ok(), "asked, not required");
    assert!(handshake(&with(false, ""), &stranger).is_err(), "shown, so it must be good");
    let any = server(&format!(
        "require_client_certificate: true, common_tls_context: {{tls_certificates: [{}]}}",
        certificate(&pair)
    ));
    assert!(handshake(&any, &stranger).is_ok() && handshake(&any, &nobody).is_err());
}

#[test]
fn certificates_are_chosen_by_server_name() {
    let authority = Authority::new();
    let list: Vec<String> = [["first.example"], ["*.wild.example"]]
        .iter()
        .map(|names| certificate(&authority.issue(names)))
        .collect();
    let list = list.join(", ");
    let server = server(&format!("common_tls_context: {{tls_certificates: [{list}]}}"));
    let sees = |sni: &str, name: &str| {
        let client = client(&format!(
            "{sni} common_tls_context: {{validation_context: {{trusted_ca: {}, match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{exact: {name}}}}}]}}}}",
            inline(&authority.pem())
        ));
        handshake(&server, &client).is_ok()
    };
    assert!(sees("sni: First.Example,", "first.example"));
    assert!(sees("sni: a.wild.example,", "a.wild.example"));
    assert!(sees("sni: unknown.example,", "first.example"));
    assert!(sees("", "first.example"));
    let strict = server_requiring_sni(&list);
    assert!(handshake(&strict, &client("")).is_err());
    assert!(handshake(&strict, &client("sni: first.example")).is_ok());
}

fn server_requiring_sni(list: &str) -> Arc<ServerTls> {
    server(&format!("require_sni: true, common_tls_context: {{tls_certificates: [{list}]}}"))
}

const ADS: &str = "sds_config: {ads: {}, resource_api_version: V3}";

#[test]
fn chains_and_clusters_without_their_secrets_fail_every_handshake() {
    let authority = Authority::new();
    let pair = authority.issue(&["a"]);
    let mut context = context();
    let server_yaml =
        format!("common_tls_context: {{tls_certificate_sds_secret_configs: [{{name: cert, {ADS}}}]}}");
    let client_yaml = format!(
        "common_tls_context: {{combined_validation_context: {{default_validation_context: {{match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{exact: a}}}}]}}, validation_context_sds_secret_config: {{name: ca, {ADS}}}}}}}"
    );
    let ready_server = server(&format!("common_tls_context: {{tls_certificates: [{}]}}", certificate(&pair)));

    let waiting = listener(&message(&listener_yaml(&server_yaml)), &mut context).unwrap();
    assert_eq!(
        waiting.secret_refs,
        [ResourceRef { name: "cert".to_owned(), fetch_timeout: Duration::from_secs(15), stream: None }]
    );
    assert!(handshake(waiting.config.chains[0].tls.as_ref().unwrap(), &client("")).is_err());
    let waiting = cluster(&message(&cluster_yaml(&client_yaml)), &mut context).unwrap();
    assert_eq!(waiting.secret_refs[0].name, "ca");
    let first = waiting.config.tls.clone().unwrap();
    assert!(handshake(&ready_server, &first).is_err());

    for yaml in [
        format!("{{name: cert, tls_certificate: {}}}", certificate(&pair)),
        format!("{{name: ca, validation_context: {{trusted_ca: {}}}}}", inline(&authority.pem())),
    ] {
        let TranslatedSecret { name, secret } = secret(&message(&yaml), &mut context).unwrap();
        assert!(!format!("{secret:?}").contains("PRIVATE"));
        context.secrets.insert(name, secret);
    }
    let server = server_in(&mut context, &server_yaml);
    let client = client_in(&mut context, &client_yaml);
    assert!(handshake(&server, &client).is_ok());
    assert!(client.generation > first.generation);
    // The default context's name matcher was merged in.
    let other = authority.issue(&["b"]);
    let wrong = self::server(&format!("common_tls_context: {{tls_certificates: [{}]}}", certificate(&other)));
    assert!(handshake(&wrong, &client).is_err());
}

#[test]
fn versions_and_suites_are_limited() {
    let pair = Authority::new().issue(&["a"]);
    let with = |params: &str| {
        server(&format!(
            "common_tls_context: {{tls_params: {{{params}}}, tls_certificates: [{}]}}",
            certificate(&pair)
        ))
    };
    let client = |params: &str| client(&format!("common_tls_context: {{tls_params: {{{params}}}}}"));
    let only12 = client("tls_maximum_protocol_version: TLSv1_2");
    assert!(handshake(&with(""), &only12).is_ok());
    assert!(handshake(&with("tls_minimum_protocol_version: TLSv1_3"), &only12).is_err());
    let chacha = "tls_maximum_protocol_version: TLSv1_2, cipher_suites: [ECDHE-ECDSA-CHACHA20-POLY1305]";
    let aes = client(
        "tls_maximum_protocol_version: TLSv1_2, cipher_suites: ['[ECDHE-ECDSA-AES128-GCM-SHA256|AES256-SHA]']",
    );
    assert!(handshake(&with(chacha), &only12).is_ok());
    assert!(handshake(&with(chacha), &aes).is_err());
    assert!(handshake(&with("ecdh_curves: [P-256]"), &client("ecdh_curves: [X25519]")).is_err());
}

#[test]
fn tls_fields_are_refused_by_name() {
    let authority = Authority::new();
    let pair = authority.issue(&["a"]);
    let own = format!("tls_certificates: [{}]", certificate(&pair));
    let mixed = format!(
        "{{certificate_chain: {}, private_key: {}}}",
        inline(&pair.0),
        inline(&authority.issue(&["b"]).1)
    );
    let server_cases = [
        ("".to_owned(), "common_tls_context"),
        (format!("common_tls_context: {{{own}}}, session_ticket_keys: {{}}"), "session_ticket_keys.keys"),
        (format!("common_tls_context: {{{own}}}, ocsp_staple_policy: MUST_STAPLE"), "ocsp_staple_policy"),
        (format!("common_tls_context: {{{own}}}, full_scan_certs_on_sni_mismatch: true"), "full_scan_certs_on_sni_mismatch"),
        (format!("common_tls_context: {{tls_certificates: [{mixed}]}}"), "common_tls_context.tls_certificates[0]"),
        ("common_tls_context: {tls_certificates: [{}]}".to_owned(), "common_tls_context.tls_certificates[0].certificate_chain"),
        ("common_tls_context: {tls_certificates: [{certificate_chain: {inline_string: nope}}]}".to_owned(), "common_tls_context.tls_certificates[0].certificate_chain"),
        (format!("common_tls_context: {{tls_certificates: [{{certificate_chain: {}, private_key: {{inline_string: nope}}}}]}}", inline(&pair.0)), "common_tls_context.tls_certificates[0].private_key"),
        ("common_tls_context: {tls_certificate_sds_secret_configs: [{name: static}]}".to_owned(), "common_tls_context.tls_certificate_sds_secret_configs[0].name"),
        ("common_tls_context: {tls_certificate_sds_secret_configs: [{name: s, sds_config: {path_config_source: {path: /x}}}]}".to_owned(), "common_tls_context.tls_certificate_sds_secret_configs[0].sds_config.path_config_source"),
        ("common_tls_context: {tls_params: {tls_maximum_protocol_version: TLSv1_1}}".to_owned(), "common_tls_context.tls_params.tls_maximum_protocol_version"),
        ("common_tls_context: {tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_2}}".to_owned(), "common_tls_context.tls_params.tls_minimum_protocol_version"),
        ("common_tls_context: {tls_params: {cipher_suites: [RC4-MD5]}}".to_owned(), "common_tls_context.tls_params.cipher_suites"),
        ("common_tls_context: {tls_params: {ecdh_curves: [X]}}".to_owned(), "common_tls_context.tls_params.ecdh_curves[0]"),
    ];
    for (yaml, path) in server_cases {
        let full = format!("filter_chains[0].transport_socket.typed_config.{path}");
        let rejection = listener_of(&listener_yaml(&yaml)).expect_err(&yaml);
        assert_eq!(rejection.path, full, "{yaml}: {rejection}");
        assert!(!rejection.message.contains("PRIVATE"));
    }
    let ca = inline(&authority.pem());
    let validation = |fields: &str| format!("common_tls_context: {{validation_context: {{{fields}}}}}");
    let client_cases = [
        ("sni: 'not a name'".to_owned(), "sni"),
        ("auto_host_sni: true".to_owned(), "auto_host_sni"),
        ("auto_sni_san_validation: true".to_owned(), "auto_sni_san_validation"),
        (validation("trusted_ca: {inline_string: nope}"), "common_tls_context.validation_context.trusted_ca"),
        (
            validation("match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]"),
            "common_tls_context.validation_context",
        ),
        (
            validation(&format!(
                "trusted_ca: {ca}, match_typed_subject_alt_names: [{{san_type: OTHER_NAME, matcher: {{exact: a}}}}]"
            )),
            "common_tls_context.validation_context.match_typed_subject_alt_names[0].san_type",
        ),
        (validation(&format!("trusted_ca: {ca}, crl: {ca}")), "common_tls_context.validation_context.crl"),
        (
            validation(&format!("trusted_ca: {ca}, verify_certificate_hash: [x]")),
            "common_tls_context.validation_context.verify_certificate_hash[0]",
        ),
        (validation(&format!("crl: {ca}")), "common_tls_context.validation_context.crl"),
        (
            validation("verify_certificate_spki: [x]"),
            "common_tls_context.validation_context.verify_certificate_spki[0]",
        ),
        (
            format!("common_tls_context: {{tls_certificates: [{0}, {0}]}}", certificate(&pair)),
            "common_tls_context",
        ),
    ];
    for (yaml, path) in client_cases.into_iter().chain(spiffe_cases(&ca)) {
        let rejection = cluster_of(&cluster_yaml(&yaml)).expect_err(&yaml);
        assert_eq!(rejection.path, format!("transport_socket.typed_config.{path}"), "{yaml}: {rejection}");
    }
    let other = r#"{name: c, transport_socket: {name: alts, typed_config: {"@type": type.googleapis.com/google.protobuf.Struct, value: {}}}}"#;
    assert_eq!(cluster_of(other).unwrap_err().path, "transport_socket.typed_config");
    let raw = r#"{name: c, transport_socket: {name: raw, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}"#;
    assert!(cluster_of(raw).unwrap().config.tls.is_none());
    for (yaml, path) in
        [("{}", "name"), ("{name: s}", ""), ("{name: s, generic_secret: {}}", "generic_secret")]
    {
        assert_eq!(secret(&message(yaml), &mut context()).unwrap_err().path, path);
    }
}

/// What cannot stand beside the SPIFFE validator, and what is wrong in it.
fn spiffe_cases(ca: &str) -> Vec<(String, &'static str)> {
    const VALIDATOR: &str =
        "\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";
    let context = |domains: &str, more: &str| {
        let config = format!("{{name: spiffe, typed_config: {{{VALIDATOR}, {domains}}}}}");
        format!("common_tls_context: {{validation_context: {{custom_validator_config: {config}{more}}}}}")
    };
    let good = format!("trust_domains: [{{name: mesh, trust_bundle: {ca}}}]");
    let twice =
        format!("trust_domains: [{{name: mesh, trust_bundle: {ca}}}, {{name: mesh, trust_bundle: {ca}}}]");
    let beside = |more: &str| context(&good, more);
    let within = |domains: &str| context(domains, "");
    assert!(cluster_of(&cluster_yaml(&beside(""))).is_ok());
    vec![
        (beside(&format!(", trusted_ca: {ca}")), "common_tls_context.validation_context.trusted_ca"),
        (beside(&format!(", crl: {ca}")), "common_tls_context.validation_context.crl"),
        (
            beside(", only_verify_leaf_cert_crl: true"),
            "common_tls_context.validation_context.only_verify_leaf_cert_crl",
        ),
        (
            beside(", trust_chain_verification: ACCEPT_UNTRUSTED"),
            "common_tls_context.validation_context.trust_chain_verification",
        ),
        (
            within(&twice),
            "common_tls_context.validation_context.custom_validator_config.typed_config.trust_domains[1].name",
        ),
        (
            within("trust_domains: [{name: mesh, trust_bundle: {inline_string: nope}}]"),
            "common_tls_context.validation_context.custom_validator_config.typed_config.trust_domains[0].trust_bundle",
        ),
        (
            within(&format!("trust_domains: [{{name: 'spiffe://mesh', trust_bundle: {ca}}}]")),
            "common_tls_context.validation_context.custom_validator_config.typed_config.trust_domains[0].name",
        ),
        (
            within(&format!("trust_domains: [{{name: mesh, workload_trust_domain: a, trust_bundle: {ca}}}]")),
            "common_tls_context.validation_context.custom_validator_config.typed_config.trust_domains[0].workload_trust_domain",
        ),
        (
            within("trust_bundles: {inline_string: '{}'}"),
            "common_tls_context.validation_context.custom_validator_config.typed_config.trust_bundles",
        ),
        (
            within(""),
            "common_tls_context.validation_context.custom_validator_config.typed_config.trust_domains",
        ),
    ]
}

#[test]
fn handshakes_have_a_limit_unless_told_otherwise() {
    let pair = Authority::new().issue(&["a"]);
    let yaml = listener_yaml(&format!("common_tls_context: {{tls_certificates: [{}]}}", certificate(&pair)));
    let limit = |yaml: &str| listener_of(yaml).unwrap().config.chains[0].transport_socket_timeout;
    assert_eq!(limit(&yaml), Duration::from_secs(15));
    for (said, want) in [("0s", 0), ("3s", 3)] {
        let yaml = yaml.replacen(
            "  filters:",
            &format!("  transport_socket_connect_timeout: {said}\n  filters:"),
            1,
        );
        assert_eq!(limit(&yaml), Duration::from_secs(want));
    }
}

#[test]
fn ticket_keys_are_shared_under_the_same_rules_only() {
    let authority = Authority::new();
    let pair = authority.issue(&["a"]);
    let keys = format!("session_ticket_keys: {{keys: [{{inline_bytes: {}}}]}}", "AAAA".repeat(26) + "AAA=");
    let with = |rules: &str| {
        server(&format!(
            "{keys}, disable_stateful_session_resumption: true, common_tls_context: {{tls_certificates: [{}], {rules}}}",
            certificate(&pair)
        ))
    };
    let trust =
        |authority: &Authority| format!("validation_context: {{trusted_ca: {}}}", inline(&authority.pem()));
    let (one, same) = (with(""), with(""));
    let other = with(&trust(&authority));
    let client = client("");
    let resumes = |server: &ServerTls| {
        let mut far = None;
        handshake_with(server, &client, &mut far).unwrap();
        far.unwrap() == rustls::HandshakeKind::Resumed
    };
    assert!(!resumes(&one));
    assert!(resumes(&same), "another server with the same keys and rules");
    assert!(!resumes(&other), "a server that demands more");
}

/// The SDS configuration of a listener's certificate, and what became of it: where it comes from, or the refusal.
fn sds(source: &str) -> Result<ResourceRef, String> {
    let yaml = format!(
        "common_tls_context: {{tls_certificate_sds_secret_configs: [{{name: spiffe://mesh/a, sds_config: {source}}}]}}"
    );
    let translated =
        listener(&message(&listener_yaml(&yaml)), &mut context()).map_err(|error| error.to_string())?;
    let required: Vec<&str> = translated.required_clusters.iter().map(|one| one.name.as_str()).collect();
    let reference = translated.secret_refs[0].clone();
    let by_cluster =
        matches!(reference.stream.as_ref().map(|stream| &stream.target), Some(Target::Cluster(_)));
    assert_eq!(required.len(), usize::from(by_cluster), "{required:?}");
    Ok(reference)
}

#[test]
fn secrets_may_have_a_server_of_their_own() {
    let grpc = |service: &str| {
        format!(
            "{{initial_fetch_timeout: 2s, api_config_source: {{api_type: GRPC, transport_api_version: V3, grpc_services: [{service}]}}}}"
        )
    };
    let by_cluster = sds(&grpc("{envoy_grpc: {cluster_name: agent}}")).unwrap();
    assert_eq!(by_cluster.fetch_timeout, Duration::from_secs(2));
    assert_eq!(by_cluster.stream.unwrap().target, Target::Cluster("agent".to_owned()));
    let socket = sds(&grpc("{google_grpc: {target_uri: 'unix:/run/agent.sock', stat_prefix: x}}")).unwrap();
    assert!(matches!(socket.stream.unwrap().target, Target::Address(_)));
    for (source, field) in [
        (grpc("{google_grpc: {target_uri: 'agent.example:80', stat_prefix: x}}"), "grpc_services"),
        (grpc("{}"), "envoy_grpc"),
        ("{api_config_source: {api_type: REST}}".to_owned(), "api_type"),
        ("{path_config_source: {path: /x}}".to_owned(), "path_config_source"),
    ] {
        let refusal = sds(&source).unwrap_err();
        assert!(refusal.contains(field), "{source}: {refusal}");
    }
}
