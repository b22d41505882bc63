//! Active health checks: who gets traffic, what is counted, told and shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use outrigger_tests::bootstrap::{
    cluster, eds_cluster, http_listener, inline, load_assignment, over_http2, prefix_route, route_config,
    tcp_listener, terminate_tls, virtual_host, with_ads, with_static,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::tls::Authority;
use outrigger_tests::upstream::{Banner, Behaviour, Closing, Counts, Echo, Endless, Garbage, Upstream};
use outrigger_tests::xds::{Resource, Server};
use outrigger_tests::{Result, on_both_data_planes, on_data_plane, wait};
use outrigger_xds_protos::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER};
use outrigger_xds_protos::v3;
use serde_json::{Value, json};
use tokio::net::TcpStream;

on_both_data_planes!(
    a_failing_host_gets_no_traffic_and_returns,
    a_new_host_waits_for_its_first_check,
    an_http_check_is_as_configured,
    an_endpoint_says_where_it_is_checked,
    tcp_checks_compare_bytes,
    a_closed_port_fails_by_the_threshold,
    grpc_checks_ask_for_the_service,
    degraded_hosts_are_the_second_choice,
    events_are_logged,
    checks_go_over_tls,
    checks_show_the_clusters_certificate,
    an_answer_must_hold_what_is_expected,
    what_is_no_answer_is_a_network_failure,
);
on_data_plane!(removal, Outrigger, a_removed_host_is_out_at_once_though_its_checks_pass);

const LIMIT: Duration = Duration::from_secs(10);

/// A host with a switch: answers checks of `/ping` (or of gRPC) as told, and everything else with 200.
#[derive(Debug)]
struct Patient {
    name: &'static str,
    condition: Arc<Condition>,
}

#[derive(Debug)]
struct Condition {
    status: AtomicU16,
    degraded: AtomicBool,
    checks: std::sync::Mutex<Vec<String>>,
}

impl Condition {
    fn new(status: u16) -> Arc<Self> {
        Arc::new(Self { status: status.into(), degraded: false.into(), checks: Default::default() })
    }

