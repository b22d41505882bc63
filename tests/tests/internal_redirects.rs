//! Redirects of upstreams that are followed inside: what is counted and logged, and bodies that go twice.

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1::{self, Connection};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::json;

on_both_data_planes!(
    followed_redirects_are_counted_and_logged,
    redirects_that_are_passed_on_say_why,
    a_body_goes_to_both,
);

/// `/from` redirects to where the request says, twice at most; `/to` is the place.
struct Scene {
    port: Port,
    log: AccessLog,
    sidecar: Sidecar,
    _upstreams: [Upstream; 2],
}

impl Scene {
    async fn start(plane: DataPlane) -> Result<Self> {
        let (port, log) = (Port::lease()?, AccessLog::of(&["RESPONSE_CODE", "RESPONSE_CODE_DETAILS"])?);
        let upstreams = [Upstream::start(Echo::new("a"))?, Upstream::start(Echo::new("b"))?];
        let policy = json!({"max_internal_redirects": 2, "redirect_response_codes": [302, 307], "predicates": [{
            "name": "listed",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig",
                "allowed_route_names": ["to", "from"],
            },
        }]});
        let routes = [
            json!({"name": "from", "match": {"prefix": "/from"},
                "route": {"cluster": "a", "internal_redirect_policy": policy}}),
            json!({"name": "to", "match": {"prefix": "/to"}, "route": {"cluster": "b"},
                "request_headers_to_remove": ["x-echo-status", "x-echo-header"]}),
            json!({"name": "other", "match": {"prefix": "/other"}, "route": {"cluster": "b"}}),
        ];
        let table = route_config("r", &[virtual_host("v", &["svc"], &routes)]);
        let mut listener = http_listener("ingress", port.address(), inline(table));
        manager_of(&mut listener)["access_log"] = log.config();
        let clusters = [cluster("a", &[upstreams[0].address()]), cluster("b", &[upstreams[1].address()])];
        let sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
        Ok(Self { port, log, sidecar, _upstreams: upstreams })
    }

    /// A request that is redirected to `location`.
    async fn ask(&self, method: &str, location: &str, rest: &str) -> Result<h1::Response> {
        let mut client = Connection::open(self.port.address()).await?;
        let echo = format!("x-echo-status: 307\r\nx-echo-header: location={location}\r\n");
        client.exchange(format!("{method} /from HTTP/1.1\r\nHost: svc\r\n{echo}{rest}")).await
    }
}

async fn followed_redirects_are_counted_and_logged(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    let response = scene.ask("GET", "http://svc/to", "\r\n").await?;
    assert_eq!((response.status, response.json()?["upstream"].as_str()), (200, Some("b")));
    assert_eq!(scene.log.lines(2).await?, ["307|internal_redirect", "200|via_upstream"]);
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_internal_redirect_succeeded_total").await?, 1);
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_rq_total").await?, 1);
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_rq_307").await?, 0);
    assert_eq!(scene.sidecar.stat("cluster.b.upstream_rq_200").await?, 1);
    Ok(())
}

async fn redirects_that_are_passed_on_say_why(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    for (location, reason) in [
        ("not a place", "bad_location"),
        ("https://svc/to", "unsafe_scheme"),
        ("http://svc/from", "too_many_redirects"),
        ("http://svc/nowhere", "no_route"),
        ("http://svc/other", "predicate"),
    ] {
        assert_eq!(scene.ask("GET", location, "\r\n").await?.status, 307, "{location}");
        let stat = format!("http.ingress.passthrough_internal_redirect_{reason}");
        assert_eq!(scene.sidecar.stat(&stat).await?, 1, "{stat}");
    }
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_internal_redirect_failed_total").await?, 5);
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_internal_redirect_succeeded_total").await?, 2);
    Ok(())
}

async fn a_body_goes_to_both(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    let chunked = "Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n5\r\n text\r\n0\r\n\r\n";
    for rest in ["Content-Length: 9\r\n\r\nsome text", chunked] {
        let response = scene.ask("PUT", "http://svc/to", rest).await?;
        let seen = response.json()?;
        assert_eq!((response.status, seen["upstream"].as_str()), (200, Some("b")));
        assert_eq!((seen["method"].as_str(), seen["body"].as_str()), (Some("PUT"), Some("some text")));
    }
    Ok(())
}
