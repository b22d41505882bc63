//! Families and labels of `/stats/prometheus`: those of Envoy, for every statistic that both have.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, over_http2, prefix_route, route_config, tcp_listener,
    terminate_tls, virtual_host, with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::mesh::request;
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{Authority, connect};
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, requirement};
use serde_json::{Value, json};

fn extension(kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.{kind}"));
    json!({"name": kind, "typed_config": config})
}

/// Listeners and clusters with everything that has tags of its own.
struct Scene {
    plain: Port,
    secure: Port,
    raw: Port,
    sidecar: Sidecar,
    authority: Authority,
    _upstreams: [Upstream; 2],
}

impl Scene {
    async fn start(plane: DataPlane) -> Result<Option<Self>> {
        let Some(launch) = requirement::met(plane.launch()) else { return Ok(None) };
        let (plain, secure, raw) = (Port::lease()?, Port::lease()?, Port::lease()?);
        let authority = Authority::new()?;
        let upstreams = [Upstream::start(Echo::new("a"))?, Upstream::start(Echo::new("b"))?];
        let routes = |table: &[Value]| inline(route_config("r", &[virtual_host("v", &["*"], table)]));
        let to_a = prefix_route("/", "a");
        let policy = json!({"permissions": [{"any": true}], "principals": [{"any": true}]});
        let mut first =
            http_listener("plain", plain.address(), routes(&[prefix_route("/tls", "t"), to_a.clone()]));
        first["stat_prefix"] = json!("edge");
        let mut filters = vec![
            extension(
                "http.fault.v3.HTTPFault",
                json!({"headers": [{"name": "x-fault", "present_match": true}],
                "abort": {"http_status": 418, "percentage": {"numerator": 100}}}),
            ),
            extension(
                "http.ext_authz.v3.ExtAuthz",
                json!({"stat_prefix": "judge", "http_service": {"server_uri":
                {"uri": "http://b", "cluster": "b", "timeout": "5s"}}}),
            ),
            extension(
                "http.local_ratelimit.v3.LocalRateLimit",
                json!({"stat_prefix": "limit",
                "token_bucket": {"max_tokens": 100, "tokens_per_fill": 100, "fill_interval": "1s"},
                "filter_enabled": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}}),
            ),
            extension(
                "http.rbac.v3.RBAC",
                json!({"rules": {"action": "ALLOW", "policies": {"all": policy}},
                "rules_stat_prefix": "own", "track_per_rule_stats": true}),
            ),
        ];
        let manager = manager_of(&mut first);
        filters.extend(manager["http_filters"].as_array().cloned().unwrap_or_default());
        manager["http_filters"] = Value::Array(filters);
        let mut second = http_listener("secure", secure.address(), routes(&[to_a]));
        second["filter_chains"][0]["transport_socket"] =
            terminate_tls(&authority.issue(&["svc"])?, &["http/1.1"]);
        let mut third = tcp_listener("raw", raw.address(), "b");
        let guards = [
            extension(
                "network.local_ratelimit.v3.LocalRateLimit",
                json!({"stat_prefix": "cxs",
                "token_bucket": {"max_tokens": 100, "tokens_per_fill": 100, "fill_interval": "1s"}}),
            ),
            extension(
                "network.ext_authz.v3.ExtAuthz",
                json!({"stat_prefix": "court", "failure_mode_allow": true, "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": "g"}, "timeout": "5s"}}),
            ),
            extension(
                "network.connection_limit.v3.ConnectionLimit",
                json!({"stat_prefix": "cap", "max_connections": 9}),
            ),
            extension(
                "network.rbac.v3.RBAC",
                json!({"stat_prefix": "guard",
                "rules": {"action": "ALLOW", "policies": {"all": policy}}}),
            ),
        ];
        let chain = third["filter_chains"][0]["filters"].as_array().cloned().unwrap_or_default();
        third["filter_chains"][0]["filters"] = Value::Array([guards.to_vec(), chain].concat());
        let (mut tracked, mut over_tls) =
            (cluster("a", &[upstreams[0].address()]), cluster("t", &[secure.address()]));
        tracked["track_cluster_stats"] = json!({"timeout_budgets": true, "request_response_sizes": true});
        over_tls["transport_socket"] = json!({"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"tls_params": {"tls_maximum_protocol_version": "TLSv1_3"}, "validation_context":
                {"trusted_ca": {"inline_string": authority.certificate()}}}}});
        let host = upstreams[1].address();
        let clusters = [tracked, cluster("b", &[host]), over_http2(cluster("g", &[host])), over_tls];
        let mut bootstrap = with_static(&[first, second, third], &clusters);
        bootstrap["stats_flush_interval"] = json!("0.05s");
        let sidecar = launch.start(&bootstrap).await?;
        Ok(Some(Self { plain, secure, raw, sidecar, authority, _upstreams: upstreams }))
    }

    async fn drive(&self) -> Result<()> {
        assert_eq!(request(self.plain.address(), "svc", "/", &[]).await?.status, 200);
        assert_eq!(request(self.plain.address(), "svc", "/tls", &[]).await?.status, 200);
        let faulty = ["x-fault: 1", "x-envoy-downstream-service-cluster: caller"];
        assert_eq!(request(self.plain.address(), "svc", "/", &faulty).await?.status, 418);
        assert_eq!(request(self.raw.address(), "svc", "/", &[]).await?.status, 200);
        let config = self.authority.client(&["http/1.1"], None)?;
        let mut secure = Connection::over(connect(&Place::Host, self.secure.address(), "svc", config).await?);
        assert_eq!(secure.exchange("GET / HTTP/1.1\r\nHost: svc\r\n\r\n").await?.status, 200);
        Ok(())
    }

    /// Names of statistics, without what differs between the planes.
    async fn names(&self) -> Result<BTreeMap<String, String>> {
        let text = self.sidecar.get("/stats").await?.text();
        let names = text.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name);
        Ok(names.map(|name| (self.neutral(name), name.to_owned())).collect())
    }

    fn neutral(&self, name: &str) -> String {
        let ports = [("plain", &self.plain), ("secure", &self.secure), ("raw", &self.raw)];
        ports.into_iter().fold(name.to_owned(), |name, (what, port)| {
            name.replace(&format!("_{}", port.number()), &format!("_{what}"))
        })
    }

    /// Family and labels of a statistic.
    async fn family(&self, name: &str) -> Result<BTreeSet<String>> {
        let filter: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '.' }).collect();
        let page = self.sidecar.get(&format!("/stats/prometheus?filter=^{filter}$")).await?.text();
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        Ok(lines.filter_map(|line| Some(self.neutral(&shape(line)?))).collect())
    }
}