    fn set(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    fn checks(&self) -> Vec<String> {
        self.checks.lock().map(|checks| checks.clone()).unwrap_or_default()
    }
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>;

impl Behaviour for Patient {
    async fn serve(self: Arc<Self>, stream: TcpStream, counts: Arc<Counts>) {
        let service = service_fn(move |request: Request<Incoming>| {
            let patient = self.clone();
            if !is_check(&request) {
                counts.request();
            }
            async move { Ok::<_, hyper::Error>(patient.answer(request).await) }
        });
        let _ =
            auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    }
}

fn is_check(request: &Request<Incoming>) -> bool {
    request.headers().get("user-agent").is_some_and(|agent| agent == "Envoy/HC")
}

impl Patient {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if !is_check(&request) {
            return Response::new(Full::new(Bytes::from(self.name)).boxed_unsync());
        }
        let status = self.condition.status.load(Ordering::Relaxed);
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let authority = head.uri.authority().map(ToString::to_string);
        let host = head.headers.get("host").and_then(|host| host.to_str().ok()).map(str::to_owned);
        let extra = head.headers.get("x-extra").and_then(|value| value.to_str().ok()).unwrap_or("-");
        let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let told = format!(
            "{} {path} {:?} {} {extra} {}",
            head.method,
            head.version,
            authority.or(host).unwrap_or_default(),
            hex(&body)
        );
        if let Ok(mut checks) = self.condition.checks.lock() {
            checks.push(told);
        }
        if path == "/grpc.health.v1.Health/Check" { serving(status == 200) } else { self.plain(status) }
    }

    fn plain(&self, status: u16) -> Response<Body> {
        let mut response = Response::new(Full::new(Bytes::from("all is well")).boxed_unsync());
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        let service = HeaderValue::from_static("shop-green");
        response.headers_mut().insert("x-envoy-upstream-healthchecked-cluster", service);
        if self.condition.degraded.load(Ordering::Relaxed) {
            response.headers_mut().insert("x-envoy-degraded", HeaderValue::from_static("true"));
        }
        response
    }
}

fn serving(well: bool) -> Response<Body> {
    let mut message = BytesMut::new();
    message.put_slice(&[0, 0, 0, 0, 2, 8, if well { 1 } else { 2 }]);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(message.freeze()).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn patient(name: &'static str, condition: &Arc<Condition>) -> Result<Upstream> {
    Upstream::start(Patient { name, condition: condition.clone() })
}

/// A check every 50 milliseconds, whether there is traffic or not.
fn checked(kind: &str, settings: Value) -> Value {
    json!([{
        "timeout": "2s", "interval": "0.05s", "no_traffic_interval": "0.05s",
        "unhealthy_threshold": 2, "healthy_threshold": 2, kind: settings,
    }])
}

fn with_checks(mut cluster: Value, checks: Value) -> Value {
    cluster["health_checks"] = checks;
    // Panic would use unhealthy hosts.
    cluster["common_lb_config"] = json!({"healthy_panic_threshold": {"value": 0}});
    cluster
}

/// A sidecar in front of one checked cluster `a`.
struct Scene {
    port: Port,
    sidecar: Sidecar,
}

impl Scene {
    async fn start(plane: DataPlane, cluster: Value) -> Result<Self> {
        let port = Port::lease()?;
        let listener = listener(&port);
        let sidecar = plane.launch()?.start(&with_static(&[listener], &[cluster])).await?;
        Ok(Self { port, sidecar })
    }

    async fn get(&self) -> Result<(u16, String)> {
        let response = h1::get(self.port.address(), "a", "/").await?;
        Ok((response.status, response.text()))
    }

    async fn until(&self, stat: &str, holds: impl Fn(u64) -> bool) -> Result<u64> {
        self.sidecar.until_stat(&format!("cluster.a.{stat}"), holds).await
    }

    /// Waits until requests are answered so.
    async fn until_answered(&self, status: u16, text: &str) -> Result<()> {
        let check = || async { self.get().await.ok().filter(|got| *got == (status, text.to_owned())) };
        wait::until(&format!("{status} {text}"), LIMIT, check).await.map(drop)
    }

    /// `health_flags` of a host in `/clusters`.
    async fn flags(&self, host: &Upstream) -> Result<String> {
        let page = self.sidecar.get("/clusters").await?.text();
        let key = format!("a::{}::health_flags::", host.address());
        let found = page.lines().find_map(|line| line.strip_prefix(&key));
        found.map(str::to_owned).ok_or_else(|| format!("no {key} in {page}").into())
    }

    async fn until_flags(&self, host: &Upstream, wanted: &str) -> Result<()> {
        let check = || async { self.flags(host).await.ok().filter(|flags| flags == wanted) };
        match wait::until(wanted, LIMIT, check).await {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{error}; it is {}", self.flags(host).await?).into()),
        }
    }
}

fn listener(port: &Port) -> Value {
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
    http_listener("ingress", port.address(), inline(routes))
}

const UNHEALTHY: (u16, &str) = (503, "no healthy upstream");

async fn a_failing_host_gets_no_traffic_and_returns(plane: DataPlane) -> Result<()> {
    let (steady, moody) = (Condition::new(200), Condition::new(200));
    let (first, second) = (patient("first", &steady)?, patient("second", &moody)?);
    let checks = checked("http_health_check", json!({"path": "/ping"}));
    let both = cluster("a", &[first.address(), second.address()]);
    let scene = Scene::start(plane, with_checks(both, checks)).await?;
    scene.until("health_check.healthy", |hosts| hosts == 2).await?;
    assert_eq!(scene.flags(&second).await?, "healthy");
    assert_eq!(scene.sidecar.stat("cluster.a.health_check.failure").await?, 0);

    // One answer that says so is enough, whatever the threshold.
    moody.set(503);
    scene.until("health_check.healthy", |hosts| hosts == 1).await?;
    scene.until("membership_healthy", |hosts| hosts == 1).await?;
    assert_eq!(scene.flags(&second).await?, "/failed_active_hc");
    let before = second.counts().requests();
    for _ in 0..8 {
        assert_eq!(scene.get().await?, (200, "first".to_owned()));
    }
    assert_eq!(second.counts().requests(), before);
    assert!(scene.sidecar.stat("cluster.a.health_check.failure").await? >= 1);
    assert_eq!(scene.sidecar.stat("cluster.a.health_check.network_failure").await?, 0);

    moody.set(200);
    scene.until("health_check.healthy", |hosts| hosts == 2).await?;
    scene.until_answered(200, "second").await?;
    assert_eq!(scene.flags(&second).await?, "healthy");
    let page: Value = serde_json::from_str(&scene.sidecar.get("/clusters?format=json").await?.text())?;
    let status = &page["cluster_statuses"][0]["host_statuses"][1]["health_status"];
    assert_eq!(status, &json!({"eds_health_status": "HEALTHY"}));
    Ok(())
}

async fn a_new_host_waits_for_its_first_check(plane: DataPlane) -> Result<()> {
    let condition = Condition::new(503);
    let upstream = patient("only", &condition)?;
    let checks = checked("http_health_check", json!({"path": "/ping"}));
    let scene = Scene::start(plane, with_checks(cluster("a", &[upstream.address()]), checks)).await?;
    // Being ready means that the first round is over.
    assert!(scene.sidecar.stat("cluster.a.health_check.attempt").await? >= 1);
    assert_eq!(scene.get().await?, (UNHEALTHY.0, UNHEALTHY.1.to_owned()));
    scene.until_flags(&upstream, "/failed_active_hc").await?;
    condition.set(200);
    scene.until_answered(200, "only").await?;
    assert_eq!(scene.flags(&upstream).await?, "healthy");
    Ok(())
}

async fn an_http_check_is_as_configured(plane: DataPlane) -> Result<()> {
    let condition = Condition::new(201);
    let upstream = patient("only", &condition)?;
    let settings = json!({
        "path": "/check?deep=1", "host": "patient.local", "method": "POST", "codec_client_type": "HTTP2",
        "expected_statuses": [{"start": 201, "end": 203}],
        "retriable_statuses": [{"start": 500, "end": 501}],
        "request_headers_to_add": [{"header": {"key": "x-extra", "value": "yes"}}],
    });
    let mut checks = checked("http_health_check", settings);
    checks[0]["unhealthy_threshold"] = json!(10_000);
    let scene = Scene::start(plane, with_checks(cluster("a", &[upstream.address()]), checks)).await?;
    scene.until("health_check.success", |count| count >= 2).await?;
    assert_eq!(condition.checks()[0], "POST /check?deep=1 HTTP/2.0 patient.local yes ");
    assert_eq!(upstream.counts().connections(), 1, "the connection is used again");

    // A retriable status counts towards the threshold ...
    condition.set(500);
    scene.until("health_check.failure", |count| count >= 2).await?;
    assert_eq!(scene.flags(&upstream).await?, "healthy");
    // ... and every other one does not.
    condition.set(200);
    scene.until_flags(&upstream, "/failed_active_hc").await
}

async fn an_endpoint_says_where_it_is_checked(plane: DataPlane) -> Result<()> {
    let condition = Condition::new(200);
    let (upstream, doctor) = (Upstream::start(Echo::new("a"))?, patient("doctor", &condition)?);
    let mut cluster = cluster("a", &[upstream.address()]);
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["health_check_config"] =
        json!({"port_value": doctor.address().port(), "hostname": "one.local"});
    let checks = checked("http_health_check", json!({"path": "/ping"}));
    let scene = Scene::start(plane, with_checks(cluster, checks)).await?;
    scene.until("health_check.success", |count| count >= 1).await?;
    assert_eq!(condition.checks()[0], "GET /ping HTTP/1.1 one.local - ");
    assert_eq!(upstream.counts().connections(), 0);
    assert_eq!(scene.get().await?.0, 200);
    condition.set(500);
    scene.until_answered(UNHEALTHY.0, UNHEALTHY.1).await
}

async fn tcp_checks_compare_bytes(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Banner("220 ready\r\n"))?;
    let port = Port::lease()?;
    for (wanted, flags) in
        [(["323230", "7265"], "healthy"), (["7265", "323230"], "/failed_active_hc/active_hc_timeout")]
    {
        let receive: Vec<_> = wanted.iter().map(|text| json!({"text": text})).collect();
        let mut checks = checked("tcp_health_check", json!({"receive": receive}));
        checks[0]["timeout"] = json!("0.3s");
        let cluster = with_checks(cluster("a", &[upstream.address()]), checks);
        let listener = tcp_listener("ingress", port.address(), "a");
        let sidecar = plane.launch()?.start(&with_static(&[listener], &[cluster])).await?;
        let scene = Scene { port: Port::lease()?, sidecar };
        let shown = scene.flags(&upstream).await?;
        // A timeout as the very first result is shown by some versions of Envoy only.
        assert!(shown == flags || flags.starts_with(&shown), "{shown}");
    }
    Ok(())
}

async fn a_closed_port_fails_by_the_threshold(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Closing::AtOnce)?;
    let mut checks =
        checked("tcp_health_check", json!({"send": {"text": "00"}, "receive": [{"text": "01"}]}));
    checks[0]["event_log_path"] = json!("/dev/null");
    let scene = Scene::start(plane, with_checks(cluster("a", &[upstream.address()]), checks)).await?;
    scene.until("health_check.network_failure", |count| count >= 2).await?;
    assert_eq!(scene.sidecar.stat("cluster.a.health_check.success").await?, 0);
    assert_eq!(scene.sidecar.stat("cluster.a.health_check.healthy").await?, 0);
    assert_eq!(scene.flags(&upstream).await?, "/failed_active_hc");
    Ok(())
}

