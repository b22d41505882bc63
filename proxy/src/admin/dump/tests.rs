use super::*;
use crate::admin::reply::Body;

/// Sections as the server hands them in.
pub(in crate::admin) fn sections() -> Vec<Value> {
    vec![
        json!({
            "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
            "bootstrap": { "node": { "id": "n", "cluster": "c" } },
            "last_updated": "2026-11-21T02:47:49.149Z",
        }),
        json!({
            "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
            "version_info": "7",
            "static_clusters": [{ "cluster": { "name": "a", "type": "STATIC" } }],
            "dynamic_active_clusters": [
                { "version_info": "7", "cluster": { "name": "b" } },
                { "version_info": "6", "cluster": { "name": "bb" } },
            ],
        }),
        json!({
            "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
            "dynamic_listeners": [{ "name": "l", "active_state": { "version_info": "3" } }],
        }),
    ]
}

fn dump(query: &str) -> (StatusCode, Value) {
    let reply = config_dump(sections(), &Query::parse(query));
    let Body::Whole(text) = reply.body else { panic!("pieces") };
    (reply.status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[test]
fn whole_dumps_keep_the_order_of_sections() {
    assert_eq!(dump(""), (StatusCode::OK, json!({ "configs": sections() })));
}

#[test]
fn one_field_gives_typed_elements() {
    let (status, json) = dump("resource=dynamic_active_clusters");
    assert_eq!(status, StatusCode::OK);
    let configs = json["configs"].as_array().unwrap();
    assert_eq!(configs.len(), 2);
    assert_eq!(configs[0]["@type"], "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster");
    assert_eq!(configs[0]["cluster"]["name"], "b");
    assert_eq!(dump("resource=static_secrets").1, json!({ "configs": [] }));
    let unknown = (StatusCode::NOT_FOUND, json!("bogus not found in config dump"));
    assert_eq!(dump("resource=bogus"), unknown);
}

#[test]
fn masks_prune_and_drop_empty_sections() {
    assert_eq!(
        dump("mask=bootstrap.node.id").1,
        json!({
            "configs": [{
                "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
                "bootstrap": { "node": { "id": "n" } },
            }],
        })
    );
    let (_, json) = dump("resource=dynamic_active_clusters&mask=cluster.name,version_info");
    assert_eq!(
        json["configs"][1],
        json!({
            "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster",
            "version_info": "6",
            "cluster": { "name": "bb" },
        })
    );
}

#[test]
fn names_match_whole() {
    let (_, json) = dump("name_regex=b");
    assert_eq!(json["configs"][1]["dynamic_active_clusters"].as_array().unwrap().len(), 1);
    assert_eq!(json["configs"][1]["static_clusters"], json!([]));
    assert_eq!(json["configs"][2]["dynamic_listeners"], json!([]));
    assert_eq!(json["configs"][0]["bootstrap"]["node"]["id"], "n");
    assert_eq!(dump("name_regex=(").0, StatusCode::BAD_REQUEST);
}
