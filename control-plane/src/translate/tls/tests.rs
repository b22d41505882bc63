//! What is said of certificates that definitions have in AWS Certificate Manager.

use crate::graph::Graph;
use crate::source::files::SourceFile;
use crate::source::{LoadOptions, load};
use crate::translate::{TranslateOptions, translate};

const MESH: &str = "
- {meshName: shop, spec: {}}
- meshName: shop
  virtualNodeName: b
  spec:
    serviceDiscovery: {dns: {hostname: b.local}}
    listeners:
      - portMapping: {port: 8080, protocol: http}
        tls: {mode: STRICT, certificate: {acm: {certificateArn: 'arn:aws:acm:eu-west-1:111122223333:certificate/c'}}}
- meshName: shop
  virtualNodeName: a
  spec:
    backends: [{virtualService: {virtualServiceName: b.shop}}]
    backendDefaults:
      clientPolicy:
        tls:
          validation:
            trust: {acm: {certificateAuthorityArns: ['arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/c']}}
            subjectAlternativeNames: {match: {exact: [b.shop]}}
- {meshName: shop, virtualServiceName: b.shop, spec: {provider: {virtualNode: {virtualNodeName: b}}}}
";

/// The findings of a node with these codes.
fn said(node: &str, options: &TranslateOptions, codes: &[&str]) -> String {
    let file = SourceFile { name: "mesh.yaml".into(), text: MESH.to_owned(), named: true };
    let loaded = load(&[file], &LoadOptions::default());
    let mut report = loaded.report;
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    let proxy = graph.resolve(&format!("mesh/shop/virtualNode/{node}")).unwrap();
    translate(&graph, &proxy, options, &mut report);
    let found = report.sorted().into_iter().filter(|finding| codes.contains(&finding.code));
    found.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_acm_certificate_says_who_issues_it_now_and_what_is_different() {
    for (private_ca, issuer) in [(false, "the mesh's own authority"), (true, "AWS Private CA")] {
        let options = TranslateOptions { mesh_ca: true, private_ca, ..TranslateOptions::default() };
        let listener = said("b", &options, &["tls-mesh-ca"]);
        for part in [
            issuer,
            "in place of AWS Certificate Manager",
            "for a short while",
            "SPIFFE id",
            "callers from outside the mesh must trust its root",
            "mesh.yaml:9:",
        ] {
            assert!(listener.contains(part), "{part}: {listener}");
        }
        assert_eq!(listener.contains("name the mesh's owner (meshOwner)"), private_ca, "{listener}");
        let caller = said("a", &options, &["tls-mesh-ca"]);
        for part in [
            issuer,
            "in place of AWS Certificate Manager",
            "by its identity in the mesh and not by subjectAlternativeNames",
            "a server whose certificate the mesh has not issued is refused",
        ] {
            assert!(caller.contains(part), "{part}: {caller}");
        }
    }
}

#[test]
fn without_an_authority_both_ways_to_one_are_named() {
    for (node, field) in [("b", "tls.certificate.acm"), ("a", "validation.trust.acm")] {
        let refusal = said(node, &TranslateOptions::default(), &["tls-acm"]);
        for part in [field, "serve --mesh-ca DIRECTORY", "--mesh-ca-pca ARN", "as file or sds"] {
            assert!(refusal.contains(part), "{part}: {refusal}");
        }
    }
}