async fn grpc_checks_ask_for_the_service(plane: DataPlane) -> Result<()> {
    let condition = Condition::new(200);
    let upstream = patient("only", &condition)?;
    let settings = json!({
        "service_name": "shop", "authority": "grpc.local",
        "initial_metadata": [{"header": {"key": "x-extra", "value": "meta"}}],
    });
    let checks = checked("grpc_health_check", settings);
    let cluster = over_http2(cluster("a", &[upstream.address()]));
    let scene = Scene::start(plane, with_checks(cluster, checks)).await?;
    scene.until("health_check.success", |count| count >= 1).await?;
    let asked = "POST /grpc.health.v1.Health/Check HTTP/2.0 grpc.local meta 00000000060a0473686f70";
    assert_eq!(condition.checks()[0], asked);
    condition.set(503);
    scene.until_flags(&upstream, "/failed_active_hc").await?;
    condition.set(200);
    scene.until_flags(&upstream, "healthy").await
}

async fn degraded_hosts_are_the_second_choice(plane: DataPlane) -> Result<()> {
    let (steady, weak) = (Condition::new(200), Condition::new(200));
    weak.degraded.store(true, Ordering::Relaxed);
    let (first, second) = (patient("first", &steady)?, patient("second", &weak)?);
    let mut both = cluster("a", &[first.address(), second.address()]);
    // One of two healthy hosts counts as 70 percent; a third makes it enough for all the traffic.
    let third = patient("first", &steady)?;
    both["load_assignment"] = load_assignment("a", &[first.address(), third.address(), second.address()]);
    both["load_assignment"]["endpoints"][0]["priority"] = json!(0);
    let mut checks = checked("http_health_check", json!({"path": "/ping"}));
    checks[0]["interval"] = json!("0.05s");
    let mut cluster = with_checks(both, checks);
    cluster["load_assignment"]["policy"] = json!({"overprovisioning_factor": 140});
    let scene = Scene::start(plane, cluster).await?;
    scene.until_flags(&second, "/degraded_active_hc").await?;
    scene.until("health_check.degraded", |hosts| hosts == 1).await?;
    scene.until("membership_degraded", |hosts| hosts == 1).await?;
    // Nobody else is left: the degraded host takes everything.
    steady.set(503);
    scene.until_answered(200, "second").await?;
    weak.degraded.store(false, Ordering::Relaxed);
    scene.until_flags(&second, "healthy").await
}

