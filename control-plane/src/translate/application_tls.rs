//! TLS from a sidecar to its own application, the last hop, which App Mesh had no field for: a tag of the virtual node.
//! Source: aws-app-mesh-roadmap, issue 474; Envoy `UpstreamTlsContext`.

use outrigger_xds_protos::v3::core::TransportSocket;
use outrigger_xds_protos::v3::tls::{CommonTlsContext, UpstreamTlsContext};

use super::tls;
use crate::diagnostics::Report;
use crate::model::{OURS, Protocol, Resource, VirtualNodeSpec};

/// The tag of a virtual node.
const TAG: &str = "outrigger:application-tls";
/// Its value for an application whose certificate nobody checks.
const UNVERIFIED: &str = "unverified";

/// The socket towards the application of a node, if it is to be reached by TLS. A tag that means nothing is an error: what
/// it was meant to encrypt would go in plain text.
pub fn socket(
    node: &Resource<VirtualNodeSpec>,
    protocol: Protocol,
    report: &mut Report,
) -> Option<TransportSocket> {
    let meta = &node.meta;
    if let Some((odd, _)) = meta.tags.iter().find(|(key, _)| key.starts_with(OURS) && *key != TAG) {
        let message = format!("tag {odd} means nothing; the tag of a virtual node that is known is {TAG}");
        report.error(&meta.at, "application-tls", message);
    }
    let validation = match meta.tags.get(TAG)?.as_str() {
        UNVERIFIED => None,
        path if path.starts_with('/') => Some(tls::trust_in_file(path)),
        odd => {
            let message = format!(
                "tag {TAG} is \"{odd}\"; write the path of a PEM file with the roots of the application's certificate, or \
                 {UNVERIFIED}"
            );
            report.error(&meta.at, "application-tls", message);
            return None;
        }
    };
    let common = CommonTlsContext {
        alpn_protocols: tls::alpn(protocol),
        validation_context_type: validation,
        ..Default::default()
    };
    Some(tls::socket(&UpstreamTlsContext { common_tls_context: Some(common), ..Default::default() }))
}

#[cfg(test)]
mod tests {
    use outrigger_xds_protos::v3::cluster::Cluster;

    use crate::graph::Graph;
    use crate::source::files::SourceFile;
    use crate::source::{LoadOptions, load};
    use crate::translate::{Resources, TranslateOptions, translate};

    fn node(tags: &str) -> (Option<Resources>, String) {
        let text = format!(
            "
- {{meshName: shop, spec: {{}}}}
- meshName: shop
  virtualNodeName: a
  spec: {{listeners: [{{portMapping: {{port: 8080, protocol: http2}}}}]}}
  tags: {tags}
"
        );
        let file = SourceFile { name: "mesh.yaml".into(), text, named: true };
        let loaded = load(&[file], &LoadOptions::default());
        let mut report = loaded.report;
        let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
        let proxy = graph.resolve("mesh/shop/virtualNode/a").unwrap();
        let resources = translate(&graph, &proxy, &TranslateOptions::default(), &mut report);
        let said = report.sorted().into_iter().filter(|one| one.code == "application-tls");
        (resources, said.map(|one| one.message.clone()).collect())
    }

    fn application(resources: Resources) -> String {
        let socket = |one: &Cluster| one.transport_socket.clone();
        resources.clusters.values().find_map(socket).map(|socket| format!("{socket:?}")).unwrap_or_default()
    }

    #[test]
    fn a_handshake_has_more_time_than_a_connection() {
        for (tags, milliseconds) in
            [("[]", 250), ("[{key: 'outrigger:application-tls', value: unverified}]", 1000)]
        {
            let clusters = node(tags).0.unwrap().clusters;
            let application = clusters.values().find(|one| one.name.starts_with("cds_ingress")).unwrap();
            let timeout = application.connect_timeout.unwrap();
            assert_eq!(timeout.seconds * 1000 + i64::from(timeout.nanos) / 1_000_000, milliseconds);
        }
    }

    #[test]
    fn the_tag_says_who_is_trusted() {
        let (resources, said) = node("[{key: 'outrigger:application-tls', value: /etc/app/roots.pem}]");
        // Within the packed message it is a list of bytes.
        let path: Vec<String> = b"/etc/app/roots.pem".iter().map(u8::to_string).collect();
        let shown = application(resources.unwrap());
        assert!(shown.contains(&path.join(", ")), "{shown}");
        assert_eq!(said, "");
        let (resources, _) = node("[{key: 'outrigger:application-tls', value: unverified}]");
        assert!(application(resources.unwrap()).contains("envoy.transport_sockets.tls"));
        let (resources, _) = node("[{key: team, value: x}]");
        assert_eq!(application(resources.unwrap()), "");
    }

    #[test]
    fn a_tag_without_a_meaning_is_refused() {
        for (tags, wanted) in [
            ("[{key: 'outrigger:application-tls', value: 'yes'}]", "write the path"),
            ("[{key: 'outrigger:aplication-tls', value: /r.pem}]", "means nothing"),
        ] {
            let (resources, said) = node(tags);
            assert!(resources.is_none() && said.contains(wanted), "{said}");
        }
    }
}
