use super::*;

fn extract(config: &TagConfig, name: &str) -> (String, String) {
    let extracted = config.extract(name);
    let tags: Vec<_> = extracted.tags.iter().map(|(tag, value)| format!("{tag}={value}")).collect();
    (extracted.name, tags.join(" "))
}

/// What Envoy 1.40 exposes for the same names.
#[test]
fn default_tags_are_envoys() {
    let config = TagConfig::default().fixed("appmesh.mesh", "m");
    for (name, left, tags) in [
        (
            "cluster.a.upstream_rq_200",
            "cluster.upstream_rq",
            "envoy.response_code=200 appmesh.mesh=m envoy.cluster_name=a",
        ),
        (
            "cluster.a.external.upstream_rq_5xx",
            "cluster.external.upstream_rq_xx",
            "envoy.response_code_class=5 appmesh.mesh=m envoy.cluster_name=a",
        ),
        (
            "cluster.up_1.upstream_rq_timeout",
            "cluster.upstream_rq_timeout",
            "appmesh.mesh=m envoy.cluster_name=up_1",
        ),
        ("cluster.a.b.c", "cluster.b.c", "appmesh.mesh=m envoy.cluster_name=a"),
        (
            "http.ingress.http.18080.downstream_rq_2xx",
            "http.http.18080.downstream_rq_xx",
            "envoy.response_code_class=2 appmesh.mesh=m envoy.http_conn_manager_prefix=ingress",
        ),
        (
            "listener.127.0.0.1_18080.http.p.downstream_rq_completed",
            "listener.http.downstream_rq_completed",
            "appmesh.mesh=m envoy.http_conn_manager_prefix=p envoy.listener_address=127.0.0.1_18080",
        ),
        (
            "listener.127.0.0.1_18080.worker_1.downstream_cx_total",
            "listener.worker.downstream_cx_total",
            "envoy.worker_id=1 appmesh.mesh=m envoy.listener_address=127.0.0.1_18080",
        ),
        (
            "listener.[__]_80.downstream_cx_total",
            "listener.downstream_cx_total",
            "appmesh.mesh=m envoy.listener_address=[__]_80",
        ),
        (
            "listener.edge.downstream_cx_total",
            "listener.downstream_cx_total",
            "appmesh.mesh=m envoy.listener_address=edge",
        ),
        (
            "listener.127.0.0.1_80.ssl.versions.TLSv1.3",
            "listener.ssl.versions",
            "envoy.ssl_version=TLSv1.3 appmesh.mesh=m envoy.listener_address=127.0.0.1_80",
        ),
        (
            "cluster.a.ssl.ciphers.TLS_AES_128_GCM_SHA256",
            "cluster.ssl.ciphers",
            "envoy.ssl_cipher_suite=TLS_AES_128_GCM_SHA256 appmesh.mesh=m envoy.cluster_name=a",
        ),
        (
            "http.p.fault.cart.aborts_injected",
            "http.fault.aborts_injected",
            "appmesh.mesh=m envoy.fault_downstream_cluster=cart envoy.http_conn_manager_prefix=p",
        ),
        (
            "http.p.fault.aborts_injected",
            "http.fault.aborts_injected",
            "appmesh.mesh=m envoy.http_conn_manager_prefix=p",
        ),
        (
            "http.p.rbac.own.policy.all.allowed",
            "http.rbac.policy.allowed",
            "appmesh.mesh=m envoy.rbac_http_prefix=own envoy.rbac_policy_name=all envoy.http_conn_manager_prefix=p",
        ),
        ("http.p.rbac.denied", "http.rbac.denied", "appmesh.mesh=m envoy.http_conn_manager_prefix=p"),
        (
            "listener.admin.http.admin.downstream_rq_completed",
            "listener.admin.http.downstream_rq_completed",
            "appmesh.mesh=m envoy.http_conn_manager_prefix=admin",
        ),
        (
            "limit.http_local_rate_limit.ok",
            "http_local_rate_limit.ok",
            "appmesh.mesh=m envoy.local_http_ratelimit_prefix=limit",
        ),
        (
            "local_rate_limit.limit.rate_limited",
            "local_rate_limit.rate_limited",
            "appmesh.mesh=m envoy.local_network_ratelimit_prefix=limit",
        ),
        ("listener.admin.downstream_cx_total", "listener.admin.downstream_cx_total", "appmesh.mesh=m"),
        ("listener_manager.workers_started", "listener_manager.workers_started", "appmesh.mesh=m"),
        ("server.worker_0.watchdog_miss", "server.worker.watchdog_miss", "envoy.worker_id=0 appmesh.mesh=m"),
        (
            "http.p.rds.rds_ingress_http_8080.update_success",
            "http.rds.update_success",
            "appmesh.mesh=m envoy.rds_route_config=rds_ingress_http_8080 envoy.http_conn_manager_prefix=p",
        ),
        (
            "vhost.v.vcluster.c.upstream_rq_200",
            "vhost.vcluster.upstream_rq",
            "envoy.response_code=200 appmesh.mesh=m envoy.virtual_cluster=c envoy.virtual_host=v",
        ),
        ("tcp.ingress.idle_timeout", "tcp.idle_timeout", "appmesh.mesh=m envoy.tcp_prefix=ingress"),
        ("server.live", "server.live", "appmesh.mesh=m"),
        ("cluster.", "cluster.", "appmesh.mesh=m"),
        ("", "", "appmesh.mesh=m"),
    ] {
        assert_eq!(extract(&config, name), (left.to_owned(), tags.to_owned()), "{name}");
    }
}