async fn events_are_logged(plane: DataPlane) -> Result<()> {
    let files = tempfile::tempdir()?;
    let path = files.path().join("events");
    let condition = Condition::new(200);
    let upstream = patient("only", &condition)?;
    let mut checks = checked("http_health_check", json!({"path": "/ping"}));
    checks[0]["event_log_path"] = json!(path);
    checks[0]["always_log_health_check_failures"] = json!(true);
    checks[0]["always_log_health_check_success"] = json!(true);
    let scene = Scene::start(plane, with_checks(cluster("a", &[upstream.address()]), checks)).await?;
    let kinds = [
        ("add_healthy_event", json!({"first_check": true})),
        ("successful_health_check_event", json!({})),
        ("degraded_healthy_host", json!({})),
        ("no_longer_degraded_host", json!({})),
        ("eject_unhealthy_event", json!({"failure_type": "ACTIVE", "http_status_code": 503})),
        (
            "health_check_failure_event",
            json!({"failure_type": "ACTIVE", "first_check": false, "http_status_code": 503}),
        ),
    ];
    let event = |name: &str, facts: Value| {
        json!({
            "health_checker_type": "HTTP",
            "host": {"socket_address": {
                "protocol": "TCP", "address": "127.0.0.1", "port_value": upstream.address().port(),
                "resolver_name": "", "ipv4_compat": false, "network_namespace_filepath": "",
            }},
            "cluster_name": "a",
            "locality": {"region": "", "zone": "", "sub_zone": ""},
            name: facts,
        })
    };
    for (name, facts) in kinds {
        match name {
            "degraded_healthy_host" => condition.degraded.store(true, Ordering::Relaxed),
            "no_longer_degraded_host" => condition.degraded.store(false, Ordering::Relaxed),
            "eject_unhealthy_event" => condition.set(503),
            _ => {}
        }
        let told = || std::future::ready(first_event(&path, name));
        let mut told = wait::until(name, LIMIT, told).await?;
        let time = told.as_object_mut().and_then(|event| event.remove("timestamp"));
        assert!(time.is_some_and(|time| time.as_str().is_some_and(|time| time.ends_with('Z'))), "{told}");
        assert_eq!(told, event(name, facts));
    }
    drop(scene);
    Ok(())
}