/// `name{label="value",...}` with its labels in order, without those of buckets.
fn shape(line: &str) -> Option<String> {
    let (series, _) = line.rsplit_once(' ')?;
    let Some((name, labels)) = series.split_once('{') else { return Some(series.to_owned()) };
    let mut labels: Vec<&str> = labels
        .trim_end_matches('}')
        .split(',')
        .filter(|label| !label.starts_with("le=") && !label.is_empty())
        .collect();
    labels.sort_unstable();
    Some(format!("{name}{{{}}}", labels.join(",")))
}

#[tokio::test]
async fn every_family_has_envoys_name_and_labels() -> Result<()> {
    let (Some(ours), Some(theirs)) =
        (Scene::start(DataPlane::Outrigger).await?, Scene::start(DataPlane::Envoy).await?)
    else {
        return Ok(());
    };
    ours.drive().await?;
    theirs.drive().await?;
    let (mine, known) = (ours.names().await?, theirs.names().await?);
    let mut differing = BTreeMap::new();
    let mut compared = 0;
    for (neutral, name) in &mine {
        let Some(other) = known.get(neutral) else { continue };
        let (own, envoys) = (ours.family(name).await?, theirs.family(other).await?);
        compared += 1;
        // Histograms without values have no series in one of them.
        if own != envoys && !own.is_empty() && !envoys.is_empty() {
            differing.insert(neutral.clone(), both(own, envoys));
        }
    }
    assert!(compared > 400, "{compared} statistics in both");
    for kind in [
        "edge.downstream_cx_total",
        ".ssl.versions.",
        ".ssl.ciphers.",
        ".ssl.curves.",
        "cluster.t.ssl.versions.",
        "fault.caller.",
        "ext_authz.judge.",
        "ext_authz.court.",
        "cluster.a.ext_authz.",
        "_headers_size",
        "_budget_percent_used",
        "upstream_flow_control_",
        ".downstream_flow_control_",
        "limit.http_local_rate_limit.",
        "local_rate_limit.cxs.",
        "connection_limit.cap.",
        "rbac.",
        ".fault.",
    ] {
        assert!(
            mine.keys().any(|name| name.contains(kind) && known.contains_key(name)),
            "{kind} is not compared"
        );
    }
    assert!(differing.is_empty(), "{differing:#?}");
    Ok(())
}

fn both(ours: BTreeSet<String>, theirs: BTreeSet<String>) -> BTreeSet<String> {
    let ours = ours.into_iter().map(|one| format!("ours: {one}"));
    ours.chain(theirs.into_iter().map(|one| format!("Envoy's: {one}"))).collect()
}
