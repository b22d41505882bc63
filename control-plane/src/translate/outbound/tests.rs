use super::super::options::Listening;
use super::super::translate as translated;
use super::*;
use crate::source::files::SourceFile;
use crate::source::{LoadOptions, load};

const MESH: &str = "
- {meshName: shop, spec: {egressFilter: {type: ALLOW_ALL}}}
- meshName: shop
  virtualNodeName: b
  spec:
    serviceDiscovery: {dns: {hostname: b.local}}
    listeners: [{portMapping: {port: 8080, protocol: http}}]
- {meshName: shop, virtualServiceName: b.shop, spec: {provider: {virtualNode: {virtualNodeName: b}}}}
- {meshName: shop, virtualServiceName: also-b.shop, spec: {provider: {virtualNode: {virtualNodeName: b}}}}
- {meshName: shop, virtualServiceName: nobody.shop, spec: {}}
- {meshName: shop, virtualRouterName: empty, spec: {}}
- {meshName: shop, virtualServiceName: empty.shop, spec: {provider: {virtualRouter: {virtualRouterName: empty}}}}
";

/// What node `a` of the mesh is given, with the findings on the way.
fn of_a(extra: &str, options: &TranslateOptions) -> (Option<Resources>, String) {
    let text = format!("{MESH}{extra}");
    let file = SourceFile { name: "mesh.yaml".into(), text, named: true };
    let loaded = load(&[file], &LoadOptions::default());
    let mut report = loaded.report;
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    let proxy = graph.resolve("mesh/shop/virtualNode/a").unwrap();
    let resources = translated(&graph, &proxy, options, &mut report);
    (resources, report.sorted().iter().map(|finding| format!("{finding}\n")).collect())
}

fn node_a(backends: &str) -> String {
    format!("- {{meshName: shop, virtualNodeName: a, spec: {{backends: [{backends}]}}}}\n")
}

fn backend(service: &str, policy: &str) -> String {
    format!("{{virtualService: {{virtualServiceName: {service}, clientPolicy: {{{policy}}}}}}}")
}

const VERIFIED: &str = "tls: {validation: {trust: {file: {certificateChain: /ca.pem}}}}";

#[test]
fn a_service_that_leads_nowhere_is_a_virtual_host_without_routes() {
    let plain = ["b.shop", "nobody.shop", "empty.shop"].map(|service| backend(service, ""));
    let explicit = Listening::Explicit { ports: BTreeMap::new() };
    for (listening, port) in [(TranslateOptions::default().listening, 8080), (explicit, 15001)] {
        let options = TranslateOptions { listening, ..TranslateOptions::default() };
        let (resources, said) = of_a(&node_a(&plain.join(", ")), &options);
        let resources = resources.unwrap_or_else(|| panic!("{said}"));
        let table = resources.routes.values().find(|table| table.name.contains("egress")).unwrap();
        for name in ["nobody.shop", "empty.shop"] {
            let host = table.virtual_hosts.iter().find(|host| host.name == name).unwrap();
            assert!(host.routes.is_empty());
            assert_eq!(host.domains, [name.to_owned(), format!("{name}:{port}")]);
        }
    }
}

#[test]
fn policies_that_differ_refuse_the_proxy_and_say_where() {
    let options = TranslateOptions::default();
    for policies in [
        ["", VERIFIED],
        [VERIFIED, ""],
        [VERIFIED, "tls: {validation: {trust: {file: {certificateChain: /other.pem}}}}"],
    ] {
        let backends = [backend("b.shop", policies[0]), backend("also-b.shop", policies[1])].join(", ");
        let (resources, said) = of_a(&node_a(&backends), &options);
        assert!(resources.is_none(), "{policies:?}");
        assert!(said.contains("client-policy-conflict") && said.contains("mesh.yaml:"), "{said}");
    }
    let backends = [backend("b.shop", VERIFIED), backend("also-b.shop", VERIFIED)].join(", ");
    assert!(of_a(&node_a(&backends), &options).0.is_some(), "policies that agree");
}

#[test]
fn two_meshes_of_one_trust_domain_are_given_no_identities() {
    let other = "- {meshName: Shop, spec: {}}\n";
    let text = format!("{}{other}", node_a(""));
    assert!(of_a(&text, &TranslateOptions::default()).0.is_some(), "nobody needs identities");
    let (resources, said) = of_a(&text, &TranslateOptions { mesh_ca: true, ..TranslateOptions::default() });
    assert!(resources.is_none());
    assert!(said.contains("trust-domain") && said.contains("\"Shop\""), "{said}");
}