fn first_event(path: &std::path::Path, name: &str) -> Option<Value> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.find(|event| event.get(name).is_some())
}

/// Another sidecar terminates TLS in front of the host.
async fn checks_go_over_tls(plane: DataPlane) -> Result<()> {
    let (inner, authority, condition) = (Port::lease()?, Authority::new()?, Condition::new(200));
    let upstream = patient("only", &condition)?;
    let mut secured = listener(&inner);
    secured["filter_chains"][0]["transport_socket"] =
        terminate_tls(&authority.issue(&["svc"])?, &["h2", "http/1.1"]);
    let server =
        plane.launch()?.start(&with_static(&[secured], &[cluster("a", &[upstream.address()])])).await?;
    for (codec, stat, trusted) in [
        ("HTTP1", "http.ingress.downstream_cx_http1_total", "svc"),
        ("HTTP2", "http.ingress.downstream_cx_http2_total", "svc"),
        ("HTTP2", "http.ingress.downstream_cx_http2_total", "other"),
    ] {
        let settings = json!({"path": "/ping", "codec_client_type": codec});
        let mut cluster =
            with_checks(cluster("a", &[inner.address()]), checked("http_health_check", settings));
        cluster["transport_socket"] = originate_tls(&authority, trusted, codec);
        let scene = Scene::start(plane, cluster).await?;
        if trusted == "svc" {
            scene.until("health_check.success", |count| count >= 2).await?;
            server.until_stat(stat, |count| count >= 1).await?;
        } else {
            scene.until("health_check.network_failure", |count| count >= 2).await?;
            assert_eq!(scene.sidecar.stat("cluster.a.health_check.success").await?, 0);
        }
    }
    Ok(())
}

