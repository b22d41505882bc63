//! Local rate limits that tell requests apart: by each action, with rules of the filter, of routes and of virtual hosts.

use serde_json::{Value, json};

use super::super::{host, table};
use super::{always_by_default, chain, with_own};
use crate::case::{Group, Request, get};

const LIMIT: (&str, &str) = ("envoy.filters.http.local_ratelimit", "local_ratelimit.v3.LocalRateLimit");

/// One virtual host with limits of its own.
struct Scene {
    name: &'static str,
    settings: Value,
    route: Value,
    host: Value,
    requests: Vec<Request>,
}

/// A bucket that is not refilled.
fn bucket(tokens: u32) -> Value {
    json!({"max_tokens": tokens, "fill_interval": "3600s"})
}

/// A descriptor with this many tokens.
fn limit(entries: &[(&str, &str)], tokens: u32) -> Value {
    let entries: Vec<Value> =
        entries.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    json!({"entries": entries, "token_bucket": bucket(tokens)})
}

/// A rule of these actions.
fn rule(actions: Value) -> Value {
    json!({ "actions": actions })
}

fn constant(value: &str) -> Value {
    json!({"generic_key": {"descriptor_value": value}})
}

impl Scene {
    /// With rules in the filter's settings.
    fn own(name: &'static str, rules: Value, limits: Value) -> Self {
        let mut scene = Self::by_route(name, json!({}), limits);
        scene.settings["rate_limits"] = rules;
        scene
    }

    /// With rules elsewhere.
    fn by_route(name: &'static str, route: Value, limits: Value) -> Self {
        let settings = json!({
            "stat_prefix": "limit",
            "token_bucket": bucket(1000),
            "filter_enabled": always_by_default(),
            "filter_enforced": always_by_default(),
            "descriptors": limits,
        });
        Self { name, settings, route, host: json!({}), requests: Vec::new() }
    }

    fn set(mut self, field: &str, value: Value) -> Self {
        self.settings[field] = value;
        self
    }

    fn host_rules(mut self, rules: Value) -> Self {
        self.host["rate_limits"] = rules;
        self
    }

    /// Requests in this order; each is sent twice.
    fn tried_with(mut self, requests: &[Request]) -> Self {
        for request in requests {
            self.requests.extend([request.clone(), request.clone()]);
        }
        self
    }

    fn virtual_host(&self) -> Value {
        let mut action = json!({"cluster": "a"});
        merge(&mut action, &self.route);
        let mut item = host(self.name, vec![json!({"match": {"prefix": "/"}, "route": action})]);
        merge(&mut item, &self.host);
        with_own(item, LIMIT.0, LIMIT.1, self.settings.clone())
    }
}

fn merge(into: &mut Value, fields: &Value) {
    for (field, value) in fields.as_object().into_iter().flatten() {
        into[field] = value.clone();
    }
}