#[test]
fn app_mesh_keeps_the_manager_prefix_and_names_protocol_and_port() {
    let config = TagConfig::default().app_mesh_listeners();
    assert_eq!(
        extract(&config, "http.ingress.grpc.8080.downstream_rq_5xx"),
        (
            "http.downstream_rq_xx".to_owned(),
            "envoy.response_code_class=5 appmesh.listener_protocol=grpc appmesh.listener_port=8080 \
             envoy.http_conn_manager_prefix=ingress"
                .to_owned()
        )
    );
    assert_eq!(extract(&config, "http.ingress.downstream_rq_total").0, "http.downstream_rq_total");
    assert_eq!(extract(&config, "http.ingress.rds.r.config_reload").0, "http.rds.config_reload");
}

#[test]
fn rules_cut_group_one_and_take_group_two() {
    let config = TagConfig::default()
        .only_defaults(vec!["envoy.cluster_name".to_owned()])
        .rule("source", r"^cluster\.((.+?);\.)")
        .unwrap();
    let (name, tags) = extract(&config, "cluster.a.b;.upstream_rq_200");
    assert_eq!(name, "cluster.upstream_rq_200");
    assert!(tags.starts_with("source=a.b"), "{tags}");
    assert!(TagConfig::default().rule("t", "(").is_err());
    assert!(TagConfig::default().rule("t", "abc").is_err());
}

#[test]
fn matchers_show_and_hide() {
    let list = || vec![StringMatch::Prefix(b"cluster.".to_vec())];
    assert!(StatsMatcher::Include(list()).admits("cluster.a"));
    assert!(!StatsMatcher::Include(list()).admits("server.live"));
    assert!(!StatsMatcher::Exclude(list()).admits("cluster.a"));
    assert!(!StatsMatcher::None.admits("server.live"));
}

proptest::proptest! {
    #[test]
    fn no_name_panics(name in "(cluster|listener|http|tcp|vhost|rds|worker_|_rq_|[0-9._\\[\\]é]){0,12}") {
        let config = TagConfig::default().app_mesh_listeners();
        let extracted = config.extract(&name);
        proptest::prop_assert!(extracted.name.len() <= name.len());
    }
}