/// The sidecar in front of the host wants a certificate of its authority: with it a host is well and is asked, without
/// one, or with one of another authority, it is not.
async fn checks_show_the_clusters_certificate(plane: DataPlane) -> Result<()> {
    let (inner, authority, condition) = (Port::lease()?, Authority::new()?, Condition::new(200));
    let upstream = patient("only", &condition)?;
    let mut secured = listener(&inner);
    let mut tls = terminate_tls(&authority.issue(&["svc"])?, &["h2", "http/1.1"]);
    tls["typed_config"]["require_client_certificate"] = json!(true);
    tls["typed_config"]["common_tls_context"]["validation_context"] =
        json!({"trusted_ca": {"inline_string": authority.certificate()}});
    secured["filter_chains"][0]["transport_socket"] = tls;
    let behind = over_http2(cluster("a", &[upstream.address()]));
    let server = plane.launch()?.start(&with_static(&[secured], &[behind])).await?;
    let (own, foreign) = (authority.issue(&["caller"])?, Authority::new()?.issue(&["caller"])?);
    for (identity, codec, kind, settings) in [
        (Some(&own), "HTTP1", "http_health_check", json!({"path": "/ping", "codec_client_type": "HTTP1"})),
        (Some(&own), "HTTP2", "http_health_check", json!({"path": "/ping", "codec_client_type": "HTTP2"})),
        (Some(&own), "HTTP2", "grpc_health_check", json!({"service_name": "shop"})),
        (Some(&foreign), "HTTP1", "http_health_check", json!({"path": "/ping"})),
        (Some(&foreign), "HTTP2", "grpc_health_check", json!({})),
        (None, "HTTP1", "http_health_check", json!({"path": "/ping"})),
        (None, "HTTP2", "grpc_health_check", json!({})),
    ] {
        let mut checked_cluster = with_checks(cluster("a", &[inner.address()]), checked(kind, settings));
        if codec == "HTTP2" {
            checked_cluster = over_http2(checked_cluster);
        }
        let mut transport = originate_tls(&authority, "svc", codec);
        if let Some(identity) = identity {
            transport["typed_config"]["common_tls_context"]["tls_certificates"] = json!([{
                "certificate_chain": {"inline_string": identity.certificate},
                "private_key": {"inline_string": identity.key},
            }]);
        }
        checked_cluster["transport_socket"] = transport;
        // Else an unhealthy host is asked all the same, as it is the only one.
        checked_cluster["common_lb_config"] = json!({"healthy_panic_threshold": {"value": 0}});
        let scene = Scene::start(plane, checked_cluster).await?;
        if identity.is_some_and(|identity| identity.certificate == own.certificate) {
            scene.until("health_check.success", |count| count >= 2).await?;
            scene.until("membership_healthy", |count| count == 1).await?;
            assert_eq!(scene.get().await?, (200, "only".to_owned()), "{codec} {kind}");
        } else {
            scene.until("health_check.failure", |count| count >= 2).await?;
            assert_eq!(scene.sidecar.stat("cluster.a.health_check.success").await?, 0);
            assert_eq!(scene.sidecar.stat("cluster.a.membership_healthy").await?, 0);
            assert_eq!(scene.get().await?.0, 503, "{codec} {kind}");
        }
    }
    server.until_stat("http.ingress.downstream_cx_ssl_total", |count| count >= 3).await?;
    Ok(())
}

fn originate_tls(authority: &Authority, name: &str, codec: &str) -> Value {
    let protocol = if codec == "HTTP2" { "h2" } else { "http/1.1" };
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": [protocol],
                "validation_context": {
                    "trusted_ca": {"inline_string": authority.certificate()},
                    "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": name}}],
                },
            },
        },
    })
}

