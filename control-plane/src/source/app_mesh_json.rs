//! JSON of the App Mesh API: input of `create-*`/`update-*`, output of `describe-*`, lists of either.
//!
//! The kind is told by the name keys. A file whose names are given outside of it is refused.

use super::LoadOptions;
use super::node::{Node, Value};
use super::read::{Identity, Reader, read_resource};
use crate::model::{Definitions, Kind};

/// Keys of requests and responses that say nothing about the resource.
const ENVELOPE: [&str; 6] = ["clientToken", "metadata", "status", "ResponseMetadata", "arn", "resourceOwner"];

/// Reads one document.
pub fn load(document: &Node, options: &LoadOptions, cx: &mut Reader<'_>, into: &mut Definitions) {
    if let Value::List(items) = &document.value {
        for item in items {
            load(item, options, cx, into);
        }
        return;
    }
    if let Some(described) =
        Kind::ALL.iter().find_map(|k| document.get(k.arn_segment()).filter(|n| n.as_map().is_some()))
    {
        return load(described, options, cx, into);
    }
    match kind_of(document) {
        Some(kind) => {
            let account = options.account.as_deref();
            let identity =
                Identity { kind, at: &document.at, generated_name: None, account, ignored: &ENVELOPE };
            read_resource(document, &identity, cx, into);
        }
        None => {
            let message = "the document has a spec but no name (meshName, virtualNodeName, ...), so it is not known \
                           what it defines; write the names beside \"spec\"";
            cx.report.error(&document.at, "no-name", message);
        }
    }
}

/// The kind whose name key is there; children carry their parents' name keys too, so the deepest wins.
fn kind_of(document: &Node) -> Option<Kind> {
    let deepest_first = [
        Kind::Route,
        Kind::GatewayRoute,
        Kind::VirtualRouter,
        Kind::VirtualGateway,
        Kind::VirtualNode,
        Kind::VirtualService,
        Kind::Mesh,
    ];
    deepest_first.into_iter().find(|k| document.get(k.name_key()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::files::SourceFile;
    use crate::source::load as load_files;

    fn read(text: &str) -> crate::source::Loaded {
        let file = SourceFile { name: "f.json".into(), text: text.into(), named: true };
        load_files(&[file], &LoadOptions::default())
    }

    #[test]
    fn requests_and_responses_are_read() {
        let loaded = read(
            r#"[{"meshName": "m", "clientToken": "t", "tags": [{"key": "k", "value": "v"}]},
                {"meshName": "m", "virtualRouterName": "r", "routeName": "x", "spec": {"tcpRoute": {"action":
                  {"weightedTargets": [{"virtualNode": "n", "weight": 1}]}}}},
                {"virtualNode": {"meshName": "m", "virtualNodeName": "n", "metadata": {"uid": "u"},
                  "spec": {}, "status": {"status": "ACTIVE"}}}]"#,
        );
        assert!(loaded.report.sorted().is_empty(), "{:?}", loaded.report.sorted());
        let counts = loaded.definitions.counts();
        assert_eq!((counts["Mesh"], counts["Route"], counts["VirtualNode"]), (1, 1, 1));
        assert_eq!(loaded.definitions.routes[0].meta.parent.as_ref().unwrap().name, "r");
    }

    #[test]
    fn a_spec_without_names_is_refused() {
        assert_eq!(read(r#"{"spec": {}}"#).report.sorted()[0].code, "no-name");
    }
}
