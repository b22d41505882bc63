//! `typed_per_filter_config` at every level, `disabled`, and what runs where no route matched.

use outrigger_tests::bootstrap::prefix_route;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

use crate::scene::{Script, filter, per_filter, switched, typed};

const NAME: &str = "the-fault";
const KIND: &str = "fault.v3.HTTPFault";

on_both_data_planes!(
    the_most_specific_settings_win,
    filters_are_switched_off_and_on,
    weighted_clusters_have_settings_of_their_own,
    filters_run_before_the_action_of_a_route,
    filters_run_where_no_route_matches,
    filters_run_in_order,
);

fn abort(status: u16) -> Value {
    json!({"abort": {"http_status": status, "percentage": {"numerator": 100}}})
}

fn with(mut route: Value, config: Value) -> Value {
    route["typed_per_filter_config"] = per_filter(NAME, config);
    route
}

async fn the_most_specific_settings_win(plane: DataPlane) -> Result<()> {
    let own = with(prefix_route("/own", "a"), typed(KIND, abort(501)));
    let script = Script::of(&[filter(NAME, KIND, abort(503))]).routes(&[own, prefix_route("/", "a")]);
    let script = script.host("typed_per_filter_config", per_filter(NAME, typed(KIND, abort(502))));
    let scene = script.start(plane).await?;
    assert_eq!(scene.get("/own", &[]).await?.status, 501);
    assert_eq!(scene.get("/", &[]).await?.status, 502);
    Ok(())
}

async fn filters_are_switched_off_and_on(plane: DataPlane) -> Result<()> {
    let mut sleeping = filter("asleep", KIND, abort(501));
    sleeping["disabled"] = json!(true);
    let mut woken = prefix_route("/woken", "a");
    woken["typed_per_filter_config"] = json!({"asleep": switched(false, Some(typed(KIND, abort(504))))});
    let off = with(prefix_route("/off", "a"), switched(true, None));
    let script = Script::of(&[sleeping, filter(NAME, KIND, abort(503))]);
    let scene = script.routes(&[woken, off, prefix_route("/", "a")]).start(plane).await?;
    for (path, status) in [("/woken", 504), ("/off", 200), ("/", 503)] {
        assert_eq!(scene.get(path, &[]).await?.status, status, "{path}");
    }
    Ok(())
}

async fn weighted_clusters_have_settings_of_their_own(plane: DataPlane) -> Result<()> {
    let entry = |status: u16| {
        let config = per_filter(NAME, typed(KIND, abort(status)));
        json!({"name": "a", "weight": 50, "typed_per_filter_config": config})
    };
    let mut route = prefix_route("/", "a");
    route["route"] = json!({"weighted_clusters": {"clusters": [entry(501), entry(502)]}});
    let script = Script::of(&[filter(NAME, KIND, json!({}))]);
    let scene = script.routes(&[with(route, typed(KIND, abort(503)))]).start(plane).await?;
    let mut seen = [0; 2];
    for _ in 0..40 {
        match scene.get("/", &[]).await?.status {
            501 => seen[0] += 1,
            502 => seen[1] += 1,
            other => return Err(format!("status {other}").into()),
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    Ok(())
}

async fn filters_run_before_the_action_of_a_route(plane: DataPlane) -> Result<()> {
    let direct = json!({"match": {"prefix": "/direct"}, "direct_response": {"status": 204}});
    let redirect = json!({"match": {"prefix": "/"}, "redirect": {"host_redirect": "elsewhere"}});
    let script = Script::of(&[filter(NAME, KIND, abort(503))]).routes(&[direct, redirect]);
    let scene = script.start(plane).await?;
    assert_eq!(scene.get("/direct", &[]).await?.status, 503);
    assert_eq!(scene.get("/", &[]).await?.status, 503);
    Ok(())
}

async fn filters_run_where_no_route_matches(plane: DataPlane) -> Result<()> {
    let script = Script::of(&[filter(NAME, KIND, abort(503))]).routes(&[prefix_route("/known", "a")]);
    let scene = script.start(plane).await?;
    assert_eq!(scene.get("/unknown", &[]).await?.status, 503);
    Ok(())
}

async fn filters_run_in_order(plane: DataPlane) -> Result<()> {
    let filters = [filter("first", KIND, abort(501)), filter("second", KIND, abort(502))];
    let scene = Script::of(&filters).start(plane).await?;
    assert_eq!(scene.get("/", &[]).await?.status, 501);
    Ok(())
}