async fn an_answer_must_hold_what_is_expected(plane: DataPlane) -> Result<()> {
    let condition = Condition::new(200);
    let upstream = patient("only", &condition)?;
    let (body, other) = (json!([{"text": "616c6c"}, {"text": "77656c6c"}]), json!([{"text": "73696368"}]));
    for (receive, service, flags) in [
        (&body, "shop", "healthy"),
        (&other, "shop", "/failed_active_hc"),
        (&body, "cart", "/failed_active_hc"),
    ] {
        let settings =
            json!({"path": "/ping", "receive": receive, "service_name_matcher": {"prefix": service}});
        let checks = checked("http_health_check", settings);
        let scene = Scene::start(plane, with_checks(cluster("a", &[upstream.address()]), checks)).await?;
        assert_eq!(scene.flags(&upstream).await?, flags, "{receive} {service}");
        let verified = scene.sidecar.stat("cluster.a.health_check.verify_cluster").await?;
        assert_eq!(verified > 0, *receive == body, "{receive} {service}");
    }
    Ok(())
}

async fn what_is_no_answer_is_a_network_failure(plane: DataPlane) -> Result<()> {
    let hosts = [
        Upstream::start(Garbage)?,
        Upstream::start(Endless)?,
        Upstream::start(Closing::WithinHead)?,
        Upstream::start(Closing::WithinBody)?,
    ];
    for host in &hosts {
        let mut checks = checked("http_health_check", json!({"path": "/ping"}));
        checks[0]["timeout"] = json!("0.2s");
        let scene = Scene::start(plane, with_checks(cluster("a", &[host.address()]), checks)).await?;
        scene.until("health_check.network_failure", |count| count >= 2).await?;
        assert_eq!(scene.sidecar.stat("cluster.a.health_check.success").await?, 0);
        assert!(scene.flags(host).await?.starts_with("/failed_active_hc"));
    }
    Ok(())
}

/// Unlike Envoy, which keeps such a host until a check fails, as App Mesh did to its users' regret.
async fn a_removed_host_is_out_at_once_though_its_checks_pass(plane: DataPlane) -> Result<()> {
    let (port, xds, condition) = (Port::lease()?, Server::start()?, Condition::new(200));
    let (first, second) = (patient("first", &condition)?, patient("second", &condition)?);
    let checks = checked("http_health_check", json!({"path": "/ping"}));
    let endpoints = |at: &[&Upstream]| {
        let addresses: Vec<_> = at.iter().map(|upstream| upstream.address()).collect();
        Resource::of::<v3::endpoint::ClusterLoadAssignment>("a", &load_assignment("a", &addresses))
    };
    let cluster = with_checks(eds_cluster("a"), checks);
    xds.set_all([
        (CLUSTER, vec![Resource::of::<v3::cluster::Cluster>("a", &cluster)?]),
        (CLUSTER_LOAD_ASSIGNMENT, vec![endpoints(&[&first, &second])?]),
        (LISTENER, vec![Resource::of::<v3::listener::Listener>("ingress", &listener(&port))?]),
    ]);
    let sidecar = plane.launch()?.start(&with_ads(xds.address(), "DELTA_GRPC")).await?;
    let scene = Scene { port, sidecar };
    scene.until("health_check.healthy", |hosts| hosts == 2).await?;
    scene.until_answered(200, "second").await?;

    xds.set(CLUSTER_LOAD_ASSIGNMENT, vec![endpoints(&[&first])?]);
    scene.until("membership_total", |hosts| hosts == 1).await?;
    scene.until("health_check.healthy", |hosts| hosts == 1).await?;
    scene.until_answered(200, "first").await?;
    let before = second.counts().requests();
    for _ in 0..8 {
        assert_eq!(scene.get().await?, (200, "first".to_owned()));
    }
    assert_eq!(second.counts().requests(), before);
    // Nor is it checked any more.
    let checks = condition.checks().len();
    scene.until("health_check.attempt", |count| count as usize > checks + 4).await?;
    wait::until("its connections to close", LIMIT, || {
        std::future::ready((second.counts().open() == 0).then_some(()))
    })
    .await
}