/// What each action makes of requests.
fn actions() -> Vec<Scene> {
    let header = |skip: bool| json!({"request_headers": {"header_name": "X-User", "descriptor_key": "user", "skip_if_absent": skip}});
    let query = |skip: bool| json!({"query_parameters": {"query_parameter_name": "q", "descriptor_key": "q", "skip_if_absent": skip}});
    let with_header = |value: &str| get("/").with("x-user", value);
    let header_match = |expect: bool| {
        json!({"header_value_match": {
            "descriptor_value": "v", "expect_match": expect,
            "headers": [{"name": "x-user", "string_match": {"prefix": "a"}}, {"name": "x-other", "present_match": true}],
        }})
    };
    let query_match = |expect: bool| {
        json!({"query_parameter_value_match": {
            "descriptor_value": "v", "descriptor_key": "mine", "expect_match": expect,
            "query_parameters": [{"name": "q", "string_match": {"exact": "a b"}}],
        }})
    };
    let user = |value: &str, tokens| limit(&[("user", value)], tokens);
    let both = get("/").with("x-user", "a").with("x-other", "");
    let queries =
        ["/?q=a", "/?q=a&q=b", "/?q=b&q=a", "/?q=a%20b", "/?q=a+b", "/?q", "/?Q=a", "/?p=1&q=a", "/"];
    let queries: Vec<Request> = queries.into_iter().map(get).collect();
    vec![
        Scene::own("header", json!([rule(json!([header(false)]))]), json!([user("a", 1), user("b", 3)]))
            .tried_with(&[with_header("a"), with_header("b"), with_header("c"), get("/")])
            .tried_with(&[with_header("b").with("x-user", "a"), with_header("A"), with_header("b").http2()]),
        Scene::own(
            "header-or-not",
            json!([rule(json!([header(true), constant("g")]))]),
            json!([limit(&[("generic_key", "g")], 1), limit(&[("user", "a"), ("generic_key", "g")], 1)]),
        )
        .tried_with(&[with_header("a"), get("/"), with_header("b")]),
        Scene::own(
            "header-needed",
            json!([rule(json!([header(false), constant("g")]))]),
            json!([limit(&[("generic_key", "g")], 1), limit(&[("user", "a"), ("generic_key", "g")], 1)]),
        )
        .tried_with(&[with_header("a"), get("/"), with_header("b")]),
        Scene::own(
            "query",
            json!([rule(json!([query(false)]))]),
            json!([limit(&[("q", "a")], 1), limit(&[("q", "a b")], 1), limit(&[("q", "a+b")], 1)]),
        )
        .tried_with(&queries),
        Scene::own(
            "query-or-not",
            json!([rule(json!([constant("g"), query(true)]))]),
            json!([limit(&[("generic_key", "g")], 1), limit(&[("generic_key", "g"), ("q", "a")], 1)]),
        )
        .tried_with(&queries[..1])
        .tried_with(&queries[8..]),
        Scene::own(
            "clusters",
            json!([rule(json!([{"source_cluster": {}}, {"destination_cluster": {}}]))]),
            json!([limit(&[("source_cluster", "test-cluster"), ("destination_cluster", "a")], 1)]),
        )
        .tried_with(&[get("/")]),
        Scene::own(
            "destination",
            json!([rule(json!([{"destination_cluster": {}}]))]),
            json!([limit(&[("destination_cluster", "a")], 1)]),
        )
        .tried_with(&[get("/")]),
        Scene::own(
            "address",
            json!([rule(json!([{"remote_address": {}}]))]),
            json!([limit(&[("remote_address", "127.0.0.1")], 1)]),
        )
        .tried_with(&[get("/"), get("/").with("x-forwarded-for", "10.1.2.3")]),
        Scene::own(
            "network",
            json!([rule(json!([{"masked_remote_address": {"v4_prefix_mask_len": 8}}]))]),
            json!([limit(&[("masked_remote_address", "127.0.0.0/8")], 1)]),
        )
        .tried_with(&[get("/")]),
        Scene::own(
            "whole-address",
            json!([rule(json!([{"masked_remote_address": {}}]))]),
            json!([limit(&[("masked_remote_address", "127.0.0.1/32")], 1)]),
        )
        .tried_with(&[get("/")]),
        Scene::own(
            "constant",
            json!([rule(
                json!([{"generic_key": {"descriptor_value": "%REQ(x-user)%", "descriptor_key": "k"}}])
            )]),
            json!([limit(&[("k", "%REQ(x-user)%")], 1), limit(&[("k", "a")], 3)]),
        )
        .tried_with(&[with_header("a"), with_header("b")]),
        Scene::own(
            "headers-match",
            json!([rule(json!([header_match(true)]))]),
            json!([limit(&[("header_match", "v")], 1)]),
        )
        .tried_with(&[
            get("/"),
            with_header("a"),
            both.clone(),
            with_header("b").with("x-other", ""),
        ]),
        Scene::own(
            "headers-differ",
            json!([rule(json!([header_match(false)]))]),
            json!([limit(&[("header_match", "v")], 1)]),
        )
        .tried_with(&[both, with_header("a")]),
        Scene::own(
            "query-matches",
            json!([rule(json!([query_match(true)]))]),
            json!([limit(&[("mine", "v")], 1)]),
        )
        .tried_with(&queries),
        Scene::own(
            "query-differs",
            json!([rule(json!([query_match(false)]))]),
            json!([limit(&[("mine", "v")], 3)]),
        )
        .tried_with(&queries),
    ]
}

