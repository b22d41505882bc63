use super::*;
use crate::graph::Graph;
use crate::source::files::SourceFile;
use crate::source::{LoadOptions, load};
use crate::translate::{Resources, TranslateOptions, translate};

/// `a` declares what `b` serves by its listener 8080, and nobody what is behind 9090; the gateway leads to both.
const MESH: &str = "
- {meshName: shop, spec: {}, tags: [{key: 'outrigger:backend-access', value: MODE}]}
- {meshName: shop, virtualNodeName: a, spec: {backends: [{virtualService: {virtualServiceName: s.shop}}]}}
- {meshName: shop, virtualNodeName: c, spec: {}}
- meshName: shop
  virtualNodeName: b
  spec:
    serviceDiscovery: {dns: {hostname: b.local}}
    listeners:
      - {portMapping: {port: 8080, protocol: http}, TLS}
      - {portMapping: {port: 9090, protocol: tcp}, TLS}
- {meshName: shop, virtualRouterName: r, spec: {listeners: [{portMapping: {port: 80, protocol: http}}]}}
- meshName: shop
  virtualRouterName: r
  routeName: only
  spec: {httpRoute: {match: {prefix: /}, action: {weightedTargets: [{virtualNode: b, weight: 1, port: 8080}]}}}
- {meshName: shop, virtualServiceName: s.shop, spec: {provider: {virtualRouter: {virtualRouterName: r}}}}
- {meshName: shop, virtualServiceName: all.shop, spec: {provider: {virtualNode: {virtualNodeName: b}}}}
- {meshName: shop, virtualGatewayName: edge, spec: {listeners: [{portMapping: {port: 443, protocol: http}}]}}
- meshName: shop
  virtualGatewayName: edge
  gatewayRouteName: only
  spec:
    httpRoute: {match: {prefix: /}, action: {target: {port: 8080, virtualService: {virtualServiceName: all.shop}}}}
";
const ACM: &str = "tls: {mode: STRICT, certificate: {acm: {certificateArn: 'arn:aws:acm:eu-west-1:111122223333:certificate/c'}}}";
const FILE: &str = "tls: {mode: STRICT, certificate: {file: {certificateChain: /c.pem, privateKey: /c.key}}}";

type Findings = Vec<(String, String)>;

/// What `b` is given, and the codes and messages of all findings.
fn b(mode: &str, tls: &str, mesh_ca: bool) -> (Option<Resources>, Findings) {
    translated("virtualNode/b", &MESH.replace("MODE", mode).replace("TLS", tls), mesh_ca)
}

fn translated(node: &str, text: &str, mesh_ca: bool) -> (Option<Resources>, Findings) {
    let text = text.to_owned();
    let file = SourceFile { name: "mesh.yaml".into(), text, named: true };
    let loaded = load(&[file], &LoadOptions::default());
    let mut report = loaded.report;
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    let proxy = graph.resolve(&format!("mesh/shop/{node}")).unwrap();
    let options = TranslateOptions { mesh_ca, ..TranslateOptions::default() };
    let resources = translate(&graph, &proxy, &options, &mut report);
    let findings = report.sorted().into_iter().map(|one| (one.code.to_owned(), one.message.clone()));
    (resources, findings.collect())
}

fn said(findings: &[(String, String)], code: &str) -> String {
    findings.iter().filter(|(found, _)| found == code).map(|(_, message)| message.as_str()).collect()
}

/// The listeners as text.
fn text(resources: &Resources) -> String {
    resources.listeners.values().map(|listener| format!("{listener:?}")).collect()
}

#[test]
fn callers_are_those_whose_backends_and_routes_lead_to_a_listener() {
    let (resources, findings) = b("enforce", ACM, true);
    let resources = resources.unwrap_or_else(|| panic!("{findings:?}"));
    let listener = &resources.listeners["lds_ingress_0.0.0.0_15000"];
    let chain = |port: u32| {
        let of = |c: &&outrigger_xds_protos::v3::listener::FilterChain| {
            c.filter_chain_match.as_ref().and_then(|m| m.destination_port.as_ref()).map(|p| p.value)
                == Some(port)
        };
        String::from_utf8_lossy(
            &listener
                .filter_chains
                .iter()
                .find(of)
                .unwrap()
                .filters
                .iter()
                .flat_map(|f| match &f.config_type {
                    Some(ConfigType::TypedConfig(any)) => any.value.clone(),
                    _ => Vec::new(),
                })
                .collect::<Vec<u8>>(),
        )
        .into_owned()
    };
    let (http, tcp) = (chain(8080), chain(9090));
    for (id, calls_http, calls_tcp) in [
        ("spiffe://shop/virtualNode/a", true, false),
        ("spiffe://shop/virtualGateway/edge", true, true),
        ("spiffe://shop/virtualNode/c", false, false),
    ] {
        assert_eq!((http.contains(id), tcp.contains(id)), (calls_http, calls_tcp), "{id}");
    }
    // The certificate is the mesh's, so callers are asked for theirs although the definition does not say so.
    assert!(text(&resources).contains("envoy.filters.network.rbac"));
    assert!(listener.filter_chains.iter().all(|chain| chain.transport_socket.is_some()));
}

