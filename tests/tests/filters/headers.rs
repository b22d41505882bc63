//! `envoy.filters.http.header_mutation`.

use outrigger_tests::bootstrap::prefix_route;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

use crate::scene::{Script, filter, per_filter, received, typed};

const NAME: &str = "envoy.filters.http.header_mutation";

on_both_data_planes!(
    mutations_apply_in_turn,
    the_table_has_the_last_word,
    or_the_most_specific_level_has_it,
    answers_of_other_filters_are_mutated_too,
);

fn add(key: &str, value: &str, action: &str) -> Value {
    json!({"append": {"header": {"key": key, "value": value}, "append_action": action}})
}

fn per_route(request: &[Value]) -> Value {
    let config = json!({"mutations": {"request_mutations": request}});
    per_filter(NAME, typed("header_mutation.v3.HeaderMutationPerRoute", config))
}

async fn mutations_apply_in_turn(plane: DataPlane) -> Result<()> {
    let config = json!({"mutations": {
        "request_mutations": [
            {"remove": "x-gone"},
            {"remove_on_match": {"key_matcher": {"prefix": "x-secret-"}}},
            add("x-added", "%REQ(x-kept)%", "APPEND_IF_EXISTS_OR_ADD"),
            add("x-added", "2", "APPEND_IF_EXISTS_OR_ADD"),
            add("x-kept", "new", "OVERWRITE_IF_EXISTS"),
            add("x-absent", "new", "OVERWRITE_IF_EXISTS"),
        ],
        "response_mutations": [{"remove": "x-upstream"}, add("x-status", "%RESPONSE_CODE%", "ADD_IF_ABSENT")],
    }});
    let scene = Script::of(&[filter(NAME, "header_mutation.v3.HeaderMutation", config)]).start(plane).await?;
    let sent = [
        ("x-gone", "1"),
        ("x-secret-a", "1"),
        ("x-secret-b", "1"),
        ("x-kept", "old"),
        ("x-echo-header", "x-upstream=1"),
    ];
    let response = scene.get("/", &sent).await?;
    assert_eq!(received(&response, "x-added")?, ["old", "2"]);
    assert_eq!(received(&response, "x-kept")?, ["new"]);
    for gone in ["x-gone", "x-secret-a", "x-secret-b", "x-absent"] {
        assert!(received(&response, gone)?.is_empty(), "{gone}");
    }
    assert_eq!((response.header("x-upstream"), response.header("x-status")), (None, Some("200")));
    Ok(())
}

async fn levels(plane: DataPlane, most_specific_wins: bool) -> Result<Vec<String>> {
    let last = |value: &str| add("x-last", value, "OVERWRITE_IF_EXISTS_OR_ADD");
    let own = json!({
        "mutations": {"request_mutations": [last("filter")]},
        "most_specific_header_mutations_wins": most_specific_wins,
    });
    let mut route = prefix_route("/", "a");
    route["typed_per_filter_config"] = per_route(&[last("route")]);
    let script = Script::of(&[filter(NAME, "header_mutation.v3.HeaderMutation", own)]).routes(&[route]);
    let script = script.host("typed_per_filter_config", per_route(&[last("host")]));
    received(&script.start(plane).await?.get("/", &[]).await?, "x-last")
}

async fn the_table_has_the_last_word(plane: DataPlane) -> Result<()> {
    assert_eq!(levels(plane, false).await?, ["host"]);
    Ok(())
}

async fn or_the_most_specific_level_has_it(plane: DataPlane) -> Result<()> {
    assert_eq!(levels(plane, true).await?, ["route"]);
    Ok(())
}

/// The fault filter comes first: the request never reaches the other one, the response does.
async fn answers_of_other_filters_are_mutated_too(plane: DataPlane) -> Result<()> {
    let fault = json!({"abort": {"http_status": 503, "percentage": {"numerator": 100}}});
    let mutate = json!({"mutations": {"response_mutations": [add("x-seen", "yes", "ADD_IF_ABSENT")]}});
    let filters = [
        filter("envoy.filters.http.fault", "fault.v3.HTTPFault", fault),
        filter(NAME, "header_mutation.v3.HeaderMutation", mutate),
    ];
    let scene = Script::of(&filters).start(plane).await?;
    let response = scene.get("/", &[]).await?;
    assert_eq!((response.status, response.header("x-seen")), (503, Some("yes")));
    Ok(())
}