/// How descriptors meet buckets.
fn buckets() -> Vec<Scene> {
    let header = |name: &str| {
        let key = name.trim_start_matches("x-");
        rule(json!([{"request_headers": {"header_name": name, "descriptor_key": key}}]))
    };
    let user = |value: &str| get("/").with("x-user", value);
    let mut slow = limit(&[("user", "a")], 1);
    slow["token_bucket"]["fill_interval"] = json!("7200s");
    let mut slow_team = limit(&[("team", "t")], 3);
    slow_team["token_bucket"]["fill_interval"] = json!("7200s");
    let mut shadow = limit(&[("user", "a")], 1);
    shadow["shadow_mode"] = json!(true);
    let mut slow_shadow = slow.clone();
    slow_shadow["shadow_mode"] = json!(true);
    let by_both = || json!([header("x-user"), header("x-team")]);
    let of_team = |user: &str| get("/").with("x-user", user).with("x-team", "t");
    let mut twice = header("x-user");
    twice["hits_addend"] = json!({"number": 2});
    let added = json!([{"header": {"key": "x-limited", "value": "yes"}}]);
    vec![
        Scene::own("any-value", json!([header("x-user")]), json!([limit(&[("user", "")], 1)]))
            .tried_with(&[user("a"), user("b"), user("a"), user(""), get("/")]),
        Scene::own("few-values", json!([header("x-user")]), json!([limit(&[("user", "")], 1)]))
            .set("max_dynamic_descriptors", json!(2))
            .tried_with(&[user("a"), user("b"), user("a"), user("c"), user("b"), user("c")]),
        Scene::own(
            "any-of-two",
            json!([rule(json!([constant("g"), {"request_headers": {"header_name": "x-user", "descriptor_key": "user"}}]))]),
            json!([limit(&[("generic_key", "g"), ("user", "")], 1), limit(&[("generic_key", "h"), ("user", "")], 5)]),
        )
        .tried_with(&[user("a"), user("b")]),
        Scene::own(
            "exact-before-any",
            json!([header("x-user")]),
            json!([limit(&[("user", "")], 1), limit(&[("user", "a")], 3)]),
        )
        .tried_with(&[user("a"), user("b"), user("a")]),
        Scene::own(
            "slowest-first",
            json!([header("x-user"), header("x-team")]),
            json!([slow, limit(&[("team", "t")], 3)]),
        )
        .tried_with(&[user("a").with("x-team", "t"), user("b").with("x-team", "t")]),
        Scene::own("default-too", json!([header("x-user")]), json!([limit(&[("user", "a")], 5)]))
            .set("token_bucket", bucket(3))
            .tried_with(&[user("a"), user("b"), user("a")]),
        Scene::own("default-for-others", json!([header("x-user")]), json!([limit(&[("user", "a")], 5)]))
            .set("token_bucket", bucket(1))
            .set("always_consume_default_token_bucket", json!(false))
            .tried_with(&[user("a"), user("b"), user("a"), user("a")]),
        Scene::own("shadow", json!([header("x-user")]), json!([shadow]))
            .set("request_headers_to_add_when_not_enforced", added.clone())
            .tried_with(&[user("a"), user("b")]),
        // A shadow that says no first, one that says no last, and one before the bucket of all.
        Scene::own("slow-shadow", by_both(), json!([slow_shadow, limit(&[("team", "t")], 3)]))
            .tried_with(&[of_team("a"), of_team("a"), of_team("b"), of_team("b")]),
        Scene::own("quick-shadow", by_both(), json!([shadow, slow_team]))
            .tried_with(&[of_team("a"), of_team("a"), of_team("b")]),
        Scene::own("shadow-of-some", json!([header("x-user")]), json!([slow_shadow]))
            .set("token_bucket", bucket(3))
            .tried_with(&[user("a"), user("a"), user("b"), user("b")]),
        Scene::own("two-at-once", json!([twice]), json!([limit(&[("user", "a")], 3)]))
            .tried_with(&[user("a"), user("b")]),
        Scene::own("not-enforced", json!([header("x-user")]), json!([limit(&[("user", "a")], 1)]))
            .set("filter_enforced", json!({"default_value": {"numerator": 0, "denominator": "HUNDRED"}}))
            .set("request_headers_to_add_when_not_enforced", added)
            .tried_with(&[user("a"), user("b")]),
        Scene::own("none-at-all", json!([header("x-user")]), json!([limit(&[("user", "a")], 0)]))
            .tried_with(&[user("a"), user("b")]),
        Scene::own("nothing-by-default", json!([header("x-user")]), json!([limit(&[("user", "a")], 1)]))
            .set("token_bucket", bucket(0))
            .tried_with(&[user("a"), user("b")]),
    ]
}