#[test]
fn without_identities_the_rule_is_refused_and_never_left_out() {
    let (none, findings) = b("enforce", ACM, false);
    assert!(none.is_none());
    assert!(said(&findings, "access-identities").contains("serve --mesh-ca DIRECTORY"), "{findings:?}");
    let (none, findings) = b("enforce", FILE, true);
    assert!(none.is_none());
    assert!(said(&findings, "access-identities").contains("virtual node \"b\""), "{findings:?}");
}

#[test]
fn a_dry_run_without_identities_says_so_and_goes_on() {
    let (some, findings) = b("dry-run", FILE, true);
    assert!(some.is_some());
    assert!(said(&findings, "access-identities").contains("the dry run leaves it out"), "{findings:?}");
}

/// Declared callers whose own policies hide who they are in the mesh are told, by node and field.
#[test]
fn callers_that_would_not_be_known_are_named() {
    let with = |mode: &str, tls: &str, policy: &str| {
        let policy = format!("spec: {{backendDefaults: {{clientPolicy: {{tls: {policy}}}}}, backends: [");
        let text = MESH.replace("MODE", mode).replace("TLS", tls);
        let (some, findings) =
            translated("virtualNode/a", &text.replace("spec: {backends: [", &policy), true);
        assert!(some.is_some(), "{findings:?}");
        said(&findings, "access-identities")
    };
    let trust = |trust: &str| format!("validation: {{trust: {trust}}}");
    let (file, mesh) =
        (trust("{file: {certificateChain: /r.pem}}"), trust("{sds: {secretName: 'outrigger:trust'}}"));
    let own = "certificate: {file: {certificateChain: /c.pem, privateKey: /c.key}}";
    for (policy, field) in [
        (format!("{{{own}, {mesh}}}"), "clientPolicy.tls.certificate.file"),
        (
            format!("{{certificate: {{sds: {{secretName: other}}}}, {mesh}}}"),
            "clientPolicy.tls.certificate.sds",
        ),
        (format!("{{{file}}}"), "validation.trust.file"),
        (format!("{{{}}}", trust("{sds: {secretName: other}}")), "validation.trust.sds"),
    ] {
        let message = with("enforce", ACM, &policy);
        assert!(
            message.contains(field) && message.contains("denies the calls of virtual node \"a\""),
            "{message}"
        );
        let message = with("dry-run", ACM, &policy);
        assert!(message.contains(field) && message.contains("would deny"), "{message}");
        assert_eq!(with("'off'", ACM, &policy), "");
    }
    let acm = trust(
        "{acm: {certificateAuthorityArns: ['arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/c']}}",
    );
    for policy in [
        format!("{{{mesh}}}"),
        format!("{{{acm}}}"),
        format!("{{certificate: {{sds: {{secretName: 'outrigger:identity'}}}}, {file}}}"),
    ] {
        assert_eq!(with("enforce", ACM, &policy), "", "{policy}");
    }
    // Without any policy a caller shows itself to certificates of the mesh, and to others not.
    let plain = |tls: &str| {
        let text = MESH.replace("MODE", "enforce").replace("TLS", tls);
        said(&translated("virtualNode/a", &text, true).1, "access-identities")
    };
    assert_eq!(plain(ACM), "");
    let asking = FILE.replace("}}}", "}}, validation: {trust: {sds: {secretName: 'outrigger:trust'}}}}");
    assert!(plain(&asking).contains("has no clientPolicy.tls"), "{}", plain(&asking));
}

#[test]
fn without_the_tag_nothing_is_different() {
    let (off, findings) = b("'off'", FILE, true);
    let off = off.unwrap_or_else(|| panic!("{findings:?}"));
    assert!(!text(&off).contains("rbac"));
}

#[test]
fn a_tag_that_nobody_knows_is_an_error() {
    let (_, findings) = b("enforced", ACM, true);
    assert!(said(&findings, "access-tag").contains("write enforce, dry-run"), "{findings:?}");
}