/// Where rules come from.
fn levels() -> Vec<Scene> {
    let limits = || json!([limit(&[("generic_key", "v")], 1), limit(&[("generic_key", "h")], 1)]);
    let says = |value: &str| json!([rule(json!([constant(value)]))]);
    let at_stage = |stage: u32| {
        let mut rule = rule(json!([constant("v")]));
        rule["stage"] = json!(stage);
        json!([rule])
    };
    let mut disabled = says("v");
    disabled[0]["disable_key"] = json!("key");
    let route = |rules: Value| json!({ "rate_limits": rules });
    let once = [get("/")];
    vec![
        Scene::by_route("route", route(says("v")), limits()).tried_with(&once),
        Scene::by_route("route-of-stage", route(at_stage(1)), limits())
            .set("stage", json!(1))
            .tried_with(&once),
        Scene::by_route("other-stage", route(at_stage(1)), limits()).tried_with(&once),
        Scene::by_route("disabled", route(disabled), limits()).tried_with(&once),
        Scene::by_route("host", json!({}), limits()).host_rules(says("h")).tried_with(&once),
        Scene::by_route("overridden", route(says("x")), limits()).host_rules(says("h")).tried_with(&once),
        Scene::by_route("included", route(says("x")), limits())
            .set("vh_rate_limits", json!("INCLUDE"))
            .host_rules(says("h"))
            .tried_with(&once),
        Scene::by_route("ignored", json!({}), limits())
            .set("vh_rate_limits", json!("IGNORE"))
            .host_rules(says("h"))
            .tried_with(&once),
        Scene::by_route(
            "included-by-route",
            json!({"rate_limits": says("x"), "include_vh_rate_limits": true}),
            limits(),
        )
        .set("vh_rate_limits", json!("IGNORE"))
        .host_rules(says("h"))
        .tried_with(&once),
        Scene::by_route("of-other-stage-overrides", route(at_stage(1)), limits())
            .host_rules(says("h"))
            .tried_with(&once),
        Scene::by_route("filter-before-route", route(says("v")), limits())
            .set("rate_limits", says("x"))
            .tried_with(&once),
    ]
}

/// All of them, as groups.
pub fn groups() -> Vec<Group> {
    let group = |(name, scenes): (&str, Vec<Scene>)| {
        let hosts = scenes.iter().map(Scene::virtual_host).collect();
        let mut group = Group::new(name, table(hosts))
            .set("http_filters", chain(&[(LIMIT.0, LIMIT.1, json!({"stat_prefix": "none"}))]));
        for scene in scenes {
            for (number, request) in scene.requests.into_iter().enumerate() {
                group.add(format!("{} {number}", scene.name), request.host(scene.name));
            }
        }
        group
    };
    let named =
        [("descriptors", actions()), ("descriptor buckets", buckets()), ("descriptor rules", levels())];
    named.into_iter().map(group).collect()
}
